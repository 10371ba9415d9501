//! Checks the sockets of the configuration: their folders must exist and be writable for the daemon, but not for every user.

use std::fs::{Metadata, metadata, symlink_metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::unistd::{AccessFlags, User, access, geteuid};

use super::owner::{Mode, USER, folder_of, may_write};
use super::report::Finding;
use crate::config::Config;

const CHECK: &str = "socket";

/// The unit's `RuntimeDirectory`.
const RUNTIME_FOLDER: &str = "/run/tbtokend";

/// Returns one finding for each socket. `is_in_use` says whether a daemon answers at the control socket.
pub(super) fn check(config: &Config, is_in_use: bool) -> Vec<Finding> {
    let daemon = Daemon::of(config);
    let monitor = config.monitor.iter().map(|monitor| ("control.monitor_socket", &monitor.path));
    let sockets = std::iter::once(("control.socket", &config.control.path)).chain(monitor);
    sockets.map(|(key, socket)| examine(key, socket, &daemon, is_in_use)).collect()
}

fn examine(key: &str, socket: &Path, daemon: &Daemon, is_in_use: bool) -> Finding {
    let folder = folder_of(socket);
    let (place, shown) = (socket.display(), folder.display());
    let there = match metadata(folder) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound && folder == Path::new(RUNTIME_FOLDER) => {
            return Finding::note(
                CHECK,
                format!("{shown} does not exist; the service makes it at its start"),
            );
        }
        Err(error) => {
            return Finding::error(
                CHECK,
                format!("the folder of {key} = {place} cannot be used: {error}"),
                format!(
                    "Make {shown} and give it to the daemon's user (under /run at each boot: RuntimeDirectory= in a drop-in), or change {key}."
                ),
            );
        }
    };
    if !there.is_dir() {
        let remedy = format!("Change {key}.");
        return Finding::error(CHECK, format!("{shown}, the folder of {key}, is a file"), remedy);
    }
    if symlink_metadata(socket).is_ok_and(|there| !there.file_type().is_socket()) {
        let remedy = format!("Move it away, or change {key}.");
        return Finding::error(CHECK, format!("{place} exists and is not a socket"), remedy);
    }
    if let Some(name) = daemon.name_if_refused(folder, &there) {
        return Finding::error(
            CHECK,
            format!(
                "{name} cannot make {place}: it may not write in {shown} (mode {:04o})",
                there.mode() & 0o7777
            ),
            format!("Give {shown} to the daemon's user, or change {key}."),
        );
    }
    if there.mode() & 0o002 != 0 {
        return Finding::warning(
            CHECK,
            format!(
                "every user of this machine may write in {shown}, and can make another socket at {place} while the daemon does not run"
            ),
            format!("Set {key} to a path in a folder of the daemon's user, such as {RUNTIME_FOLDER}."),
        );
    }
    match is_in_use && socket.exists() {
        true => Finding::ok(CHECK, format!("{place} is in use by the running daemon")),
        false => Finding::ok(CHECK, format!("{place} can be made")),
    }
}

/// The user that makes the sockets, as far as known.
enum Daemon {
    /// Unknown: root examines a configuration that is not the service's.
    Unknown,
    /// The user that runs the doctor.
    DoctorUser,
    /// The service's user.
    Service { uid: u32, gid: u32 },
}

impl Daemon {
    fn of(config: &Config) -> Self {
        match User::from_name(USER) {
            Ok(Some(user)) if super::is_of_service(config) => {
                Self::Service { uid: user.uid.as_raw(), gid: user.gid.as_raw() }
            }
            _ if geteuid().is_root() => Self::Unknown,
            _ => Self::DoctorUser,
        }
    }

    /// Returns the user's name if it may not make files in this folder.
    fn name_if_refused(&self, folder: &Path, there: &Metadata) -> Option<String> {
        let (name, may) = match self {
            Self::Unknown => return None,
            Self::DoctorUser => {
                let may = access(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
                ("the user that runs the doctor".to_owned(), may)
            }
            Self::Service { uid, gid } => {
                (format!("the service's user {USER}"), may_write(&Mode::of(there), *uid, *gid))
            }
        };
        (!may).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::report::Level;
    use super::*;

    #[test]
    fn every_obstacle_to_a_socket_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        let socket = folder.join("control.sock");
        let found = |daemon: &Daemon| examine("control.socket", &socket, daemon, false);
        let says = |finding: Finding, level: Level, words: &str| {
            assert!(finding.level == level && finding.found.contains(words), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), level >= Level::Warning);
        };
        let other = Daemon::Service { uid: 7, gid: 7 };
        says(found(&Daemon::Unknown), Level::Error, "cannot be used: No such file");
        write(&folder, "").unwrap();
        says(found(&Daemon::Unknown), Level::Error, "is a file");
        std::fs::remove_file(&folder).unwrap();
        create_dir(&folder).unwrap();
        let set = |mode| set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        set(0o755);
        says(found(&Daemon::DoctorUser), Level::Ok, "can be made");
        says(found(&other), Level::Error, "the service's user tbtokend cannot make");
        set(0o1777);
        says(found(&other), Level::Warning, "every user of this machine");
        write(&socket, "").unwrap();
        says(found(&other), Level::Error, "exists and is not a socket");
        let in_runtime =
            examine("control.socket", Path::new("/run/tbtokend/x.sock"), &Daemon::Unknown, false);
        assert!(in_runtime.level <= Level::Note, "systemd makes it: {in_runtime:?}");
    }
}
