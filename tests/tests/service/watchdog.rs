//! Promise 20: the watchdog notices a stuck loop, but a loop that an operator stopped is not stuck.

use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tbtoken_tests::harness::{Daemon, Installation, Row, Signal, wait};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

use crate::notify::Systemd;

const WATCHDOG: Duration = Duration::from_millis(400);

/// Whether there is no sign of life for so long that systemd would kill the daemon. It is three periods, because a busy
/// machine delays a sign.
fn would_be_killed(systemd: &Systemd) -> bool {
    let mut last = Instant::now();
    let deadline = last + wait::TIMEOUT;
    while Instant::now() < deadline {
        if let Some(message) = systemd.next_within(WATCHDOG)
            && message.contains("WATCHDOG=1")
        {
            last = Instant::now();
        }
        if last.elapsed() > 3 * WATCHDOG {
            return true;
        }
    }
    false
}

/// Waits for the signs of life of so many periods: four in each. A loop that counts as stuck gives none until that is over.
fn lives_for(systemd: &Systemd, periods: usize) {
    for _ in 0..4 * periods {
        systemd.wait_for("WATCHDOG=1");
    }
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
    lives_for(&systemd, 5);
    let frozen = Frozen::new(thread(&daemon, "sqlite"));
    assert!(would_be_killed(&systemd), "a stalled store passes for progress");
    daemon.wait_for_log("tbtokend no longer feeds the watchdog");
    assert!(daemon.ask(r#"{"action":"version"}"#).contains("success"), "the sockets answer all the same");
    frozen.thaw();
    lives_for(&systemd, 3);
    daemon.wait_for_log("The database and the passes make progress again");
}

#[test]
fn p20_a_loop_that_was_stopped_is_not_stuck() {
    let installation = Installation::new().with("schedule.interval", "1h");
    let systemd = Systemd::at(installation.folder());
    let _daemon = systemd.launch(&installation, Some(WATCHDOG));
    systemd.wait_for("WATCHDOG=1");
    assert_eq!(installation.ctl(&["stop"]).code, Some(0));
    lives_for(&systemd, 8);
}

#[test]
fn p20_a_pass_that_waits_for_a_slow_server_is_not_stuck() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    thingsboard.set(Behaviour::Silent);
    let installation = Installation::new().with_row(row).with("thingsboard.request_timeout", "20s");
    let systemd = Systemd::at(installation.folder());
    let daemon = systemd.launch(&installation, Some(WATCHDOG));
    systemd.wait_for("a pass is running");
    lives_for(&systemd, 5);
    assert!(daemon.status().cron.refreshing, "the signs came after the pass");
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
    lives_for(&systemd, 3);
}
