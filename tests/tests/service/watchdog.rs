//! Promise 20: the watchdog notices a stuck loop, but a loop that an operator stopped is not stuck.

use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tbtoken_tests::harness::{Daemon, Installation, Row, Signal, wait};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

use crate::notify::Systemd;

const WATCHDOG: Duration = Duration::from_millis(400);

/// Whether there is no sign of life for so long that systemd would kill the daemon.
fn would_be_killed(systemd: &Systemd) -> bool {
    let mut last = Instant::now();
    let deadline = last + wait::TIMEOUT;
    while Instant::now() < deadline {
        if let Some(message) = systemd.next_within(WATCHDOG)
            && message.contains("WATCHDOG=1")
        {
            last = Instant::now();
        }
        if last.elapsed() > WATCHDOG {
            return true;
        }
    }
    false
}

/// Whether signs of life arrive for `length`, without a gap for which systemd would kill the daemon.
fn lives_for(systemd: &Systemd, length: Duration) -> bool {
    let end = Instant::now() + length;
    let mut last = Instant::now();
    while Instant::now() < end {
        let message = systemd.next_within(WATCHDOG);
        if message.is_some_and(|message| message.contains("WATCHDOG=1")) {
            last = Instant::now();
        }
        // Twice the period, because the machine may be busy with other tests.
        if last.elapsed() > 2 * WATCHDOG {
            return false;
        }
    }
    true
}

/// Finds the thread with this name.
fn thread(daemon: &Daemon, name: &str) -> Pid {
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let found = threads.map(Result::unwrap).find(|thread| {
        std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    });
    let found = found.unwrap_or_else(|| panic!("there is no thread {name}"));
    Pid::from_raw(found.file_name().to_str().unwrap().parse().unwrap())
}

/// Stops one thread of another process, as a disk that never answers does.
struct Frozen(Pid);

impl Frozen {
    fn new(thread: Pid) -> Self {
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }

    fn thaw(self) {
        ptrace::detach(self.0, None).unwrap();
    }
}

#[test]
fn p20_a_stalled_store_is_noticed_and_recovers() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can hold a thread of the daemon, which is not dumpable");
        return;
    }
    let installation = Installation::new().with("thingsboard.request_timeout", "100ms");
    let systemd = Systemd::at(installation.folder());
    let daemon = systemd.launch(&installation, Some(WATCHDOG));
    systemd.wait_for("WATCHDOG=1");
    assert!(lives_for(&systemd, Duration::from_secs(2)));
    let frozen = Frozen::new(thread(&daemon, "sqlite"));
    assert!(would_be_killed(&systemd), "a stalled store passes for progress");
    daemon.wait_for_log("tbtokend no longer feeds the watchdog");
    assert!(daemon.ask(r#"{"action":"version"}"#).contains("success"), "the sockets answer all the same");
    frozen.thaw();
    assert!(lives_for(&systemd, Duration::from_secs(1)));
    daemon.wait_for_log("The database and the passes make progress again");
}

#[test]
fn p20_a_loop_that_was_stopped_is_not_stuck() {
    let installation = Installation::new().with("schedule.interval", "1h");
    let systemd = Systemd::at(installation.folder());
    let _daemon = systemd.launch(&installation, Some(WATCHDOG));
    systemd.wait_for("WATCHDOG=1");
    assert_eq!(installation.ctl(&["stop"]).code, Some(0));
    assert!(lives_for(&systemd, 8 * WATCHDOG), "a stopped loop passes for a stuck one");
}

#[test]
fn p20_a_pass_that_waits_for_a_slow_server_is_not_stuck() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    thingsboard.set(Behaviour::BlackHole);
    let installation = Installation::new().with_row(row).with("thingsboard.request_timeout", "3s");
    let systemd = Systemd::at(installation.folder());
    let daemon = systemd.launch(&installation, Some(WATCHDOG));
    systemd.wait_for("a pass is running");
    assert!(lives_for(&systemd, Duration::from_secs(2)), "a slow server passes for a stuck loop");
    daemon.until_customer("acme", "has failed", |acme| acme.failure.is_some());
}

#[test]
fn p20_a_process_that_stands_still_gives_no_sign_of_life() {
    let installation = Installation::new();
    let systemd = Systemd::at(installation.folder());
    let mut daemon = systemd.launch(&installation, Some(WATCHDOG));
    systemd.wait_for("WATCHDOG=1");
    daemon.signal(Signal::SIGSTOP);
    assert!(would_be_killed(&systemd));
    daemon.signal(Signal::SIGCONT);
    assert!(lives_for(&systemd, Duration::from_secs(1)));
}
