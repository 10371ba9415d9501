//! The settings for a SQL Server.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::address::Address;
use super::zone::ExpiryClock;
use crate::model::Secret;

/// The settings of a [`super::MssqlStore`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server as it is configured, for messages.
    pub server: String,
    /// The address of the server.
    pub address: Address,
    /// The database.
    pub database: String,
    /// The login.
    pub user: String,
    /// The password of the login.
    pub password: Password,
    /// When the encryption begins.
    pub encryption: Encryption,
    /// The certificates to accept.
    pub trust: Trust,
    /// Whether to try all addresses of the name at once.
    pub multi_subnet_failover: bool,
    /// The customers' table: `table` or `schema.table`, not quoted.
    pub table: String,
    /// The clock of `tbtokenexpiry`, where its type has no zone.
    pub expiry_clock: ExpiryClock,
    /// The URL for rows without one.
    pub fallback_url: Option<String>,
    /// The folder of the ledger file, for a database without a table for it.
    pub state_folder: Option<PathBuf>,
}

/// When the encryption begins. Without encryption, nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// After the first packet, as every version of SQL Server can.
    Required,
    /// Before the first packet (TDS 8, SQL Server 2022 and newer).
    Strict,
}

/// The certificates to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// A certificate for the server's name from an authority that this machine or the PEM file knows.
    Authorities {
        /// The file.
        ca_file: Option<PathBuf>,
    },
    /// Any certificate. A host in between can then read and change everything.
    AnyCertificate,
}

/// The source of the password. It is read at every login, so that a new password needs no restart.
#[derive(Clone)]
pub struct Password(Arc<Source>);

type Source = dyn Fn() -> Result<Secret, PasswordError> + Send + Sync;

/// The reason why a password cannot be read.
pub type PasswordError = Box<dyn std::error::Error + Send + Sync>;

impl Password {
    /// Makes a source of a password that never changes.
    pub fn fixed(password: Secret) -> Self {
        Self(Arc::new(move || Ok(password.clone())))
    }

    /// Makes a source that calls `read` at each login. `read` may block.
    pub fn read_with(read: impl Fn() -> Result<Secret, PasswordError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the password.
    ///
    /// # Errors
    /// The error of reading it.
    pub fn get(&self) -> Result<Secret, PasswordError> {
        (self.0)()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Settings {
    /// Names the kind and the place, for people, with a warning if certificates are not checked.
    pub(super) fn describe(&self) -> String {
        let trust = match self.trust {
            Trust::Authorities { .. } => "",
            Trust::AnyCertificate => " (its certificate is not checked)",
        };
        format!("mssql {} on {}{trust}", self.database, self.server)
    }
}
