//! The sockets: their owner, their rights, and their lock.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tbtoken_tests::harness::{Daemon, Installation, wait};

use crate::wire::Wire;

fn mode(path: &Path) -> Option<u32> {
    std::fs::symlink_metadata(path).ok().map(|file| file.permissions().mode() & 0o7777)
}

#[test]
fn p16_of_twenty_daemons_one_owns_the_socket() {
    let installation = Installation::new();
    let mut daemons: Vec<Daemon> = (0..20).map(|_| installation.launch()).collect();
    let owner = wait::poll(wait::TIMEOUT, || {
        let running: Vec<_> = (0..20)
            .filter(|&n| std::fs::read_to_string(proc_state(&daemons[n])).is_ok_and(|s| !s.contains(") Z ")))
            .collect();
        (running.len() == 1 && installation.socket().exists()).then(|| running[0])
    });
    let owner = owner.expect("one daemon is left");
    let owner = daemons.swap_remove(owner);
    for daemon in &mut daemons {
        assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
        let log = daemon.log();
        let named = log.contains(&format!("pid {}", owner.pid())) || log.contains("is just starting");
        assert!(named, "{log}");
    }
    assert_eq!(i64::from(owner.status().daemon.pid), i64::from(owner.pid()));

    let before = owner.status().daemon.started_at;
    let mut late = installation.launch();
    assert_eq!(late.wait().code(), Some(1));
    assert!(late.log().contains(&format!("pid {}", owner.pid())), "{}", late.log());
    assert_eq!(owner.status().daemon.started_at, before);
}

fn proc_state(daemon: &Daemon) -> PathBuf {
    format!("/proc/{}/stat", daemon.pid()).into()
}

#[test]
fn p16_a_stale_socket_is_taken_over() {
    let installation = Installation::new();
    let mut first = installation.start();
    first.kill();
    assert!(std::fs::symlink_metadata(installation.socket()).unwrap().file_type().is_socket());
    let second = installation.start();
    assert_eq!(i64::from(second.status().daemon.pid), i64::from(second.pid()));
}

#[test]
fn p16_what_is_no_socket_is_left_alone() {
    let installation = Installation::new();
    std::fs::write(installation.socket(), "my thesis").unwrap();
    let mut daemon = installation.launch();
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(daemon.log().contains("is not a socket"), "{}", daemon.log());
    assert_eq!(std::fs::read_to_string(installation.socket()).unwrap(), "my thesis");
}

/// In a folder in which others may write, the link could make the daemon empty any file of its user.
#[test]
fn p16_a_lock_that_is_a_link_is_not_followed() {
    let installation = Installation::new();
    let mut lock = installation.socket().into_os_string();
    lock.push(".lock");
    let precious = installation.folder().join("precious");
    std::fs::write(&precious, "my thesis").unwrap();
    std::os::unix::fs::symlink(&precious, &lock).unwrap();
    let mut daemon = installation.launch();
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("no regular file, not the lock file of a socket"), "{}", daemon.log());
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "my thesis");
}

/// A program that cleans up a folder must not make the daemon unreachable until a restart.
#[test]
fn p16_a_socket_that_was_removed_is_made_again() {
    let installation = Installation::new();
    let mut daemon = installation.start();
    let sockets = [installation.socket(), installation.monitor_socket()];
    for socket in &sockets {
        let mut lock = socket.clone().into_os_string();
        lock.push(".lock");
        wait::poll(wait::TIMEOUT, || std::fs::remove_file(socket).ok()).unwrap();
        std::fs::remove_file(lock).unwrap();
    }
    let back = || std::os::unix::net::UnixStream::connect(&sockets[0]).ok();
    wait::poll(wait::TIMEOUT, back).expect("the control socket is made again");
    assert_eq!(mode(&sockets[0]), Some(0o660));
    let monitor = || std::os::unix::net::UnixStream::connect(&sockets[1]).ok();
    wait::poll(wait::TIMEOUT, monitor).expect("the monitor socket is made again");
    daemon.wait_for_log("was removed; tbtokend has made it again");
    assert_eq!(installation.launch().wait().code(), Some(1), "it still has its owner");
    assert_eq!(i64::from(daemon.status().daemon.pid), i64::from(daemon.pid()));
    assert!(daemon.stop().success());
    assert!(!sockets[0].exists() && !sockets[1].exists());
}

