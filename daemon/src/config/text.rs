//! A text of the settings, and the values that it can stand for.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use super::{ConfigError, bad_value};

/// A text with its key, which the errors name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) key: &'static str,
    pub(super) value: &'a str,
}

impl<'a> Text<'a> {
    /// Makes the error for this value: what is wrong, and what is right.
    pub(super) fn bad(self, why: impl Into<String>) -> ConfigError {
        bad_value(self.key, self.value, why)
    }

    /// Returns the text; none if it is empty.
    pub(super) fn given(self) -> Option<&'a str> {
        Some(self.value).filter(|value| !value.is_empty())
    }

    /// Returns the text as a path; none if it is empty.
    pub(super) fn path(self) -> Option<PathBuf> {
        self.given().map(PathBuf::from)
    }

    /// Returns the meaning of the text among these; `use_these` names them.
    pub(super) fn choose<T: Copy>(self, meanings: &[(&str, T)], use_these: &str) -> Result<T, ConfigError> {
        let meaning = meanings.iter().find(|(name, _)| *name == self.value);
        meaning.map(|(_, meaning)| *meaning).ok_or_else(|| self.bad(use_these))
    }

    /// Returns the length of time.
    pub(super) fn duration(self) -> Result<Duration, ConfigError> {
        let duration = humantime::parse_duration(self.value)
            .map_err(|_| self.bad("it is not a time; write for example \"60s\", \"5m\" or \"2h\""))?;
        // Date arithmetic overflows for very long times, and no setting needs 100 years.
        if duration > Duration::from_secs(100 * 366 * 86_400) {
            return Err(self.bad("it must be at most 100 years"));
        }
        Ok(duration)
    }

    /// Returns the length of time, which must not be zero.
    pub(super) fn positive(self) -> Result<Duration, ConfigError> {
        match self.duration()? {
            Duration::ZERO => Err(self.bad("it must be longer than 0s")),
            duration => Ok(duration),
        }
    }
}

/// Converts a duration to the type of the engine.
pub(super) fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
