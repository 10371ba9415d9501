//! The settings of a fake SQL Server.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::sql::Zone;
use crate::canary;

/// The settings of a server: what it offers, and the one login that it accepts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the database.
    pub database: String,
    /// The name of the login.
    pub user: String,
    /// The password of the login, which contains a canary.
    pub password: String,
    /// Which encryption it accepts.
    pub accepts: Accepts,
    /// The kind of its certificate.
    pub certificate: Certificate,
    /// The address on which it listens.
    pub address: Ipv4Addr,
    /// The largest packet that it agrees to.
    pub packet_size: usize,
    /// Its time zone.
    pub zone: Zone,
    /// How far its clock is ahead of this machine's, in seconds.
    pub skew: i64,
    /// Whether it answers as SQL Server before 2019: 8152 in place of 2628.
    pub is_old: bool,
    /// Whether sessions begin with IMPLICIT_TRANSACTIONS, as `user options` of the real one can set. The real one excepts
    /// clients with the name ODBC.
    pub implicit_transactions: bool,
    /// How long every request takes.
    pub latency: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: "app".to_owned(),
            user: "tbtokend".to_owned(),
            password: format!("{}-1", canary::DATABASE),
            accepts: Accepts::Both,
            certificate: Certificate::PrivateAuthority,
            address: Ipv4Addr::LOCALHOST,
            packet_size: 4096,
            zone: Zone::Fixed(0),
            skew: 0,
            is_old: false,
            implicit_transactions: false,
            latency: Duration::ZERO,
        }
    }
}

/// The encryption that a server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// TDS 7.4 and TDS 8, as SQL Server 2022 does.
    Both,
    /// TDS 8 only ("force strict encryption").
    OnlyStrict,
    /// No encryption.
    Plain,
}

/// The kind of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by [`SqlServer::authority`](super::SqlServer::authority), for `localhost` and its address.
    PrivateAuthority,
    /// Signed by the same authority for another name.
    WrongName,
    /// Signed by itself, as SQL Server makes one if none is installed.
    SelfSigned,
    /// Its own authority, as `openssl req -x509` makes it; [`SqlServer::authority`](super::SqlServer::authority) is itself.
    OwnAuthority,
    /// The same without a subject alternative name.
    OwnAuthorityNoName,
    /// The same for another name.
    OwnAuthorityWrongName,
    /// Signed by the authority, and expired in 2001.
    Expired,
}
