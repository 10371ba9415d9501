//! Every HTTP status, tested with the routes without a network.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tbtoken_proto as proto;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::guard::Surplus;
use super::routes::{Shared, router};
use super::{AccessRules, Address, Settings, Token, server};
use crate::clock::Clock;
use crate::engine::handle::Handle;
use crate::engine::pass::{Limits, budget};
use crate::engine::policy::Policy;
use crate::engine::scheduler::{Parts, Scheduler};
use crate::store::sqlite::SqliteStore;
use crate::thingsboard::{Client, ClientSettings};

const ALL: &str = "the-token-that-may-do-everything-1";
const READ: &str = "the-token-that-may-look-and-no-more";
const API: &str = "/api/cron/refresh-tokens";

/// The routes over a real engine, with the table of the earlier service's documentation.
struct Site {
    router: Router,
    handle: Handle,
    app: Arc<Shared>,
    access_rules: watch::Sender<AccessRules>,
    seconds: Arc<AtomicI64>,
    shutdown: CancellationToken,
    _alive: watch::Sender<Instant>,
    folder: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

const TABLE: &str = "CREATE TABLE customer_settings (customer_id TEXT PRIMARY KEY, tb_username TEXT, tb_password TEXT,
    tb_url TEXT, tbtoken TEXT, tbtokenexpiry TEXT, updatedttm TEXT);
    INSERT INTO customer_settings
    SELECT column1, 'a@b.c', 'canary-pw-1', 'https://tb.example.com', 'CANARYTOKEN', '2026-11-23T' || column2 || 'Z', NULL
    FROM (VALUES ('a', '14:15:00'), ('b', '14:16:00'), ('c', '14:17:00'), ('d', '14:04:30'), ('e', '14:00:00'));
    INSERT INTO customer_settings (customer_id, tb_username) VALUES ('x', 'no password');";

async fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("customers.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch(TABLE).unwrap();
    let start: DateTime<Utc> = "2026-11-23T14:03:00Z".parse().unwrap();
    let seconds = Arc::new(AtomicI64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        Clock::from_fn(move || start + TimeDelta::seconds(seconds.load(Ordering::Relaxed)))
    };
    let timeout = Duration::from_secs(10);
    let nowhere = ClientSettings {
        connect_timeout: timeout,
        request_timeout: timeout,
        ca_file: None,
        // No request reaches this proxy.
        proxy: Some("http://127.0.0.1:1".to_owned()),
    };
    let (scheduler, handle) = Scheduler::new(Parts {
        store: SqliteStore::new(&file, "customer_settings", None).unwrap(),
        logins: Client::new(&nowhere).unwrap(),
        clock: clock.clone(),
        policy: Policy::of_a_minute(),
        limits: Limits { in_flight: 8, per_server: 8, budget: budget(timeout), request_timeout: timeout },
        autostart: true,
        config_file: None,
        seed: 1,
        name: "test".into(),
    });
    let shutdown = CancellationToken::new();
    let rules = AccessRules {
        write: Some(Token::new(ALL)),
        read: Some(Token::new(READ)),
        allowed_hosts: vec!["tokens.example.com".to_owned()],
    };
    let (access_rules, seen) = watch::channel(rules.clone());
    let (alive, seen_alive) = watch::channel(Instant::now());
    let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let app = Arc::new(Shared::new(server::Parts {
        settings: Settings { address, exposed: false, access_rules: rules, metrics_open: false, page: true },
        access_rules: seen,
        handle: handle.clone(),
        clock,
        alive: seen_alive,
        stuck_after: Duration::from_secs(3600),
        shutdown: shutdown.clone(),
    }));
    tokio::spawn(scheduler.run(shutdown.clone()));
    let router = router(Arc::clone(&app), true, false);
    Site { router, handle, app, access_rules, seconds, shutdown, _alive: alive, folder }
}

