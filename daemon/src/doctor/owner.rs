//! Checks whether the daemon's user can read and write a file. Root usually runs the doctor and may do everything, and a file
//! that root made or restored belongs to root.

use std::fs::{Metadata, metadata, symlink_metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use super::WORKING_FOLDER;
use super::report::Finding;

/// The unit's `User=`.
pub(crate) const USER: &str = "tbtokend";

/// Checks a SQLite file, the files beside it and their folder for the daemon's user, if root runs the doctor.
pub(super) fn look(file: &Path) -> Vec<Finding> {
    let Some(daemon) = Daemon::of(file).filter(|_| geteuid().is_root()) else { return Vec::new() };
    let beside = |ending: &str| PathBuf::from(format!("{}{ending}", file.display()));
    let places = [folder_of(file).to_owned(), file.to_owned(), beside("-wal"), beside("-shm")];
    // A link may lead to another user's file, which `chown` would take from that user.
    let is_link = |place: &PathBuf| symlink_metadata(place).is_ok_and(|there| there.is_symlink());
    let places = places.into_iter().filter(|place| !is_link(place));
    let seen = places.filter_map(|place| Some((metadata(&place).ok()?, place)));
    seen.filter(|(there, _)| !may_write(&Mode::of(there), daemon.uid, daemon.gid))
        .map(|(there, place)| {
            let (place, mode) = (place.display(), there.mode() & 0o777);
            Finding::error(
                "permission",
                format!("{place} cannot be read and written by {} (mode {mode:04o})", daemon.name),
                format!("{} {place} && chmod u+rw {place}", daemon.chown),
            )
        })
        .collect()
}

/// Returns the folder of a file.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The user that runs the daemon, as far as known.
struct Daemon {
    name: String,
    uid: u32,
    gid: u32,
    /// The command that gives a file to it.
    chown: String,
}

impl Daemon {
    /// Returns the service's user for the service's folder. For another folder it returns the folder's owner, unless that is
    /// root or other users may write there.
    fn of(file: &Path) -> Option<Self> {
        if file.starts_with(WORKING_FOLDER) {
            let user = User::from_name(USER).ok().flatten()?;
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            return Some(Self {
                name: format!("the service's user {USER}"),
                uid,
                gid,
                chown: format!("chown {USER}:"),
            });
        }
        let folder = folder_of(file);
        let owner = metadata(folder).ok().filter(|there| there.mode() & 0o022 == 0 && there.uid() != 0)?;
        Some(Self {
            name: "the owner of its folder".to_owned(),
            uid: owner.uid(),
            gid: owner.gid(),
            chown: format!("chown --reference={}", folder.display()),
        })
    }
}

/// The owner and the mode of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    uid: u32,
    gid: u32,
    bits: u32,
}

impl Mode {
    pub(super) fn of(there: &Metadata) -> Self {
        Self { uid: there.uid(), gid: there.gid(), bits: there.mode() }
    }
}

/// Whether this user may read and write, by the first of the three triples that applies to it.
pub(super) fn may_write(file: &Mode, uid: u32, gid: u32) -> bool {
    let shift = match (file.uid == uid, file.gid == gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    (file.bits >> shift) & 0o6 == 0o6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_triple_that_applies_to_the_user_counts() {
        let file = |uid, gid, bits| Mode { uid, gid, bits };
        for (owner, group, bits, may) in [
            (7, 7, 0o100_600, true),
            (7, 7, 0o100_400, false),
            (7, 7, 0o100_066, false),
            (0, 7, 0o100_660, true),
            (0, 7, 0o100_640, false),
            (0, 7, 0o100_606, false),
            (0, 0, 0o100_666, true),
            (0, 0, 0o100_644, false),
            (0, 0, 0o100_660, false),
        ] {
            assert_eq!(may_write(&file(owner, group, bits), 7, 7), may, "{owner}:{group} {bits:o}");
        }
    }
}
