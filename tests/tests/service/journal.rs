//! The records of a daemon in a real systemd-journald, which the tests start in its own `/run`.
//!
//! They need root (a mount namespace) and systemd's journald. Without these, the tests print that and pass, except in CI,
//! where `.ci/run` installs both.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tbtoken_tests::canary;
use tbtoken_tests::harness::process::Process;
use tbtoken_tests::harness::{Installation, Row, wait};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};
use tbtokend::model::NoticeKind;

/// A journald in its own mount namespace.
struct Journald {
    /// Keeps the namespace until the drop.
    process: Process,
}

/// The shell script that mounts another `/run` with the journal and then becomes journald.
const BEGIN: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal \
                     && exec /lib/systemd/systemd-journald";

impl Journald {
    fn start(folder: &Path) -> Option<Self> {
        let log = std::fs::File::create(folder.join("journald.log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", BEGIN]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = Process::spawn(&mut command).ok()?;
        let up = wait::poll(wait::TIMEOUT, || match process.exited() {
            Some(_) => Some(false),
            None => {
                let root = format!("/proc/{}/root/run/systemd/journal/socket", process.pid());
                // Before the mount the path is the machine's own, so the test waits until the process is journald.
                let comm = std::fs::read_to_string(format!("/proc/{}/comm", process.pid())).ok()?;
                (comm.starts_with("systemd-journal") && Path::new(&root).exists()).then_some(true)
            }
        });
        if up == Some(true) {
            return Some(Self { process });
        }
        let why = std::fs::read_to_string(folder.join("journald.log")).unwrap_or_default();
        assert!(std::env::var_os("CI").is_none(), "CI must have a journald: {why}");
        eprintln!("SKIPPED: no systemd-journald can be run here (it needs root and systemd): {why}");
        None
    }

    /// Returns the command that runs another one in its namespace.
    fn way(&self) -> [String; 4] {
        ["nsenter".to_owned(), "--mount".to_owned(), "--target".to_owned(), self.process.pid().to_string()]
    }

    /// Reads all records of the daemon, oldest first.
    fn records(&self) -> Vec<Value> {
        let way = self.way();
        let mut command = Command::new(&way[0]);
        command.args(&way[1..]).args([
            "journalctl",
            "--directory",
            "/run/log/journal",
            "--all",
            "-o",
            "json",
        ]);
        let output = command.arg("SYSLOG_IDENTIFIER=tbtokend").output().unwrap();
        canary::assert_clean("the journal", &output.stdout);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for the first record that satisfies `condition`.
    fn wait_for(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let found = wait::poll(wait::TIMEOUT, || self.records().into_iter().find(|record| condition(record)));
        found.unwrap_or_else(|| {
            let messages = self.records().iter().fold(String::new(), |mut text, record| {
                writeln!(text, "  {}", record["MESSAGE"]).unwrap();
                text
            });
            panic!("the journal holds no {what}, but:\n{messages}")
        })
    }

    fn of_kind(&self, kind: NoticeKind) -> Value {
        self.wait_for(kind.name(), |record| record["MESSAGE_ID"] == kind.message_id())
    }
}

fn starts_with(record: &Value, text: &str) -> bool {
    record["MESSAGE"].as_str().is_some_and(|message| message.starts_with(text))
}

#[test]
fn every_event_arrives_with_its_fields_its_priority_and_its_id() {
    let thingsboard = ThingsBoard::start();
    let sick = ThingsBoard::start();
    sick.set(Behaviour::DatabaseError);
    let rows = [
        Row::new("good", &thingsboard.add(User::new("good"))),
        Row::new("bad", &thingsboard.add(User::new("bad"))).password(canary::password("wrong")),
        Row::new("late", &sick.add(User::new("late"))),
    ];
    let installation = Installation::new().with_rows(&rows).with("log.target", "journald");
    let Some(journald) = Journald::start(installation.folder()) else { return };
    let way = journald.way();
    let way: Vec<&str> = way.iter().map(String::as_str).collect();
    let mut daemon = installation.launch_by(&way, |_| {}).wait_until_ready();

    let renewed = journald.of_kind(NoticeKind::Renewed);
    assert!(starts_with(&renewed, "✅ Successfully updated token for customer good"), "{renewed}");
    assert_eq!(renewed["PRIORITY"], "6");
    assert_eq!(renewed["TBTOKEND_CUSTOMER"], "good");
    assert_eq!(renewed["TBTOKEND_URL"], thingsboard.url());
    assert!(renewed["TBTOKEND_LATENCY_MS"].as_str().unwrap().parse::<u64>().is_ok(), "{renewed}");

    let parked = journald.of_kind(NoticeKind::Parked);
    assert!(starts_with(&parked, "❌ Failed to update token for customer bad: "), "{parked}");
    assert_eq!(parked["PRIORITY"], "3");
    assert_eq!(parked["TBTOKEND_CUSTOMER"], "bad");
    assert_eq!(parked["TBTOKEND_KIND"], "credentials_rejected");
    assert_eq!(parked["TBTOKEND_ATTEMPT"], "1");
    assert_eq!(parked["TBTOKEND_NEXT_AT"], Value::Null, "there is no automatic attempt");

    let failed = journald.of_kind(NoticeKind::Failed);
    assert_eq!(
        (failed["PRIORITY"].as_str(), failed["TBTOKEND_CUSTOMER"].as_str()),
        (Some("4"), Some("late"))
    );
    assert_eq!(failed["TBTOKEND_KIND"], "server_error");
    assert!(failed["TBTOKEND_NEXT_AT"].as_str().unwrap().ends_with('Z'), "{failed}");

    let scheduled = journald.of_kind(NoticeKind::Scheduled);
    assert!(starts_with(&scheduled, "⏰ [20"), "{scheduled}");
    assert_eq!(scheduled["PRIORITY"], "6");

    let (path, aside) = (installation.table().path(), installation.folder().join("aside.db"));
    std::fs::rename(path, &aside).unwrap();
    let lost = journald.of_kind(NoticeKind::StoreLost);
    assert_eq!(lost["PRIORITY"], "2");
    std::fs::rename(&aside, path).unwrap();
    assert_eq!(journald.of_kind(NoticeKind::StoreBack)["PRIORITY"], "5");

    assert!(daemon.stop().success());
    journald.of_kind(NoticeKind::Ended);
    for record in journald.records() {
        let pid = record["_PID"].as_str().unwrap();
        assert_eq!(pid, daemon.pid().to_string(), "{record}");
        for (field, _) in record.as_object().unwrap() {
            let known = ["MESSAGE", "PRIORITY", "SYSLOG_", "TBTOKEND_", "TARGET", "CODE_", "_"];
            assert!(known.iter().any(|known| field.starts_with(known)), "a field without its name: {field}");
        }
    }
    assert_eq!(daemon.log(), "", "nothing on stderr");
}

#[test]
fn a_journal_that_goes_away_is_found_again() {
    let installation = Installation::new().with("log.target", "journald").with("log.level", "info");
    let Some(mut journald) = Journald::start(installation.folder()) else { return };
    let way = journald.way();
    let way: Vec<&str> = way.iter().map(String::as_str).collect();
    let daemon = installation.launch_by(&way, |_| {}).wait_until_ready();
    journald.of_kind(NoticeKind::Running);
    journald.process.signal(tbtoken_tests::harness::Signal::SIGKILL);
    journald.process.wait(wait::TIMEOUT).expect("it ends");
    // Another journald in the same namespace, which exists as long as the daemon.
    let pid = daemon.pid().to_string();
    let mut again = Command::new("nsenter");
    again.args(["--mount", "--target", &pid, "/lib/systemd/systemd-journald"]);
    let again = Process::spawn(again.stdin(Stdio::null()).stderr(Stdio::null())).unwrap();
    let journald = Journald { process: again };
    let scheduled = || {
        let records = journald.records().into_iter();
        records.filter(|record| record["MESSAGE_ID"] == NoticeKind::Scheduled.message_id()).count()
    };
    let before = scheduled();
    let found = wait::poll(wait::TIMEOUT, || (scheduled() >= before + 3).then_some(()));
    found.expect("records arrive again");
    assert_eq!(daemon.log(), "", "the journal stays the place of the log");
}

#[test]
fn without_a_journal_the_log_goes_to_stderr_and_says_so() {
    let installation = Installation::new().with("log.target", "journald").with("log.level", "info");
    let empty = "mount -t tmpfs tmpfs /run && exec \"$@\"";
    let way = ["unshare", "--mount", "--propagation", "private", "sh", "-c", empty, "sh"];
    let mut daemon = installation.launch_by(&way, |_| {});
    let up = wait::poll(wait::TIMEOUT, || match daemon.log() {
        log if log.contains("unshare:") || log.contains("mount:") => Some(false),
        log => log.contains("is running; socket").then_some(true),
    });
    if up == Some(false) && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: no mount namespace can be had here: {}", daemon.log());
        daemon.kill();
        return;
    }
    let log = daemon.log();
    assert_eq!(log.matches("There is no journal (").count(), 1, "{log}");
    assert!(log.contains("tbtokend logs to stderr until it is restarted"), "{log}");
}
