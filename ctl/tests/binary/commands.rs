//! What each command asks the daemon, and what it prints: as text, as JSON, quietly.

use std::os::unix::fs::PermissionsExt as _;

use crate::common::{
    Fake, Reaction, Told, answer, cron, customers, daemon, event, now, outcome, refreshed, status, tbctl,
};
use chrono::TimeDelta;
use tbtoken_proto::{
    Answer, Customer, Daemon, ErrorCode, Event, EventKind, EventsReply, Failure, Ineligible, MetricsFormat,
    Outcome, OutcomeStatus, Refresh, RefreshReply, Reply, Request, Rows, Seq, StatusQuery, SteerReply,
    TokenStatus, VersionReply, is_hidden,
};

/// Runs against a healthy daemon; the exit code must be 0.
fn done(arguments: &[&str]) -> (Told, Vec<Request>) {
    let (told, requests) = Fake::healthy().run(arguments);
    assert_eq!(told.exit, Some(0), "{arguments:?}: {told:?}");
    (told, requests)
}

fn all_rows() -> Request {
    Request::Status(StatusQuery::default())
}

fn only(ids: &[&str]) -> Request {
    let customers = Rows::Only(ids.iter().map(|id| (*id).to_owned()).collect());
    Request::Status(StatusQuery { customers, since: None })
}

#[test]
fn status_is_what_tbctl_does_when_it_is_told_nothing() {
    let (alone, asked) = done(&[]);
    assert_eq!(asked, [all_rows()]);
    assert_eq!(alone.stderr, "");
    let lines: Vec<&str> = alone.stdout.lines().collect();
    assert_eq!(lines[0], "loop running   no run yet   sqlite /tmp/x.db");
    assert_eq!(lines[1], "2 total   1 valid   0 expiring soon   0 expired   1 missing   1 parked");
    assert_eq!(lines[2], "");
    assert_eq!(
        lines[3],
        "STATUS   CUSTOMER  USER                 THINGSBOARD      LEFT    NEXT    LAST ERROR"
    );
    // Two columns for each wide character, and the escape sequence of the user's name is defused.
    assert!(
        lines[4].starts_with("missing  C0FFEE12  株式会社\u{fffd}[2J         hq.acme.example  -  "),
        "{}",
        lines[4]
    );
    assert!(lines[4].ends_with("parked  wrong password"));
    assert!(lines[5].starts_with("valid    1B2C9D00  ops@acme-hq.example  hq.acme.example  "));
    assert_eq!(lines.len(), 6);
    assert!(!alone.stdout.contains('\u{1b}'), "no colour in a pipe");

    let (named, asked) = done(&["status"]);
    assert_eq!(asked, [all_rows()]);
    assert_eq!(named.stdout.lines().count(), 6);
}

#[test]
fn status_asks_for_the_customers_named() {
    let (told, asked) = done(&["status", "C0FFEE12"]);
    assert_eq!(asked, [only(&["C0FFEE12"])]);
    assert_eq!(told.stdout.lines().count(), 5);
}

