//! The changes between two answers, and their lines.

use chrono::TimeDelta;
use tbtoken_proto::{Cron, Daemon, Failure, FailureKind, Summary, Tokens};

use super::*;

fn now() -> DateTime<Utc> {
    "2026-11-23T14:03:21Z".parse().unwrap()
}

fn in_seconds(seconds: i64) -> Option<DateTime<Utc>> {
    Some(now() + TimeDelta::seconds(seconds))
}

fn row(id: &str, token_status: TokenStatus) -> Customer {
    Customer {
        customer_id: id.to_owned(),
        tb_username: "ops@a.example".to_owned(),
        tb_url: "https://a.example".to_owned(),
        token_status,
        tbtokenexpiry: in_seconds(60),
        check: None,
        minutes_until_expiry: Some(1),
        state: Phase::Ok,
        last_success_at: None,
        renewals: 1,
        next_attempt_at: None,
        changes: vec![],
        failure: None,
    }
}

fn failing(row: Customer, consecutive: u32, state: Phase) -> Customer {
    let failure = Failure {
        kind: FailureKind::Timeout,
        message: String::new(),
        remedy: String::new(),
        at: now(),
        consecutive,
        permanent: state == Phase::Parked,
        waiting: None,
    };
    Customer { state, failure: Some(failure), next_attempt_at: in_seconds(40), ..row }
}

fn reply(revision: u64, rows: Vec<Customer>) -> StatusReply {
    StatusReply {
        cron: Cron {
            running: true,
            description: String::new(),
            stopped_since: None,
            interval_seconds: 60,
            refreshing: false,
            next_run_at: None,
            last_run: None,
        },
        tokens: Tokens {
            success: true,
            error: None,
            as_of: Some(now()),
            customers: Some(rows),
            ineligible: vec![],
            removed: vec![],
            matched: None,
            complete: false,
            summary: Summary::default(),
        },
        servers: None,
        daemon: Daemon {
            version: "1.2.3".to_owned(),
            protocol: 1,
            pid: 4711,
            started_at: now(),
            revision: Revision(revision),
            store: String::new(),
            store_ok: true,
            store_error: None,
            ledger: None,
            key_mismatch: None,
            config_file: None,
            http: None,
            failing_receivers: Vec::new(),
            renewals_by_login: 0,
            renewals_by_refresh_token: 0,
        },
    }
}

fn picture(rows: &[Customer], named: bool) -> Picture {
    Picture::new(&reply(1, vec![]), rows, named)
}

/// What is said when `was` has become `row`, without the time and the columns.
fn told(was: &Customer, row: Customer) -> Option<String> {
    let mut picture = picture(std::slice::from_ref(was), false);
    let changes = picture.merge(reply(2, vec![row]));
    changes.first().map(|change| {
        let text = line(change, (4, 4), now());
        text.trim_end().rsplit("  ").next().unwrap().to_owned()
    })
}

use TokenStatus::{Expired, ExpiringSoon, Missing, Valid};

#[test]
fn a_line_says_what_is_otherwise() {
    let valid = || row("8f1c", Valid);
    let soon = || row("8f1c", ExpiringSoon);
    let later = |row: Customer| Customer { tbtokenexpiry: in_seconds(900), ..row };
    assert_eq!(told(&valid(), soon()).as_deref(), Some("was valid"));
    assert_eq!(
        told(&soon(), later(valid())).as_deref(),
        Some("was expiring soon; renewed until 2026-11-23T14:18:21Z (15m)")
    );
    let retried = failing(soon(), 4, Phase::Retrying);
    assert_eq!(told(&soon(), retried.clone()).as_deref(), Some("failed: timed out (x4), tried again in 40s"));
    let parked = failing(row("8f1c", Expired), 1, Phase::Parked);
    assert_eq!(told(&soon(), parked.clone()).as_deref(), Some("was expiring soon; PARKED: timed out"));
    assert_eq!(told(&parked, row("8f1c", Expired)).as_deref(), Some("no longer parked"));
    assert_eq!(told(&retried, soon()).as_deref(), Some("the failure is over"));
    let removed = Customer { tbtokenexpiry: None, ..row("8f1c", Missing) };
    assert_eq!(told(&valid(), removed).as_deref(), Some("was valid; the token was removed"));
    let moved = Customer { tb_url: "https://b.example".to_owned(), ..valid() };
    assert_eq!(told(&valid(), moved).as_deref(), Some("another user or URL"));
}

