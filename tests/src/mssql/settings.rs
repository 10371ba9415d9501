//! How a fake SQL Server is set up.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::sql::Zone;
use crate::canary;

/// What it offers and who may come in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The one database.
    pub database: String,
    /// The one login.
    pub user: String,
    /// Its password, with a canary in it.
    pub password: String,
    /// Which encryption it accepts.
    pub accepts: Accepts,
    /// What its certificate is like.
    pub certificate: Certificate,
    /// The address on which it listens.
    pub address: Ipv4Addr,
    /// The largest packet that it agrees to.
    pub packet_size: usize,
    /// Where it stands.
    pub zone: Zone,
    /// How far its clock is ahead of ours, in seconds.
    pub skew: i64,
    /// SQL Server before 2019: 8152 in the place of 2628.
    pub is_old: bool,
    /// Whether sessions begin with IMPLICIT_TRANSACTIONS, as `user options` of the real one can say. The real one spares
    /// clients that call themselves ODBC.
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

/// Which encryption a server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// TDS 7.4 and TDS 8, as SQL Server 2022 does.
    Both,
    /// TDS 8 alone ("force strict encryption").
    OnlyStrict,
    /// None at all.
    Plain,
}

/// What a server's certificate is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by [`SqlServer::authority`](super::SqlServer::authority), for `localhost` and its address.
    PrivateAuthority,
    /// Signed by the same authority for another name.
    WrongName,
    /// Signed by itself, as SQL Server makes one when it is given none.
    SelfSigned,
    /// Its own authority, as `openssl req -x509` makes it; [`SqlServer::authority`](super::SqlServer::authority) is itself.
    OwnAuthority,
    /// The same without a subject alternative name.
    OwnAuthorityNoName,
    /// The same for another name.
    OwnAuthorityWrongName,
    /// Signed by the authority, and over since 2001.
    Expired,
}
