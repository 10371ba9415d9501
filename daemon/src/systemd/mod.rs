//! What systemd hands a service, and what it is told in return.

mod notify;

use std::ffi::OsString;
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

/// The folder for what must outlive this process: `StateDirectory=` of the unit, else the user's own for state.
pub fn state_folder() -> Option<PathBuf> {
    state_folder_of(|name| std::env::var_os(name))
}

fn state_folder_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    // A unit with several of them gives them all, with colons in between.
    let given = variable("STATE_DIRECTORY").and_then(|folders| std::env::split_paths(&folders).next());
    given
        .filter(|folder| folder.is_absolute())
        .or_else(|| folder("XDG_STATE_HOME").map(|folder| folder.join("tbtokend")))
        .or_else(|| folder("HOME").map(|home| home.join(".local/state/tbtokend")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_where_systemd_says_or_in_the_home_of_the_user() {
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
