//! Sockets that systemd makes: `systemd-socket-activate` passes them on as systemd does.

use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tbtoken_tests::harness::{Daemon, Installation, wait};

/// Starts a daemon that gets its control socket from systemd, with this mode. It starts with the first client.
fn launch(installation: &Installation, mode: u32) -> Daemon {
    let socket = installation.socket();
    let listen = format!("--listen={}", socket.display());
    let daemon = installation.launch_by(&["systemd-socket-activate", &listen], |_| {});
    let made = || std::fs::symlink_metadata(&socket).is_ok_and(|file| file.file_type().is_socket());
    wait::poll(wait::TIMEOUT, || made().then_some(())).expect("systemd-socket-activate makes the socket");
    // systemd itself uses SocketMode= for that.
    std::fs::set_permissions(&socket, Permissions::from_mode(mode)).unwrap();
    let _first = wait::poll(wait::TIMEOUT, || UnixStream::connect(&socket).ok()).expect("it listens");
    daemon
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn p17_a_socket_that_systemd_made_is_used_and_left_to_systemd() {
    let installation = Installation::new();
    let mut daemon = launch(&installation, 0o660).wait_until_ready();
    assert_eq!(mode(&installation.socket()), 0o660);
    assert!(daemon.status().cron.running);
    let mut second = installation.launch();
    assert_eq!(second.wait().code(), Some(1), "the socket has an owner");
    assert!(daemon.status().cron.running);
    assert!(daemon.stop().success());
    assert!(installation.socket().exists(), "it is systemd's to take away");
    assert!(!installation.monitor_socket().exists(), "the daemon made this one");
}

/// Only systemd could make it again, but systemd keeps listening at the removed socket.
#[test]
fn p16_the_loss_of_a_socket_of_systemd_is_reported() {
    let installation = Installation::new();
    let mut daemon = launch(&installation, 0o660).wait_until_ready();
    std::fs::remove_file(installation.socket()).unwrap();
    daemon.wait_for_log(
        "was removed, and no client reaches tbtokend there: run sudo systemctl restart tbtokend.socket",
    );
    assert!(!installation.socket().exists());
    assert!(daemon.stop().success());
}

/// The users that the mode admits count, not its number.
#[test]
fn p17_a_socket_that_systemd_made_too_open_is_refused() {
    for mode in [0o666, 0o606] {
        let installation = Installation::new();
        let mut daemon = launch(&installation, mode);
        assert_eq!(daemon.wait().code(), Some(1));
        let log = daemon.log();
        let says = format!("mode {mode:04o}, more than the 0660");
        assert!(log.contains(&says) && log.contains("SocketMode=0660"), "{log}");
    }
}

#[test]
fn a_socket_that_the_configuration_does_not_know_is_refused() {
    let installation = Installation::new();
    let stranger = installation.folder().join("stranger.sock");
    let listen = format!("--listen={}", stranger.display());
    let mut daemon = installation.launch_by(&["systemd-socket-activate", &listen], |_| {});
    wait::poll(wait::TIMEOUT, || UnixStream::connect(&stranger).ok()).unwrap();
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(daemon.log().contains("change ListenStream in tbtokend.socket"), "{}", daemon.log());
}