#[test]
fn status_filters_and_sorts() {
    let rows = |arguments: &[&str]| {
        let (told, _) = done(arguments);
        told.stdout
            .lines()
            .skip(1)
            .map(|line| line.split("  ").nth(1).unwrap().trim().to_owned())
            .collect::<Vec<_>>()
    };
    let ids = |arguments: &[&str]| {
        let (told, _) = done(&[arguments, &["--json"]].concat());
        let rows = told.json()["tokens"]["customers"].clone();
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["customer_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&["-q", "status", "--problems"]), ["C0FFEE12"]);
    assert_eq!(ids(&["status"]), ["C0FFEE12", "1B2C9D00"]);
    assert_eq!(ids(&["status", "--problems"]), ["C0FFEE12"]);
    assert_eq!(ids(&["status", "--status", "valid"]), ["1B2C9D00"]);
    assert_eq!(ids(&["status", "--status", "expired,missing"]), ["C0FFEE12"]);
    assert_eq!(ids(&["status", "--status", "expiring_soon"]), [""; 0]);
    assert_eq!(ids(&["status", "--sort", "customer"]), ["1B2C9D00", "C0FFEE12"]);
    let (told, _) = done(&["status", "--status", "expired"]);
    assert_eq!(told.stderr, "no customer matches\n");
    assert!(!told.stdout.contains("STATUS"));
}

#[test]
fn a_script_learns_from_the_exit_code_whether_there_are_problems() {
    let end = |react: fn(&Request) -> Reaction, arguments: &[&str]| Fake::start(react).run(arguments).0.exit;
    let well: fn(&Request) -> Reaction = |_| {
        let mut customers = customers();
        customers.truncate(1);
        Reaction::Answer(status(customers))
    };
    let left: fn(&Request) -> Reaction = |_| {
        let Reply::Status(mut reply) = status(vec![]) else { unreachable!("it is a status") };
        reply.tokens.ineligible.push(Ineligible {
            customer_id: "gone".to_owned(),
            tbtokenexpiry: None,
            since: now(),
            reason: "its row is gone".to_owned(),
        });
        Reaction::Answer(Reply::Status(reply))
    };
    for json in ["--json", "--utc"] {
        let asked = ["status", "--problems", "--exit-code", json];
        assert_eq!(end(answer, &asked), Some(1));
        assert_eq!(end(well, &asked), Some(0));
        assert_eq!(end(left, &asked), Some(1), "a row that is not renewed any more is listed, too");
        assert_eq!(end(answer, &asked[..2]), Some(0));
        assert_eq!(end(answer, &["status", "--exit-code"]), Some(2), "there are always customers");
    }
}

/// Five and a half hours ahead of UTC, which no machine here is by itself.
#[test]
fn text_has_the_times_of_the_readers_zone_and_json_those_of_utc() {
    let react = |request: &Request| match request {
        Request::Stop {} => Reaction::Answer(Reply::Steer(SteerReply {
            message: "the loop has been stopped by an operator since 2026-11-23T14:03:00Z; tbctl start"
                .to_owned(),
            cron: cron(false),
        })),
        Request::Events { .. } => {
            let renewed = event(2, Some("1B2C9D00"), EventKind::Renewed);
            let message = "good until 2026-11-23T19:18:00Z at Z\u{fc}rich".to_owned();
            let events = vec![Event { message, ..renewed }];
            Reaction::Answer(Reply::Events(EventsReply { events, next: Seq(3) }))
        }
        other => answer(other),
    };
    let said = |arguments: &[&str]| {
        let fake = Fake::start(react);
        let told = Told::by(tbctl().env("TZ", "XYZ-5:30").arg("--socket").arg(fake.socket()).args(arguments));
        assert_eq!(told.exit, Some(0), "{told:?}");
        told.stdout
    };
    assert_eq!(
        said(&["events"]),
        "2026-11-23T19:33:00+05:30  renewed  1B2C9D00  good until 2026-11-24T00:48:00+05:30 at Z\u{fc}rich\n"
    );
    assert_eq!(
        said(&["stop"]),
        "the loop has been stopped by an operator since 2026-11-23T19:33:00+05:30; tbctl start\n"
    );
    let story = said(&["show", "C0FFEE12"]);
    assert!(story.contains("[credentials_rejected], at Nov 23 19:06:21+05:30"), "{story}");
    assert!(story.contains("PARKED since Nov 23 19:06+05:30"), "{story}");
    let story = said(&["show", "1B2C9D00"]);
    assert!(story.contains("good until Jan 1 05:30+05:30"), "{story}");
    for utc in ["--utc", "--json"] {
        for arguments in [["events", utc], ["stop", utc]] {
            let text = said(&arguments);
            assert!(text.contains("2026-11-23T14:03:00Z") && !text.contains("+05:30"), "{text}");
        }
        assert!(!said(&["show", "C0FFEE12", utc]).contains("+05:30"));
    }
}

#[test]
fn color_always_colours_a_pipe_too() {
    let (told, _) = done(&["--color", "always"]);
    assert!(told.stdout.contains("\u{1b}[31mmissing\u{1b}[0m  C0FFEE12"), "{told:?}");
}

#[test]
fn steering_repeats_what_the_daemon_says() {
    let (told, asked) = done(&["start"]);
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("the loop is running already\n", ""));
    assert_eq!(asked, [Request::Start {}]);
    let (told, asked) = done(&["stop"]);
    assert_eq!(
        (told.stdout.as_str(), told.stderr.as_str()),
        ("the loop is stopped; a running pass still ends\n", "")
    );
    assert_eq!(asked, [Request::Stop {}]);
    let (told, asked) = done(&["reload"]);
    assert_eq!(
        (told.stdout.as_str(), asked),
        ("the configuration was read again\n", vec![Request::Reload {}])
    );
    let (told, _) = done(&["reload", "--json"]);
    assert_eq!(told.json()["message"], "the configuration was read again");
    let (told, _) = done(&["-q", "stop"]);
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""));
}

