//! `check` as a monitoring system sees it: one line, performance data, an exit code.

use chrono::TimeDelta;
use tbtoken_proto::words::problems_first;
use tbtoken_proto::{
    Customer, ErrorCode, LastRun, Phase, Reply, Request, Rows, StatusQuery, StatusReply, Summary,
    TokenStatus, Trigger, in_trouble,
};

use crate::common::{Fake, Reaction, Told, customers, now, status, tbctl};

/// A daemon with `valid` valid customers and `expired` expired ones.
fn daemon(valid: usize, expired: usize, change: impl Fn(&mut StatusReply) + Send + Sync + 'static) -> Fake {
    Fake::start(move |request| {
        let Request::Status(StatusQuery { customers: Rows::InTrouble(limit), since: None }) = request else {
            panic!("check asks for no more than it shows: {request:?}")
        };
        let customer = |at: usize, status| Customer {
            customer_id: format!("C{at:03}"),
            token_status: status,
            ..customers().remove(0)
        };
        let rows = (0..valid).map(|at| customer(at, TokenStatus::Valid));
        let rows = rows.chain((0..expired).map(|at| customer(valid + at, TokenStatus::Expired)));
        let Reply::Status(mut reply) = status(rows.collect()) else { unreachable!() };
        reply.tokens.summary = Summary { total: valid + expired, valid, expired, ..Summary::default() };
        reply.tokens.as_of = Some(now() - TimeDelta::seconds(3));
        change(&mut reply);
        let rows = reply.tokens.customers.as_mut().unwrap();
        rows.retain(|row| in_trouble(row.token_status, row.state));
        rows.sort_by(problems_first);
        reply.tokens.summary.in_trouble = rows.len();
        rows.truncate(*limit);
        Reaction::Answer(Reply::Status(reply))
    })
}

fn check(fake: Fake, arguments: &[&str]) -> Told {
    fake.run(&[&["check"], arguments].concat()).0
}

/// The state, and what is said of it.
fn told(fake: Fake, arguments: &[&str]) -> (Option<i32>, String) {
    let told = check(fake, arguments);
    assert_eq!(told.stderr, "");
    let first = told.stdout.lines().next().unwrap();
    (told.exit, first.split(" | ").next().unwrap().to_owned())
}

fn nothing(_: &mut StatusReply) {}

#[test]
fn all_is_well() {
    let fake = daemon(128, 0, |reply| {
        reply.cron.last_run = Some(LastRun {
            reason: Trigger::Schedule,
            started_at: now(),
            finished_at: now(),
            duration_ms: 412,
            total: 3,
            updated: 3,
            errors: 0,
        });
        reply.daemon.renewals_by_login = 17;
        reply.daemon.renewals_by_refresh_token = 4;
    });
    let told = check(fake, &[]);
    assert_eq!(told.exit, Some(0));
    let age = told.stdout.split("'table_age'=").nth(1).unwrap().split('s').next().unwrap();
    assert_eq!(
        told.stdout,
        format!(
            "OK: 128 of 128 valid, 0 expiring soon, 0 expired, 0 missing, 0 parked | 'total'=128;;;0 \
             'in_trouble'=0;0;12;0;128 'valid'=128;;;0;128 'expiring_soon'=0;;;0;128 'expired'=0;;;0;128 \
             'missing'=0;;;0;128 'parked'=0;;;0;128 'retrying'=0;;;0;128 'table_age'={age}s;300;300;0 \
             'last_run'=0.412s;;;0 'logins'=17c;;;0 'token_refreshes'=4c;;;0\n"
        )
    );
}

