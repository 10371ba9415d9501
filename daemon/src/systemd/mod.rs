//! The interface to systemd: credentials, folders, sockets, and notifications.

mod notify;

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

pub use notify::Notifier;

/// The folder from which the unit takes credentials.
const CREDENTIALS: &str = "/etc/tbtokend";

/// Returns the file of the credential of that name, if systemd passed one (`LoadCredential=`). A blank one counts as none,
/// because the unit passes a blank one if there is no file. Outside the service, and in the unit's `ExecReload=`, it
/// returns the file from which the unit takes the credential.
pub fn credential(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|folder| folder.is_dir());
    let path = given.unwrap_or_else(|| CREDENTIALS.into()).join(name);
    // An unreadable file counts as present; the later read reports the error.
    let is_blank = std::fs::read(&path).is_ok_and(|bytes| bytes.trim_ascii().is_empty());
    (path.is_file() && !is_blank).then_some(path)
}

/// Returns the folder for persistent state: `StateDirectory=` of the unit, else the state folder of the user.
pub fn state_folder() -> Option<PathBuf> {
    state_folder_of(|name| std::env::var_os(name))
}

fn state_folder_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    // A unit with several state folders lists them all, separated by colons.
    let given = variable("STATE_DIRECTORY").and_then(|folders| std::env::split_paths(&folders).next());
    given
        .filter(|folder| folder.is_absolute())
        .or_else(|| folder("XDG_STATE_HOME").map(|folder| folder.join("tbtokend")))
        .or_else(|| folder("HOME").map(|home| home.join(".local/state/tbtokend")))
}

/// Returns the period of systemd's watchdog (`WatchdogSec=`), if it watches this process.
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|&period| for_us && period > 0).map(Duration::from_micros)
}

/// Returns the sockets that systemd passed (`tbtokend.socket`). Call it once, before there are other threads.
///
/// # Errors
/// Something is passed that is not a listening Unix socket.
pub fn take_sockets() -> std::io::Result<Vec<UnixListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let taken = (0..passed.len()).map(|index| passed.take_unix_listener(index));
    taken.filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_in_the_folder_of_the_unit_or_in_the_home_of_the_user() {
        for (variables, folder) in [
            (&[("STATE_DIRECTORY", "/var/lib/tbtokend"), ("HOME", "/root")][..], Some("/var/lib/tbtokend")),
            (&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")], Some("/var/lib/a")),
            (&[("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")], Some("/s/tbtokend")),
            (&[("XDG_STATE_HOME", "s"), ("HOME", "/h")], Some("/h/.local/state/tbtokend")),
            (&[], None),
        ] {
            let variable = |name: &str| Some(variables.iter().find(|(key, _)| *key == name)?.1.into());
            assert_eq!(state_folder_of(variable), folder.map(PathBuf::from), "{variables:?}");
        }
    }
}
