//! The settings of the listener.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::control::{Access, Binding};

/// The allowed numbers of characters in a token.
pub const TOKEN_LENGTHS: RangeInclusive<usize> = 32..=256;

/// The settings of the listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address.
    pub address: Address,
    /// Whether other machines can reach it; a proxy with TLS must then be in front.
    pub exposed: bool,
    /// The tokens and names that it accepts.
    pub access_rules: AccessRules,
    /// Whether the metrics need no token.
    pub metrics_open: bool,
    /// Whether it serves the admin page.
    pub page: bool,
}

/// The address of the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
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

/// The tokens and names that the listener accepts. A reload replaces them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessRules {
    /// The token that may do everything.
    pub write: Option<Token>,
    /// The token that may only read.
    pub read: Option<Token>,
    /// The names in `Host` and `Origin` besides `localhost`, in lower case.
    pub allowed_hosts: Vec<String>,
}

/// The hash of a token: the daemon's memory does not hold the token, and a comparison reveals no length.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; SHA256_OUTPUT_LEN]);

impl Token {
    /// Hashes the text of a token.
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

impl AccessRules {
    /// Returns the access of a client with this token. Without configured tokens the mode of the Unix socket has decided.
    pub(super) fn access_of(&self, token: Option<&str>) -> Option<Access> {
        if self.write.is_none() && self.read.is_none() {
            return Some(Access::Control);
        }
        // Both are always compared, also without a token, so that every refusal takes the same time.
        let given = Token::new(token.unwrap_or_default());
        let is = |known: &Option<Token>| known.as_ref().is_some_and(|known| known.is(&given));
        match (is(&self.write), is(&self.read)) {
            (true, _) => Some(Access::Control),
            (false, true) => Some(Access::Monitor),
            (false, false) => None,
        }
    }

    /// Whether a name in `Host` or `Origin` is accepted.
    pub(super) fn knows(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        name == "localhost" || self.allowed_hosts.contains(&name)
    }
}

/// Whether this is a plain host name, without scheme, port or path.
pub fn is_host_name(name: &str) -> bool {
    let is_part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(is_part)
}
