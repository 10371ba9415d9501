//! Clients that send errors, are slow, silent or dead, or are too many.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tbtoken_proto::{ANSWER_SECONDS, MAX_CONNECTIONS_PER_USER, MAX_REQUEST_BYTES, TokenStatus};
use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

use crate::wire::Wire;

#[test]
fn p15_each_bad_line_gets_one_error_and_the_connection_lives() {
    let installation = Installation::new();
    let daemon = installation.start();
    let mut client = Wire::to(daemon.socket());
    for (line, code) in [
        ("", "bad_request"),
        ("{", "bad_request"),
        ("status", "bad_request"),
        ("[1]", "bad_request"),
        ("null", "bad_request"),
        ("{}", "bad_request"),
        (r#"{"action":7}"#, "bad_request"),
        (r#"{"action":"dance"}"#, "unknown_action"),
        (r#"{"action":"status","custmers":"none"}"#, "bad_request"),
        (r#"{"action":"status","customers":"some"}"#, "bad_request"),
        (r#"{"action":"status","since":-1}"#, "bad_request"),
        (r#"{"action":"refresh","all":"yes"}"#, "bad_request"),
        (r#"{"action":"refresh","customers":[]}"#, "bad_request"),
        (r#"{"action":"refresh","customers":["a"],"all":true}"#, "bad_request"),
        (r#"{"action":"refresh","customers":["absent"]}"#, "unknown_customer"),
        (r#"{"action":"events","limit":0}"#, "bad_request"),
        (r#"{"action":"version","id":{}}"#, "bad_request"),
    ] {
        let answer = client.ask(line);
        assert_eq!((&answer["success"], &answer["code"]), (&false.into(), &code.into()), "{line}");
        assert!(!answer["error"].as_str().unwrap().is_empty(), "{line}");
        assert_eq!(client.ask(r#"{"action":"version"}"#)["success"], true, "after {line}");
    }
}

#[test]
fn p15_after_a_line_that_cannot_be_read_the_connection_ends() {
    let installation = Installation::new();
    let daemon = installation.start();
    for bad in [vec![b'x'; MAX_REQUEST_BYTES + 1], b"\xff\xfe\n".to_vec()] {
        let mut client = Wire::to(daemon.socket());
        client.send(&bad).unwrap();
        assert_eq!(client.line().unwrap()["code"], "bad_request");
        assert_eq!(client.line(), None);
    }
    let mut client = Wire::to(daemon.socket());
    client.send(br#"{"action":"st"#).unwrap();
    drop(client);
    assert!(daemon.status().daemon.store_ok);
}

/// This test waits for the real ten seconds.
#[test]
fn p15_a_request_that_does_not_come_in_time_ends_the_connection() {
    let installation = Installation::new();
    let daemon = installation.start();
    let began = Instant::now();
    let mut idle = Wire::to(daemon.socket());
    assert_eq!(idle.ask(r#"{"action":"version"}"#)["success"], true);
    let late = [("{", "the line was not finished"), ("", "no request came")].map(|(beginning, says)| {
        let mut client = Wire::to(daemon.socket());
        client.send(beginning.as_bytes()).unwrap();
        (client, says)
    });
    for (mut client, says) in late {
        let answer = client.line().unwrap();
        assert_eq!(answer["code"], "bad_request");
        assert!(answer["error"].as_str().unwrap().starts_with(says), "{answer}");
        assert_eq!(client.line(), None);
    }
    let took = began.elapsed();
    assert!((9..15).contains(&took.as_secs()), "{took:?}");
    // A client that has sent a request may be silent without limit.
    assert_eq!(idle.ask(r#"{"action":"version"}"#)["success"], true);
}

/// Which of several idle clients is displaced is tested with the places themselves: a client cannot see when the daemon marks
/// it as idle again.
#[test]
fn p15_one_client_of_a_user_too_many_gets_the_place_of_an_idle_one() {
    let installation = Installation::new();
    let _daemon = installation.start();
    // The clients that waited for the start were at the other socket.
    let socket = installation.monitor_socket();
    let served = || {
        let mut client = Wire::to(&socket);
        assert_eq!(client.ask(r#"{"action":"version"}"#)["success"], true);
        client
    };
    let mut silent = Wire::to(&socket);
    let mut clients: Vec<_> = (0..MAX_CONNECTIONS_PER_USER).map(|_| served()).collect();
    // That client has sent no request, so it goes before all others.
    assert_eq!(silent.line().unwrap()["code"], "busy");
    assert_eq!(silent.line(), None);
    let mut newcomer = served();
    let answers = clients.iter_mut().map(|client| {
        // The socket of a displaced client takes no request, but still has its last answer.
        let _ = client.send(b"{\"action\":\"version\"}\n");
        client.line().unwrap()
    });
    let displaced: Vec<_> = answers.filter(|answer| answer["success"] != true).collect();
    assert_eq!(displaced.len(), 1, "{displaced:?}");
    assert_eq!(displaced[0]["code"], "busy");
    assert_eq!(newcomer.ask(r#"{"action":"version"}"#)["success"], true);
}

/// Any local user may connect to a monitor socket, but must not keep other users out.
#[test]
fn p15_one_user_cannot_take_all_places() {
    let installation = Installation::new();
    let daemon = installation.start();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("nothing was tested: only root can connect as two users");
        return;
    }
    std::fs::set_permissions(installation.folder(), Permissions::from_mode(0o755)).unwrap();
    let monitor = installation.monitor_socket();
    let mut first = Wire::to(&monitor);
    const SILENT: &str = r#"my @clients = map { IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $! } 1 .. 64; $| = 1; print "there\n"; <STDIN>"#;
    let mut stranger = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .args(["perl", "-MIO::Socket::UNIX", "-e", SILENT])
        .arg(&monitor)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut there = String::new();
    BufReader::new(stranger.stdout.take().unwrap()).read_line(&mut there).unwrap();
    assert_eq!(there, "there\n");
    // Neither the client that was idle before, nor new clients.
    assert_eq!(first.ask(r#"{"action":"version"}"#)["success"], true);
    for _ in 1..MAX_CONNECTIONS_PER_USER {
        assert_eq!(Wire::to(&monitor).ask(r#"{"action":"version"}"#)["success"], true);
    }
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
    assert_eq!(daemon.status().daemon.pid, u32::try_from(daemon.pid()).unwrap());
}

#[test]
fn p15_floods_and_silence_do_not_delay_another_client() {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(50, |n| User::new(format!("ops{n}")));
    let rows: Vec<_> = accounts.iter().map(|account| Row::new(&account.username, account)).collect();
    let installation = Installation::new().with_rows(&rows);
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == 50);
    let mut observer = Wire::to(daemon.socket());
    assert_eq!(observer.ask(r#"{"action":"version"}"#)["success"], true);
    let socket = daemon.socket().to_owned();
    let mut ask = |_| {
        let began = Instant::now();
        assert_eq!(observer.ask(r#"{"action":"status"}"#)["success"], true);
        began.elapsed()
    };
    let (undisturbed, _) = p99_and_longest((0..300).map(&mut ask).collect());
    // Both connect before the thousand others, which take all free places.
    let (mut silent, mut eager) = (Wire::to(&socket), Wire::to(&socket));
    assert_eq!(eager.ask(r#"{"action":"version"}"#)["success"], true);
    let (disturbed, longest) = p99_and_longest(std::thread::scope(|scope| {
        // Sends requests and never reads: the answers fill the socket, and the client is disconnected.
        scope.spawn(|| while silent.send(b"{\"action\":\"status\"}\n").is_ok() {});
        // Sends the next request as soon as it has an answer.
        scope.spawn(|| {
            for _ in 0..500 {
                eager.ask(r#"{"action":"status"}"#);
            }
        });
        // A thousand clients connect and send half a line; most are disconnected.
        scope.spawn(|| {
            let clients: Vec<_> = (0..1000)
                .map(|_| {
                    let mut client = Wire::to(&socket);
                    let _ = client.send(b"{\"act");
                    client
                })
                .collect();
            drop(clients);
        });
        (0..300).map(&mut ask).collect()
    }));
    // The other clients use processors that this test needs as well. But a client that waited for one of them would wait for
    // seconds.
    let bound = Duration::from_millis(100) + 20 * undisturbed;
    assert!(disturbed < bound, "{disturbed:?}, undisturbed {undisturbed:?}");
    // No client waits until a client that does not read is disconnected.
    assert!(longest < Duration::from_secs(ANSWER_SECONDS / 2), "{longest:?}");
    // The first silent client was disconnected, and the loop has continued.
    assert!(daemon.status().tokens.customers.iter().flatten().all(|c| c.token_status == TokenStatus::Valid));
}

fn p99_and_longest(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() * 99 / 100], times[times.len() - 1])
}
