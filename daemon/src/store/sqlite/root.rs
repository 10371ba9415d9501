//! The protection of root against files that another user puts beside a SQLite file.
//!
//! SQLite trusts the files beside its file. A journal that another user puts there names a "super-journal", and SQLite
//! deletes that file after the rollback. For root that can be any file of this machine. So a process of root becomes the
//! file's owner before it opens the file, or does not open it.

use std::fs::{Metadata, metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

use super::StoreError;

/// The group for an owner that is not in the list of users. The file's group is not used, because its owner may have chosen
/// it.
const NO_GROUP: Gid = Gid::from_raw(65_534);

/// Gives up root's rights for good and becomes the owner of this file; returns the file's real path. Nothing changes for
/// other users, and if root owns the file.
///
/// # Errors
/// Root owns the file, and other users can put files beside it. Or the process may not change its user, or the file cannot be
/// found.
pub fn become_owner(file: &Path) -> Result<PathBuf, StoreError> {
    if !geteuid().is_root() {
        return Ok(file.to_owned());
    }
    let failed = |error: io::Error| cannot_open(file, error.to_string());
    // A link may be changed at any time; this path has none.
    let real = file.canonicalize().map_err(failed)?;
    let owner = Uid::from_raw(metadata(&real).map_err(failed)?.uid());
    if owner.is_root() {
        // The real path no longer shows the folders of a link in the path that was named, so that path is checked.
        refuse_planted(file)?;
        return Ok(real);
    }
    drop_to(owner).map_err(|error| {
        cannot_open(file, format!("root cannot become its owner, the user {owner}: {error}"))
    })?;
    Ok(real)
}

/// Changes the groups, the group and the user, in this order, because only root can change the first two.
fn drop_to(owner: Uid) -> nix::Result<()> {
    match User::from_uid(owner)? {
        Some(user) => {
            let name = std::ffi::CString::new(user.name).map_err(|_| nix::errno::Errno::EINVAL)?;
            initgroups(&name, user.gid)?;
            setgid(user.gid)?;
        }
        None => {
            setgroups(&[])?;
            setgid(NO_GROUP)?;
        }
    }
    setuid(owner)
}

/// Refuses, for root, a file beside which another user can put files. The file need not exist.
pub(super) fn refuse_planted(file: &Path) -> Result<(), StoreError> {
    let folder = if geteuid().is_root() { folder_of_others(file) } else { None };
    folder.map_or(Ok(()), |folder| {
        Err(StoreError::NotAsRoot { place: file.display().to_string(), folder: folder.display().to_string() })
    })
}

/// Finds a folder in the path of this file in which a user other than root can add or replace files.
fn folder_of_others(file: &Path) -> Option<PathBuf> {
    // The path of a link counts like the path of the file.
    let named = std::path::absolute(file).ok();
    let real = file.canonicalize().ok();
    [named, real].into_iter().flatten().find_map(|path| {
        let mut folders =
            path.ancestors().skip(1).filter_map(|folder| Some((metadata(folder).ok()?, folder)));
        let own = folders.next().filter(|(there, _)| !is_roots(there));
        let above = || folders.find(|(there, _)| !is_roots(there) && !protects_names(there));
        own.or_else(above).map(|(_, folder)| folder.to_owned())
    })
}

/// Whether only root can add files here. With an access list, the group's bits are the most that the list allows.
fn is_roots(folder: &Metadata) -> bool {
    folder.uid() == 0 && folder.mode() & 0o022 == 0
}

/// Whether users cannot replace root's files in this folder, as in `/tmp`.
fn protects_names(folder: &Metadata) -> bool {
    folder.uid() == 0 && folder.mode() & 0o1000 != 0
}

fn cannot_open(file: &Path, why: String) -> StoreError {
    StoreError::CannotOpen { place: file.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// The version was the newest one of rusqlite when this was written. `cargo info rusqlite` shows a newer one.
    #[test]
    fn the_bundled_sqlite_is_current() {
        assert!(rusqlite::version_number() >= 3_054_001, "{}", rusqlite::version());
    }

    /// Only root can give folders to other users, so other users skip this test.
    #[test]
    fn p28_every_folder_on_the_way_counts() {
        let root = tempfile::tempdir().unwrap();
        if !geteuid().is_root() {
            eprintln!("skipped: only root can give a folder away");
            return;
        }
        let (outer, inner) = (root.path().join("outer"), root.path().join("outer/inner"));
        create_dir(&outer).unwrap();
        create_dir(&inner).unwrap();
        let file = inner.join("customers.db");
        let set = |folder: &Path, owner: u32, mode: u32| {
            chown(folder, Some(owner), Some(owner)).unwrap();
            set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        };
        for (of_outer, of_inner, found) in [
            ((0, 0o755), (0, 0o755), None),
            ((0, 0o755), (7, 0o755), Some(&inner)),
            ((0, 0o755), (0, 0o775), Some(&inner)),
            ((0, 0o755), (0, 0o757), Some(&inner)),
            // Users cannot remove root's files there, but they can add a journal.
            ((0, 0o755), (0, 0o1777), Some(&inner)),
            ((7, 0o755), (0, 0o755), Some(&outer)),
            ((0, 0o775), (0, 0o755), Some(&outer)),
            ((0, 0o1777), (0, 0o755), None),
        ] {
            set(&outer, of_outer.0, of_outer.1);
            set(&inner, of_inner.0, of_inner.1);
            assert_eq!(folder_of_others(&file).as_ref(), found, "{of_outer:?} {of_inner:?}");
        }
        set(&outer, 0, 0o755);
        std::fs::write(&file, "").unwrap();
        let theirs = root.path().join("theirs");
        create_dir(&theirs).unwrap();
        symlink(&file, theirs.join("link.db")).unwrap();
        assert_eq!(folder_of_others(&theirs.join("link.db")), None);
        set(&theirs, 7, 0o755);
        assert_eq!(folder_of_others(&theirs.join("link.db")), Some(theirs.clone()));
        symlink(theirs.join("their.db"), inner.join("link.db")).unwrap();
        std::fs::write(theirs.join("their.db"), "").unwrap();
        assert_eq!(folder_of_others(&inner.join("link.db")), Some(theirs));
    }
}
