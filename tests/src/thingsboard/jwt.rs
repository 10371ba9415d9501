//! Tokens like ThingsBoard's: HS512 JWTs with its claims, and a mark in the signature.
//!
//! The signature is not a real HMAC but a keyed hash with the same alphabet and length. It identifies the server's own
//! tokens, needs no memory of issued tokens, and leaves room for the mark.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The length of 64 bytes of HMAC-SHA-512 in base64url without padding.
const SIGNATURE_CHARS: usize = 86;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Makes a signed token with these claims; its signature begins with `canary`.
#[must_use]
pub fn mint(key: u64, canary: &str, claims: &Value) -> String {
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS512"}"#);
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    let signature = sign(key, canary, &payload);
    format!("{head}.{payload}.{signature}")
}

/// Returns the claims of a token that this key has signed; `None` for any other text.
#[must_use]
pub fn verify(key: u64, token: &str) -> Option<Value> {
    let (_, signature) = token.rsplit_once('.')?;
    let claims = peek(token)?;
    let payload = token.split('.').nth(1)?;
    let known = |canary| signature == sign(key, canary, payload);
    (known(crate::canary::TOKEN) || known(crate::canary::REFRESH)).then_some(claims)
}

/// Returns the claims of any JWT without a check of its signature.
#[must_use]
pub fn peek(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Returns a copy of `token` with `claim` set to `value`, signed again.
#[must_use]
pub fn reforge(key: u64, token: &str, claim: &str, value: Value) -> Option<String> {
    let mut claims = peek(token)?;
    claims[claim] = value;
    Some(mint(key, crate::canary::TOKEN, &claims))
}

/// Extends `token` to `length` characters by an unused claim, or to one more if base64 has no such length. A token that is
/// already longer stays as it is.
#[must_use]
pub fn stretch(key: u64, token: &str, length: usize) -> Option<String> {
    let filled = |bytes: usize| reforge(key, token, "filler", "x".repeat(bytes).into());
    let empty = filled(0)?;
    if empty.len() >= length {
        return Some(token.to_owned());
    }
    let mut bytes = (length - empty.len()) * 3 / 4;
    let mut stretched = filled(bytes)?;
    while stretched.len() < length {
        bytes += 1;
        stretched = filled(bytes)?;
    }
    Some(stretched)
}

fn sign(key: u64, canary: &str, payload: &str) -> String {
    let mut signature = canary.to_owned();
    for round in 0_u8.. {
        let mut hasher = DefaultHasher::new();
        (key, canary, round, payload).hash(&mut hasher);
        let mut bits = hasher.finish();
        for _ in 0..10 {
            if signature.len() == SIGNATURE_CHARS - 1 {
                // Only two bits of the last character belong to the 64 bytes; strict decoders check that.
                signature.push(char::from(b"AQgw"[(bits % 4) as usize]));
                return signature;
            }
            signature.push(char::from(ALPHABET[(bits % 64) as usize]));
            bits >>= 6;
        }
    }
    unreachable!("nine rounds fill a signature")
}

/// Makes a text like a UUID from a seed.
#[must_use]
pub fn uuid(seed: impl Hash) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &seed).hash(&mut hasher);
        hasher.finish()
    };
    let (a, b) = (half(0), half(1));
    format!(
        "{:08x}-{:04x}-11f0-{:04x}-{:012x}",
        a >> 32,
        a & 0xffff,
        b >> 48 & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canary;

    #[test]
    fn a_token_is_three_parts_that_strict_decoders_take() {
        let token = mint(7, canary::TOKEN, &json!({"sub": "a@b.example", "iat": 1, "exp": 2}));
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        assert_eq!((parts.len(), parts[2].len()), (3, 64));
        assert_eq!(verify(7, &token).unwrap()["sub"], "a@b.example");
        assert!(!canary::scan(&token).is_empty());
    }

    #[test]
    fn foreign_and_altered_tokens_are_not_believed() {
        let token = mint(7, canary::TOKEN, &json!({"sub": "a"}));
        assert_eq!(verify(8, &token), None);
        let other = URL_SAFE_NO_PAD.encode(r#"{"sub":"b"}"#);
        let mut parts: Vec<_> = token.split('.').collect();
        parts[1] = &other;
        assert_eq!(verify(7, &parts.join(".")), None);
        for text in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d"] {
            assert_eq!(verify(7, text), None, "{text}");
        }
    }

    #[test]
    fn stretching_reaches_the_length_or_one_more() {
        let token = mint(7, canary::TOKEN, &json!({"sub": "a"}));
        for length in 300..320 {
            let stretched = stretch(7, &token, length).unwrap();
            assert!(stretched.len() - length <= 1, "{} for {length}", stretched.len());
            assert!(verify(7, &stretched).is_some());
        }
    }
}
