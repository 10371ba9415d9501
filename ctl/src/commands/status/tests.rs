//! What `status` shows, to the letter.

use chrono::TimeDelta;
use tbtoken_proto::{Daemon, Failure, FailureKind, LastRun, Phase, Revision, Tokens, Trigger};

use super::*;

fn now() -> DateTime<Utc> {
    "2026-11-23T14:03:00Z".parse().unwrap()
}

fn row(id: &str, token_status: TokenStatus, state: Phase, seconds_left: Option<i64>) -> Customer {
    Customer {
        customer_id: id.to_owned(),
        tb_username: format!("ops@{id}.example"),
        tb_url: "https://tb.acme.example/".to_owned(),
        token_status,
        tbtokenexpiry: seconds_left.map(|seconds| now() + TimeDelta::seconds(seconds)),
        check: None,
        minutes_until_expiry: seconds_left.map(|seconds| seconds.div_euclid(60)),
        state,
        last_success_at: None,
        renewals: 0,
        next_attempt_at: (state != Phase::Parked).then(|| now() + TimeDelta::seconds(40)),
        changes: vec![],
        failure: matches!(state, Phase::Parked | Phase::Retrying).then(|| Failure {
            kind: FailureKind::CredentialsRejected,
            message: String::new(),
            remedy: String::new(),
            at: now(),
            consecutive: if state == Phase::Parked { 1 } else { 4 },
            permanent: state == Phase::Parked,
            waiting: None,
        }),
    }
}

/// All ids here are as long.
const IDS: usize = 8;

fn rows() -> Vec<Customer> {
    vec![
        row("1b2c9d00", TokenStatus::Valid, Phase::Ok, Some(870)),
        row("7aa01b33", TokenStatus::ExpiringSoon, Phase::Due, Some(250)),
        row("8f1c02aa", TokenStatus::Expired, Phase::Parked, Some(-720)),
        row("91be77c0", TokenStatus::Valid, Phase::Retrying, Some(900)),
        row("c0ffee12", TokenStatus::Missing, Phase::Parked, None),
    ]
}

