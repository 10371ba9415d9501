//! A wrong row does not affect other rows.

use rusqlite::params;
use tbtoken_proto::{FailureKind, Phase, TokenStatus};
use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

#[test]
fn each_bad_row_is_alone_with_its_problem() {
    let thingsboard = ThingsBoard::start();
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let as_id = |id: &str| Row { customer_id: id.to_owned(), ..good.clone() };
    let control = thingsboard.add(User::new("a\u{1b}[2Jb"));
    let rows = [
        good.clone(),
        as_id("no-url-at-all").url("not a url"),
        as_id("ftp").url("ftp://tb.example"),
        Row::new("control", &control),
        Row { tb_username: None, ..as_id("null-user") },
        Row { tb_password: Some("   ".into()), ..as_id("blank-password") },
        Row { tb_url: Some(String::new()), ..as_id("blank-url") },
    ];
    let installation = Installation::new().with_rows(&rows);
    let sql =
        "INSERT INTO customer_settings (customer_id, tb_username, tb_password, tb_url) VALUES (?, ?, ?, ?)";
    let blob = b"\xff\xfe".to_vec();
    let connection = installation.table().connect();
    connection.execute(sql, params!["blob", good.tb_username, blob, good.tb_url]).unwrap();
    drop(connection);
    let daemon = installation.start();
    let status = daemon.until("all is done", |s| s.tokens.summary.valid == 2 && s.tokens.summary.parked == 2);
    for id in ["no-url-at-all", "ftp"] {
        assert_eq!(status.of(id).failure.as_ref().unwrap().kind, FailureKind::BadUrl, "{id}");
        assert_eq!(status.of(id).state, Phase::Parked);
    }
    for id in ["null-user", "blank-password", "blank-url", "blob"] {
        assert!(status.find(id).is_none(), "{id}");
    }
    daemon.wait_for_log("row blob: ");
    assert!(!daemon.log().contains('\u{1b}'), "a control character in the log");
    let table = installation.ctl(&["status"]).stdout;
    assert!(!table.contains("\u{1b}[2J"), "{table}");
}

#[test]
fn an_expiry_that_is_no_date_is_said_once_and_counts_as_none() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops"))).token("a.b.c", "tomorrow");
    let installation = Installation::new().with_row(row).with("schedule.autostart", false);
    let daemon = installation.start();
    let seen = daemon.until_customer("acme", "is there", |_| true);
    assert_eq!((seen.token_status, seen.tbtokenexpiry), (TokenStatus::Missing, None));
    let as_of = daemon.status().tokens.as_of;
    daemon.until("it has looked again", |status| {
        status.tokens.as_of > as_of.map(|at| at + chrono::TimeDelta::seconds(2))
    });
    assert_eq!(daemon.log().matches("tbtokenexpiry is no date").count(), 1);
    daemon.refresh();
    let row = installation.table().row("acme");
    assert!(thingsboard.accepts(&row.tbtoken.clone().unwrap()) && row.expiry().is_some());
}

#[test]
fn ids_may_be_numbers_and_may_not_occur_twice() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let installation = Installation::new();
    let table = installation.table();
    table.execute("DROP TABLE customer_settings");
    table.execute(
        "CREATE TABLE customer_settings (customer_id INTEGER, tb_username TEXT, tb_password TEXT, tb_url TEXT,
         tbtoken TEXT, tbtokenexpiry TEXT)",
    );
    let sql = "INSERT INTO customer_settings VALUES (?, ?, ?, ?, NULL, NULL)";
    for id in [7, 8, 8] {
        let values = params![id, account.username, account.password, account.url];
        table.connect().execute(sql, values).unwrap();
    }
    let daemon = installation.start();
    daemon.until("both are valid", |status| status.tokens.summary.valid == 2);
    daemon.wait_for_log("row 8: customer_id occurs more than once");
    let token: String = table
        .connect()
        .query_row("SELECT tbtoken FROM customer_settings WHERE customer_id = 7", [], |row| row.get(0))
        .unwrap();
    assert!(thingsboard.accepts(&token));
}

/// Promise 26: a trigger keeps the token out without an error.
#[test]
fn p26_a_write_that_the_table_ignores_has_a_reason_and_costs_one_login() {
    let thingsboard = ThingsBoard::start();
    let rows = ["bad", "good"].map(|name| Row::new(name, &thingsboard.add(User::new(name))));
    let installation = Installation::new().with_rows(&rows);
    installation.table().execute(
        "CREATE TRIGGER t BEFORE UPDATE ON customer_settings WHEN new.customer_id = 'bad'
         BEGIN SELECT RAISE(IGNORE); END",
    );
    let daemon = installation.start();
    daemon.until_customer("good", "is valid", |good| good.token_status == TokenStatus::Valid);
    let again =
        |bad: &tbtoken_proto::Customer| bad.failure.as_ref().is_some_and(|failure| failure.consecutive > 1);
    let bad = daemon.until_customer("bad", "was written again", again);
    assert_eq!(
        (bad.failure.unwrap().kind, bad.state, bad.renewals),
        (FailureKind::Database, Phase::Retrying, 0)
    );
    let shown = installation.ctl(&["show", "bad"]).stdout;
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert!(words.join(" ").contains("the table took it without an error and does not hold it"), "{shown}");
    assert_eq!(thingsboard.user_stats("bad").logins, 1, "the token is here");
    installation.table().execute("DROP TRIGGER t");
    daemon.until_customer("bad", "is valid", |bad| bad.token_status == TokenStatus::Valid);
    assert_eq!(thingsboard.user_stats("bad").logins, 1);
}
