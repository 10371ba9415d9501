//! `tbtokend doctor` on a SQL Server: each problem is named once, with the statement that corrects it.

use chrono::TimeDelta;
use tbtoken_tests::harness::{Installation, Output, Row};
use tbtoken_tests::mssql::{Accepts, Certificate, Permission, Settings, SqlServer, Zone};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};
use tbtoken_tests::{canary, clock};

const ID: &str = "6F9619FF-8B86-D011-B42D-000000000001";
const TABLE: &str = "dbo.customer_settings";

/// Makes a server with the customers' table, no rows, and the side tables as the DBA makes them.
fn server() -> (SqlServer, Installation) {
    server_with(Settings::default())
}

fn server_with(settings: Settings) -> (SqlServer, Installation) {
    let server = SqlServer::with(settings);
    server.create_customers();
    let installation = Installation::new().on_mssql(&server);
    let schema = installation.tbtokend(&["schema", "--dialect", "mssql", "--table", "customer_settings"]);
    assert_eq!(schema.code, Some(0), "{schema:?}");
    server.execute(&schema.stdout);
    (server, installation)
}

fn doctor(installation: &Installation) -> Output {
    let config = installation.write_config();
    installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()])
}

/// Runs the doctor. Its output must have each of `lines`, and no other warning or error.
fn finds(installation: &Installation, lines: &[&str]) -> String {
    let output = doctor(installation);
    assert_eq!(output.code, Some(1), "{output:?}");
    let text = output.stdout;
    for line in lines {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    let found = |line: &&str| line.starts_with("ERROR") || line.starts_with("WARNING");
    for line in text.lines().filter(found) {
        assert!(lines.iter().any(|expected| line.contains(expected)), "unexpected: {line}\n{text}");
    }
    let remedies: Vec<&str> = text.lines().filter(|line| line.contains("-> ")).collect();
    let mut once = remedies.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), remedies.len(), "a remedy is printed twice:\n{text}");
    assert!(!remedies.is_empty(), "there is no remedy:\n{text}");
    text
}

#[test]
fn where_all_is_well_there_is_nothing_to_do_and_nothing_is_changed() {
    let (server, installation) = server();
    let output = doctor(&installation);
    assert_eq!(output.code, Some(0), "{output:?}");
    for said in [
        "ok       database       readable; encrypted, its certificate is verified",
        "ok       table          customer_id uniqueidentifier, tbtokenexpiry datetime",
        "ok       token column   tbtoken holds a token of any length",
        "ok       permission     SELECT on customer_settings",
        "ok       permission     UPDATE on customer_settings (tbtoken)",
        "ok       permission     UPDATE on customer_settings (tbtokenexpiry)",
        "ok       permission     UPDATE on customer_settings (updatedttm)",
        "ok       records        parked customers stay parked across a restart",
        "ok       ledger         sent passwords are recorded in the database",
        "ok       server clock   within 1 s of this machine's clock; its local time is UTC+00:00",
        "note     rows           0 rows, 0 of them eligible: no customer is renewed",
    ] {
        assert!(output.stdout.contains(said), "{said} is missing:\n{}", output.stdout);
    }
    assert!(output.stdout.ends_with("Nothing to do.\n"), "{}", output.stdout);
    assert!(!output.stdout.contains("thingsboard"), "there is none to be looked at:\n{}", output.stdout);
    let stats = server.stats();
    assert_eq!((stats.logins, stats.of("save"), stats.of("make_tables"), stats.of("keep_key")), (1, 0, 0, 0));
    assert!(server.execute("SELECT id FROM tbtokend_key").is_empty(), "not even a key is made");
}