#[test]
fn notify_lists_receivers_and_a_test_that_fails_ends_with_1() {
    let (told, asked) = Fake::healthy().run(&["notify", "list"]);
    assert_eq!((told.exit, asked), (Some(0), vec![Request::NotifyList {}]));
    assert!(
        told.stdout
            .lines()
            .nth(2)
            .is_some_and(|line| line.starts_with("pager") && line.ends_with("HTTP 503"))
    );
    for arguments in [&["notify", "test", "pager"][..], &["notify", "test", "pager", "--json"]] {
        let (told, asked) = Fake::healthy().run(arguments);
        assert_eq!(told.exit, Some(1), "{told:?}");
        assert_eq!(asked, [Request::NotifyTest { receiver: Some("pager".to_owned()) }]);
        assert!(told.stdout.contains("HTTP 503"), "{told:?}");
    }
}

#[test]
fn refresh_prints_tried_customers_as_data_and_skipped_ones_as_remarks() {
    let (told, asked) = done(&["refresh"]);
    assert_eq!(asked, [Request::Refresh(Refresh::default())]);
    assert!(told.stdout.starts_with("renewed  1B2C9D00  until 2100-01-01T00:00:00Z ("), "{told:?}");
    assert_eq!(told.stdout.lines().count(), 1);
    assert!(
        told.stderr
            .starts_with("skipped  C0FFEE12  parked: wrong password\n1 renewed, 0 failed, 1 skipped\nhint: ")
    );
    let (told, _) = done(&["refresh", "--quiet"]);
    assert_eq!(told.stdout.lines().count(), 1);
    assert_eq!(told.stderr, "");
}

#[test]
fn refresh_asks_for_what_is_wanted() {
    let names = Some(vec!["C0FFEE12".to_owned(), "1B2C9D00".to_owned()]);
    let cases: [(&[&str], Refresh); 5] = [
        (&["refresh", "C0FF", "OPS@acme-hq.example"], Refresh { customers: names, ..Refresh::default() }),
        (&["refresh", "--all"], Refresh { all: true, ..Refresh::default() }),
        (&["refresh", "--no-wait"], Refresh { wait: false, ..Refresh::default() }),
        (
            &["refresh", "--no-wait", "C0FFEE12", "C0FFEE12"],
            Refresh { customers: Some(vec!["C0FFEE12".to_owned()]), wait: false, ..Refresh::default() },
        ),
        (
            &["refresh", "--force", "C0FFEE12"],
            Refresh { customers: Some(vec!["C0FFEE12".to_owned()]), force: true, ..Refresh::default() },
        ),
    ];
    for (arguments, refresh) in cases {
        let (told, asked) = Fake::healthy().run(arguments);
        let is_skipped = refresh.wait && refresh.customers.is_some();
        assert_eq!(told.exit, Some(i32::from(is_skipped)), "{arguments:?}: {told:?}");
        assert_eq!(asked.last(), Some(&Request::Refresh(refresh.clone())), "{arguments:?}");
        if !refresh.wait {
            assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("the pass is asked for\n", ""));
        }
    }
}

#[test]
fn a_refresh_with_a_failed_customer_is_a_failure() {
    let fake = || {
        Fake::start(|_| {
            Reaction::Answer(refreshed(vec![
                outcome("1B2C9D00", OutcomeStatus::Success),
                outcome("91BE77C0", OutcomeStatus::Error),
            ]))
        })
    };
    let (told, _) = fake().run(&["refresh"]);
    assert_eq!(told.exit, Some(1));
    assert_eq!(told.stdout.lines().nth(1), Some("failed   91BE77C0  timed out: no answer within 10 s"));
    assert_eq!(told.stderr, "1 renewed, 1 failed\nhint: tbctl show ID says what to do about a failure\n");
    let (told, _) = fake().run(&["refresh", "--json"]);
    assert_eq!(told.exit, Some(1));
    let json = told.json();
    assert_eq!(
        (&json["success"], &json["result"]["success"]),
        (&false.into(), &false.into()),
        "as the exit code"
    );
    assert_eq!((&json["error"], &json["code"]), (&"the pass is over".into(), &"failed".into()));
    assert_eq!(json["result"]["errors"], 1);
    assert_eq!(told.stderr, "");
}

