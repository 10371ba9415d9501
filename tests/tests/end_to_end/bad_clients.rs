//! Clients that are wrong, slow, silent, many or dead.

use std::time::{Duration, Instant};

use tbtoken_proto::{ANSWER_SECONDS, MAX_CONNECTIONS, MAX_REQUEST_BYTES, TokenStatus};
use tbtoken_tests::harness::{Installation, Row, wait};
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
        (r#"{"action":"refresh","customers":["nobody"]}"#, "unknown_customer"),
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

/// The ten seconds are real.
#[test]
fn p15_a_line_that_is_not_finished_in_time_ends_the_connection() {
    let installation = Installation::new();
    let daemon = installation.start();
    let mut client = Wire::to(daemon.socket());
    let began = Instant::now();
    client.send(b"{").unwrap();
    assert_eq!(client.line().unwrap()["code"], "bad_request");
    assert_eq!(client.line(), None);
    let took = began.elapsed();
    assert!((9..15).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn p15_one_client_too_many_is_told_so() {
    let installation = Installation::new();
    let daemon = installation.start();
    // The connection by which the start was noticed may not have been given back yet.
    let served = || {
        wait::poll(wait::PATIENCE, || {
            let mut client = Wire::to(daemon.socket());
            // Where there is no place, the daemon hangs up before it reads.
            let _ = client.send(b"{\"action\":\"version\"}\n");
            client.line().is_some_and(|answer| answer["success"] == true).then_some(client)
        })
    };
    let mut clients: Vec<_> = (0..MAX_CONNECTIONS).map(|_| served().unwrap()).collect();
    let mut late = Wire::to(daemon.socket());
    assert_eq!(late.line().unwrap()["code"], "busy");
    assert_eq!(late.line(), None);
    clients.pop();
    assert!(served().is_some());
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
    let (disturbed, longest) = p99_and_longest(std::thread::scope(|scope| {
        // Asks and asks and never reads: its answers fill the socket, and it is dropped.
        scope.spawn(|| {
            let mut client = Wire::to(&socket);
            while client.send(b"{\"action\":\"status\"}\n").is_ok() {}
        });
        // Asks as fast as it is answered.
        scope.spawn(|| {
            let mut client = Wire::to(&socket);
            for _ in 0..500 {
                client.ask(r#"{"action":"status"}"#);
            }
        });
        // A thousand that come and say half a line; most are turned away.
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
    // The others take their share of the processors, which this test itself needs as well; whoever had to wait for one of
    // them would wait for seconds.
    let bound = Duration::from_millis(100) + 20 * undisturbed;
    assert!(disturbed < bound, "{disturbed:?}, undisturbed {undisturbed:?}");
    // Nor is everyone made to wait once until a client that does not read is dropped.
    assert!(longest < Duration::from_secs(ANSWER_SECONDS / 2), "{longest:?}");
    // The first silent one has been dropped; the loop has gone on meanwhile.
    assert!(daemon.status().tokens.customers.iter().flatten().all(|c| c.token_status == TokenStatus::Valid));
}

fn p99_and_longest(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() * 99 / 100], times[times.len() - 1])
}
