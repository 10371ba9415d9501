//! A ThingsBoard token, and the checks before it is used.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::Secret;

/// A JWT that has passed the checks of [`Token::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    jwt: Secret,
    issued_at: DateTime<Utc>,
    life: TimeDelta,
}

/// The result of a successful login or refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token for the customer's row.
    pub token: Token,
    /// The token with which the next renewal needs no password.
    pub refresh_token: Option<Secret>,
}

/// Why a text is not a token. The error does not quote the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    /// A JWT is `header.claims.signature`.
    #[error("it is not a JWT of three parts")]
    NotThreeParts,
    /// The claims are not base64url-encoded JSON with `exp` and `iat`.
    #[error("its claims cannot be read")]
    UnreadableClaims,
    /// It ends before it begins, or its life is too long.
    #[error("its exp is not after its iat")]
    EndsBeforeItBegins,
}

/// The claims that the daemon reads, in seconds since 1970; RFC 7519 allows fractions.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    iat: f64,
}

/// The longest accepted life; a longer one overflows date arithmetic, and no server intends it.
const MAX_LIFE_SECONDS: f64 = 100.0 * 366.0 * 86_400.0;

impl Token {
    /// Checks a token: three parts, readable claims, `exp` after `iat`. It ignores the daemon's clock, because the server's
    /// may be wrong, and the signature, which only the server can check.
    ///
    /// # Errors
    /// [`NotAToken`].
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAToken::NotThreeParts);
        };
        let in_alphabet = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if ![header, claims, signature].into_iter().all(in_alphabet) {
            return Err(NotAToken::NotThreeParts);
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| NotAToken::UnreadableClaims)?;
        let Claims { exp, iat } = serde_json::from_slice(&claims).map_err(|_| NotAToken::UnreadableClaims)?;
        let life = exp - iat;
        if !(life > 0.0 && life <= MAX_LIFE_SECONDS) {
            return Err(NotAToken::EndsBeforeItBegins);
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded above; a float saturates")]
        let (issued_at, life) =
            (DateTime::from_timestamp_millis((iat * 1000.0) as i64), (life * 1000.0) as i64);
        Ok(Self {
            jwt: Secret::new(text),
            issued_at: issued_at.ok_or(NotAToken::UnreadableClaims)?,
            life: TimeDelta::milliseconds(life),
        })
    }

    /// Returns the text of the token, to be written to the row.
    pub fn jwt(&self) -> &Secret {
        &self.jwt
    }

    /// Returns `exp − iat`.
    pub fn life(&self) -> TimeDelta {
        self.life
    }

    /// Returns when it was issued, by the clock of the server.
    pub fn issued_at(&self) -> DateTime<Utc> {
        self.issued_at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJIUzUxMiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn life_is_exp_minus_iat_whatever_their_clock_says() {
        let token = Token::parse(&jwt(r#"{"iat":1000,"exp":10000,"sub":"a@b.c"}"#)).unwrap();
        assert_eq!(token.life(), TimeDelta::seconds(9000));
        assert_eq!(token.issued_at().timestamp(), 1000);
    }

    #[test]
    fn text_that_is_not_a_token_is_refused() {
        use NotAToken::{EndsBeforeItBegins, NotThreeParts, UnreadableClaims};
        let good = jwt(r#"{"iat":1,"exp":2}"#);
        for (text, why) in [
            (String::new(), NotThreeParts),
            ("a.b".to_owned(), NotThreeParts),
            (format!("{good}.x"), NotThreeParts),
            (format!("{good}\n"), NotThreeParts),
            ("a..c".to_owned(), NotThreeParts),
            ("a.b.c".to_owned(), UnreadableClaims),
            (jwt("null"), UnreadableClaims),
            (jwt(r#"{"exp":2}"#), UnreadableClaims),
            (jwt(r#"{"iat":"1","exp":2}"#), UnreadableClaims),
            (jwt(r#"{"iat":2,"exp":2}"#), EndsBeforeItBegins),
            (jwt(r#"{"iat":2,"exp":1}"#), EndsBeforeItBegins),
            (jwt(r#"{"iat":0,"exp":1e300}"#), EndsBeforeItBegins),
            (jwt(r#"{"iat":1e300,"exp":1e300}"#), EndsBeforeItBegins),
        ] {
            assert_eq!(Token::parse(&text), Err(why), "{text}");
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        let text = jwt(r#"{"iat":1,"exp":2}"#);
        assert!(!format!("{:?}", Token::parse(&text).unwrap()).contains("eyJ"));
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_the_text(text in any::<String>(), iat in any::<f64>(), exp in any::<f64>()) {
            let _ = Token::parse(&text);
            let text = jwt(&format!(r#"{{"iat":{iat},"exp":{exp}}}"#));
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(token.jwt().expose(), text);
            }
        }
    }
}
