//! The values of options.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use strum::IntoStaticStr;
use tbtoken_proto::{Customer, TokenStatus};

/// The order of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// Problems first.
    #[default]
    Problems,
    /// The least time left first.
    Left,
    /// By customer id.
    Customer,
    /// By the status of the token.
    Status,
}

/// Parses a token status.
pub(super) fn token_status() -> impl TypedValueParser<Value = TokenStatus> {
    let value = |name, help| PossibleValue::new(name).help(help);
    let values = [
        value("expired", "It has ended"),
        value("missing", "There is none"),
        value("expiring-soon", "It ends soon").aliases(["expiring_soon", "expiring soon"]),
        value("valid", "It needs nothing"),
    ];
    PossibleValuesParser::new(values)
        .try_map(|word| serde_json::from_value(word.replace(['-', ' '], "_").into()))
}

/// The actions of `notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NotifyAction {
    /// List the receivers.
    List,
    /// Send them a test message.
    Test,
}

/// The goal of `wait`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Goal {
    /// The token is valid and does not end soon.
    #[default]
    Valid,
    /// The token can be used: it is valid, or ends soon.
    Usable,
}

impl Goal {
    /// Whether this customer has reached the goal.
    pub(crate) fn is_reached(self, customer: &Customer) -> bool {
        match customer.token_status {
            TokenStatus::Valid => true,
            TokenStatus::ExpiringSoon => self == Self::Usable,
            TokenStatus::Expired | TokenStatus::Missing | TokenStatus::Unknown => false,
        }
    }

    /// Its word on the command line.
    pub(crate) fn word(self) -> &'static str {
        self.into()
    }
}

/// The shells with a completion script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash, 4.0 or later.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

/// The longest accepted time. A longer one is a typing mistake, or means "for ever".
const MAX_SECONDS: f64 = 365.0 * 86_400.0;

/// The text is no length of time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time longer than zero is needed, as 30, 30s, 500ms, 2m, 1h or 1d")]
pub(super) struct BadDuration;

/// Reads `30`, `30s`, `500ms`, `1.5m`, `1h`, `1d`.
pub(super) fn duration(text: &str) -> Result<Duration, BadDuration> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(BadDuration),
    };
    let seconds = number.trim().parse::<f64>().map_err(|_| BadDuration)? * factor;
    // No answer comes within less than a millisecond.
    if !(0.001..=MAX_SECONDS).contains(&seconds) {
        return Err(BadDuration);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| BadDuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        for (text, milliseconds) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("500ms", 500),
            ("0.5", 500),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "0ms", "-1", "s", "1w", "1 week", "nan", "inf", "1e300", "30 s s", "0.0001"] {
            assert_eq!(duration(text), Err(BadDuration), "{text}");
        }
    }
}
