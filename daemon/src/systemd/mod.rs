//! What systemd hands a service, and what it is told in return.

mod notify;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

pub use notify::Notifier;

/// Where the unit takes credentials from.
const CREDENTIALS: &str = "/etc/tbtokend";

/// The file that holds the credential of that name, if systemd gave us one (`LoadCredential=`). One that is blank stands
/// for none: the unit gives it when there is no file. Whoever runs us by hand, to check the configuration for example,
/// gets the file that the unit takes it from; so does the unit's `ExecReload=`, from which systemd hides the folder.
pub fn credential(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|folder| folder.is_dir());
    let path = given.unwrap_or_else(|| CREDENTIALS.into()).join(name);
    // One that cannot be read is there; whoever reads it says why.
    let is_blank = std::fs::read(&path).is_ok_and(|bytes| bytes.trim_ascii().is_empty());
    (path.is_file() && !is_blank).then_some(path)
}

/// How long systemd waits for a sign of life (`WatchdogSec=`), if it watches this process.
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|&period| for_us && period > 0).map(Duration::from_micros)
}

/// The sockets that systemd has made for us (`tbtokend.socket`). To be called once, before there are other threads.
///
/// # Errors
/// Something is passed that is not a listening Unix socket.
pub fn inherited() -> std::io::Result<Vec<UnixListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let taken = (0..passed.len()).map(|index| passed.take_unix_listener(index));
    taken.filter_map(Result::transpose).collect()
}
