//! The HTTP listener of the real daemon over real sockets.

use std::fs::Permissions;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tbtoken_proto::HttpListener;
use tbtoken_tests::canary;
use tbtoken_tests::harness::http::{Answer, ask, connect, free_port, raw, read};
use tbtoken_tests::harness::{Installation, Row, Signal};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

/// Makes a token with a canary, because no answer and no line of the log may contain it.
pub(super) fn token(name: &str) -> String {
    canary::password(&format!("{name}-of-the-http-listener"))
}

fn token_file(installation: &Installation, name: &str, token: &str) -> PathBuf {
    let path = installation.folder().join(name);
    std::fs::write(&path, format!("{token}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// Switches on the listener at this port with two tokens.
pub(super) fn with_http(mut installation: Installation, port: u16) -> Installation {
    for (key, name) in [("http.token_file", "write"), ("http.read_token_file", "read")] {
        let path = token_file(&installation, name, &token(name));
        installation.config().set(key, path.to_str().unwrap());
    }
    installation.with("http.listen", format!("127.0.0.1:{port}"))
}

fn get(port: u16, path: &str, token: &str) -> Answer {
    ask(port, "GET", path, &[("Authorization", &format!("Bearer {token}"))], "")
}

fn post(port: u16, body: &str, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    ask(port, "POST", "/api/cron/refresh-tokens", &headers, body)
}

const API: &str = "/api/cron/refresh-tokens";

#[test]
fn the_old_api_is_answered_over_a_real_port_and_shows_no_secret() {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(30, |n| User::new(format!("ops{n}@acme.example")));
    let rows: Vec<_> = accounts.iter().map(|account| Row::new(&account.username, account)).collect();
    let port = free_port();
    let installation = with_http(Installation::new().with_rows(&rows), port);
    let mut daemon = installation.start();
    let status = daemon.until("all customers are valid and HTTP listens", |status| {
        status.tokens.summary.valid == 30
            && status.daemon.http.as_ref().is_some_and(|http| http.error.is_none())
    });
    assert_eq!(status.daemon.http.as_ref().unwrap().listen, format!("127.0.0.1:{port}"));
    let answer = get(port, API, &token("read"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["tokens"]["customers"].as_array().unwrap().len(), 30);
    assert_eq!(answer.json()["tokens"]["summary"]["valid"], json!(30));
    let refreshed = post(port, r#"{"action":"refresh","customers":["ops3@acme.example"]}"#, &token("write"));
    assert_eq!(refreshed.json()["result"]["updated"], json!(1), "{refreshed:?}");
    assert_eq!(post(port, r#"{"action":"stop"}"#, &token("write")).json()["cron"]["running"], json!(false));
    assert!(!daemon.status().cron.running);
    for path in ["/api/events?limit=1000", "/healthz", "/readyz", "/admin/token-refresh", "/admin/app.js"] {
        assert_eq!(get(port, path, &token("read")).status, 200, "{path}");
    }
    for (status, answer) in [
        (401, get(port, API, &token("other"))),
        (403, post(port, r#"{"action":"start"}"#, &token("read"))),
        (404, get(port, "/nothing", "")),
        (404, post(port, r#"{"action":"refresh","customers":["absent"]}"#, &token("write"))),
        (405, ask(port, "PUT", API, &[], "")),
        (415, ask(port, "POST", API, &[("Authorization", &format!("Bearer {}", token("write")))], "{}")),
        (421, raw(port, "GET /api/events HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")),
        (
            421,
            raw(
                port,
                "GET http://evil.example/api/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            ),
        ),
        (
            400,
            raw(
                port,
                "GET /api/events HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            ),
        ),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json()["success"], json!(false));
        assert!(answer.head.contains("content-security-policy: default-src 'none'"), "{answer:?}");
    }
    daemon.wait_for_log("1 requests came with a wrong token over HTTP");
    assert!(daemon.stop().success());
}

/// The HTTP library itself answers a head that it cannot read, before any check of the daemon.
#[test]
fn a_head_that_is_ambiguous_or_too_long_ends_its_connection() {
    let port = free_port();
    let installation = with_http(Installation::new(), port);
    let daemon = installation.start();
    daemon.wait_for_log("HTTP listens at");
    let smuggled = format!(
        "POST {API} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    );
    let answer = raw(port, &smuggled);
    assert!(answer.status >= 400 && !answer.body.contains("ok\n"), "{answer:?}");
    let two = format!(
        "POST {API} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345"
    );
    assert_eq!(raw(port, &two).status, 400);
    let with_head_of = |length| {
        let long = "x".repeat(length);
        raw(port, &format!("GET {API} HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\nConnection: close\r\n\r\n"))
    };
    assert_eq!(with_head_of(12_000).status, 401);
    assert_eq!((with_head_of(20_000).status, &with_head_of(20_000).json()["success"]), (431, &json!(false)));
    assert_eq!(with_head_of(100_000).status, 431);
    assert_eq!(raw(port, "\x16\x03\x01 this is no HTTP\r\n\r\n").status, 400);
}

#[test]
fn slow_and_many_clients_are_dropped_and_nothing_else_is_disturbed() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let port = free_port();
    let installation = with_http(Installation::new().with_row(Row::new("acme", &account)), port);
    let daemon = installation.start();
    daemon.wait_for_log("HTTP listens at");
    let began = Instant::now();
    // All places are taken, half by incomplete heads and half by incomplete bodies.
    let write = token("write");
    let body = format!(
        "POST {API} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {write}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let places: Vec<_> = (0..64)
        .map(|number| {
            let mut stream = connect(port);
            let text = if number % 2 == 0 { "GET /healthz HTTP/1.1\r\nHost: loc" } else { &body };
            stream.write_all(text.as_bytes()).unwrap();
            (number, stream)
        })
        .collect();
    let surplus = get(port, "/healthz", "");
    assert_eq!((surplus.status, &surplus.json()["code"]), (429, &json!("busy")), "{surplus:?}");
    assert!(surplus.head.contains("retry-after: 1"), "{surplus:?}");
    // A renewal and the control socket do not wait for them.
    daemon.until_customer("acme", "has a token", |acme| acme.renewals >= 1);
    let result = daemon.refresh_customer("acme").result.unwrap();
    assert_eq!(result.updated, 1);
    assert_eq!(get(port, "/healthz", "").status, 429, "they still have their places");
    let readers: Vec<_> =
        places.into_iter().map(|(number, stream)| (number, thread::spawn(move || read(stream)))).collect();
    for (number, reader) in readers {
        let answer = reader.join().unwrap();
        match number % 2 {
            0 => assert!(matches!(answer.status, 0 | 408), "{answer:?}"),
            _ => assert_eq!(answer.status, 408, "{answer:?}"),
        }
    }
    let waited = began.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    assert_eq!(get(port, "/healthz", "").body, "ok\n");
}

#[test]
fn a_port_in_use_is_reported_and_used_when_it_is_free() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let installation = with_http(Installation::new().with_row(Row::new("acme", &account)), port);
    let daemon = installation.start();
    let status = daemon.until("acme has a token, and HTTP none", |status| {
        status.tokens.summary.valid == 1
            && status.daemon.http.as_ref().is_some_and(|http| http.error.is_some())
    });
    let error = status.daemon.http.clone().unwrap().error.unwrap();
    assert!(error.contains("in use"), "{error}");
    let said = installation.ctl(&["version"]).stdout;
    assert!(said.contains(&format!("HTTP      127.0.0.1:{port}   does not listen: ")), "{said}");
    drop(taken);
    daemon
        .until("HTTP listens", |status| status.daemon.http.as_ref().is_some_and(|http| http.error.is_none()));
    assert_eq!(get(port, "/readyz", "").body, "ok\n");
    let said = installation.ctl(&["version"]).stdout;
    assert!(said.contains(&format!("HTTP      127.0.0.1:{port}\n")), "{said}");
}

#[test]
fn a_reload_takes_new_tokens_and_names_and_keeps_the_old_ones_when_they_are_bad() {
    let port = free_port();
    let mut installation = with_http(Installation::new(), port);
    let mut daemon = installation.start();
    daemon.wait_for_log("HTTP listens at");
    let named = |port| {
        let head = format!("GET {API} HTTP/1.1\r\nHost: tokens.example.com\r\nConnection: close\r\n\r\n");
        raw(port, &head).status
    };
    assert_eq!((get(port, API, &token("write")).status, named(port)), (200, 421));
    token_file(&installation, "write", &token("another"));
    installation.config().set("http.allowed_hosts", vec!["tokens.example.com".to_owned()]);
    let _ = installation.write_config();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("new tokens or names are in force");
    assert_eq!((get(port, API, &token("write")).status, named(port)), (401, 401));
    assert_eq!(get(port, API, &token("another")).status, 200);
    token_file(&installation, "write", "short");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("a token has 32 to 256 printable ASCII characters");
    assert_eq!(get(port, API, &token("another")).status, 200);
    std::fs::remove_file(installation.folder().join("write")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("there is no file of that name");
    assert_eq!(get(port, API, &token("another")).status, 200);
    assert!(!daemon.log().contains("-of-the-http-listener"));
}

#[test]
fn a_listener_that_other_machines_can_reach_is_warned_about_everywhere() {
    let port = free_port();
    let installation = with_http(Installation::new(), port)
        .with("http.listen", format!("0.0.0.0:{port}"))
        .with("http.behind_proxy", true);
    let mut daemon = installation.start();
    let warning = format!("other machines can reach 0.0.0.0:{port}, which has no TLS");
    daemon.wait_for_log(&warning);
    daemon.wait_for_log("HTTP listens at");
    let is_warned = |http: &HttpListener| http.warning.as_ref().is_some_and(|text| text.contains(&warning));
    daemon.until("status warns", |status| status.daemon.http.as_ref().is_some_and(is_warned));
    let said = installation.ctl(&["version"]).stdout;
    assert!(said.contains(&warning), "{said}");
    let config = installation.write_config();
    let said = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]).stdout;
    assert!(said.contains("other machines can reach http.listen"), "{said}");
    // A client that does not finish its request delays the end by two seconds at most.
    let mut unfinished = connect(port);
    unfinished.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    let began = Instant::now();
    assert!(daemon.stop().success());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_unix_socket_needs_no_token_and_has_its_mode() {
    use std::io::Read as _;
    let installation = Installation::new();
    let socket = installation.folder().join("http.sock");
    let installation = installation.with("http.listen", format!("unix:{}", socket.display()));
    let mut daemon = installation.start();
    daemon.wait_for_log("HTTP listens at unix:");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let request =
        format!("GET {API}?customers=none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("tbtokend-right: all"), "{answer}");
    assert!(daemon.stop().success());
    assert!(!socket.exists());
}

#[test]
fn a_listener_that_is_off_opens_no_port_and_shows_nothing() {
    let installation = Installation::new();
    let daemon = installation.start();
    assert_eq!(daemon.status().daemon.http, None);
    assert!(!daemon.log().contains("HTTP"));
}
