//! Whether the daemon may do with a file what whoever asks the doctor may: the doctor is mostly asked by root, who may do
//! everything, and what root has made or restored by hand is root's.

use std::fs::{Metadata, metadata, symlink_metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use super::WORKING_FOLDER;
use super::report::Finding;

/// The unit's `User=`.
pub(crate) const USER: &str = "tbtokend";

/// Looks at a SQLite file, what SQLite puts beside it, and their folder with the eyes of the daemon, if root asks.
pub(super) fn look(file: &Path) -> Vec<Finding> {
    let Some(daemon) = Daemon::of(file).filter(|_| geteuid().is_root()) else { return Vec::new() };
    let beside = |ending: &str| PathBuf::from(format!("{}{ending}", file.display()));
    let places = [folder_of(file).to_owned(), file.to_owned(), beside("-wal"), beside("-shm")];
    // What a link leads to may be another user's on purpose: `chown` would give that away.
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

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// As whom the daemon runs, as far as can be known.
struct Daemon {
    name: String,
    uid: u32,
    gid: u32,
    /// What gives a file to it.
    chown: String,
}

impl Daemon {
    /// The service has a folder and a user of its own. Elsewhere it is whose folder it is, if nobody else may write there;
    /// root needs nobody's leave.
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

/// Who owns a file, and what others may do with it.
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

/// Whether this user may read and write, by the first of the three triples that is about him.
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
    fn the_first_triple_that_is_about_the_user_counts() {
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