/// A customer that is named and skipped is not renewed: a script must notice.
#[test]
fn a_named_customer_that_is_skipped_is_a_failure() {
    let fake = || {
        Fake::start(|request| match request {
            Request::Refresh(_) => {
                let message =
                    Some("parked: wrong password; only --force sends its password again".to_owned());
                let skipped = Outcome { message, ..outcome("91BE77C0", OutcomeStatus::Skipped) };
                Reaction::Answer(refreshed(vec![outcome("1B2C9D00", OutcomeStatus::Success), skipped]))
            }
            other => answer(other),
        })
    };
    let (told, _) = fake().run(&["refresh", "91BE77C0", "1B2C9D00"]);
    assert_eq!(told.exit, Some(1), "{told:?}");
    assert!(told.stderr.contains("to try it anyway: tbctl refresh --force ID"), "{told:?}");
    let (told, _) = fake().run(&["refresh", "--json", "91BE77C0", "1B2C9D00"]);
    assert_eq!((told.exit, &told.json()["success"]), (Some(1), &false.into()));
    assert_eq!(fake().run(&["refresh"]).0.exit, Some(0), "it was not named");
}

/// Behind a server that does not answer, a customer waits; it is not parked, and need not be named.
#[test]
fn only_parked_customers_must_be_named() {
    let fake = Fake::start(|_| {
        let message = Some("not asked yet, because of others on the same server".to_owned());
        Reaction::Answer(refreshed(vec![Outcome { message, ..outcome("91BE77C0", OutcomeStatus::Skipped) }]))
    });
    let (told, _) = fake.run(&["refresh"]);
    assert!(told.stderr.ends_with("0 renewed, 0 failed, 1 skipped\n"), "{told:?}");
}

#[test]
fn events_are_the_newest_of_all_customers_or_of_one() {
    let events = |limit| Request::Events { since: None, limit };
    let (told, asked) = done(&["events"]);
    assert_eq!(asked, [events(100)]);
    assert_eq!(
        told.stdout,
        "2026-11-23T14:03:00Z  pass started  -         no. 1\n\
         2026-11-23T14:03:00Z  renewed       1B2C9D00  no. 2\n\
         2026-11-23T14:03:00Z  expired       1B2C9D00  no. 3\n"
    );
    let (_, asked) = done(&["events", "-n", "7"]);
    assert_eq!(asked, [events(7)]);
    let (told, asked) = done(&["events", "-n", "1", "1B2C9D00"]);
    let all = Request::Events { since: Some(Seq(0)), limit: 1000 };
    assert_eq!(asked, [only(&["1B2C9D00"]), all], "all that it remembers, of which these are few");
    assert_eq!(told.stdout, "2026-11-23T14:03:00Z  expired  1B2C9D00  no. 3\n");
    let (told, _) = done(&["events", "--json", "1B2C9D00"]);
    assert_eq!(told.json()["events"].as_array().unwrap().len(), 2);
    let (told, _) = done(&["events", "C0FFEE12"]);
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", "tbtokend remembers no such event\n"));
    let (told, _) = done(&["events", "-n", "0"]);
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""), "as tail -n 0: none were asked for");
    let (told, _) = Fake::healthy().run(&["events", "no-such-id"]);
    assert_eq!(told.exit, Some(5));
}