#[test]
fn thresholds_are_of_customers_in_trouble() {
    let (exit, text) = told(daemon(127, 1, nothing), &[]);
    assert_eq!(exit, Some(1));
    assert_eq!(
        text,
        "WARNING: 1 in trouble; 127 of 128 valid, 0 expiring soon, 1 expired, 0 missing, 0 parked"
    );
    assert_eq!(told(daemon(80, 20, nothing), &[]).0, Some(2), "more than a tenth");
    assert_eq!(told(daemon(90, 10, nothing), &[]).0, Some(1), "a tenth");
    assert_eq!(told(daemon(90, 10, nothing), &["-w", "10", "-c", "20"]).0, Some(0));
    assert_eq!(told(daemon(89, 11, nothing), &["-w", "10", "-c", "20"]).0, Some(1));
    assert_eq!(told(daemon(79, 21, nothing), &["--warning=10", "--critical=20"]).0, Some(2));
    assert_eq!(told(daemon(95, 5, nothing), &["-w", "@1:5", "-c", "50%"]).0, Some(1));
    let limits = |told: Told| told.stdout.split("'in_trouble'=").nth(1).unwrap()[..10].to_owned();
    assert_eq!(limits(check(daemon(90, 10, nothing), &["-w", "3:", "-c", "20%"])), "10;3:;20;0");
}

#[test]
fn a_parked_customer_is_in_trouble_though_its_token_still_lives() {
    let fake = daemon(10, 0, |reply| {
        reply.tokens.summary.parked = 1;
        reply.tokens.customers.as_mut().unwrap()[0].state = Phase::Parked;
    });
    let (exit, text) = told(fake, &[]);
    assert_eq!((exit, text.starts_with("WARNING: 1 in trouble; ")), (Some(1), true), "{text}");
}

#[test]
fn one_without_a_token_is_in_trouble_and_named() {
    let fake = daemon(10, 0, |reply| {
        reply.tokens.summary.missing = 1;
        reply.tokens.customers.as_mut().unwrap()[3].token_status = TokenStatus::Missing;
    });
    let told = check(fake, &[]);
    assert_eq!(told.exit, Some(1));
    assert!(told.stdout.starts_with("WARNING: 1 in trouble; "), "{told:?}");
    assert!(told.stdout.lines().nth(1).unwrap().starts_with("C003 "), "{told:?}");
}

/// A monitoring system asks often, also while a hundred thousand are in trouble.
#[test]
fn one_question_is_enough() {
    let (told, asked) = daemon(90, 30, nothing).run(&["check"]);
    assert_eq!((told.exit, asked.len()), (Some(2), 1), "{told:?}");
}

/// A daemon of before this question refuses it: nothing is known, and what to do is said.
#[test]
fn a_daemon_that_does_not_know_the_question_is_unknown() {
    let fake = Fake::start(|_| Reaction::Refuse(ErrorCode::BadRequest, "customers must be a list"));
    let (exit, text) = told(fake, &[]);
    assert_eq!(exit, Some(3), "{text}");
    assert!(text.starts_with("UNKNOWN: "), "{text}");
}

#[test]
fn the_worst_is_named_first() {
    let fake = daemon(0, 3, |reply| {
        let rows = reply.tokens.customers.as_mut().unwrap();
        for (row, minutes) in rows.iter_mut().zip([1, 90, 10]) {
            row.tbtokenexpiry = Some(now() - TimeDelta::minutes(minutes));
        }
        rows[2].state = Phase::Parked;
    });
    let told = check(fake, &[]);
    let named: Vec<&str> = told.stdout.lines().skip(1).map(|line| &line[..4]).collect();
    assert_eq!(named, ["C002", "C001", "C000"], "{told:?}");
}

#[test]
fn customers_in_trouble_are_named_below() {
    let fake = daemon(0, 25, |reply| {
        reply.tokens.customers.as_mut().unwrap()[0].tb_username = "a|b".to_owned();
    });
    let told = check(fake, &[]);
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines[1].starts_with("C000 a/b https://hq.acme.example: expired, "), "{told:?}");
    assert_eq!(lines.len(), 22);
    assert_eq!(lines[21], "and 5 more: tbctl status --problems");
    assert_eq!(told.stdout.matches('|').count(), 1, "a bar begins the performance data");
    let told = check(daemon(0, 25, nothing), &["-q"]);
    assert_eq!(told.stdout.lines().count(), 1);
}

