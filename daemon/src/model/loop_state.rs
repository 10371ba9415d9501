//! The state of the loop, which the store keeps across restarts.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

/// The state of the loop: set by an operator, or by the configuration at the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopState {
    /// It runs.
    Running,
    /// An operator has stopped it.
    Stopped {
        /// When, in whole seconds.
        since: DateTime<Utc>,
    },
    /// `schedule.autostart` was false at the first start, and no operator has started it since.
    NotStarted,
}

/// The text before the time in the store's form of [`LoopState::Stopped`].
const STOPPED: &str = "loop_stopped ";

impl fmt::Display for LoopState {
    /// A fragment that follows "the loop".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("is running"),
            Self::Stopped { since } => {
                write!(
                    f,
                    "has been stopped by an operator since {}; start it with tbctl start",
                    seconds(*since)
                )
            }
            Self::NotStarted => {
                f.write_str("is not started, because schedule.autostart is false; start it with tbctl start")
            }
        }
    }
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl LoopState {
    /// Whether the loop starts passes.
    pub fn runs(self) -> bool {
        self == Self::Running
    }

    /// Returns when an operator stopped it, if it is stopped.
    pub fn stopped_since(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Stopped { since } => Some(since),
            Self::Running | Self::NotStarted => None,
        }
    }

    /// Returns its text, for the store.
    pub fn to_text(self) -> String {
        match self {
            Self::Running => "loop_running".to_owned(),
            Self::Stopped { since } => format!("{STOPPED}{}", seconds(since)),
            Self::NotStarted => "loop_not_started".to_owned(),
        }
    }

    /// Reads the state that [`to_text`](Self::to_text) wrote; none for another text.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "loop_running" => Some(Self::Running),
            "loop_not_started" => Some(Self::NotStarted),
            text => Some(Self::Stopped { since: text.strip_prefix(STOPPED)?.parse().ok()? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_read_back_as_it_was_written() {
        let since = "2026-11-23T14:03:00Z".parse().unwrap();
        for (state, text) in [
            (LoopState::Running, "loop_running"),
            (LoopState::Stopped { since }, "loop_stopped 2026-11-23T14:03:00Z"),
            (LoopState::NotStarted, "loop_not_started"),
        ] {
            assert_eq!((state.to_text().as_str(), LoopState::from_text(text)), (text, Some(state)));
        }
        assert_eq!(LoopState::from_text("loop_stopped yesterday"), None);
        assert_eq!(LoopState::from_text(""), None);
    }
}
