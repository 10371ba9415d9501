//! State that must survive a restart: an operator's stop, the changes of a customer, and a rejection when its key is lost.

use std::path::Path;

use tbtoken_proto::{EventKind, Phase, Refresh, Request};
use tbtoken_tests::canary;
use tbtoken_tests::harness::wait::{TIMEOUT, poll};
use tbtoken_tests::harness::{Daemon, Installation, Row};
use tbtoken_tests::mssql::{Permission, SqlServer};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

const GOOD: &str = "6F9619FF-8B86-D011-B42D-000000000001";
const BAD: &str = "6F9619FF-8B86-D011-B42D-000000000002";

/// The place of the daemon's own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Sqlite,
    SqlServer,
    /// SQL Server, where the daemon may not make a table.
    File,
}

struct Scene {
    ground: Ground,
    thingsboard: ThingsBoard,
    server: Option<SqlServer>,
    installation: Installation,
}

impl Scene {
    /// Makes a scene in which `GOOD` has a right password and `BAD` a wrong one.
    fn on(ground: Ground) -> Self {
        let thingsboard = ThingsBoard::start();
        let rows = [
            Row::new(GOOD, &thingsboard.add(User::new("good"))),
            Row::new(BAD, &thingsboard.add(User::new("bad"))).password(canary::password("wrong")),
        ];
        let (server, installation) = match ground {
            Ground::Sqlite => (None, Installation::new().with_rows(&rows)),
            Ground::SqlServer | Ground::File => {
                let server = SqlServer::start();
                server.create_customers();
                server.insert(&rows);
                if ground == Ground::File {
                    server.deny(Permission::CreateTable);
                }
                let installation = Installation::new().on_mssql(&server);
                (Some(server), installation)
            }
        };
        Self { ground, thingsboard, server, installation }
    }

    fn start(&self) -> Daemon {
        let folder = self.installation.folder().join("state");
        let daemon = self.installation.launch_with(|command| {
            command.env("STATE_DIRECTORY", folder);
        });
        daemon.wait_until_ready()
    }

    fn attempts(&self, user: &str) -> u64 {
        self.thingsboard.user_stats(user).attempts
    }

    /// Replaces the key of the fingerprints.
    fn exchange_the_key(&self) {
        let set = "UPDATE tbtokend_key SET fingerprint_key";
        match &self.server {
            Some(server) => drop(server.execute(&format!("{set} = 0x{}", "ab".repeat(32)))),
            None => drop(self.installation.table().execute(&format!("{set} = randomblob(32)"))),
        }
    }
}

fn until_one_is_parked(daemon: &Daemon) {
    daemon.until("one is valid and one parked", |status| {
        status.tokens.summary.valid == 1 && status.tokens.summary.parked == 1 && !status.cron.refreshing
    });
}

fn stop_survives(ground: Ground) {
    let mut scene = Scene::on(ground);
    let mut daemon = scene.start();
    until_one_is_parked(&daemon);
    let output = scene.installation.ctl(&["stop"]);
    assert!(
        output.stdout.contains("stopped by an operator since ")
            && output.stdout.contains("; start it with tbctl start")
    );
    assert!(!output.stdout.contains("stored"), "it is stored: {}", output.stdout);
    let since = daemon.status().cron.stopped_since.unwrap();

    // Neither a kill nor an upgrade undoes it.
    for _ in 0..2 {
        daemon.kill();
        daemon = scene.start();
        let status = daemon.until("the table was read", |status| !status.cron.running);
        assert_eq!((status.cron.stopped_since, status.cron.next_run_at), (Some(since), None));
        daemon.wait_for_log("nothing is renewed: the loop has been stopped by an operator since ");
    }
    assert_eq!((scene.attempts("good"), scene.attempts("bad")), (1, 1));
    let checked = scene.installation.ctl(&["check"]);
    assert_eq!(checked.code, Some(2));
    let expected = "CRITICAL: nothing is renewed, the loop has been stopped by an operator since ";
    assert!(checked.stdout.starts_with(expected), "{}", checked.stdout);
    let shown = scene.installation.ctl(&["status"]).stdout;
    assert!(shown.contains("loop STOPPED by an operator since ") && shown.contains("tbctl start"), "{shown}");

    assert_eq!(scene.installation.ctl(&["start"]).code, Some(0));
    daemon.stop();
    // `autostart` counts for the very first start only.
    scene.installation.config().set("schedule.autostart", false);
    let daemon = scene.start();
    let status = daemon.until("the table was read", |status| status.tokens.as_of.is_some());
    assert!(status.cron.running && status.cron.stopped_since.is_none());
}