#[test]
fn the_configuration_of_the_daemon_is_named_last() {
    let read = |reply: &mut StatusReply| reply.daemon.config_file = Some("/etc/x.toml".to_owned());
    let told = check(daemon(9, 1, read), &[]);
    assert_eq!(told.stdout.lines().last(), Some("tbtokend has read /etc/x.toml"), "{told:?}");
    assert_eq!(check(daemon(9, 1, read), &["-q"]).stdout.lines().count(), 1);
    assert_eq!(check(daemon(9, 1, read), &["--json"]).json()["configuration"], "/etc/x.toml");
}

#[test]
fn trouble_of_the_daemon_is_critical() {
    type Change = fn(&mut StatusReply);
    let cases: [(Change, &str); 6] = [
        (
            |reply| {
                reply.cron.running = false;
                reply.cron.stopped_since = Some("2026-11-23T14:03:00Z".parse().unwrap());
            },
            "CRITICAL: nothing is renewed, the loop has been stopped by an operator since 2026-11-23T14:03:00Z; start it with tbctl start; 9 of",
        ),
        (
            |reply| reply.daemon.key_mismatch = Some("the key does not fit".to_owned()),
            "CRITICAL: the key does not fit; 9 of",
        ),
        (
            |reply| reply.cron.running = false,
            "CRITICAL: nothing is renewed, the loop is not started, because schedule.autostart is false; start it with tbctl start; 9 of",
        ),
        (
            |reply| {
                reply.tokens.success = false;
                reply.tokens.error = Some("connection refused | no".to_owned());
            },
            "CRITICAL: database unreachable: connection refused / no; 9 of",
        ),
        (
            |reply| {
                reply.daemon.store_ok = false;
                reply.daemon.store_error = Some("the disk is full. Make room.".to_owned());
            },
            "CRITICAL: database refuses writes: the disk is full. Make room; 9 of",
        ),
        (
            |reply| reply.tokens.as_of = Some(now() - TimeDelta::minutes(6)),
            "CRITICAL: the table was not read for 6m; see journalctl -u tbtokend -n 20; 9 of",
        ),
    ];
    for (change, text) in cases {
        let (exit, said) = told(daemon(9, 0, change), &["-w", "100", "-c", "100"]);
        assert_eq!((exit, said.starts_with(text)), (Some(2), true), "{said}");
    }
    // The worst comes first.
    let (exit, said) = told(daemon(9, 1, |reply| reply.cron.running = false), &[]);
    assert_eq!(exit, Some(2));
    assert!(
        said.starts_with("CRITICAL: nothing is renewed, the loop is not started, because schedule.autostart is false; start it with tbctl start; 1 in trouble; ")
    );
}

#[test]
fn a_long_interval_is_waited_for() {
    let at = |minutes: i64| {
        move |reply: &mut StatusReply| {
            reply.cron.interval_seconds = 600;
            reply.tokens.as_of = Some(now() - TimeDelta::minutes(minutes));
        }
    };
    let fine = check(daemon(9, 0, at(49)), &[]);
    assert_eq!(fine.exit, Some(0));
    let (_, limits) = fine.stdout.split_once("'table_age'=").unwrap();
    assert!(limits.split_once("s;").unwrap().1.starts_with("3000;3000;0 "), "{limits}");
    assert_eq!(told(daemon(9, 0, at(51)), &[]).0, Some(2));
}

