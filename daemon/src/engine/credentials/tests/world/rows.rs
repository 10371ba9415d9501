//! The rows of a world: several spellings of few servers and users.

use std::time::Instant;

use super::super::thingsboard::RefreshToken;
use crate::model::{AccountKey, BaseUrl, Credentials, Fingerprint, FingerprintKey, Secret, ServerKey};

/// Spellings of the address of each server.
pub(super) const URLS: [[&str; 3]; 3] = [
    ["https://tb0.example", "https://TB0.example:443/", "https://tb0.example//"],
    ["https://tb1.example/iot", "https://tb1.example:443/%69ot/", "http://tb1.example/iot"],
    // Another ThingsBoard behind the name of the first, which then has one port only: a stated limit.
    ["https://tb0.example:9090", "https://TB0.example:9090/", "https://tb0.example:9090//"],
];
pub(super) const USERNAMES: [&str; 4] =
    ["ops@acme.example", "OPS@acme.example", " ops@acme.example", "lab@acme.example"];
pub(super) const PASSWORDS: [&str; 5] = ["alpha", "bravo", "charlie", "delta", "echo"];

/// A row, and what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) server: usize,
    pub(super) url: &'static str,
    pub(super) username: &'static str,
    pub(super) password: &'static str,
    pub(super) token_until: Option<Instant>,
    pub(super) refresh_token: Option<RefreshToken>,
    /// ThingsBoard did not look at its password; it is tried again a day later.
    pub(super) not_before: Option<Instant>,
    pub(super) account: AccountKey,
    pub(super) server_key: ServerKey,
    pub(super) credentials: Fingerprint,
}

impl Row {
    pub(super) fn new(
        key: &FingerprintKey,
        server: usize,
        url: &'static str,
        username: &'static str,
        password: &'static str,
    ) -> Self {
        let base = BaseUrl::parse(url).unwrap();
        let credentials =
            Credentials { url: url.into(), username: username.to_owned(), password: Secret::new(password) };
        Self {
            server,
            url,
            username,
            password,
            token_until: None,
            refresh_token: None,
            not_before: None,
            account: AccountKey::of(&base, username),
            server_key: base.server_key(),
            credentials: key.fingerprint(&credentials),
        }
    }
}
