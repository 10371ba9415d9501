//! Fingerprints of credentials: they show a change without storing the credentials.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::{BaseUrl, Credentials};

/// The key of the fingerprints. The store holds it beside the records, so that a parked customer stays parked after a
/// restart and on another machine.
#[derive(Clone)]
pub struct FingerprintKey {
    bytes: Zeroizing<[u8; Self::BYTES]>,
    key: Arc<hmac::Key>,
    mark: [u8; Fingerprint::MARK],
}

impl FingerprintKey {
    /// The number of random bytes in a key.
    pub const BYTES: usize = 32;

    /// Makes a key from these bytes.
    pub fn new(bytes: &[u8; Self::BYTES]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let mut mark = [0; Fingerprint::MARK];
        // No credentials give this text, because theirs begins with a length.
        mark.iter_mut().zip(hmac::sign(&key, b"the key").as_ref()).for_each(|(to, from)| *to = *from);
        Self { bytes: Zeroizing::new(*bytes), key: Arc::new(key), mark }
    }

    /// Returns the bytes, for the store.
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        *self.bytes
    }

    /// Returns the fingerprint of credentials. Two spellings of one URL give the same, because they are the same account.
    pub fn fingerprint(&self, credentials: &Credentials) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        let server = BaseUrl::parse(&credentials.url).map(|base| base.identity());
        let server = server.as_deref().unwrap_or(&credentials.url);
        for part in [server, &*credentials.username, credentials.password.expose()] {
            // The length before each part distinguishes ("ab", "c") from ("a", "bc").
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; Fingerprint::BYTES];
        bytes
            .iter_mut()
            .zip(self.mark.iter().chain(context.sign().as_ref()))
            .for_each(|(to, from)| *to = *from);
        Fingerprint(bytes)
    }
}

impl PartialEq for FingerprintKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(***)")
    }
}

/// A keyed hash (HMAC-SHA-256, cut to 96 bits) of server, user and password, after a mark of its key. Without the key it
/// does not help to guess a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; Self::BYTES]);

impl Fingerprint {
    /// The length in bytes: a part of the hash distinguishes credentials well enough.
    const BYTES: usize = 16;

    /// The first bytes, which all fingerprints of one key share.
    const MARK: usize = 4;

    /// Whether both were made with the same key. Fingerprints of different keys always differ.
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.0[..Self::MARK] == other.0[..Self::MARK]
    }

    /// Reads the fingerprint that [`to_text`](Self::to_text) wrote; none for another text.
    pub fn from_text(text: &str) -> Option<Self> {
        STANDARD_NO_PAD.decode(text).ok()?.try_into().map(Self).ok()
    }

    /// Returns its text, for the store.
    pub fn to_text(self) -> String {
        STANDARD_NO_PAD.encode(self.0)
    }

    /// Makes a fingerprint from a number.
    #[cfg(test)]
    pub(crate) fn numbered(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn credentials(url: &str, username: &str, password: &str) -> Credentials {
        Credentials { url: url.into(), username: username.into(), password: Secret::new(password) }
    }

    #[test]
    fn each_part_and_the_key_count() {
        let key = FingerprintKey::new(&[7; 32]);
        let base = key.fingerprint(&credentials("u", "n", "p"));
        assert_eq!(base.to_text(), "eSt/bLRjz9RVKHZypCn0TA", "stored ones must stay recognizable");
        assert_eq!(Fingerprint::from_text(&base.to_text()), Some(base));
        assert_eq!(Fingerprint::from_text("abc"), None);
        assert_eq!(base, key.fingerprint(&credentials("u", "n", "p")));
        for other in [credentials("x", "n", "p"), credentials("u", "x", "p"), credentials("u", "n", "x")] {
            assert_ne!(base, key.fingerprint(&other));
        }
        assert_eq!(
            key.fingerprint(&credentials("https://TB.example:443/", "n", "p")),
            key.fingerprint(&credentials(" https://tb.example", "n", "p")),
            "two spellings of one URL are one account"
        );
        assert_ne!(
            key.fingerprint(&credentials("un", "", "p")),
            key.fingerprint(&credentials("u", "n", "p"))
        );
        assert_ne!(key, FingerprintKey::new(&[8; 32]));
        let under_other_key = FingerprintKey::new(&[8; 32]).fingerprint(&credentials("u", "n", "p"));
        assert_ne!(base, under_other_key);
        assert!(!base.has_key_of(&under_other_key));
        assert!(base.has_key_of(&key.fingerprint(&credentials("x", "y", "z"))));
    }
}