#[test]
fn an_empty_and_an_unread_table_are_warnings() {
    let (exit, text) = told(daemon(0, 0, nothing), &[]);
    assert_eq!(exit, Some(1));
    assert!(
        text.starts_with("WARNING: no customer in the table has a ThingsBoard URL, a user and a password; ")
    );
    let young = |reply: &mut StatusReply| {
        reply.tokens.as_of = None;
        reply.daemon.started_at = now();
    };
    let (exit, text) = told(daemon(0, 0, young), &[]);
    assert_eq!(
        (exit, text.starts_with("WARNING: the table has not been read yet; ")),
        (Some(1), true),
        "{text}"
    );
    // A smaller trouble neither hides a larger one nor stands before it.
    let (exit, text) = told(daemon(80, 20, young), &[]);
    assert_eq!(exit, Some(2));
    assert!(text.starts_with("CRITICAL: 20 in trouble; the table has not been read yet; "), "{text}");
    // Started a day ago, and still nothing.
    assert_eq!(told(daemon(0, 0, |reply| reply.tokens.as_of = None), &[]).0, Some(2));
}

#[test]
fn a_daemon_that_cannot_be_reached_is_critical_and_what_cannot_be_known_is_unknown() {
    let told = Told::by(tbctl().args(["check", "--socket", "/nowhere/x.sock"]));
    assert_eq!(told.exit, Some(2));
    assert!(
        told.stdout.starts_with(
            "CRITICAL: cannot reach tbtokend at /nowhere/x.sock: there is no such socket; check "
        ),
        "{told:?}"
    );
    assert_eq!(told.stdout.lines().count(), 1);
    for (reaction, exit) in [
        ((|_| Reaction::Silence) as fn(&_) -> _, 2),
        (|_| Reaction::Raw("{"), 2),
        (|_| Reaction::Raw("HTTP/1.1 400\r\n"), 3),
        (|_| Reaction::Refuse(ErrorCode::Busy, "64 clients"), 3),
        (|_| Reaction::Refuse(ErrorCode::ShuttingDown, "bye"), 2),
        (|_| Reaction::Refuse(ErrorCode::Internal, "a panic"), 2),
    ] {
        // Only the silent one takes all of this time.
        let told = check(Fake::start(reaction), &["-t", "2s"]);
        assert_eq!(told.exit, Some(exit), "{told:?}");
        let word = if exit == 2 { "CRITICAL: " } else { "UNKNOWN: " };
        assert!(told.stdout.starts_with(word), "{told:?}");
    }
}

#[test]
fn arguments_that_are_not_understood_are_unknown() {
    for arguments in [
        ["check", "-w", "many"].as_slice(),
        &["check", "--wrong"],
        &["-q", "--socket", "/x", "check", "-c", "5:2"],
        &["check", "customer"],
    ] {
        let told = Told::by(tbctl().args(arguments));
        assert_eq!(told.exit, Some(3), "{told:?}");
        assert!(told.stdout.starts_with("UNKNOWN: "), "{told:?}");
        assert_eq!(told.stdout.lines().count(), 1);
        assert!(told.stderr.starts_with("error: "), "{told:?}");
    }
    let told = Told::by(tbctl().args(["check", "--json", "-w", "x"]));
    assert_eq!((told.exit, &told.json()["state"]), (Some(3), &"UNKNOWN".into()));
    assert_eq!(told.json()["success"], false, "{told:?}");
    // Another command's mistake is another command's.
    let told = Told::by(tbctl().args(["status", "check", "--wrong"]));
    assert_eq!(told.exit, Some(2));
}

#[test]
fn the_same_as_json() {
    let told = check(daemon(9, 1, nothing), &["--json", "-c", "5"]);
    assert_eq!(told.exit, Some(1));
    let json = told.json();
    assert_eq!(
        (&json["success"], &json["state"], &json["exit"]),
        (&true.into(), &"WARNING".into(), &1.into())
    );
    assert_eq!(json["performance"]["in_trouble"], 1);
    assert_eq!(json["trouble"].as_array().unwrap().len(), 1);
    let told = Told::by(tbctl().args(["check", "--json", "--socket", "/nowhere"]));
    assert_eq!((told.exit, &told.json()["state"]), (Some(2), &"CRITICAL".into()));
}