/// The daemon's own coming and going with a customer is of no interest.
#[test]
fn what_is_not_worth_a_line_has_none() {
    let valid = row("8f1c", Valid);
    for state in [Phase::Due, Phase::Refreshing] {
        assert_eq!(told(&valid, Customer { state, minutes_until_expiry: Some(0), ..valid.clone() }), None);
    }
}

#[test]
fn a_line_is_in_columns_and_cannot_move_the_cursor() {
    let evil = Customer { tb_username: "\u{1b}[2J".to_owned(), ..row("8f1c", Valid) };
    let text = line(&Change::CustomerAdded { customer: evil }, (8, 10), now());
    assert_eq!(text, "2026-11-23T14:03:21Z  valid          8f1c      \u{fffd}[2J        new in the table\n");
}

#[test]
fn the_loop_the_database_and_the_daemon_are_told_of() {
    let mut picture = picture(&[], false);
    let mut told = |reply: StatusReply| {
        let lines = picture.merge(reply);
        lines.iter().map(|change| line(change, (0, 0), now())[22..].trim_end().to_owned()).collect::<Vec<_>>()
    };
    let stopped = |mut reply: StatusReply| {
        reply.cron.running = false;
        reply
    };
    assert_eq!(told(stopped(reply(2, vec![]))), ["the loop was STOPPED: nothing is renewed"]);
    assert_eq!(told(stopped(reply(3, vec![]))), [""; 0]);
    assert_eq!(told(reply(4, vec![])), ["the loop was started"]);
    let mut lost = reply(5, vec![]);
    lost.tokens.success = false;
    lost.tokens.error = Some("refused".to_owned());
    assert_eq!(told(lost.clone()), ["DATABASE UNREACHABLE: refused"]);
    assert_eq!(told(lost), [""; 0], "once");
    let mut full = reply(6, vec![]);
    full.daemon.store_ok = false;
    full.daemon.store_error = Some("the disk is full".to_owned());
    assert_eq!(told(full), ["DATABASE REFUSES WRITES: the disk is full"]);
    assert_eq!(told(reply(6, vec![])), ["the database is back"]);
    let mut restarted = reply(7, vec![]);
    restarted.daemon.pid = 4712;
    assert_eq!(told(restarted), ["tbtokend 1.2.3 was restarted, pid 4712"]);
}

#[test]
fn added_and_removed_customers_are_changes() {
    let (a, b) = (row("a", Valid), row("b", Valid));
    let mut all = picture(std::slice::from_ref(&a), false);
    let added = Change::CustomerAdded { customer: b.clone() };
    assert_eq!(all.merge(reply(2, vec![b.clone()])), [added]);
    let gone = StatusReply {
        tokens: Tokens { removed: vec!["a".to_owned()], ..reply(3, vec![]).tokens },
        ..reply(3, vec![])
    };
    assert_eq!(all.merge(gone), [Change::CustomerRemoved { customer: a.clone() }]);
    // After a restart all customers are listed; the others are gone, unless the table was not read yet.
    let mut complete = reply(4, vec![]);
    complete.tokens.complete = true;
    complete.tokens.as_of = None;
    assert_eq!(all.merge(complete.clone()), []);
    complete.tokens.as_of = Some(now());
    assert_eq!(all.merge(complete), [Change::CustomerRemoved { customer: b.clone() }]);
    // Where customers are named, the others are of no interest.
    let mut one = picture(std::slice::from_ref(&a), true);
    assert_eq!(one.merge(reply(2, vec![b])), []);
}

#[test]
fn a_filter_keeps_customers_that_match_or_matched() {
    let changed = |was, now| Change::CustomerChanged { customer: row("a", now), was: row("a", was) };
    let problems = StatusArgs { problems: true, ..StatusArgs::default() };
    assert!(is_change_wanted(&changed(Valid, Expired), &problems));
    assert!(is_change_wanted(&changed(Expired, Valid), &problems));
    assert!(!is_change_wanted(&changed(Valid, Valid), &problems));
    let missing = StatusArgs { status: vec![Missing], ..StatusArgs::default() };
    assert!(!is_change_wanted(&changed(Valid, Expired), &missing));
    assert!(is_change_wanted(&Change::LoopStopped, &missing));
}

#[test]
fn json_has_the_change_and_its_time_in_one_object() {
    let told = TimedChange { at: timestamp(now()), change: &Change::DaemonLost { error: "no".to_owned() } };
    assert_eq!(
        serde_json::to_string(&told).unwrap(),
        "{\"at\":\"2026-11-23T14:03:21Z\",\"change\":\"daemon_lost\",\"error\":\"no\"}"
    );
}
