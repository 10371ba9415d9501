//! The identity of the files that a connection has open: the database and, in WAL mode, the two files beside it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// Device and inode.
type Identity = (u64, u64);

/// The identities of the files that have the names of a database at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files {
    /// The database; `None` if it is gone.
    database: Option<Identity>,
    /// `-wal` and `-shm`.
    beside: [Option<Identity>; 2],
}

impl Files {
    /// Reads the identities for the database at `path`.
    pub(super) fn at(path: &Path) -> Self {
        let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        Self { database: identity(path), beside: beside(path).map(|path| identity(&path)) }
    }

    /// Whether there is a database.
    pub(super) fn exist(self) -> bool {
        self.database.is_some()
    }

    /// Takes the files beside the database from `now`: SQLite makes them at the first use.
    pub(super) fn with_beside(self, now: Self) -> Self {
        Self { beside: now.beside, ..self }
    }

    /// Says what was changed, if a connection that has these files open must not be used any more.
    pub(super) fn change(self, now: Self) -> Option<&'static str> {
        if self.database != now.database {
            return Some("was replaced by another file");
        }
        self.have_lost_the_wal(now).then_some("lost its -wal or -shm file, which was removed or replaced")
    }

    /// Whether the WAL is no longer the one that the connection writes. Then other programs do not see what the connection
    /// sees. A WAL that appears where there was none is no problem.
    fn have_lost_the_wal(self, now: Self) -> bool {
        self.beside.into_iter().zip(now.beside).any(|(ours, now)| ours.is_some() && ours != now)
    }

    /// Prepares the end of a connection to the database at `path` that has these files open.
    ///
    /// When the last connection closes, SQLite copies the WAL into the database and removes the file of that name. This must
    /// not happen if that file is another WAL, because others have written the database since. The WAL of a database that was
    /// replaced goes into the old file, which may have another name now. It is then removed, or SQLite would take it for the
    /// WAL of the new file.
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

/// Returns the paths of `-wal` and `-shm` for the database at `path`.
fn beside(path: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|suffix| {
        let mut name = OsString::from(path);
        name.push(suffix);
        name.into()
    })
}