/// Builds a site whose first pass is over.
async fn ready() -> Site {
    let site = site().await;
    let mut snapshots = site.handle.watch();
    snapshots.wait_for(|snapshot| snapshot.cron.last_run.is_some()).await.unwrap();
    site
}

impl Site {
    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        let answer =
            Answer { status: head.status, headers: head.headers, body: String::from_utf8(body).unwrap() };
        let everything = format!("{:?}{}", answer.headers, answer.body);
        for secret in [ALL, READ, "canary", "CANARY"] {
            assert!(!everything.contains(secret), "{secret} in {everything}");
        }
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert!(["no-store", "no-cache"].contains(&answer.header("cache-control")));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        answer
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, headers, Body::empty())).await
    }

    async fn post(&self, token: &str, body: &str) -> Answer {
        let headers = [("authorization", bearer(token)), ("content-type", "application/json".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.send(request("POST", API, &headers, body.to_owned().into())).await
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Builds a request with these headers, and a `Host` if there is none.
fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:9137");
    }
    request.body(body).unwrap()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["success"], json!(false));
    assert_eq!(body["code"], json!(code), "{body}");
    assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{body}");
}

#[tokio::test]
async fn a_host_is_ours_if_it_is_an_address_localhost_or_in_the_list() {
    let site = ready().await;
    let token = bearer(READ);
    let with = |host: &'static str| [("host", host), ("authorization", token.as_str())];
    for host in [
        "127.0.0.1",
        "127.0.0.1:9137",
        "[::1]:9137",
        "localhost:9137",
        "LocalHost",
        "10.0.0.5",
        "tokens.example.com:443",
    ] {
        assert_eq!(site.get(API, &with(host)).await.status, 200, "{host}");
    }
    for host in [
        "127.0.0.1.evil.example",
        "evil.example:9137",
        "localhost.evil.example",
        "tokens.example.com.",
        "2130706433",
    ] {
        let answer = site.get(API, &with(host)).await;
        refused(&answer, 421, "misdirected");
        let name = host.trim_end_matches(":9137");
        assert!(answer.body.contains("http.allowed_hosts") && answer.body.contains(name), "{}", answer.body);
    }
    for host in ["", "user@localhost", "a b"] {
        refused(&site.get(API, &with(host)).await, 400, "bad_request");
    }
    let two = [("host", "localhost"), ("host", "localhost"), ("authorization", token.as_str())];
    refused(&site.get(API, &two).await, 400, "bad_request");
    let absolute = "http://evil.example/api/events";
    refused(&site.get(absolute, &[("authorization", token.as_str())]).await, 421, "misdirected");
    // Probes may use any name; any other path is refused before its route is found.
    assert_eq!(site.get("/healthz", &[("host", "evil.example")]).await.status, 200);
    refused(&site.get("/nothing", &[("host", "evil.example")]).await, 421, "misdirected");
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_before_its_token() {
    let site = ready().await;
    for (headers, is_foreign) in [
        (&[("origin", "null")][..], true),
        (&[("origin", "https://evil.example")], true),
        (&[("origin", "http://127.0.0.1:8080")], true),
        (&[("origin", "https://x@tokens.example.com")], true),
        (&[("sec-fetch-site", "cross-site")], true),
        (&[("origin", "http://127.0.0.1:9137")], false),
        (&[("origin", "https://tokens.example.com")], false),
        (&[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-origin")], false),
    ] {
        for path in [API, "/api/events"] {
            let answer = site.get(path, headers).await;
            match is_foreign {
                true => refused(&answer, 403, "forbidden"),
                false => refused(&answer, 401, "unauthorized"),
            }
        }
    }
    // The page itself may be opened from a link in a mail.
    let page = site.get("/admin/token-refresh", &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(page.status, 200);
}

#[tokio::test]
async fn a_token_is_needed_and_every_wrong_one_gets_the_same_answer() {
    let site = ready().await;
    let same_length = ALL.replace('1', "2");
    let mut bodies = Vec::new();
    for value in [
        String::new(),
        bearer(""),
        bearer("x"),
        bearer(&same_length),
        format!("Basic {ALL}"),
        ALL.to_owned(),
        bearer(&format!("{ALL} {ALL}")),
    ] {
        let answer = site.get(API, &[("authorization", &value)]).await;
        refused(&answer, 401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        bodies.push(answer.body);
    }
    bodies.push(site.get(API, &[]).await.body);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(site.get(API, &[("authorization", &format!("bearer {ALL}"))]).await.status, 200);
    // A reload replaces the tokens at once.
    site.access_rules.send_modify(|access_rules| access_rules.write = Some(Token::new(&same_length)));
    refused(&site.post(ALL, r#"{"action":"stop"}"#).await, 401, "unauthorized");
    assert_eq!(site.post(&same_length, r#"{"action":"status"}"#).await.status, 200);
    // Without any token the mode of the Unix socket has decided.
    site.access_rules.send_modify(|access_rules| (access_rules.write, access_rules.read) = (None, None));
    assert_eq!(site.get(API, &[]).await.header("tbtokend-right"), "all");
}

#[tokio::test]
async fn wrong_requests_are_refused_with_their_code() {
    let site = ready().await;
    for (body, status, code) in [
        ("{", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        (r#"{"action":"refresh","customer":["a"]}"#, 400, "bad_request"),
        (r#"{"action":"restart"}"#, 400, "unknown_action"),
        (r#"{"action":"events"}"#, 400, "unknown_action"),
        (r#"{"action":"version"}"#, 400, "unknown_action"),
        (r#"{"action":"refresh","customers":["no_such"]}"#, 404, "unknown_customer"),
        (r#"{"action":"status","customers":["no_such"]}"#, 404, "unknown_customer"),
    ] {
        refused(&site.post(ALL, body).await, status, code);
    }
    for body in [r#"{"action":"start"}"#, r#"{"action":"stop"}"#, r#"{"action":"refresh"}"#] {
        refused(&site.post(READ, body).await, 403, "read_only");
    }
    assert_eq!(site.post(READ, r#"{"action":"status"}"#).await.header("tbtokend-right"), "read");
    let token = bearer(ALL);
    for path in ["/", "/api", "/admin", "/metrics.php"] {
        let answer = site.get(path, &[("authorization", &token)]).await;
        refused(&answer, 404, "bad_request");
        assert!(answer.json()["error"].as_str().unwrap().ends_with("is at /admin/token-refresh"), "{path}");
    }
    for (method, path, allow) in [
        ("DELETE", API, "GET,HEAD,POST"),
        ("OPTIONS", API, "GET,HEAD,POST"),
        ("POST", "/api/events", "GET,HEAD"),
    ] {
        let answer = site.send(request(method, path, &[], Body::empty())).await;
        refused(&answer, 405, "bad_request");
        assert_eq!(answer.header("allow"), allow);
    }
    for path in
        ["?customer=a", "?status=fine", "?customers=none&text=a", "?limit=0", "?since=x", "?limit=2&since=4"]
    {
        let answer = site.get(&format!("{API}{path}"), &[("authorization", &token)]).await;
        refused(&answer, 400, "bad_request");
    }
    refused(&site.get("/api/events?limit=1001", &[("authorization", &token)]).await, 400, "bad_request");
}

#[tokio::test]
async fn a_body_is_json_short_and_in_time() {
    let site = ready().await;
    let token = bearer(ALL);
    let post = |kind: &str, body: Body| {
        request("POST", API, &[("authorization", &token), ("content-type", kind)], body)
    };
    let status = || Body::from(r#"{"action":"status","customers":"none"}"#);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        refused(&site.send(post(kind, status())).await, 415, "bad_request");
    }
    // The token is checked before the type, and the type before the body.
    let anonymous = request("POST", API, &[("content-type", "text/plain")], status());
    refused(&site.send(anonymous).await, 401, "unauthorized");
    refused(&site.send(post("text/plain", Body::from(vec![b' '; 100_000]))).await, 415, "bad_request");
    assert_eq!(site.send(post("Application/JSON; charset=utf-8", status())).await.status, 200);
    let padded = |length: usize| {
        let text = r#"{"action":"status","customers":"none"}"#;
        Body::from(format!("{text}{}", " ".repeat(length - text.len())))
    };
    assert_eq!(site.send(post("application/json", padded(proto::MAX_REQUEST_BYTES))).await.status, 200);
    let answer = site.send(post("application/json", padded(proto::MAX_REQUEST_BYTES + 1))).await;
    refused(&answer, 413, "bad_request");
    assert_eq!(answer.header("connection"), "close");
    refused(&site.send(post("application/json", Body::from(vec![0xff_u8]))).await, 400, "bad_request");
    // From here on time passes only while all tasks wait.
    tokio::time::pause();
    let begun = Instant::now();
    let stalled = Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
    refused(&site.send(post("application/json", stalled)).await, 408, "bad_request");
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    let endless = || futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 4096]));
    refused(&site.send(post("application/json", Body::from_stream(endless()))).await, 413, "bad_request");
    let begun = Instant::now();
    let stalled = endless().take(17).chain(futures_util::stream::pending());
    refused(&site.send(post("application/json", Body::from_stream(stalled))).await, 413, "bad_request");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused() {
    let site = ready().await;
    let mut surplus = request("GET", "/healthz", &[], Body::empty());
    surplus.extensions_mut().insert(Surplus);
    let answer = site.send(surplus).await;
    refused(&answer, 429, "busy");
    assert_eq!(answer.header("retry-after"), "1");
    // Four lists of all customers are on their way and not read yet.
    let token = bearer(READ);
    let list = || request("GET", API, &[("authorization", &token)], Body::empty());
    let mut sending = Vec::new();
    for _ in 0..4 {
        sending.push(site.router.clone().oneshot(list()).await.unwrap());
    }
    refused(&site.send(list()).await, 429, "busy");
    let long = "x".repeat(17_000);
    let answer = site.get("/healthz", &[("host", "evil.example"), ("cookie", &long)]).await;
    refused(&answer, 431, "bad_request");
    assert_eq!(site.get(&format!("{API}?customers=none"), &[("authorization", &token)]).await.status, 200);
    sending.pop();
    assert_eq!(site.send(list()).await.status, 200);
}

/// Checks that `answer` holds everything in `golden`.
fn assert_holds(golden: &Value, answer: &Value, path: &str) {
    match (golden, answer) {
        (Value::Object(golden), Value::Object(answer)) => {
            for (key, value) in golden {
                let path = format!("{path}.{key}");
                assert_holds(value, answer.get(key).unwrap_or_else(|| panic!("no {path}")), &path);
            }
        }
        (Value::Array(golden), Value::Array(answer)) => {
            assert_eq!(golden.len(), answer.len(), "{path}");
            for (number, (golden, answer)) in golden.iter().zip(answer).enumerate() {
                assert_holds(golden, answer, &format!("{path}[{number}]"));
            }
        }
        _ => assert_eq!(golden, answer, "{path}"),
    }
}

#[tokio::test]
async fn the_old_api_answers_as_its_documentation_shows() {
    let site = ready().await;
    let golden: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let token = bearer(READ);
    let got = site.get(API, &[("authorization", &token)]).await;
    assert_eq!(got.header("content-type"), "application/json");
    assert_holds(&golden, &got.json(), "");
    let posted = site.post(READ, r#"{"action":"status"}"#).await;
    assert_holds(&golden, &posted.json(), "");
    // The answer has every key of the socket's answer.
    let query = proto::StatusQuery::default();
    let reply = site.handle.snapshot().status(&query, site.app.parts.clock.now()).map(proto::Reply::Status);
    let socket = serde_json::to_value(proto::Answer { id: None, outcome: reply }).unwrap();
    assert_holds(&socket, &posted.json(), "");

    for (action, running, message) in [
        (
            "stop",
            false,
            "the loop has been stopped by an operator since 2026-11-23T14:03:00Z; start it with tbctl start. A running pass still finishes",
        ),
        (
            "stop",
            false,
            "the loop has been stopped by an operator since 2026-11-23T14:03:00Z; start it with tbctl start. It was stopped already",
        ),
        ("start", true, "the loop is started"),
    ] {
        let answer = site.post(ALL, &json!({ "action": action, "id": 7 }).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer = answer.json();
        assert_eq!((&answer["cron"]["running"], &answer["message"]), (&json!(running), &json!(message)));
        assert_eq!((&answer["success"], &answer["id"]), (&json!(true), &json!(7)));
    }
    let refreshed = site.post(ALL, r#"{"action":"refresh","wait":false}"#).await;
    assert_eq!((refreshed.status.as_u16(), &refreshed.json()["success"]), (200, &json!(true)));
    let events = site.get("/api/events?limit=1", &[("authorization", &token)]).await.json();
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
    let since = format!("/api/events?since={}", events["next"].as_u64().unwrap() - 2);
    let events = site.get(&since, &[("authorization", &token)]).await.json();
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn without_the_table_and_at_the_shutdown_a_refresh_is_refused() {
    let site = ready().await;
    let table = rusqlite::Connection::open(site.folder.path().join("customers.db")).unwrap();
    table.execute_batch("DROP TABLE customer_settings").unwrap();
    let answer = site.post(ALL, r#"{"action":"refresh","all":true}"#).await;
    refused(&answer, 503, "store_unavailable");
    assert!(answer.body.contains("has no table customer_settings"), "{}", answer.body);
    assert_eq!(site.get("/readyz", &[]).await.body, "store\n");
    site.shutdown.cancel();
    refused(&site.post(ALL, r#"{"action":"refresh"}"#).await, 503, "shutting_down");
}

#[tokio::test]
async fn a_query_filters_and_an_unchanged_answer_is_not_sent_again() {
    let site = ready().await;
    let token = bearer(READ);
    let status = |query: &'static str| format!("{API}?{query}");
    let ids = |answer: &Answer| {
        let rows = answer.json()["tokens"]["customers"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["customer_id"].as_str().unwrap().to_owned()).collect::<String>()
    };
    for (query, expected) in [
        ("sort=problems", "edabc"),
        ("status=valid,expired&sort=customer", "abce"),
        ("sort=left&limit=2", "ed"),
        ("text=A%40B.c+expired", "e"),
        ("text=5", ""),
        ("state=parked", ""),
        ("customers=b,a", "ba"),
        ("customers=none", ""),
    ] {
        assert_eq!(ids(&site.get(&status(query), &[("authorization", &token)]).await), expected, "{query}");
    }
    let filtered = site.get(&status("sort=left&limit=2"), &[("authorization", &token)]).await;
    assert_eq!(filtered.json()["tokens"]["matched"], json!(5));
    let tag = filtered.header("etag").to_owned();
    let again = async |query, tag: &str| {
        let headers = [("authorization", token.as_str()), ("if-none-match", tag)];
        site.get(&status(query), &headers).await
    };
    site.handle.steer(false).await.unwrap();
    let stopped = again("sort=left&limit=2", &tag).await;
    assert_eq!(stopped.status, 200, "the loop is part of the answer");
    let tag = stopped.header("etag");
    let unchanged = again("sort=left&limit=2", &format!("\"x\", W/{tag}")).await;
    assert_eq!(
        (unchanged.status.as_u16(), unchanged.body.as_str(), unchanged.header("etag")),
        (304, "", tag)
    );
    assert_eq!(again("sort=left&limit=3", tag).await.status, 200);
    site.seconds.store(60, Ordering::Relaxed);
    assert_eq!(again("sort=left&limit=2", tag).await.status, 200, "minutes_until_expiry has changed");
}

#[tokio::test]
async fn a_receiver_that_begins_to_fail_changes_the_answer() {
    let site = site().await;
    let tag = |failing: &[String]| super::routes::tag(&site.app, "", failing).unwrap();
    assert_eq!(tag(&[]), tag(&[]));
    assert_ne!(tag(&[]), tag(&["chat".to_owned()]));
}

#[tokio::test]
async fn probes_answer_with_one_word() {
    let site = site().await;
    let said = async |path| {
        let answer = site.get(path, &[]).await;
        (answer.status.as_u16(), answer.body)
    };
    assert_eq!(said("/readyz").await, (503, "starting\n".to_owned()));
    site.handle.watch().wait_for(|snapshot| snapshot.tokens.as_of.is_some()).await.unwrap();
    assert_eq!(
        said("/readyz").await,
        (200, "ok\n".to_owned()),
        "although no ThingsBoard server is reachable"
    );
    site.seconds.store(181, Ordering::Relaxed);
    assert_eq!(said("/readyz").await, (503, "store\n".to_owned()));
    site.handle.steer(false).await.unwrap();
    assert_eq!(said("/readyz").await.0, 200, "a stopped loop does not read");
    site.shutdown.cancel();
    assert_eq!(said("/readyz").await, (503, "shutting_down\n".to_owned()));
    assert_eq!(said("/healthz").await, (200, "ok\n".to_owned()));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3601)).await;
    assert_eq!(said("/healthz").await, (503, "stuck\n".to_owned()));
}

#[tokio::test]
async fn the_page_is_static_and_small() {
    let site = site().await;
    let mut bytes = 0;
    for (path, kind) in [
        ("/admin/token-refresh", "text/html; charset=utf-8"),
        ("/admin/app.js", "text/javascript; charset=utf-8"),
        ("/admin/app.css", "text/css; charset=utf-8"),
        ("/admin/words.json?lang=de", "application/json"),
        ("/admin/words.json?lang=en", "application/json"),
    ] {
        let answer = site.get(path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, kind), "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache");
        let again = site.get(path, &[("if-none-match", answer.header("etag"))]).await;
        assert_eq!((again.status.as_u16(), again.header("cache-control")), (304, "no-cache"), "{path}");
        if !path.contains("words") {
            bytes += answer.body.len();
        }
    }
    assert!(bytes <= 60 * 1024, "{bytes}");
    let without = router(Arc::clone(&site.app), false, true);
    let answer = without.oneshot(request("GET", "/admin/app.js", &[], Body::empty())).await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn metrics_are_text_in_the_format_that_the_scraper_names() {
    let site = ready().await;
    refused(&site.get("/metrics", &[]).await, 401, "unauthorized");
    let token = bearer(READ);
    refused(&site.get("/metrics", &[("origin", "https://evil.example")]).await, 403, "forbidden");
    let old = site.get("/metrics", &[("authorization", &token)]).await;
    assert_eq!(
        (old.status.as_u16(), old.header("content-type")),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(old.body.contains("\ntbtokend_customers "), "{}", old.body);
    assert!(old.body.contains("\nprocess_resident_memory_bytes "), "{}", old.body);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let new = site.get("/metrics", &[("authorization", &token), ("accept", accept)]).await;
    assert_eq!(new.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(new.body.ends_with("# EOF\n"), "{}", new.body);
    // Open for every client that reaches the listener, but not for the page of another site.
    let open = Site { router: router(Arc::clone(&site.app), false, true), ..site };
    assert_eq!(open.get("/metrics", &[]).await.status, 200);
    refused(&open.get("/metrics", &[("origin", "https://evil.example")]).await, 403, "forbidden");
}
