//! What the listener is given by the configuration.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::control::Binding;

/// How many characters a token may have.
pub const TOKEN_LENGTHS: RangeInclusive<usize> = 32..=256;

/// Everything about the listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub address: Address,
    /// Whether other machines reach it; a proxy with TLS stands in front then.
    pub exposed: bool,
    /// Which clients it lets in.
    pub door: Door,
    /// Whether the metrics need no token.
    pub metrics_open: bool,
    /// Whether there is the admin page.
    pub page: bool,
}

/// Where the listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At a port.
    Tcp(SocketAddr),
    /// At a Unix socket.
    Unix(Binding),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(binding) => write!(f, "unix:{}", binding.path.display()),
        }
    }
}

/// Which clients are let in. A reload replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Door {
    /// The token that may do everything.
    pub write: Option<Token>,
    /// The token that may look.
    pub read: Option<Token>,
    /// The names in `Host` and `Origin` besides `localhost`, in lower case.
    pub allowed_hosts: Vec<String>,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Look.
    Read,
    /// Everything.
    All,
}

/// The hash of a token: the memory of the daemon does not hold the token, and comparing tells no length.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; SHA256_OUTPUT_LEN]);

impl Token {
    /// Of this text.
    pub fn new(text: &str) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Door {
    /// What a client with this token may do. A door without tokens is a Unix socket, whose mode has decided.
    pub(super) fn right_of(&self, token: Option<&str>) -> Option<Right> {
        if self.write.is_none() && self.read.is_none() {
            return Some(Right::All);
        }
        // Both are compared whatever comes of the first, and also without a token: every refusal takes the same time.
        let given = Token::new(token.unwrap_or_default());
        let is = |own: &Option<Token>| own.as_ref().is_some_and(|own| own.is(&given));
        let (all, read) = (is(&self.write), is(&self.read));
        match (all, read) {
            (true, _) => Some(Right::All),
            (false, true) => Some(Right::Read),
            (false, false) => None,
        }
    }

    /// Whether a name in `Host` or `Origin` is ours.
    pub(super) fn knows(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        name == "localhost" || self.allowed_hosts.contains(&name)
    }
}

/// Whether this is the name of a host, without scheme, port or path.
pub fn is_host_name(name: &str) -> bool {
    let is_part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(is_part)
}
