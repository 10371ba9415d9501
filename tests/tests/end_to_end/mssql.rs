//! The whole product on SQL Server: the real daemon, a real socket, TDS and TLS.

use std::time::Duration;

use chrono::TimeDelta;
use tbtoken_proto::TokenStatus;
use tbtoken_tests::canary;
use tbtoken_tests::clock;
use tbtoken_tests::harness::{Daemon, Installation, Row, wait};
use tbtoken_tests::mssql::{Accepts, Certificate, Direction, Layer, Settings, SqlServer, When};
use tbtoken_tests::thingsboard::{Account, Behaviour, ThingsBoard, User};

/// Makes a customer's id as SQL Server prints it.
fn id(number: usize) -> String {
    format!("6F9619FF-8B86-D011-B42D-{number:012X}")
}

fn row(number: usize, account: &Account) -> Row {
    Row::new(id(number), account)
}

/// Makes a server with that many customers of one ThingsBoard.
fn customers(server: &SqlServer, count: usize) -> (ThingsBoard, Vec<Row>) {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(count, |n| User::new(format!("ops{n}")));
    let rows: Vec<_> = accounts.iter().enumerate().map(|(number, account)| row(number, account)).collect();
    server.create_customers();
    server.insert(&rows);
    (thingsboard, rows)
}

fn all_valid(daemon: &Daemon, count: usize) {
    daemon.until("all customers are valid", |status| status.tokens.summary.valid == count);
}

#[test]
fn every_row_of_sql_server_gets_a_token_that_thingsboard_accepts() {
    let server = SqlServer::start();
    let (thingsboard, rows) = customers(&server, 30);
    let installation = Installation::new().on_mssql(&server);
    let before = clock::now();
    let daemon = installation.start();
    all_valid(&daemon, 30);
    for row in &rows {
        let token = server.column(&row.customer_id, "tbtoken").unwrap();
        assert!(thingsboard.accepts(&token), "{}", row.customer_id);
        let expiry = server.column(&row.customer_id, "tbtokenexpiry").unwrap();
        let expected = before + TimeDelta::minutes(15);
        let expiry = chrono::NaiveDateTime::parse_from_str(&expiry, "%F %T%.f").unwrap().and_utc();
        assert!((expiry - expected).abs() < TimeDelta::seconds(30), "{expiry}");
        assert!(server.column(&row.customer_id, "updatedttm").is_some());
    }
    assert_eq!(server.stats().logins, 1, "one connection does it all");
    assert!(daemon.status().daemon.store.contains("mssql app on"), "{:?}", daemon.status().daemon);
}

/// The environment of the old service is enough, without any setting of the store in the file.
#[test]
fn the_environment_of_the_old_service_is_enough() {
    let server = SqlServer::start();
    let (thingsboard, rows) = customers(&server, 2);
    // The second row uses the fallback URL.
    server.execute(&format!("UPDATE customer_settings SET tb_url = NULL WHERE customer_id = '{}'", id(1)));
    let mut installation = Installation::new();
    for key in ["store.kind", "store.path"] {
        installation.config().unset(key);
    }
    let settings = server.settings();
    let authority = server.write_authority(installation.folder());
    let daemon = installation.launch_with(|command| {
        command
            .env("MSSQL_SERVER", server.place())
            .env("MSSQL_DATABASE", &settings.database)
            .env("MSSQL_USER", &settings.user)
            .env("MSSQL_PASSWORD", &settings.password)
            .env("THINGSBOARD_URL", thingsboard.url())
            // Only this machine's own authorities.
            .env("SSL_CERT_FILE", authority);
    });
    let daemon = daemon.wait_until_ready();
    all_valid(&daemon, rows.len());
    assert!(thingsboard.accepts(&server.column(&id(1), "tbtoken").unwrap()));
}

#[test]
fn both_encryptions_with_a_private_authority() {
    for (accepts, encrypt) in [(Accepts::Both, "required"), (Accepts::OnlyStrict, "strict")] {
        let server = SqlServer::with(Settings { accepts, ..Settings::default() });
        let (_thingsboard, rows) = customers(&server, 2);
        let installation = Installation::new().on_mssql(&server).with("store.encrypt", encrypt);
        let daemon = installation.start();
        all_valid(&daemon, rows.len());
        assert!(!daemon.log().contains("not checked"), "{}", daemon.log());
    }
}