#[test]
fn p17_the_sockets_never_have_more_than_their_modes() {
    let installation = Installation::new();
    let sockets = [installation.socket(), installation.monitor_socket()];
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let stop = StopWatching(&done);
        let watch = |path: PathBuf| {
            let done = &done;
            scope.spawn(move || {
                let mut modes = BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    modes.extend(mode(&path));
                }
                modes
            })
        };
        let watchers = sockets.clone().map(watch);
        let mut daemon = installation.start();
        let monitor = || installation.monitor_socket().exists().then_some(());
        wait::poll(wait::TIMEOUT, monitor).unwrap();
        assert_eq!((mode(&sockets[0]), mode(&sockets[1])), (Some(0o660), Some(0o666)));
        assert!(daemon.stop().success());
        drop(stop);
        watchers.map(|watcher| watcher.join().unwrap())
    });
    assert!(seen[0].iter().all(|mode| mode & !0o660 == 0), "{seen:?}");
    assert!(seen[1].iter().all(|mode| mode & !0o666 == 0), "{seen:?}");
    assert!(!sockets[0].exists() && !sockets[1].exists());
}

/// Ends the watching thread at its drop, also after a failed assertion, because the scope waits for its threads.
struct StopWatching<'a>(&'a AtomicBool);

impl Drop for StopWatching<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn p17_the_modes_are_those_of_the_configuration() {
    let installation = Installation::new().with("control.mode", "0600").with("control.monitor_mode", "0640");
    let _daemon = installation.start();
    wait::poll(wait::TIMEOUT, || installation.monitor_socket().exists().then_some(())).unwrap();
    assert_eq!(mode(&installation.socket()), Some(0o600));
    assert_eq!(mode(&installation.monitor_socket()), Some(0o640));
}

/// The socket gets its group before it is moved into place, so no other group ever has access.
#[test]
fn p17_the_sockets_belong_to_the_group_of_the_configuration() {
    // A group that the test may give files to: root may use any group, other users their own.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let group = match is_root {
        true => nix::unistd::Group::from_name("daemon").unwrap().expect("every system has a group daemon"),
        false => nix::unistd::Group::from_gid(nix::unistd::getgid()).unwrap().expect("one's own group"),
    };
    let installation = Installation::new().with("control.group", group.name.as_str());
    let _daemon = installation.start();
    wait::poll(wait::TIMEOUT, || installation.monitor_socket().exists().then_some(())).unwrap();
    for socket in [installation.socket(), installation.monitor_socket()] {
        assert_eq!(std::fs::metadata(&socket).unwrap().gid(), group.gid.as_raw(), "{}", socket.display());
    }
}

#[test]
fn p17_the_monitor_socket_changes_nothing() {
    let installation = Installation::new();
    let daemon = installation.start();
    wait::poll(wait::TIMEOUT, || installation.monitor_socket().exists().then_some(())).unwrap();
    let mut monitor = Wire::to(&installation.monitor_socket());
    for action in ["start", "stop", "refresh"] {
        let answer = monitor.ask(&format!(r#"{{"action":"{action}"}}"#));
        assert_eq!(answer["code"], "read_only", "{action}");
    }
    for action in ["status", "events", "version"] {
        assert_eq!(monitor.ask(&format!(r#"{{"action":"{action}"}}"#))["success"], true, "{action}");
    }
    assert!(daemon.status().cron.running);
}

#[test]
fn p17_only_the_owner_can_read_a_database_that_the_daemon_makes() {
    let installation = Installation::new();
    std::fs::remove_file(installation.table().path()).unwrap();
    let daemon = installation.start();
    daemon.until("the table is read", |status| status.tokens.success);
    assert_eq!(mode(installation.table().path()), Some(0o600));
}