#[test]
fn rows_are_counted_and_their_servers_looked_at_without_a_password() {
    let (server, installation) = server();
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let blank = "6F9619FF-8B86-D011-B42D-000000000002";
    server.insert([&Row::new(ID, &account), &Row::new(blank, &account).password("  ")]);
    let text = finds(&installation, &["1 row with an http URL: the passwords are sent unencrypted"]);
    for said in [
        "2 rows, 1 of them eligible",
        &format!("1 not renewed: tb_password blank ({blank})"),
        "1 server answers, without TLS",
    ] {
        assert!(text.contains(said), "{said} is missing:\n{text}");
    }
    // A proxy answers. An internal error means that the server does not work; another error means that it is there.
    let http = "1 row with an http URL: the passwords are sent unencrypted";
    thingsboard.set(Behaviour::Page(500));
    finds(
        &installation,
        &[http, "answers with an internal error (HTTP 500)", "See the log of this ThingsBoard"],
    );
    thingsboard.set(Behaviour::Page(404));
    let text = finds(&installation, &[http, "so dead tokens are not noticed"]);
    assert!(text.contains("1 server answers, without TLS"), "{text}");
    assert_eq!(thingsboard.user_stats("ops").attempts, 0);
}

#[test]
fn a_wrong_password_is_named_with_where_it_comes_from_and_tried_once() {
    let (server, installation) = server();
    server.set_password(&format!("{}-9", canary::DATABASE));
    finds(
        &installation,
        &[
            "rejects the login tbtokend (error 18456)",
            "Check store.user and the password (store.password_file",
        ],
    );
    assert_eq!(server.stats().logins_refused, 1);
}

#[test]
fn a_missing_table_or_column_is_named() {
    let (server, installation) = server();
    server.rename_column("customer_settings", "tbtokenexpiry", "expiry");
    finds(
        &installation,
        &[
            "the table customer_settings has no column tbtokenexpiry",
            "Add the column tbtokenexpiry to customer_settings, or set store.table to the right table.",
        ],
    );
    server.drop_table("customer_settings");
    finds(
        &installation,
        &[
            "has no table customer_settings",
            "Create customer_settings, or set the right database in the configuration",
        ],
    );
}

#[test]
fn a_missing_permission_is_named_with_the_one_statement_that_gives_it() {
    const UPDATE: &str =
        "GRANT UPDATE ON [customer_settings] (tbtoken, tbtokenexpiry, updatedttm) TO [tbtokend];";
    let on = |what| Permission::On(what, TABLE.to_owned());
    let column = |column: &str| Permission::OnColumn("UPDATE", TABLE.to_owned(), column.to_owned());
    let lacks = |column: &str| format!("missing: UPDATE on customer_settings ({column})");
    for (denied, lacking) in [
        (on("UPDATE"), vec![lacks("tbtoken"), lacks("tbtokenexpiry"), lacks("updatedttm")]),
        (column("tbtoken"), vec![lacks("tbtoken")]),
        (column("tbtokenexpiry"), vec![lacks("tbtokenexpiry")]),
        (column("updatedttm"), vec![lacks("updatedttm")]),
    ] {
        let (server, installation) = server();
        server.deny(denied);
        let mut lines: Vec<&str> = lacking.iter().map(String::as_str).collect();
        lines.push(UPDATE);
        finds(&installation, &lines);
    }
    // Reading is impossible, and the other missing permissions are named at the same time.
    let (server, installation) = server();
    server.deny(on("SELECT"));
    server.deny(column("tbtoken"));
    let text = finds(
        &installation,
        &[
            "missing: SELECT on customer_settings",
            "GRANT SELECT ON [customer_settings] TO [tbtokend];",
            "missing: UPDATE on customer_settings (tbtoken)",
            UPDATE,
        ],
    );
    assert!(text.contains("reachable; encrypted"), "{text}");
    assert!(
        !text.contains("eligible") && !text.contains("expiry clock"),
        "nothing is known of rows:\n{text}"
    );
    server.allow_everything();
    server.deny(Permission::Everything(TABLE.to_owned()));
    finds(
        &installation,
        &[
            "the login tbtokend has no SELECT permission on customer_settings",
            "GRANT SELECT ON [customer_settings] TO [tbtokend];",
        ],
    );
}

