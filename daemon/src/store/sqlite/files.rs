//! Which files a connection has open: the database and, in WAL mode, the two beside it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// Device and inode.
type Identity = (u64, u64);

/// The files as they are found by their names at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files {
    /// The database; none if it is gone.
    database: Option<Identity>,
    /// `-wal` and `-shm`.
    beside: [Option<Identity>; 2],
}

impl Files {
    /// Those of the database at `path`.
    pub(super) fn at(path: &Path) -> Self {
        let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        Self { database: identity(path), beside: beside(path).map(|path| identity(&path)) }
    }

    /// Whether there is a database.
    pub(super) fn exist(self) -> bool {
        self.database.is_some()
    }

    /// The same with the files beside the database that are there now: they come with the first use of it.
    pub(super) fn with_beside(self, now: Self) -> Self {
        Self { beside: now.beside, ..self }
    }

    /// What was done to them, if a connection that has these open is not to be used any more.
    pub(super) fn change(self, now: Self) -> Option<&'static str> {
        if self.database != now.database {
            return Some("was replaced by another file");
        }
        self.have_lost_the_wal(now).then_some("lost its -wal or -shm file, which was removed or replaced")
    }

    /// Whether the WAL is not the one that a connection writes: then others do not see what the connection sees. A WAL that
    /// comes where there was none is no trouble.
    fn have_lost_the_wal(self, now: Self) -> bool {
        self.beside.into_iter().zip(now.beside).any(|(ours, now)| ours.is_some() && ours != now)
    }

    /// Prepares the end of a connection to the database at `path` that has these open.
    ///
    /// The last one that is closed copies its WAL into the database and removes the file of that name: not if that is another
    /// WAL, for others have written the database since. The WAL of a database that was replaced goes into the old file, which
    /// may lie somewhere else now, and is removed, or it would be taken for one of the new file.
    pub(super) fn before_closing(self, path: &Path, connection: &Connection) {
        let now = Self::at(path);
        if self.have_lost_the_wal(now) {
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        } else if now.exist() && self.database != now.database {
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            for path in beside(path) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// `-wal` and `-shm` of the database at `path`.
fn beside(path: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|suffix| {
        let mut name = OsString::from(path);
        name.push(suffix);
        name.into()
    })
}
