//! The account of a user on a ThingsBoard server, which is what ThingsBoard counts failed logins against.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::BaseUrl;

/// Names an account: SHA-256 of host and path of the server and of the user name, in lower case and without blanks around
/// it. Scheme and port do not count, because people change them while they repair a row; nor does case, because a server
/// may ignore it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey([u8; Self::BYTES]);

impl AccountKey {
    /// The length of a key.
    pub const BYTES: usize = 32;

    /// Stands in the ledger's table for its stamp, and is no account's key.
    pub const STAMP: Self = Self([0; Self::BYTES]);

    /// Stands in the ledger's table for the state of the loop, and is no account's key either.
    pub const LOOP: Self = Self([255; Self::BYTES]);

    /// The key of this user's account on this server.
    pub fn of(server: &BaseUrl, username: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(server.host_and_path().as_bytes());
        // No host or path holds a line end, so no two accounts are the same text.
        context.update(b"\n");
        context.update(username.trim().to_lowercase().as_bytes());
        let mut key = [0; Self::BYTES];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }

    /// The key with these bytes, if they are as many as a key has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    /// Its bytes, for the store.
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
