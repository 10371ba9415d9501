//! The status of a token, its refresh window, and the expiry to write.

use chrono::{DateTime, TimeDelta, Utc};
use strum::{EnumIter, IntoStaticStr};

use super::Token;

/// The status of a token at a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenStatus {
    /// No token, or no expiry.
    Missing,
    /// Its expiry has passed.
    Expired,
    /// Its expiry is within the window.
    ExpiringSoon,
    /// It needs nothing yet.
    Valid,
}

impl TokenStatus {
    /// Returns the status at `now` of a token with that expiry and refresh window.
    pub fn at(now: DateTime<Utc>, has_token: bool, expiry: Option<DateTime<Utc>>, window: TimeDelta) -> Self {
        match expiry {
            Some(expiry) if has_token => {
                if expiry < now {
                    Self::Expired
                } else if expiry - now < window {
                    Self::ExpiringSoon
                } else {
                    Self::Valid
                }
            }
            _ => Self::Missing,
        }
    }
}

/// Returns the refresh window of a token whose whole life is `life`, if known. It is at most half of the life, so that a
/// token of 60 seconds is not due at once.
pub fn window_of(life: Option<TimeDelta>, configured: TimeDelta) -> TimeDelta {
    match life {
        Some(life) if life < configured * 2 => life / 2,
        _ => configured,
    }
}

/// The longest life to declare for a token (`schedule.token_lifetime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// At most this long.
    AtMost(TimeDelta),
    /// As long as the JWT says.
    Jwt,
}

impl Lifetime {
    /// Returns the life to declare for a token, at most its own. A token's life is `exp − iat`, so that a wrong clock of
    /// ThingsBoard does no harm.
    pub fn of(self, token: &Token) -> TimeDelta {
        match self {
            Self::AtMost(cap) => token.life().min(cap),
            Self::Jwt => token.life(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_until_its_window_and_ends_after_its_expiry() {
        let at = |ms: i64| DateTime::from_timestamp_millis(1_780_000_000_000 + ms).unwrap();
        let status = |expiry: i64| TokenStatus::at(at(0), true, Some(at(expiry)), TimeDelta::seconds(300));
        let cases = [
            (300_001, TokenStatus::Valid),
            (300_000, TokenStatus::Valid),
            (299_999, TokenStatus::ExpiringSoon),
            (0, TokenStatus::ExpiringSoon),
            (-1, TokenStatus::Expired),
        ];
        for (expiry, expected) in cases {
            assert_eq!(status(expiry), expected, "{expiry} ms");
        }
        for (has_token, expiry) in [(false, Some(at(300_001))), (true, None), (false, None)] {
            assert_eq!(TokenStatus::at(at(0), has_token, expiry, TimeDelta::zero()), TokenStatus::Missing);
        }
    }

    #[test]
    fn the_window_is_at_most_half_of_a_life() {
        let (life, window) = (TimeDelta::seconds, TimeDelta::seconds(300));
        assert_eq!(window_of(None, window), window);
        assert_eq!(window_of(Some(life(600)), window), window);
        assert_eq!(window_of(Some(life(598)), window), life(299));
        assert_eq!(window_of(Some(life(60)), window), life(30));
    }
}
