//! `tbtokend customers`: the rows of a SQLite file without `sqlite3`, beside the daemon, as its user, as root.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use nix::sys::termios::{LocalFlags, tcgetattr};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use tbtoken_tests::canary;
use tbtoken_tests::harness::{Installation, Output, Row, binaries};
use tbtoken_tests::mssql::SqlServer;
use tbtoken_tests::thingsboard::{ThingsBoard, User};

use super::doctor::{SERVICE, of_a_service};

/// Runs it with this standard input; what it prints is searched for secrets.
fn customers(installation: &Installation, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(binaries::path("tbtokend"))
        .args(["customers", "--config"])
        .arg(installation.write_config())
        .args(arguments)
        .env("TZ", "XYZ-5:30")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    canary::assert_clean("standard output", &output.stdout);
    canary::assert_clean("standard error", &output.stderr);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn refused(output: &Output, why: &str) {
    let is_told_once = output.stderr.matches(why).count() == 1;
    assert!(output.code == Some(1) && output.stdout.is_empty() && is_told_once, "{output:?}");
}

fn add<'a>(id: &'a str, row: &'a Row) -> [&'a str; 6] {
    ["add", id, "--user", row.tb_username.as_deref().unwrap(), "--url", row.tb_url.as_deref().unwrap()]
}

#[test]
fn a_customer_is_added_changed_and_removed_beside_the_running_daemon() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    let mut password = row.tb_password.clone().unwrap();
    password.push_str("\r\nanother line\n");
    let installation = Installation::new();
    let daemon = installation.start();

    let added = customers(&installation, &add("acme", &row), &password);
    assert_eq!((added.code, added.stderr.as_str()), (Some(0), ""), "{added:?}");
    daemon.until_customer("acme", "is valid", |acme| acme.renewals >= 1);
    let token = installation.table().row("acme").tbtoken;
    assert_eq!(installation.table().row("acme").tb_password, row.tb_password);

    refused(&customers(&installation, &add("acme", &row), &password), "tbtokend customers set acme");
    refused(&customers(&installation, &["set", "absent", "--user", "x"], ""), "there is no customer absent");
    refused(&customers(&installation, &["remove", "absent"], ""), "tbtokend customers list");
    refused(&customers(&installation, &["set", "acme", "--user", " "], ""), "its tb_username is blank");
    refused(
        &customers(&installation, &["set", "acme", "--url", "tb.example"], ""),
        "tb_url is not a URL; write for example https://thingsboard.example.com",
    );
    refused(&customers(&installation, &["set", "acme", "--password"], "\n"), "it is empty");
    assert_eq!(customers(&installation, &["set", "acme"], "").code, Some(2), "nothing to change");
    assert_eq!(installation.table().row("acme").tbtoken, token, "no token was touched");

    installation.table().set("acme", "tbtokenexpiry", Some("2100-01-01T00:00:00Z"));
    installation.table().insert([&Row { customer_id: "b\u{1b}".to_owned(), ..Row::default() }]);
    let list = customers(&installation, &["list"], "").stdout;
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("CUSTOMER  USER") && lines.len() == 3, "{list}");
    assert!(
        lines[1].starts_with("acme") && lines[1].ends_with("set       2100-01-01T05:30:00+05:30"),
        "{list}"
    );
    assert!(lines[2].starts_with("b\u{fffd}") && lines[2].ends_with("missing   -"), "{list}");
    let json = customers(&installation, &["list", "--json"], "").stdout;
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows["customers"][0]["tbtokenexpiry"], "2100-01-01T00:00:00Z", "{json}");
    assert_eq!(rows["customers"][1]["has_password"], false, "{json}");

    let wrong = canary::password("changed");
    let set = customers(&installation, &["set", "acme", "--password", "--url", "https://b.example"], &wrong);
    assert_eq!(set.code, Some(0), "{set:?}");
    let row = installation.table().row("acme");
    assert_eq!((row.tb_password.unwrap(), row.tb_url.unwrap()), (wrong, "https://b.example".to_owned()));
    assert_eq!(customers(&installation, &["remove", "acme"], "").code, Some(0));
    daemon.until("it is gone", |status| status.find("acme").is_none());
}