fn reply() -> StatusReply {
    let ago = |seconds| now() - TimeDelta::seconds(seconds);
    StatusReply {
        servers: None,
        cron: Cron {
            running: true,
            description: String::new(),
            stopped_since: None,
            interval_seconds: 60,
            refreshing: false,
            next_run_at: Some(now() + TimeDelta::seconds(42)),
            last_run: Some(LastRun {
                reason: Trigger::Schedule,
                started_at: ago(18),
                finished_at: ago(18),
                duration_ms: 412,
                total: 4,
                updated: 3,
                errors: 1,
            }),
        },
        tokens: Tokens {
            success: true,
            error: None,
            as_of: Some(ago(180)),
            customers: None,
            ineligible: vec![],
            removed: vec![],
            matched: None,
            complete: false,
            summary: Summary {
                total: 128,
                valid: 119,
                expiring_soon: 5,
                expired: 3,
                missing: 1,
                parked: 2,
                retrying: 0,
                in_trouble: 4,
                ineligible: 0,
            },
        },
        daemon: Daemon {
            version: "0.1.0".to_owned(),
            protocol: 1,
            pid: 1,
            started_at: ago(3600),
            revision: Revision(1),
            store: "mssql sql01/app".to_owned(),
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

fn chosen(wanted: StatusArgs) -> Vec<String> {
    choose(rows(), &wanted).into_iter().map(|row| row.customer_id).collect()
}

const PIPE: Style = Style { width: None, color: false, progress: false };

#[test]
fn in_a_pipe_it_is_plain_text() {
    let sorted = choose(rows(), &StatusArgs::default());
    let report = report(&reply(), &sorted, IDS, PIPE, false, now());
    assert_eq!(
        report.data,
        "\
loop running   next run in 42s   last run 18s ago (schedule): 3 renewed, 1 failed in 0.4s   mssql sql01/app
128 total   119 valid   5 expiring soon   3 expired   1 missing   2 parked

STATUS         CUSTOMER  USER                  THINGSBOARD      LEFT  NEXT    LAST ERROR
expired        8f1c02aa  ops@8f1c02aa.example  tb.acme.example  -12m  parked  wrong password
missing        c0ffee12  ops@c0ffee12.example  tb.acme.example  -     parked  wrong password
expiring soon  7aa01b33  ops@7aa01b33.example  tb.acme.example  4m    in 40s
valid          91be77c0  ops@91be77c0.example  tb.acme.example  15m   in 40s  wrong password (x4)
valid          1b2c9d00  ops@1b2c9d00.example  tb.acme.example  14m   in 40s
"
    );
    assert_eq!((report.remarks.as_str(), report.exit), ("", 0));
}

#[test]
fn rows_that_are_customers_no_longer_are_counted_and_told_with_the_problems() {
    let mut reply = reply();
    reply.tokens.summary.ineligible = 3;
    let lost = |id: &str, seconds: Option<i64>, reason: &str| tbtoken_proto::Ineligible {
        customer_id: id.to_owned(),
        reason: reason.to_owned(),
        since: now() - TimeDelta::seconds(120),
        tbtokenexpiry: seconds.map(|seconds| now() + TimeDelta::seconds(seconds)),
    };
    reply.tokens.ineligible =
        vec![lost("acme", Some(600), "its tb_password is blank"), lost("gone", None, "its row is gone")];
    assert!(summary_line(&reply.tokens.summary, PIPE).contains("2 parked   3 ineligible"));
    assert_eq!(
        ineligible(&reply, PIPE, now()),
        "\n\
         INELIGIBLE  LEFT  SINCE   REASON\n\
         acme        10m   2m ago  its tb_password is blank\n\
         gone        -     2m ago  its row is gone\n\
         and 1 more\n"
    );
}

#[test]
fn on_a_terminal_signs_stand_before_the_words_and_it_fits() {
    let sorted = choose(rows(), &StatusArgs::default());
    let style = Style { width: Some(80), ..PIPE };
    let text = customers(&sorted, true, IDS, style, now());
    assert_eq!(
        text,
        "  \
  STATUS           CUSTOMER  USER                  LEFT  NEXT    LAST ERROR
x expired        8f1c02aa  ops@8f1c02aa.example  -12m  parked  wrong password
- missing        c0ffee12  ops@c0ffee12.example  -     parked  wrong password
! expiring soon  7aa01b33  ops@7aa01b33.example  4m    in 40s
  valid          91be77c0  ops@91be77c0.example  15m   in 40s  wrong passwor…
  valid          1b2c9d00  ops@1b2c9d00.example  14m   in 40s
"
        .trim_start()
    );
}

#[test]
fn a_narrow_terminal_drops_the_server_then_next_then_the_user() {
    let headings = |width| {
        let text = customers(&rows(), true, IDS, Style { width: Some(width), ..PIPE }, now());
        assert!(text.lines().all(|line| line.chars().count() <= width.into()), "{text}");
        text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(headings(100), "STATUS CUSTOMER USER THINGSBOARD LEFT NEXT LAST ERROR");
    assert_eq!(headings(80), "STATUS CUSTOMER USER LEFT NEXT LAST ERROR");
    assert_eq!(headings(66), "STATUS CUSTOMER USER LEFT LAST ERROR");
    assert_eq!(headings(50), "STATUS CUSTOMER LEFT LAST ERROR");
}

#[test]
fn colour_stands_on_the_status_alone() {
    let style = Style { width: Some(100), color: true, progress: false };
    let sorted = choose(rows(), &StatusArgs::default());
    let text = customers(&sorted, true, IDS, style, now());
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("\u{1b}[1mSTATUS "));
    assert!(lines.next().unwrap().starts_with("\u{1b}[31mx expired\u{1b}[0m        8f1c02aa  "));
    assert!(lines.next().unwrap().starts_with("\u{1b}[31m- missing\u{1b}[0m        c0ffee12  "));
    assert!(lines.next().unwrap().starts_with("\u{1b}[33m! expiring soon\u{1b}[0m  7aa01b33  "));
    assert!(lines.next().unwrap().starts_with("  valid          91be77c0  "));
    let mut plain = text.clone();
    for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[33m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, customers(&sorted, true, IDS, Style { color: false, ..style }, now()));
}

#[test]
fn rows_are_chosen_and_sorted_as_wanted() {
    let all = StatusArgs::default;
    assert_eq!(chosen(all()), ["8f1c02aa", "c0ffee12", "7aa01b33", "91be77c0", "1b2c9d00"]);
    let problems = StatusArgs { problems: true, ..all() };
    assert_eq!(chosen(problems), ["8f1c02aa", "c0ffee12", "7aa01b33", "91be77c0"]);
    let status = StatusArgs { status: vec![TokenStatus::Missing, TokenStatus::Valid], ..all() };
    assert_eq!(chosen(status), ["c0ffee12", "91be77c0", "1b2c9d00"]);
    let both = StatusArgs { problems: true, status: vec![TokenStatus::Valid], ..all() };
    assert_eq!(chosen(both), ["91be77c0"]);
    let left = StatusArgs { sort: SortBy::Left, ..all() };
    assert_eq!(chosen(left), ["c0ffee12", "8f1c02aa", "7aa01b33", "1b2c9d00", "91be77c0"]);
    let customer = StatusArgs { sort: SortBy::Customer, ..all() };
    assert_eq!(chosen(customer), ["1b2c9d00", "7aa01b33", "8f1c02aa", "91be77c0", "c0ffee12"]);
    let by_status = StatusArgs { sort: SortBy::Status, ..all() };
    assert_eq!(chosen(by_status), ["8f1c02aa", "c0ffee12", "7aa01b33", "1b2c9d00", "91be77c0"]);
}

#[test]
fn a_stopped_loop_and_a_lost_table_come_first() {
    let mut reply = reply();
    reply.cron = Cron { running: false, refreshing: true, next_run_at: None, last_run: None, ..reply.cron };
    reply.tokens.success = false;
    reply.tokens.error = Some("connection refused\u{1b}[0m".to_owned());
    let text = report(&reply, &rows(), IDS, PIPE, false, now()).data;
    assert!(text.contains("  loop stopped") && text.contains("  parked"), "{text}");
    assert!(!text.contains("  in ") && !text.contains("  due"), "no attempt is promised: {text}");
    assert!(
        text.starts_with(
            "\
loop STOPPED   a pass is running   no run yet   mssql sql01/app
DATABASE UNREACHABLE: connection refused\u{fffd}[0m; showing what was read 3m ago, at 2026-11-23T14:00:00Z
128 total   "
        ),
        "{text}"
    );
    reply.tokens.as_of = None;
    reply.tokens.error = None;
    reply.daemon.store_ok = false;
    let text = report(&reply, &rows(), IDS, PIPE, false, now()).data;
    assert!(
        text.contains(
            "\nDATABASE UNREACHABLE: the daemon gives no reason; the table has not been read yet\n"
        ),
        "{text}"
    );
    let style = Style { color: true, ..PIPE };
    let text = report(&reply, &rows(), IDS, style, false, now()).data;
    assert!(text.starts_with("\u{1b}[33mloop STOPPED\u{1b}[0m "), "{text}");
    assert!(text.contains("\u{1b}[31mDATABASE UNREACHABLE"), "{text}");
}

#[test]
fn a_table_that_can_only_be_read_is_trouble_too() {
    let mut reply = reply();
    reply.daemon.store_ok = false;
    let trouble = |reply: &StatusReply| trouble_line(reply, PIPE, now());
    assert_eq!(trouble(&reply), "DATABASE REFUSES WRITES: the daemon gives no reason\n");
    reply.daemon.store_error = Some("the disk is full".to_owned());
    assert_eq!(trouble(&reply), "DATABASE REFUSES WRITES: the disk is full\n");
    reply.daemon.store_ok = true;
    assert_eq!(trouble(&reply), "");
}

#[test]
fn a_ledger_outside_the_database_is_shown() {
    let mut reply = reply();
    reply.daemon.ledger = Some("in /x/ledger.db, because\u{1b} there is no table".to_owned());
    let line = "sent passwords are recorded in /x/ledger.db, because\u{fffd} there is no table; that serves one daemon only";
    let text = report(&reply, &rows(), IDS, PIPE, false, now()).data;
    assert_eq!(text.lines().nth(1), Some(line), "{text}");
    assert!(!report(&reply, &rows(), IDS, PIPE, true, now()).data.contains("ledger"));
}

#[test]
fn quiet_shows_only_the_table() {
    let text = report(&reply(), &rows(), IDS, PIPE, true, now()).data;
    assert!(text.starts_with("STATUS "), "{text}");
}

#[test]
fn an_empty_list_is_a_remark() {
    let none = report(&reply(), &[], IDS, PIPE, false, now());
    assert_eq!(none.remarks, "no customer matches\n");
    assert!(none.data.ends_with("2 parked\n\n"), "{}", none.data);
    let mut empty = reply();
    empty.tokens.summary = Summary::default();
    assert!(report(&empty, &[], IDS, PIPE, false, now()).remarks.starts_with("no customer in the table"));
    empty.tokens.as_of = None;
    let unread = "tbtokend has not read its table yet\n";
    assert_eq!(
        report(&empty, &[], IDS, PIPE, false, now()).remarks,
        unread,
        "an unread table is no empty one"
    );
}

#[test]
fn what_the_table_says_cannot_move_the_cursor() {
    let evil = Customer {
        customer_id: "a\u{1b}[2J".to_owned(),
        tb_username: "b\nc".to_owned(),
        tb_url: "http://x\u{202e}y/".to_owned(),
        ..row("x", TokenStatus::Valid, Phase::Ok, Some(60))
    };
    let text = customers(&[evil], true, IDS, PIPE, now());
    assert_eq!(
        text.lines().nth(1),
        Some("valid   a\u{fffd}[2J     b\u{fffd}c   http://x\u{fffd}y   1m    in 40s")
    );
}

#[test]
fn ids_are_whole_where_there_is_room_and_as_short_as_a_command_takes_them_elsewhere() {
    let ids = ["8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11", "91BE77C0-33D1-4E02-9C77-0E5A3F6B2D13"];
    let rows = ids.map(|id| Customer {
        tb_username: "ops".to_owned(),
        ..row(id, TokenStatus::Valid, Phase::Ok, Some(870))
    });
    let shown = |width| customers(&rows, true, IDS, Style { width: Some(width), ..PIPE }, now());
    assert!(ids.iter().all(|id| shown(200).contains(id)));
    assert!(ids.iter().all(|id| !shown(80).contains(&id[..20]) && shown(80).contains(&id[..8])));
}
