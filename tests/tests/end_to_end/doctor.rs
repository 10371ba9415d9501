//! `tbtokend doctor` and `tbtokend schema`, as an operator uses them at a terminal.

use tbtoken_tests::harness::http::free_port;
use tbtoken_tests::harness::{Daemon, Installation, Row};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

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
    gone.set(Behaviour::Refuse);
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
        "1 not renewed: tb_password blank (blank)",
        "1 row cannot be used: tb_url begins neither with http:// nor with https:// (odd)",
        "http URL: the passwords are sent unencrypted",
        "1 server answers",
        "1 server rejects a token of another signing key, so dead tokens are noticed",
        gone.url().as_str(),
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

/// The doctor reports problems before the daemon starts.
#[test]
fn the_doctor_reports_problems_of_the_side_tables() {
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
    assert!(said.contains("a restart forgets which customers are parked"), "{said}");
    assert_eq!(doctor("DROP TABLE tbtokend_state").0, Some(0), "the daemon makes it");
    let (code, said) = doctor("CREATE TABLE tbtokend_account (account_key)");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the table tbtokend_account cannot be used (table tbtokend_account has no"),
        "{said}"
    );
    assert!(said.contains("tbtokend cannot record sent passwords, so it sends none"), "{said}");
    let (code, said) = doctor("DROP TABLE tbtokend_account");
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

/// One unusable row does not stop the doctor, just as it does not stop the daemon.
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
    assert!(output.stdout.contains("2 rows, 0 of them eligible"), "{output:?}");
    let problem = "(no id): customer_id is NULL, empty, too long or not text; the row is left alone";
    assert_eq!(output.stdout.matches(problem).count(), 2, "{output:?}");
}

#[test]
fn the_doctor_warns_of_passwords_that_all_users_can_read() {
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

/// After wrong advice about `/etc/passwd`, an operator could not log in any more.
#[test]
fn the_doctor_takes_no_rights_from_what_is_no_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut installation = Installation::new();
    let other = installation.folder().join("passwd");
    std::fs::write(&other, "root:x:0:0:root:/root:/bin/bash\n").unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o644)).unwrap();
    let folder = installation.folder().to_owned();
    for (path, words) in [(&other, "is not a SQLite database"), (&folder, "is a folder")] {
        installation.config().set("store.path", path.to_str().unwrap());
        let config = installation.write_config();
        let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stdout.contains(words) && output.stdout.contains("store.path"), "{output:?}");
        assert!(!output.stdout.contains("chmod") && !output.stdout.contains("chown"), "{output:?}");
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

    let elsewhere = installation.folder().join("nowhere").join("customers.db");
    let installation = installation.with("store.path", elsewhere.to_str().unwrap());
    let config = installation.write_config();
    let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "the first start cannot make it there: {output:?}");
    assert!(output.stdout.contains("nowhere does not exist"), "{}", output.stdout);
}

/// A restart would begin with an empty file.
#[test]
fn a_file_that_is_gone_beside_the_running_daemon_is_an_error() {
    let installation = Installation::new();
    let config = installation.write_config();
    let daemon = installation.start();
    daemon.until("it was read", |status| status.tokens.as_of.is_some());
    std::fs::remove_file(installation.table().path()).unwrap();
    let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    for said in
        ["is gone, but the daemon runs", "-> Put the file back; ", "control.sock is in use by the running"]
    {
        assert!(output.stdout.contains(said), "{said} is missing:\n{}", output.stdout);
    }
    drop(daemon);
}

/// The user of the daemon as a service: any user but root.
pub(super) const SERVICE: u32 = 65_534;

/// Returns the command that runs another one as the service's user.
fn by_service() -> [String; 4] {
    let (uid, gid) = (format!("--reuid={SERVICE}"), format!("--regid={SERVICE}"));
    ["setpriv".to_owned(), uid, gid, "--clear-groups".to_owned()]
}

