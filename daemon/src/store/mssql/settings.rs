//! How a SQL Server is reached.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::address::Address;
use super::zone::ExpiryClock;
use crate::model::Secret;

/// Everything that a [`super::MssqlStore`] needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server as people wrote it, to be shown.
    pub server: String,
    /// The same, read.
    pub address: Address,
    /// The database.
    pub database: String,
    /// The login.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// When the encryption begins.
    pub encryption: Encryption,
    /// Whose certificate is good.
    pub trust: Trust,
    /// Whether all addresses of the name are tried at once.
    pub multi_subnet_failover: bool,
    /// The customers' table: `table` or `schema.table`, not quoted.
    pub table: String,
    /// The clock of `tbtokenexpiry`, where its type has no zone.
    pub expiry_clock: ExpiryClock,
    /// For rows without a URL.
    pub fallback_url: Option<String>,
    /// Where the ledger is kept while the database has no table for it.
    pub state_folder: Option<PathBuf>,
}

/// When the encryption begins. Without any, nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// After the first packet, as every version of SQL Server can.
    Required,
    /// Before the first packet (TDS 8, SQL Server 2022 and newer).
    Strict,
}

/// Whose certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// One for the server's name from an authority that this machine knows, or from one of this PEM file.
    Authorities {
        /// The file.
        ca_file: Option<PathBuf>,
    },
    /// Anyone's. Whoever is in between can read and change everything.
    AnyCertificate,
}

/// Where the password comes from. It is asked for at every login, so that a new one is found without a restart.
#[derive(Clone)]
pub struct Password(Arc<Source>);

type Source = dyn Fn() -> Result<Secret, Unreadable> + Send + Sync;

/// Why a password cannot be read.
pub type Unreadable = Box<dyn std::error::Error + Send + Sync>;

impl Password {
    /// One that never changes.
    pub fn fixed(password: Secret) -> Self {
        Self(Arc::new(move || Ok(password.clone())))
    }

    /// One that is read when it is needed. `read` may block.
    pub fn read_with(read: impl Fn() -> Result<Secret, Unreadable> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The password now.
    ///
    /// # Errors
    /// What reading it said.
    pub fn get(&self) -> Result<Secret, Unreadable> {
        (self.0)()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Settings {
    /// The kind and the place, for people, with what they should be reminded of.
    pub(super) fn describe(&self) -> String {
        let trust = match self.trust {
            Trust::Authorities { .. } => "",
            Trust::AnyCertificate => " (its certificate is not checked)",
        };
        format!("mssql {} on {}{trust}", self.database, self.server)
    }
}
