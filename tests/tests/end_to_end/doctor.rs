//! `tbtokend doctor` and `tbtokend schema`, as the person at the terminal uses them.

use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

#[test]
fn the_doctor_names_what_is_wrong_sends_no_password_and_changes_nothing() {
    let thingsboard = ThingsBoard::start();
    let gone = ThingsBoard::start();
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let lost = Row { customer_id: "lost".to_owned(), ..Row::new("lost", &gone.add(User::new("lost"))) };
    let rows = [
        good.clone(),
        lost,
        Row { customer_id: "odd".to_owned(), ..good.clone() }.url("ftp://tb.example"),
        Row { customer_id: "blank".to_owned(), tb_password: Some("  ".to_owned()), ..good },
    ];
    let gone_url = gone.url();
    drop(gone);
    let installation = Installation::new().with_rows(&rows);
    let config = installation.write_config();
    let config = config.to_str().unwrap();
    let tables = |installation: &Installation| -> i64 {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'";
        installation.table().connect().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let before = tables(&installation);

    let output = installation.tbtokend(&["doctor", "--config", config]);
    assert_eq!(output.code, Some(1), "{output:?}");
    for said in [
        "4 rows, 3 of them eligible",
        "1 left alone: tb_password blank (blank)",
        "1 row cannot be used: tb_url begins neither with http:// nor with https:// (odd)",
        "http URL: the passwords are sent unencrypted",
        "1 server answers",
        gone_url.as_str(),
    ] {
        assert!(output.stdout.contains(said), "{said} is missing:\n{}", output.stdout);
    }
    let stats = thingsboard.user_stats("good");
    assert_eq!((stats.attempts, stats.logins), (0, 0), "a password was sent");
    assert_eq!(tables(&installation), before, "the doctor made a table");

    let output = installation.tbtokend(&["doctor", "--json", "--config", config]);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["level"] == "error" && finding["check"] == "thingsboard"));
    assert!(findings.iter().all(|finding| finding["level"] == "ok"
        || finding["level"] == "note"
        || finding["remedy"].is_string()));
}

/// What the daemon would say at its start, the doctor says before.
#[test]
fn the_doctor_sees_what_is_wrong_with_our_own_tables() {
    let installation = Installation::new();
    let doctor = |sql: &str| {
        installation.table().execute(sql);
        let config = installation.write_config();
        let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
        (output.code, output.stdout)
    };
    let (code, said) = doctor("CREATE TABLE tbtokend_state (x)");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("tbtokend_state cannot be used (table tbtokend_state has no column"), "{said}");
    assert!(said.contains("forgotten at a restart"), "{said}");
    let (code, said) = doctor("DROP TABLE tbtokend_state");
    assert_eq!(code, Some(0), "the daemon makes it: {said}");
    let daemon = installation.start();
    daemon.until("it was read", |status| status.daemon.store_ok && status.tokens.success);
    drop(daemon);
    let (code, said) = doctor(
        "INSERT INTO tbtokend_state (customer_id, failures, parked, renewals, updated_at)
         VALUES ('acme', 1, 1, 0, 'soon')",
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("acme: a time in its record in tbtokend_state cannot be read"), "{said}");
}

/// One strange row is that row's problem, for the doctor as for the daemon.
#[test]
fn the_doctor_goes_on_where_a_row_has_no_readable_id() {
    let installation = Installation::new();
    installation.table().execute(
        "INSERT INTO customer_settings (customer_id, tb_username, tb_password, tb_url)
         VALUES (CAST(x'ff00' AS TEXT), NULL, 'p', 'https://tb.example')",
    );
    installation.table().execute(
        "INSERT INTO customer_settings (customer_id, tb_username, tb_password, tb_url)
         VALUES (x'ff00', NULL, 'p', 'https://tb.example')",
    );
    let config = installation.write_config();
    let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert!(output.stdout.contains("2 left alone: tb_username blank ((no id), (no id))"), "{output:?}");
}

#[test]
fn the_doctor_warns_of_passwords_that_everybody_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let installation = Installation::new();
    let config = installation.write_config();
    for (mode, code) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
        let path = installation.table().path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
        assert_eq!(output.code, Some(code), "{mode:o}: {output:?}");
        assert_eq!(output.stdout.contains("-> chmod o= "), code == 1, "{output:?}");
    }
}

#[test]
fn the_doctor_has_nothing_to_say_about_a_file_that_is_yet_to_be_made() {
    let installation = Installation::new();
    std::fs::remove_file(installation.table().path()).unwrap();
    let config = installation.write_config();
    let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.ends_with("Nothing to do.\n"), "{}", output.stdout);
    assert!(!installation.table().path().exists());
}

#[test]
fn the_doctor_says_which_server_cannot_be_reached() {
    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut installation = Installation::new()
        .with("store.kind", "mssql")
        .with("store.server", format!("127.0.0.1,{port}"))
        .with("store.database", "app")
        .with("store.user", "svc")
        .with("store.trust_server_certificate", true);
    let file = installation.folder().join("password");
    std::fs::write(&file, format!("{}-2", tbtoken_tests::canary::DATABASE)).unwrap();
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, owner_only).unwrap();
    installation.config().set("store.password_file", file.to_str().unwrap());
    let config = installation.write_config();
    let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains(&format!("SQL Server 127.0.0.1,{port} cannot be reached")), "{output:?}");
    assert!(output.stdout.contains("certificate is not checked"), "{output:?}");
}

#[test]
fn what_schema_prints_for_sqlite_runs_as_it_is() {
    let installation = Installation::new();
    let output = installation.tbtokend(&["schema", "--dialect", "sqlite", "--table", "customers of ours"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(&output.stdout).unwrap();
    connection.execute_batch(&output.stdout).unwrap();
    let sql = "SELECT count(*) FROM \"customers of ours\", tbtokend_state, tbtokend_key";
    let rows: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}