/// Makes an installation in a folder of the service's user, in which the daemon makes the SQLite file. Prints why and returns
/// `None` if the tests do not run as root, or that user cannot run the binaries.
pub(super) fn of_a_service() -> Option<Installation> {
    let [program, arguments @ ..] = by_service();
    let mut tried = std::process::Command::new(program);
    tried.args(arguments).arg(tbtoken_tests::harness::binaries::path("tbtokend")).arg("--version");
    let can = tried.output().is_ok_and(|output| output.status.success());
    let installation = Installation::new();
    let chown = |path: &std::path::Path| std::os::unix::fs::chown(path, Some(SERVICE), Some(SERVICE));
    if !can || chown(installation.folder()).is_err() {
        eprintln!(
            "skipped: only root can start the daemon as another user, and that user must be able to run it"
        );
        return None;
    }
    std::fs::remove_file(installation.table().path()).unwrap();
    Some(installation)
}

fn start_as_service(installation: &Installation) -> Daemon {
    let way = by_service();
    let way: Vec<&str> = way.iter().map(String::as_str).collect();
    // Root has just written its configuration, readable for root only.
    let config = installation.folder().join("config.toml");
    let hand_over = |_: &mut std::process::Command| {
        std::os::unix::fs::chown(config, Some(SERVICE), Some(SERVICE)).unwrap();
    };
    let daemon = installation.launch_by(&way, hand_over).wait_until_ready();
    daemon.until("it has its table", |status| status.tokens.as_of.is_some());
    daemon
}

/// Returns the owners of the SQLite file and of the files beside it.
fn owners(installation: &Installation) -> Vec<(String, u32)> {
    let files = std::fs::read_dir(installation.folder()).unwrap().map(Result::unwrap);
    let owner = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&file.metadata().ok()?);
        name.starts_with("customers.db").then_some((name, uid))
    };
    files.filter_map(owner).collect()
}

/// `sudo tbtokend doctor` reads the file of a daemon that is not root, and the daemon must still be able to write it.
#[test]
fn the_doctor_of_root_leaves_the_file_to_the_daemons_user() {
    let Some(installation) = of_a_service() else { return };
    let thingsboard = ThingsBoard::start();
    let config = installation.write_config();
    let examine = |when: &str| {
        let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
        assert!(output.stdout.contains("ok       permission     writing to"), "{when}: {output:?}");
        for (file, owner) in owners(&installation) {
            assert_eq!(owner, SERVICE, "{when}: {file}");
        }
    };
    let insert = |id: &str| {
        // As `sudo -u tbtokend sqlite3` does it. The test's own connection is root's, and is closed at once.
        installation.table().insert([&Row::new(id, &thingsboard.add(User::new(id)))]);
    };
    let mut daemon = start_as_service(&installation);
    insert("first");
    daemon.until_customer("first", "is valid", |one| one.last_success_at.is_some());
    examine("beside the daemon");
    insert("second");
    daemon.until_customer("second", "is valid", |one| one.last_success_at.is_some());
    // Root opens the files that a killed daemon leaves behind.
    daemon.kill();
    assert!(owners(&installation).len() > 1, "there is a -wal: {:?}", owners(&installation));
    examine("after kill -9");
    let mut daemon = start_as_service(&installation);
    insert("third");
    daemon.until_customer("third", "is valid", |one| one.last_success_at.is_some());
    daemon.stop();
    assert_eq!(owners(&installation).len(), 1, "it has put its things away: {:?}", owners(&installation));
    examine("while no process has it open");
    let daemon = start_as_service(&installation);
    insert("fourth");
    daemon.until_customer("fourth", "is valid", |one| one.last_success_at.is_some());
    assert_eq!(daemon.status().daemon.store_error, None);
}

