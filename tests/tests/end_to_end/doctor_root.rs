//! Root and a SQLite file in a folder of another user. SQLite deletes the "super-journal" that a journal beside the file
//! names (<https://www.sqlite.org/fileformat2.html#the_rollback_journal>), which can be any file.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use tbtoken_tests::harness::Installation;
use tempfile::TempDir;

use super::doctor::{SERVICE, of_a_service};

/// A file of root in a folder in which only root can write.
struct Victim {
    _folder: TempDir,
    file: PathBuf,
}

impl Victim {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shadow");
        fs::write(&file, "root's own\n").unwrap();
        Self { _folder: folder, file }
    }

    /// Attacks as a user that can write beside this SQLite file: adds a journal for a rollback, whose super-journal is the
    /// victim.
    fn plant(&self, database: &Path) {
        const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
        let bytes = fs::read(database).unwrap();
        let page = u32::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let pages = u32::try_from(bytes.len()).unwrap() / page;
        let name = self.file.to_str().unwrap().as_bytes();
        let number = |number: u32| number.to_be_bytes();
        let mut journal = MAGIC.to_vec();
        journal.extend([0, 1, pages, 512, page].into_iter().flat_map(number));
        journal.resize(512, 0);
        journal.extend(number(0x4000_0000 / page + 1));
        journal.extend(name);
        journal.extend(number(u32::try_from(name.len()).unwrap()));
        journal.extend(number(name.iter().map(|byte| u32::from(*byte)).sum()));
        journal.extend(MAGIC);
        let place = PathBuf::from(format!("{}-journal", database.display()));
        fs::write(&place, journal).unwrap();
        chown(&place, Some(SERVICE), Some(SERVICE)).unwrap();
    }

    fn assert_there(&self, when: &str) {
        assert!(self.file.exists(), "a file of root is deleted: {when}");
    }
}

/// Makes an installation whose file and folder have these owners, groups and modes.
fn with_owners(folder: (u32, u32, u32), file: (u32, u32, u32)) -> Option<Installation> {
    let installation = of_a_service()?;
    installation.table().create();
    for (path, (uid, gid, mode)) in [(installation.folder(), folder), (installation.table().path(), file)] {
        chown(path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    Some(installation)
}

const REFUSED: &str = "is not opened as root: users other than root can change";

/// Promise 28.
#[test]
fn p28_a_planted_journal_deletes_no_file_of_roots() {
    let mine = (SERVICE, SERVICE, 0o700);
    for (folder, file, opened) in [
        (mine, (SERVICE, SERVICE, 0o600), true),
        // The group of the applications, as in docs/install.md, and with a folder of root.
        ((SERVICE, 4711, 0o2770), (SERVICE, 4711, 0o660), true),
        ((0, SERVICE, 0o2770), (SERVICE, 4711, 0o660), true),
        // A file that root has restored in a folder in which others can write.
        (mine, (0, 0, 0o600), false),
        ((0, SERVICE, 0o2770), (0, 0, 0o600), false),
        ((0, 0, 0o1777), (0, 0, 0o600), false),
    ] {
        let case = format!("folder {folder:?}, file {file:?}");
        let Some(installation) = with_owners(folder, file) else { return };
        let victim = Victim::new();
        victim.plant(installation.table().path());
        let config = installation.write_config();
        let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
        victim.assert_there(&case);
        assert_eq!(output.stdout.contains(REFUSED), !opened, "{case}: {output:?}");
        assert_eq!(output.stdout.contains("readable"), opened, "{case}: {output:?}");
    }
}

/// Links could lead root to other files.
#[test]
fn p28_a_planted_link_leads_root_nowhere() {
    let Some(installation) = with_owners((SERVICE, SERVICE, 0o700), (SERVICE, SERVICE, 0o600)) else {
        return;
    };
    let victim = Victim::new();
    let config = installation.write_config();
    let doctor = || installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    let beside = |ending: &str| PathBuf::from(format!("{}{ending}", installation.table().path().display()));
    for ending in ["-journal", "-wal", "-shm"] {
        symlink(&victim.file, beside(ending)).unwrap();
        drop(doctor());
        assert_eq!(fs::read_to_string(&victim.file).unwrap(), "root's own\n", "{ending}");
        fs::remove_file(beside(ending)).unwrap();
    }
    // The file itself is a link to a database of root.
    let own = victim.file.with_file_name("own.db");
    fs::rename(installation.table().path(), &own).unwrap();
    chown(&own, Some(0), Some(0)).unwrap();
    symlink(&own, installation.table().path()).unwrap();
    let output = doctor();
    assert!(output.stdout.contains(REFUSED) && !output.stdout.contains("chown"), "{output:?}");
}

/// `sudo tbtokend` instead of `systemctl start tbtokend`.
#[test]
fn p28_a_daemon_of_roots_does_not_open_it_either() {
    let Some(installation) = with_owners((SERVICE, SERVICE, 0o700), (SERVICE, SERVICE, 0o600)) else {
        return;
    };
    let victim = Victim::new();
    victim.plant(installation.table().path());
    let daemon = installation.start();
    let status = daemon.until("it has tried", |status| status.daemon.store_error.is_some());
    let error = status.daemon.store_error.clone().unwrap();
    assert!(error.contains(REFUSED) && error.contains("systemctl start tbtokend"), "{error}");
    victim.assert_there("by the daemon");
    // The daemon continues by itself once the folder belongs to root.
    chown(installation.folder(), Some(0), Some(0)).unwrap();
    fs::remove_file(format!("{}-journal", installation.table().path().display())).unwrap();
    daemon.until("it was read", |status| status.daemon.store_ok && status.tokens.as_of.is_some());
}
