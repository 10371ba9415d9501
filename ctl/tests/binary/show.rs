//! `show`: one customer's story.

use tbtoken_proto::{BreakerState, Change, EventKind, Reply, Request, Rows, Server, StatusQuery};

use crate::common::{Fake, Reaction, answer, customers, status};

/// A daemon that knows its servers, too, and whose loop may be stopped.
fn daemon(running: bool) -> Fake {
    Fake::start(move |request| match request {
        Request::Status(StatusQuery { customers: Rows::Only(ids), .. }) => {
            let rows = customers().into_iter().filter(|row| ids.contains(&row.customer_id)).collect();
            let Reply::Status(mut reply) = status(rows) else { unreachable!() };
            reply.cron.running = running;
            let server = |name: &str| Server {
                name: name.to_owned(),
                skew_ms: Some(300),
                limit: 8,
                breaker: BreakerState::Closed,
            };
            reply.servers = Some(vec![server("https://aa.example"), server("https://hq.acme.example")]);
            Reaction::Answer(Reply::Status(reply))
        }
        other => answer(other),
    })
}

#[test]
fn a_parked_customer_says_why_and_what_to_do() {
    let (told, _) = daemon(true).run(&["show", "C0FFEE12"]);
    assert_eq!((told.exit, told.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        told.stdout,
        "\
customer      C0FFEE12
user          株式会社\u{fffd}[2J
ThingsBoard   https://hq.acme.example
              At most 8 logins to this server at once. Its clock is right (skew +0.3s).
token         - missing. There is no token in the table.
state         PARKED since Nov 23 13:36Z
last error    wrong password [credentials_rejected], at Nov 23 13:36:21Z
why           ThingsBoard says no.
what to do    Fix tb_password.
what next     The daemon does not try it until its URL, user or password changes in the table. tbctl refresh --force C0FFEE12 tries it once now.
renewals      42
last success  never

no history among the events that tbtokend remembers
"
    );
}

#[test]
fn a_healthy_customer_says_what_has_happened_to_it() {
    let (told, _) = daemon(true).run(&["show", "1B2C9D00"]);
    assert!(
        told.stdout.contains("\ntoken         valid. The token is good until Jan 1 00:00Z, for "),
        "{told:?}"
    );
    assert!(told.stdout.contains("\nstate         ok\n"), "{told:?}");
    assert!(!told.stdout.contains("what to do"), "{told:?}");
    assert!(
        told.stdout.ends_with(
            "\n\nhistory, oldest first\n\
             2026-11-23T14:03:00Z  renewed  no. 2\n\
             2026-11-23T14:03:00Z  expired  no. 3\n"
        ),
        "{told:?}"
    );
}

/// What happened before the daemon was started, and before the events that it remembers.
#[test]
fn changes_from_before_a_restart_are_in_the_history() {
    let fake = Fake::start(|request| match request {
        Request::Status(_) => {
            let Reply::Status(mut reply) = status(vec![customers().remove(0)]) else { unreachable!() };
            let change = |at: &str, kind| Change { at: at.parse().unwrap(), kind };
            reply.tokens.customers.as_mut().unwrap()[0].changes = vec![
                change("2026-11-22T09:00:00Z", EventKind::Parked),
                change("2026-11-22T10:00:00Z", EventKind::Unparked),
                // This one is among the events.
                change("2026-11-23T14:03:00.5Z", EventKind::Expired),
            ];
            Reaction::Answer(Reply::Status(reply))
        }
        other => answer(other),
    });
    let (told, _) = fake.run(&["show", "1B2C9D00"]);
    let history = told.stdout.split("history, oldest first\n").nth(1).unwrap();
    let lines: Vec<&str> = history.lines().map(str::trim_end).collect();
    assert_eq!(lines[..2], ["2026-11-22T09:00:00Z  parked", "2026-11-22T10:00:00Z  unparked"], "{history}");
    assert_eq!(history.matches("expired").count(), 1, "{history}");
}

#[test]
fn a_stopped_loop_promises_nothing() {
    let (told, _) = daemon(false).run(&["show", "1B2C9D00"]);
    let next = "what next     The loop is STOPPED: nothing is renewed until tbctl start starts it.\n";
    assert!(told.stdout.contains(next), "{told:?}");
}

#[test]
fn a_table_that_cannot_be_read_is_said_first() {
    let fake = Fake::start(|request| match request {
        Request::Status(_) => {
            let Reply::Status(mut reply) = status(vec![customers().remove(0)]) else { unreachable!() };
            reply.tokens.success = false;
            reply.tokens.error = Some("connection refused".to_owned());
            Reaction::Answer(Reply::Status(reply))
        }
        other => answer(other),
    });
    let (told, _) = fake.run(&["show", "1B2C9D00"]);
    assert!(told.stdout.starts_with("DATABASE UNREACHABLE: connection refused; showing what was read "));
}

#[test]
fn as_json_it_is_the_answer_with_its_explanation_and_its_events() {
    let (told, _) = daemon(true).run(&["--json", "show", "1B2C9D00"]);
    let json = told.json();
    assert_eq!(json["success"], true);
    assert_eq!(json["tokens"]["customers"][0]["customer_id"], "1B2C9D00");
    assert!(json["explanation"]["why"].as_str().unwrap().starts_with("The token is good until "));
    assert_eq!(json["explanation"]["what_to_do"], "");
    assert_eq!(json["events"].as_array().unwrap().len(), 2);
    assert_eq!(json["servers"].as_array().unwrap().len(), 2, "as the daemon says");
}