#[test]
fn an_import_is_all_or_nothing_and_names_the_line() {
    let installation = Installation::new();
    installation.table().insert([&Row { customer_id: "old".to_owned(), ..Row::default() }]);
    let file = installation.folder().join("customers.csv");
    let password = canary::password("\"\"quoted\"\", and more");
    let line = |id: &str| format!("{id},ops,\"{password}\",https://{id}.example\r\n");
    let import = |lines: &[String]| {
        let head = "customer_id,tb_username,tb_password,tb_url\r\n".to_owned();
        fs::write(&file, head + &lines.concat()).unwrap();
        customers(&installation, &["import", file.to_str().unwrap()], "")
    };
    let count = || customers(&installation, &["list"], "").stdout.lines().count() - 1;
    let unusable = format!("b,ops,{},ftp://b.example\n", canary::password("b"));
    let unquoted = format!("b,o\"ps,{},https://b.example\n", canary::password("b"));
    for (lines, why) in [
        ([line("a"), line("old")], "line 3: customer old exists already"),
        ([line("a"), line("a")], "line 3: customer a exists already"),
        ([line("a"), unusable], "line 3: customer b would not be renewed"),
        ([line("a"), unquoted], "line 3: a field that holds quotation marks"),
    ] {
        refused(&import(&lines), why);
        assert_eq!(count(), 1, "nothing is imported: {why}");
    }
    let imported = import(&[line("a"), line("b")]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert_eq!(installation.table().row("b").tb_password, Some(canary::password("\"quoted\", and more")));
    assert_eq!(count(), 3);
    refused(&customers(&installation, &["import", "/nowhere.csv"], ""), "/nowhere.csv cannot be read");
}

/// Tables of other programs: another name, ids that are numbers, a column that takes `a` for `A`, triggers.
#[test]
fn any_table_is_changed_row_by_row_or_not_at_all() {
    let installation = Installation::new().with("store.table", "their table-1");
    let columns = "tb_username, tb_password, tb_url, tbtoken, tbtokenexpiry";
    let table = installation.table();
    table.execute(&format!("CREATE TABLE \"their table-1\" (customer_id INTEGER, {columns})"));
    let row =
        Row { tb_username: Some("ops".into()), tb_url: Some("https://a.example".into()), ..Row::default() };
    let password = canary::password("x");
    assert_eq!(customers(&installation, &add("17", &row), &password).code, Some(0));
    refused(&customers(&installation, &add("017", &row), &password), "does not keep customer 017");
    assert_eq!(customers(&installation, &["list"], "").stdout.lines().count(), 2);

    table.execute(
        "CREATE TRIGGER t BEFORE UPDATE ON \"their table-1\" BEGIN SELECT RAISE(ABORT, 'canary-pw-'); END",
    );
    refused(&customers(&installation, &["set", "17", "--user", "b"], ""), "the table refuses customer 17");
    table.execute("INSERT INTO \"their table-1\" SELECT * FROM \"their table-1\"");
    refused(&customers(&installation, &["remove", "17"], ""), "several rows have the customer_id 17");

    let installation = Installation::new();
    fs::remove_file(installation.table().path()).unwrap();
    refused(&customers(&installation, &["list"], ""), "systemctl start tbtokend");
    assert!(!installation.table().path().exists());
    fs::write(installation.table().path(), "not a database, but long enough to be read as one").unwrap();
    refused(&customers(&installation, &["list"], ""), "is not a SQLite database");
}

#[test]
fn where_the_store_is_a_sql_server_it_says_to_use_sql() {
    let server = SqlServer::start();
    let installation = Installation::new().on_mssql(&server);
    fs::remove_file(installation.folder().join("mssql-password")).unwrap();
    refused(&customers(&installation, &["list"], ""), "the customers are in SQL Server: change them there");
}

/// What root writes stays the daemon's.
#[test]
fn root_becomes_the_owner_of_the_file_first() {
    let Some(installation) = of_a_service() else { return };
    installation.table().create();
    let file = installation.table().path().to_owned();
    for path in [&file, &installation.folder().to_owned()] {
        std::os::unix::fs::chown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    let held = installation.table().connect();
    held.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    for beside in fs::read_dir(installation.folder()).unwrap() {
        let path = beside.unwrap().path();
        std::os::unix::fs::chown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    drop(held);
    let row =
        Row { tb_username: Some("ops".into()), tb_url: Some("https://a.example".into()), ..Row::default() };
    let added = customers(&installation, &add("acme", &row), &canary::password("x"));
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(fs::metadata(&file).unwrap().uid(), SERVICE);
    // In a folder in which others could have planted something, a file of root's is not opened.
    std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
    refused(&customers(&installation, &["list"], ""), "is not opened as root");
}

/// A terminal, on which nothing that is typed is seen.
#[test]
fn a_password_is_typed_unseen_and_the_terminal_given_back() {
    let row =
        Row { tb_username: Some("ops".into()), tb_url: Some("https://a.example".into()), ..Row::default() };
    let password = canary::password("typed");
    for keys in [format!("{password}\r"), "\u{3}".to_owned()] {
        let installation = Installation::new();
        let pair = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut command = CommandBuilder::new(binaries::path("tbtokend"));
        command.args(["customers", "--config", installation.write_config().to_str().unwrap()]);
        command.args(add("acme", &row));
        let mut child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let mut keyboard = pair.master.take_writer().unwrap();
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains("(not shown): ") {
            reader.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        let tty = fs::File::open(pair.master.tty_name().unwrap()).unwrap();
        let echoes = || tcgetattr(&tty).unwrap().local_flags.contains(LocalFlags::ECHO);
        assert!(!echoes());
        keyboard.write_all(keys.as_bytes()).unwrap();
        let ended = child.wait().unwrap();
        assert!(echoes(), "as it was before");
        let is_added = keys.len() > 1;
        assert_eq!(ended.success(), is_added, "{ended:?}");
        let list = customers(&installation, &["list"], "").stdout;
        assert_eq!(list.lines().count(), if is_added { 2 } else { 1 }, "{list}");
        if is_added {
            assert_eq!(installation.table().row("acme").tb_password.as_ref(), Some(&password));
        }
        drop((pair.slave, tty));
        let _ = reader.read_to_end(&mut seen);
        canary::assert_clean("the terminal", &seen);
    }
}