#[test]
fn events_of_the_last_while_are_all_of_them() {
    let now = now();
    let fake = move || {
        Fake::start(move |request| {
            // So many that they need three answers, one a minute, the newest of now.
            let Request::Events { since, limit } = request else { return answer(request) };
            let first = since.unwrap_or_default().0;
            let events = (first + 1..=2500).take(*limit).map(|seq| {
                let minutes = TimeDelta::minutes(2500 - i64::try_from(seq).unwrap());
                Event { at: now - minutes, ..event(seq, None, EventKind::PassStarted) }
            });
            let events: Vec<_> = events.collect();
            let next = events.last().map_or(Seq(first), |event| event.seq);
            Reaction::Answer(Reply::Events(EventsReply { events, next }))
        })
    };
    let count = |arguments: &[&str]| {
        let (told, _) = fake().run(&[&["events", "--since"], arguments].concat());
        assert_eq!(told.exit, Some(0), "{told:?}");
        (told.stdout.lines().count(), told.stderr)
    };
    assert_eq!(count(&["9.5m"]), (10, String::new()));
    assert_eq!(count(&["1d"]), (1440, String::new()), "more than one answer holds");
    assert_eq!(count(&["1d", "-n", "7"]).0, 7);
    let (all, remark) = count(&["2d"]);
    assert_eq!(all, 2500);
    assert!(remark.starts_with("tbtokend remembers nothing from before 2"), "{remark}");
    assert_eq!(Fake::healthy().run(&["events", "--since", "yesterday"]).0.exit, Some(2));
}

#[test]
fn version_shows_both_ends() {
    let (told, asked) = done(&["version"]);
    assert_eq!(asked, [Request::Version {}]);
    assert!(told.stdout.starts_with(&format!("tbctl     {}   protocol 1\n", env!("CARGO_PKG_VERSION"))));
    assert!(told.stdout.contains("\ntbtokend  9.8.7   protocol 1   pid 4711   up "), "{told:?}");
    assert_eq!(told.stderr, "");
}

/// With `--json` each command prints the daemon's answer, on one line, and nothing else.
#[test]
fn json_is_the_daemons_answer_and_nothing_else() {
    let mut sorted = customers();
    sorted.reverse();
    for (arguments, expected) in [
        (vec![], status(sorted.clone())),
        (vec!["status"], status(sorted)),
        (vec!["version"], Reply::Version(VersionReply { daemon: daemon() })),
    ] {
        let (told, asked) = done(&[arguments.as_slice(), &["--json"]].concat());
        assert_eq!(told.stderr, "", "{arguments:?}");
        let answer = Answer::parse(told.stdout.trim_end(), &asked[0]).unwrap();
        assert_eq!(answer, Answer { id: None, outcome: Ok(expected) }, "{arguments:?}");
    }
    for arguments in
        [vec!["start"], vec!["stop"], vec!["refresh"], vec!["refresh", "--no-wait"], vec!["events"]]
    {
        let (told, asked) = done(&[arguments.as_slice(), &["--json"]].concat());
        assert_eq!(told.stderr, "", "{arguments:?}");
        assert_eq!(told.json()["success"], true);
        assert!(Answer::parse(told.stdout.trim_end(), &asked[0]).unwrap().outcome.is_ok(), "{arguments:?}");
    }
}

#[test]
fn even_what_is_for_people_alone_is_json_if_json_is_wanted() {
    for (arguments, beginning) in
        [(["man"].as_slice(), ".TH"), (&["completions", "fish"], "# fish completion for tbctl")]
    {
        let told = Told::by(tbctl().arg("--json").args(arguments));
        assert!(told.json()["text"].as_str().unwrap().starts_with(beginning), "{told:?}");
    }
}

#[test]
fn the_socket_comes_from_the_environment_unless_it_is_given() {
    let fake = Fake::healthy();
    let told = Told::by(tbctl().env("TBTOKEND_SOCKET", fake.socket()).arg("version"));
    assert_eq!(told.exit, Some(0), "{told:?}");
    fake.requests();

    let fake = Fake::healthy();
    let told = Told::by(tbctl().env("TBTOKEND_SOCKET", "/nowhere").arg("--socket").arg(fake.socket()));
    assert_eq!(told.exit, Some(0), "{told:?}");
    fake.requests();

    let told = Told::by(tbctl().env("TBTOKEND_SOCKET", "/nowhere/else.sock"));
    assert!(told.stderr.contains("at /nowhere/else.sock: "), "{told:?}");
}