#[test]
fn an_untrusted_certificate_needs_a_setting_and_causes_a_warning() {
    let server = SqlServer::with(Settings { certificate: Certificate::SelfSigned, ..Settings::default() });
    let (_thingsboard, rows) = customers(&server, 2);
    let mut installation = Installation::new().on_mssql(&server);
    let mut daemon = installation.start();
    let status = daemon.until("it is not trusted", |status| !status.daemon.store_ok);
    let error = status.daemon.store_error.clone().unwrap();
    assert!(error.contains("is not trusted"), "{error}");
    assert_eq!(server.stats().logins + server.stats().logins_refused, 0, "no password was sent");
    daemon.stop();
    installation.config().unset("store.ca_file");
    installation.config().set("store.trust_server_certificate", true);
    let daemon = installation.start();
    all_valid(&daemon, rows.len());
    assert!(daemon.log().contains("trust_server_certificate"), "{}", daemon.log());
    assert!(daemon.status().daemon.store.contains("not checked"), "{:?}", daemon.status().daemon);
}

#[test]
fn p07_a_token_is_saved_when_sql_server_is_back() {
    let server = SqlServer::start();
    let (thingsboard, rows) = customers(&server, 5);
    let installation = Installation::new().on_mssql(&server);
    thingsboard.set(Behaviour::Slow(Duration::from_millis(1500)));
    let daemon = installation.start();
    thingsboard.wait_until("logins are under way", |tally| tally.server().requests >= 4);
    server.stop();
    let away = daemon.until("the database is missed", |status| !status.daemon.store_ok);
    let error = away.daemon.store_error.clone().unwrap();
    assert!(error.contains("cannot be reached") || error.contains("was lost"), "{error}");
    thingsboard.wait_until("all possible logins are done", |tally| tally.server().in_flight == 0);
    let attempts = |n: usize| thingsboard.user_stats(&format!("ops{n}")).attempts;
    let before: Vec<_> = (0..rows.len()).map(attempts).collect();
    thingsboard.set(Behaviour::Normal);
    server.start_again();
    all_valid(&daemon, rows.len());
    for (number, before) in before.into_iter().enumerate() {
        assert_eq!(attempts(number), before.max(1), "no customer logs in twice for one token");
        let renewals = thingsboard.user_stats(&format!("ops{number}")).renewals;
        assert_eq!(renewals, 0, "nor with a refresh token");
        assert!(thingsboard.accepts(&server.column(&id(number), "tbtoken").unwrap()));
    }
    daemon.wait_for_log("The database is back");
}

#[test]
fn p10_killed_sessions_restarts_and_cuts_need_no_restart_of_the_daemon() {
    let server = SqlServer::start();
    let (_thingsboard, rows) = customers(&server, 3);
    let installation = Installation::new().on_mssql(&server);
    let daemon = installation.start();
    all_valid(&daemon, rows.len());
    let renew = |what: &str| {
        server.execute("UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL");
        daemon.until(what, |status| status.tokens.summary.valid == rows.len() && status.daemon.store_ok);
        let missing = "SELECT customer_id FROM customer_settings WHERE tbtoken IS NULL";
        assert!(daemon_sees(&server, missing), "{what}");
    };
    server.kill_sessions();
    renew("after a KILL");
    server.restart();
    renew("after a restart");
    server.cut_after(When::Statement("save".to_owned()), 1);
    renew("after a save without an answer");
    server.cut(Layer::Tds, Direction::Received, 700);
    renew("after a cut");
    for number in [1205, 1222, 40501, 10054] {
        server.fail(When::Statement("save".to_owned()), number, 1);
        renew("after an error that passes");
    }
}

/// Waits until a query finds no row.
fn daemon_sees(server: &SqlServer, query: &str) -> bool {
    wait::poll(wait::TIMEOUT, || server.execute(query).is_empty().then_some(())).is_some()
}