#[test]
fn records_that_cannot_be_stored_are_reported_with_the_command_that_prints_the_statements() {
    const COMMAND: &str = "`tbtokend schema --dialect mssql --table 'customer_settings' --grants 'tbtokend'`";
    let (server, installation) = server();
    for what in ["SELECT", "INSERT", "UPDATE"] {
        server.deny(Permission::On(what, "dbo.tbtokend_state".to_owned()));
        finds(
            &installation,
            &["the login lacks permissions on [tbtokend_state]): a restart forgets which customers", COMMAND],
        );
        server.allow_everything();
    }
    server.drop_table("tbtokend_state");
    finds(
        &installation,
        &["there is no table [tbtokend_state]", "a restart forgets which customers are parked", COMMAND],
    );
    assert_eq!(server.stats().of("make_tables"), 0, "the doctor makes nothing");
}

#[test]
fn a_ledger_in_a_file_is_reported_with_the_file_and_the_reason_for_the_table() {
    let (server, installation) = server();
    let account = "[tbtokend_account]";
    let in_file = "/ledger.db, which serves one daemon only";
    let none = "tbtokend cannot record sent passwords, so it sends none";
    let remedy =
        "If several daemons use this customer table, have the DBA run the output of `tbtokend schema";
    for what in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
        server.deny(Permission::On(what, "dbo.tbtokend_account".to_owned()));
        finds(
            &installation,
            &[&format!("the login lacks permissions on {account}"), none, "tbtokend schema"],
        );
        server.allow_everything();
    }
    server.rename_column("tbtokend_account", "details", "detail");
    finds(
        &installation,
        &[&format!("the table {account} has other columns"), none, "first rename the table"],
    );
    server.drop_table("tbtokend_account");
    finds(&installation, &[&format!("there is no table {account}"), in_file, remedy]);
    assert_eq!(server.stats().of("make_tables"), 0, "the doctor makes nothing");
}

#[test]
fn a_short_token_column_is_reported_with_the_statement_that_widens_it() {
    let (server, installation) = server();
    server.retype_column("customer_settings", "tbtoken", "varchar(100)");
    finds(
        &installation,
        &[
            "tbtoken holds only 100 characters",
            "ALTER TABLE [customer_settings] ALTER COLUMN [tbtoken] varchar(max) NULL;",
        ],
    );
}

#[test]
fn a_wrong_clock_is_reported() {
    let (server, installation) = server();
    server.set_skew(95);
    finds(
        &installation,
        &["the server's clock is 9", "s ahead of this machine's", "Synchronize both with a time server"],
    );
    server.set_skew(-95);
    finds(&installation, &["the server's clock is 9", "s behind this machine's"]);
}

/// Adds a row with an expiry in a zone this many minutes ahead of UTC. It ends a quarter of an hour after its token was
/// issued.
fn row_of_an_old_writer(server: &SqlServer, thingsboard: &ThingsBoard, ahead: i64) {
    let issued = clock::now();
    let shown = issued + TimeDelta::minutes(15 + ahead);
    let times = serde_json::json!({ "iat": issued.timestamp(), "exp": issued.timestamp() + 9000 });
    let token = tbtoken_tests::thingsboard::jwt::mint(7, canary::TOKEN, &times);
    let account = thingsboard.add(User::new(format!("ops{ahead}")));
    let row = Row::new(ID, &account).token(token, shown.format("%FT%T").to_string());
    server.insert([&row]);
}

#[test]
fn p08_the_clock_of_the_rows_is_compared_with_the_configured_one() {
    let http = "http URL: the passwords are sent unencrypted";
    for (ahead, configured, wrong) in [
        (0, "utc", None),
        (330, "server-local", None),
        (
            330,
            "utc",
            Some((
                "local time (UTC+05:30), but store.expiry_clock is utc",
                "set store.expiry_clock = \"server-local\"",
            )),
        ),
        (
            0,
            "server-local",
            Some((
                "written in UTC, but store.expiry_clock is server-local",
                "set store.expiry_clock = \"utc\"",
            )),
        ),
    ] {
        let (server, installation) = server();
        let thingsboard = ThingsBoard::start();
        server.set_zone(Zone::Fixed(330));
        row_of_an_old_writer(&server, &thingsboard, ahead);
        let installation = installation.with("store.expiry_clock", configured);
        match wrong {
            None => {
                let text = finds(&installation, &[http]);
                assert!(text.contains("as configured: 1 of 1 in the sample"), "{text}");
            }
            Some((found, remedy)) => drop(finds(&installation, &[http, found, remedy])),
        }
    }
}