#[test]
fn a_stop_survives_restarts_in_a_sqlite_file() {
    stop_survives(Ground::Sqlite);
}

#[test]
fn a_stop_survives_restarts_in_sql_server() {
    stop_survives(Ground::SqlServer);
}

#[test]
fn a_stop_survives_restarts_in_the_state_folder() {
    stop_survives(Ground::File);
}

#[test]
fn a_loop_that_is_not_to_start_by_itself_waits_for_an_operator_over_restarts() {
    let mut scene = Scene::on(Ground::Sqlite);
    scene.installation.config().set("schedule.autostart", false);
    for _ in 0..2 {
        let mut daemon = scene.start();
        daemon.wait_for_log(
            "the loop is not started, because schedule.autostart is false; start it with tbctl start",
        );
        assert!(daemon.status().cron.stopped_since.is_none() && !daemon.status().cron.running);
        daemon.stop();
    }
    assert_eq!(scene.attempts("good"), 0);
    let mut daemon = scene.start();
    assert_eq!(scene.installation.ctl(&["start"]).code, Some(0));
    until_one_is_parked(&daemon);
    daemon.stop();
    let daemon = scene.start();
    daemon.until("the table was read", |status| status.tokens.as_of.is_some() && status.cron.running);
}

#[test]
fn a_stop_that_cannot_be_stored_stops_and_says_so() {
    let scene = Scene::on(Ground::SqlServer);
    let daemon = scene.start();
    until_one_is_parked(&daemon);
    let server = scene.server.as_ref().unwrap();
    server.set_read_only(true);
    let output = scene.installation.ctl(&["stop"]).stdout;
    assert!(
        output.contains("could not be stored") && output.contains("a restart of tbtokend undoes it"),
        "{output}"
    );
    assert!(!daemon.status().cron.running);
    server.set_read_only(false);
    // The next successful poll stores it.
    let _ = daemon.request(&Request::Refresh(Refresh::default()));
    let stored = format!("SELECT details FROM tbtokend_account WHERE account_key = 0x{}", "ff".repeat(32));
    poll(TIMEOUT, || format!("{:?}", server.execute(&stored)).contains("loop_stopped ").then_some(()))
        .expect("it is stored");
}

#[test]
fn the_configuration_that_the_daemon_has_read_is_named() {
    let scene = Scene::on(Ground::Sqlite);
    let daemon = scene.start();
    let file = daemon.status().daemon.config_file.clone().unwrap();
    assert_eq!(Path::new(&file).parent(), Some(scene.installation.folder()));
    until_one_is_parked(&daemon);
    let line = format!("tbtokend has read {file}\n");
    for command in ["check", "version"] {
        let output = scene.installation.ctl(&[command]).stdout;
        assert!(output.contains(&line), "{output}");
    }
    let doctor = scene.installation.tbtokend(&["doctor", "--config", &file]).stdout;
    assert!(
        doctor.contains(&format!("ok       configuration  the running daemon has read {file}\n")),
        "{doctor}"
    );
    let other = scene.installation.folder().join("other.toml");
    std::fs::copy(&file, &other).unwrap();
    let doctor = scene.installation.tbtokend(&["doctor", "--config", other.to_str().unwrap()]).stdout;
    assert!(
        doctor.contains(&format!("WARNING  configuration  the running daemon has read {file}")),
        "{doctor}"
    );
}

