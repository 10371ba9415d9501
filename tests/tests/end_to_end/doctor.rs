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

#[test]
fn the_doctor_has_nothing_to_say_about_a_file_that_is_yet_to_be_made() {
    let installation = Installation::new();
    std::fs::remove_file(installation.table().path()).unwrap();
    let config = installation.write_config();
    let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.ends_with("Nothing to do.\n"), "{}", output.stdout);
    assert!(!installation.table().path().exists());

    let elsewhere = installation.folder().join("nowhere").join("customers.db");
    let installation = installation.with("store.path", elsewhere.to_str().unwrap());
    let config = installation.write_config();
    let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "the first start cannot make it there: {output:?}");
    assert!(output.stdout.contains("nowhere does not exist"), "{}", output.stdout);
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