/// As the protocol writes them, as people read them, and as a command line likes them.
#[test]
fn the_words_of_the_statuses_are_understood() {
    for status in [TokenStatus::Expired, TokenStatus::Missing, TokenStatus::ExpiringSoon, TokenStatus::Valid]
    {
        let wire = serde_json::to_value(status).unwrap();
        for word in [wire.as_str().unwrap(), status.word(), &status.word().replace(' ', "-")] {
            let (_, asked) = done(&["status", "--status", word]);
            assert_eq!(asked.len(), 1, "{word}");
        }
    }
}

/// A server and a table say what they like; a person may look at what a program gets.
#[test]
fn json_escapes_what_text_hides() {
    /// DEL, a C1 control, a bidi override, a soft hyphen, a filler and a tag.
    const HIDDEN: &str = "\u{7f}\u{9b}2J\u{202e}\u{ad}\u{3164}\u{206a}\u{e0041}";
    const ESCAPED: &str = r"\u007f\u009b2J\u202e\u00ad\u3164\u206a\udb40\udc41";
    let row = || Customer {
        tb_username: HIDDEN.to_owned(),
        failure: customers()
            .remove(1)
            .failure
            .map(|failure| Failure { message: HIDDEN.to_owned(), ..failure }),
        ..customers().remove(0)
    };
    let react = move |request: &Request| match (answer(request), request) {
        (_, Request::Status(_)) => Reaction::Answer(status(vec![row()])),
        (_, Request::Start {}) => Reaction::Refuse(ErrorCode::Internal, HIDDEN),
        (Reaction::Answer(Reply::Steer(steer)), _) => {
            Reaction::Answer(Reply::Steer(SteerReply { message: HIDDEN.to_owned(), ..steer }))
        }
        (Reaction::Answer(Reply::Refresh(refresh)), _) => {
            Reaction::Answer(Reply::Refresh(RefreshReply { message: HIDDEN.to_owned(), ..refresh }))
        }
        (Reaction::Answer(Reply::Events(mut events)), _) => {
            events.events[1].message = HIDDEN.to_owned();
            Reaction::Answer(Reply::Events(events))
        }
        (Reaction::Answer(Reply::Version(VersionReply { daemon })), _) => {
            Reaction::Answer(Reply::Version(VersionReply {
                daemon: Daemon { store: HIDDEN.to_owned(), ..daemon },
            }))
        }
        (other, _) => other,
    };
    for (arguments, escapes) in [
        (vec!["status"], true),
        (vec!["show", "1B2C9D00"], true),
        (vec!["refresh"], true),
        (vec!["stop"], true),
        (vec!["events"], true),
        (vec!["version"], true),
        // These put the daemon's words into sentences of their own, in which nothing is hidden.
        (vec!["start"], false),
        (vec!["check"], false),
        (vec!["wait", "--timeout", "1s"], false),
    ] {
        for json in [true, false] {
            let arguments = [arguments.as_slice(), if json { &["--json"] } else { &[] }].concat();
            let (told, _) = Fake::start(react).run(&arguments);
            let lines = told.stdout.lines().chain(told.stderr.lines());
            assert!(!lines.flat_map(str::chars).any(is_hidden), "{arguments:?}: {told:?}");
            assert_eq!(told.stdout.contains(ESCAPED), json && escapes, "{arguments:?}: {told:?}");
        }
    }
}

#[test]
fn metrics_are_printed_or_put_into_a_file_that_says_whether_the_daemon_answered() {
    let (told, asked) = done(&["metrics", "--openmetrics"]);
    assert_eq!(told.stdout, "# TYPE tbtokend_customers gauge\ntbtokend_customers 2\n");
    assert_eq!(asked.last(), Some(&Request::Metrics { format: MetricsFormat::Openmetrics }));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tbtokend.prom");
    let path = file.to_str().unwrap();
    let (told, _) = done(&["metrics", "--output", path]);
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# TYPE tbtokend_customers") && text.ends_with("\ntbtokend_up 1\n"), "{text}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    // An old file never looks fresh.
    let told = Told::by(tbctl().args(["--socket", "/nowhere", "metrics", "--output", path]));
    assert_eq!(told.exit, Some(3));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("\ntbtokend_up 0\n") && !text.contains("customers"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    let told = Told::by(tbctl().args(["--socket", "/nowhere", "metrics", "--output", "/nowhere/x.prom"]));
    assert!(told.stderr.contains("cannot write /nowhere/x.prom"), "{}", told.stderr);
}