/// Root has restored a copy, or has filled the table with `sudo sqlite3` before the daemon made it.
#[test]
fn a_file_of_another_user_is_reported_with_the_command_that_corrects_it() {
    let Some(installation) = of_a_service() else { return };
    installation.table().create();
    let file = installation.table().path();
    let config = installation.write_config();
    let examine = || installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    let output = examine();
    let (folder, file) = (installation.folder().display(), file.display());
    let command = format!("chown --reference={folder} {file} && chmod u+rw {file}");
    assert_eq!(output.code, Some(1), "{output:?}");
    let found = format!("{file} cannot be read and written by the owner of its folder (mode 0600)");
    assert!(output.stdout.contains(&found), "{output:?}");
    assert!(output.stdout.contains(&format!("-> {command}\n")), "{output:?}");
    let done = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(done.success());
    let output = examine();
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn the_doctor_says_which_server_cannot_be_reached() {
    let port = free_port();
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
    let output = installation.tbtokend(&["schema", "--dialect", "sqlite", "--table", "customers of acme"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(&output.stdout).unwrap();
    connection.execute_batch(&output.stdout).unwrap();
    let sql = "SELECT count(*) FROM \"customers of acme\", tbtokend_state, tbtokend_key, tbtokend_account";
    let rows: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

/// The options mean the same before and after the command.
#[test]
fn the_options_count_for_the_commands_wherever_they_stand() {
    let installation = Installation::new().with("store.table", "customers of acme");
    installation.table().execute("ALTER TABLE customer_settings RENAME TO \"customers of acme\"");
    let config = installation.write_config();
    let config = ["--config", config.to_str().unwrap()];
    let run = |arguments: &[&[&str]]| installation.tbtokend(&arguments.concat());
    let store = format!("sqlite {}", installation.table().path().display());
    for output in [run(&[&config, &["doctor"]]), run(&[&["doctor"], &config])] {
        assert!(output.code == Some(0) && output.stdout.contains(&store), "{output:?}");
    }
    let socket = ["--socket", "/nowhere/control.sock"];
    for output in [run(&[&socket, &config, &["doctor"]]), run(&[&config, &["doctor"], &socket])] {
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(
            output.stdout.contains("control.socket = /nowhere/control.sock cannot be used"),
            "{output:?}"
        );
    }
    for output in [
        run(&[&config, &["--log-level", "loud", "doctor"]]),
        run(&[&["doctor", "--log-level", "loud"], &config]),
    ] {
        assert!(output.code == Some(6) && output.stderr.contains("log.level = \"loud\""), "{output:?}");
    }
    let table = "CREATE TABLE IF NOT EXISTS \"customers of acme\"";
    for output in [run(&[&config, &["schema"]]), run(&[&["schema"], &config])] {
        assert!(output.code == Some(0) && output.stdout.contains(table), "{output:?}");
    }
    // Each option on the command line overrides its setting.
    let output = run(&[&config, &["schema", "--dialect", "mssql", "--table", "t"]]);
    assert!(output.code == Some(0) && output.stdout.contains("in the database of t."), "{output:?}");
    let output = run(&[&["schema", "--config", "/nowhere/config.toml"]]);
    assert!(output.code == Some(6) && output.stderr.contains("/nowhere/config.toml"), "{output:?}");
}

/// A DBA needs no password to see the statements.
#[test]
fn the_schema_of_a_configuration_needs_no_password() {
    let installation = Installation::new()
        .with("store.kind", "mssql")
        .with("store.server", "sql.example")
        .with("store.table", "crm.customers");
    let config = installation.write_config();
    let output = installation.tbtokend(&["schema", "--config", config.to_str().unwrap()]);
    assert!(output.code == Some(0) && output.stdout.contains("[crm].[tbtokend_key]"), "{output:?}");
}

#[test]
fn the_doctor_looks_at_the_folders_of_the_sockets() {
    let installation = Installation::new();
    let doctor = |installation: &Installation| {
        let config = installation.write_config();
        installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()])
    };
    let output = doctor(&installation);
    assert!(output.code == Some(0), "{output:?}");
    for socket in [installation.socket(), installation.monitor_socket()] {
        assert!(
            output.stdout.contains(&format!("ok       socket         {} can be made", socket.display())),
            "{output:?}"
        );
    }
    let missing = installation.folder().join("nowhere").join("control.sock");
    let open = installation.folder().join("open").join("monitor.sock");
    std::fs::create_dir(open.parent().unwrap()).unwrap();
    let for_all = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(open.parent().unwrap(), for_all).unwrap();
    let installation = installation
        .with("control.socket", missing.to_str().unwrap())
        .with("control.monitor_socket", open.to_str().unwrap());
    let output = doctor(&installation);
    assert_eq!(output.code, Some(1), "{output:?}");
    let said = format!("the folder of control.socket = {} cannot be used", missing.display());
    assert!(output.stdout.contains(&said) && output.stdout.contains("RuntimeDirectory="), "{output:?}");
    assert!(output.stdout.contains("every user of this machine may write in"), "{output:?}");
}
