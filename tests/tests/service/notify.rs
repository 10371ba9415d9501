//! A notify socket like that of systemd, and the messages of the daemon to it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tbtoken_tests::canary;
use tbtoken_tests::harness::{Daemon, Installation, Row, Signal, wait};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

/// The end of the notify socket that systemd reads.
pub(crate) struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Systemd {
    pub(crate) fn at(folder: &Path) -> Self {
        let path = folder.join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    /// Starts a daemon with this socket, and with this watchdog if there is one.
    pub(crate) fn launch(&self, installation: &Installation, watchdog: Option<Duration>) -> Daemon {
        installation.launch_with(|command| {
            command.env("NOTIFY_SOCKET", &self.path);
            if let Some(watchdog) = watchdog {
                command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
            }
        })
    }

    /// Waits for the next message; `None` if none arrives in time.
    pub(crate) fn next_within(&self, timeout: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(timeout)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        canary::assert_clean("a message to systemd", message.as_bytes());
        Some(message)
    }

    /// Waits for the next message that contains `text`, and drops earlier ones.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.next_within(wait::TIMEOUT) {
                Some(message) if message.contains(text) => return message,
                Some(message) => others.push(message),
                None => panic!("systemd did not get {text:?}, but {others:#?}"),
            }
        }
    }
}

#[test]
fn the_daemon_is_ready_when_the_sockets_answer_and_keeps_its_status_current() {
    let thingsboard = ThingsBoard::start();
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let bad = Row::new("bad", &thingsboard.add(User::new("bad"))).password(canary::password("wrong"));
    let installation = Installation::new().with_rows([&good, &bad]).with("schedule.interval", "1h");
    let systemd = Systemd::at(installation.folder());
    let mut daemon = systemd.launch(&installation, None);
    let first = systemd.next_within(wait::TIMEOUT).unwrap();
    assert!(first.starts_with("READY=1\nSTATUS="), "{first}");
    // Both sockets answer at once.
    assert!(daemon.ask(r#"{"action":"version"}"#).contains("success"));
    std::os::unix::net::UnixStream::connect(installation.monitor_socket()).unwrap();

    systemd.wait_for("STATUS=1 of 2 valid, 1 missing, 1 parked; next run ");
    assert!(installation.ctl(&["stop"]).code == Some(0));
    let stopped = systemd
        .wait_for("STATUS=1 of 2 valid, 1 missing, 1 parked; loop has been stopped by an operator since ");
    assert!(stopped.contains("; start it with tbctl start"), "{stopped}");
    // Nothing changes, so no message is sent.
    assert_eq!(systemd.next_within(Duration::from_millis(1500)), None);
    assert!(installation.ctl(&["start"]).code == Some(0));
    systemd.wait_for("; next run ");
    daemon.signal(Signal::SIGTERM);
    systemd.wait_for("STOPPING=1\nSTATUS=");
    assert!(daemon.wait().success());
    assert_eq!(systemd.next_within(Duration::ZERO.max(Duration::from_millis(1))), None, "the last word");
}

#[test]
fn a_ready_daemon_has_made_the_file_and_its_tables() {
    let installation = Installation::new();
    std::fs::remove_file(installation.table().path()).unwrap();
    let systemd = Systemd::at(installation.folder());
    let _daemon = systemd.launch(&installation, None);
    systemd.wait_for("READY=1");
    assert_eq!(installation.table().tokens(), 0, "the table can be read");
}

#[test]
fn the_status_begins_with_a_database_that_is_down() {
    let installation = Installation::new();
    std::fs::write(installation.table().path(), "this is no database, but long enough to look at").unwrap();
    let systemd = Systemd::at(installation.folder());
    let _daemon = systemd.launch(&installation, None);
    systemd.wait_for("STATUS=database unreachable: ");
}

#[test]
fn the_daemon_works_without_systemd() {
    let installation = Installation::new();
    let daemon = installation.launch_with(|command| {
        command.env("NOTIFY_SOCKET", "/nowhere/notify").env("WATCHDOG_USEC", "20000");
    });
    let daemon = daemon.wait_until_ready();
    daemon.wait_for_log("cannot notify systemd at /nowhere/notify");
}