#[test]
fn p11_a_wrong_password_is_named_tried_once_and_corrected_without_a_restart() {
    let server = SqlServer::start();
    let (_thingsboard, rows) = customers(&server, 1);
    let installation = Installation::new().on_mssql(&server);
    server.set_password(&format!("{}-new", canary::DATABASE));
    let daemon = installation.start();
    let status = daemon.until("the login is refused", |status| !status.daemon.store_ok);
    let error = status.daemon.store_error.clone().unwrap();
    assert!(error.contains("rejects the login tbtokend (error 18456)"), "{error}");
    daemon.wait_for_log("rejects the login tbtokend");
    for _ in 0..20 {
        assert!(daemon.ask(r#"{"action":"refresh"}"#).contains("rejects the login"));
    }
    assert_eq!(server.stats().logins_refused, 1, "only one attempt");
    let password = installation.folder().join("mssql-password");
    std::fs::write(password, format!("{}-new\n", canary::DATABASE)).unwrap();
    all_valid(&daemon, rows.len());
}

/// Promise 5: error 2628 quotes the token, and every login sends the password of the database. The harness searches every log
/// line, at the level trace, and every answer.
#[test]
fn p05_a_token_that_the_server_quotes_is_not_repeated() {
    let server = SqlServer::start();
    let (thingsboard, rows) = customers(&server, 2);
    let installation = Installation::new().on_mssql(&server);
    let daemon = installation.start();
    all_valid(&daemon, rows.len());
    thingsboard.set(Behaviour::Slow(Duration::from_millis(500)));
    server.execute("UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL");
    server.wait_until("it was read", |stats| stats.of("read") > 1);
    server.retype_column("customer_settings", "tbtoken", "varchar(50)");
    daemon.until_customer(&id(0), "has a token that does not fit", |one| one.failure.is_some());
    let failure = daemon.status().of(&id(0)).failure.clone().unwrap();
    assert!(failure.message.contains("50"), "{failure:?}");
    server.kill_sessions();
    server.set_password(&format!("{}-3", canary::DATABASE));
    daemon.until("it is kept out", |status| !status.daemon.store_ok);
    for line in [r#"{"action":"status"}"#, r#"{"action":"events","limit":1000}"#] {
        assert!(daemon.ask(line).contains(r#""success":true"#));
    }
    canary::assert_clean("the log", daemon.log().as_bytes());
}

#[test]
fn p19_after_kill_9_all_are_renewed_and_the_parked_stay_parked() {
    const GOOD: usize = 20;
    const BAD: usize = 4;
    for requests in [1, 6, 15, 22] {
        let server = SqlServer::start();
        let (thingsboard, _) = customers(&server, GOOD);
        let bad = thingsboard.add_many(BAD, |n| User::new(format!("bad{n}")));
        let wrong: Vec<_> = (0..BAD)
            .map(|n| row(100 + n, &bad[n]).password(canary::password(&format!("wrong{n}"))))
            .collect();
        server.insert(&wrong);
        let installation = Installation::new().on_mssql(&server);
        thingsboard.set(Behaviour::Slow(Duration::from_millis(20)));
        let mut daemon = installation.start();
        thingsboard.wait_until("the pass is there", |tally| tally.server().requests >= requests);
        daemon.kill();
        let mut daemon = installation.start();
        daemon.until("all are renewed or parked", |status| {
            let summary = status.tokens.summary;
            summary.valid == GOOD && summary.parked == BAD && !status.cron.refreshing
        });
        let sent = |n: usize| thingsboard.user_stats(&format!("bad{n}")).wrong_passwords;
        let before: Vec<_> = (0..BAD).map(sent).collect();
        assert!(before.iter().all(|sent| (1..=2).contains(sent)), "{before:?}");
        // A status is shown before it is stored, so the table is polled.
        let recorded = || server.execute("SELECT customer_id FROM tbtokend_state WHERE parked = 1").len();
        wait::poll(wait::TIMEOUT, || (recorded() == BAD).then_some(())).expect("the refusals are recorded");
        daemon.kill();
        let daemon = installation.start();
        daemon.until("the next start knows them", |status| status.tokens.summary.parked == BAD);
        daemon.refresh();
        assert_eq!((0..BAD).map(sent).collect::<Vec<_>>(), before, "a parked customer is not tried again");
        let status = daemon.status();
        let valid = status.tokens.customers.iter().flatten();
        assert_eq!(valid.filter(|one| one.token_status == TokenStatus::Valid).count(), GOOD);
    }
}