fn changes_survive(ground: Ground) {
    let scene = Scene::on(ground);
    let mut daemon = scene.start();
    until_one_is_parked(&daemon);
    daemon.stop();
    let daemon = scene.start();
    let bad = daemon.until_customer(BAD, "is parked", |bad| bad.state == Phase::Parked);
    let kinds: Vec<EventKind> = bad.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [EventKind::Parked]);
    assert!(daemon.status().of(GOOD).changes.is_empty(), "a renewal is no change");
    let output = scene.installation.ctl(&["show", BAD]).stdout;
    let history = output.split("history, oldest first\n").nth(1).unwrap_or_else(|| panic!("{output}"));
    assert_eq!(history.lines().filter(|line| line.trim_end().ends_with("parked")).count(), 1, "{output}");
}

#[test]
fn the_changes_of_a_customer_survive_a_restart_in_a_sqlite_file() {
    changes_survive(Ground::Sqlite);
}

#[test]
fn the_changes_of_a_customer_survive_a_restart_in_sql_server() {
    changes_survive(Ground::SqlServer);
}

fn nothing_rejected_is_sent_with_another_key(ground: Ground) {
    let scene = Scene::on(ground);
    let mut daemon = scene.start();
    until_one_is_parked(&daemon);
    daemon.stop();
    if ground == Ground::Sqlite {
        // The record is deleted too, so only the ledger knows the rejection.
        scene.installation.table().execute("DELETE FROM tbtokend_state");
    }
    scene.exchange_the_key();

    let daemon = scene.start();
    daemon.refresh();
    until_one_is_parked(&daemon);
    assert_eq!(scene.attempts("bad"), 1, "it was not sent again");
    let checked = scene.installation.ctl(&["check"]);
    assert_eq!(checked.code, Some(2), "{}", checked.stdout);
    assert!(checked.stdout.contains("the key in tbtokend_key does not belong to"), "{}", checked.stdout);
    assert!(checked.stdout.contains("tbctl refresh --force ID"), "{}", checked.stdout);
    daemon.wait_for_log("the key in tbtokend_key does not belong to");

    // An operator forces the password, which is still wrong.
    let forced = scene.installation.ctl(&["refresh", "--force", BAD]);
    assert!(forced.stdout.contains("password"), "{forced:?}");
    assert_eq!(scene.attempts("bad"), 2);
    let status = daemon.until("it is decided", |status| status.daemon.key_mismatch.is_none());
    assert_eq!(status.of(BAD).state, Phase::Parked);
    daemon.refresh();
    assert_eq!(scene.attempts("bad"), 2);
}

#[test]
fn p02_a_lost_key_sends_nothing_that_was_rejected_in_a_sqlite_file() {
    nothing_rejected_is_sent_with_another_key(Ground::Sqlite);
}

#[test]
fn p02_a_lost_key_sends_nothing_that_was_rejected_in_sql_server() {
    nothing_rejected_is_sent_with_another_key(Ground::SqlServer);
}

/// The ledger and the key are in a file, so a restart does not lose the key.
#[test]
fn p02_a_rejection_survives_restarts_where_sql_server_has_no_tables() {
    let scene = Scene::on(Ground::File);
    for _ in 0..3 {
        let mut daemon = scene.start();
        until_one_is_parked(&daemon);
        assert_eq!(daemon.status().daemon.key_mismatch, None);
        daemon.stop();
    }
    // The DBA gives the permission while no daemon runs: what the file holds moves into the tables.
    scene.server.as_ref().unwrap().allow_everything();
    for _ in 0..2 {
        let mut daemon = scene.start();
        until_one_is_parked(&daemon);
        assert_eq!(daemon.status().daemon.key_mismatch, None);
        assert_eq!(daemon.status().daemon.ledger, None, "it is in the database");
        daemon.stop();
        std::fs::remove_file(scene.installation.folder().join("state/ledger.db")).ok();
    }
    assert_eq!(scene.attempts("bad"), 1);
    assert_eq!(scene.ground, Ground::File);
}
