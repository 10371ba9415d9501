//! The account of a user on a ThingsBoard server: ThingsBoard counts failed logins for each account.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::BaseUrl;

/// The key of an account: SHA-256 of the server's host and path and of the trimmed user name in lower case. Scheme and port
/// do not count, because operators change them while they fix a row. Case does not count, because a server may ignore it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey([u8; Self::BYTES]);

impl AccountKey {
    /// The length of a key.
    pub const BYTES: usize = 32;

    /// The key of the ledger's stamp in its table; no account has it.
    pub const STAMP: Self = Self([0; Self::BYTES]);

    /// The key of the loop's state in the ledger's table; no account has it.
    pub const LOOP: Self = Self([255; Self::BYTES]);

    /// Returns the key of this user's account on this server.
    pub fn of(server: &BaseUrl, username: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(server.host_and_path().as_bytes());
        // No host or path holds a newline, so two accounts never give the same text.
        context.update(b"\n");
        context.update(username.trim().to_lowercase().as_bytes());
        let mut key = [0; Self::BYTES];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }

    /// Returns the key with these bytes; none for another number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    /// Returns its bytes, for the store.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey(")?;
        for byte in self.0.iter().take(4) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str, username: &str) -> AccountKey {
        AccountKey::of(&BaseUrl::parse(url).unwrap(), username)
    }

    #[test]
    fn spellings_schemes_and_ports_are_one_account() {
        let account = key("https://tb.example", "ops@acme.example");
        for (url, username) in [
            ("http://tb.example", "ops@acme.example"),
            ("https://TB.example.:8443/", "OPS@acme.example"),
            ("https://tb.example//./", " ops@acme.example "),
        ] {
            assert_eq!(key(url, username), account, "{url} {username:?}");
        }
        for (url, username) in [
            ("https://tb.example/a", "ops@acme.example"),
            ("https://tb2.example", "ops@acme.example"),
            ("https://tb.example", "ops2@acme.example"),
        ] {
            assert_ne!(key(url, username), account, "{url} {username:?}");
        }
    }
}