#[test]
fn an_unprotected_connection_is_reported() {
    let (server, installation) = server_with(Settings { accepts: Accepts::Plain, ..Settings::default() });
    finds(
        &installation,
        &[
            "no encrypted connection to",
            "does not offer encryption",
            "Give the server a certificate and allow encryption",
        ],
    );
    assert_eq!(server.stats().logins + server.stats().logins_refused, 0, "no password was sent");
    let (server, mut installation) =
        server_with(Settings { certificate: Certificate::SelfSigned, ..Settings::default() });
    finds(
        &installation,
        &["is not trusted: its certificate is self-signed: add this certificate itself to store.ca_file"],
    );
    assert_eq!(server.stats().logins + server.stats().logins_refused, 0, "no password was sent");
    installation.config().unset("store.ca_file");
    installation.config().set("store.trust_server_certificate", true);
    let text = finds(&installation, &["the server's certificate is not checked", "store.ca_file"]);
    assert!(text.contains("readable; encrypted, its certificate is not checked"), "{text}");
}

/// With key and records, a reader finds passwords of six digits in seconds.
#[test]
fn every_other_reader_of_the_fingerprints_key_is_named() {
    let (server, installation) = server();
    let output = doctor(&installation);
    let unknown = "note     fingerprints   the daemon's login may not see the other readers of tbtokend_key";
    assert!(output.code == Some(0) && output.stdout.contains(unknown), "{output:?}");
    server.show_key_readers(&[]);
    let output = doctor(&installation);
    let only = "ok       fingerprints   only the daemon's login and administrators can read tbtokend_key";
    assert!(output.code == Some(0) && output.stdout.contains(only), "{output:?}");
    server.show_key_readers(&["reports", "o'neill"]);
    finds(
        &installation,
        &[
            "reports, o'neill can also read tbtokend_key",
            "-> Have the DBA deny it: DENY SELECT ON [tbtokend_key] TO [reports]; DENY SELECT ON [tbtokend_key] TO [o'neill];",
        ],
    );
    let schema =
        installation.tbtokend(&["schema", "--dialect", "mssql", "--table", "dbo.t", "--grants", "tbtokend"]);
    let grants =
        schema.stdout.lines().filter(|line| line.starts_with("GRANT") && line.contains("tbtokend_key"));
    let grants: Vec<&str> = grants.collect();
    assert_eq!(grants, ["GRANT SELECT, INSERT ON [dbo].[tbtokend_key] TO [tbtokend];"], "{schema:?}");
    assert!(
        schema.stdout.contains("-- passwords by trying them. So the key is for this user alone"),
        "{schema:?}"
    );
}

/// Root and the user of a process can read its environment while it runs.
#[test]
fn a_password_in_the_environment_is_better_in_a_file() {
    let (_server, mut installation) = server();
    installation.config().unset("store.password_file");
    let config = installation.write_config();
    let mut command = std::process::Command::new(tbtoken_tests::harness::binaries::path("tbtokend"));
    command.env_clear().env("MSSQL_PASSWORD", Settings::default().password).arg("--config").arg(&config);
    let output = command.arg("doctor").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    canary::assert_clean("the doctor", said.as_bytes());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("WARNING  password       MSSQL_PASSWORD holds the password of the database"),
        "{said}"
    );
    assert!(
        said.contains("name that file in store.password_file (or make it the systemd credential"),
        "{said}"
    );
    assert!(said.contains("readable"), "{said}");
}
