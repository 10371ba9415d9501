//! Why a command could not be carried out, and the exit code, hint and JSON that follow from it.

use std::time::Duration;

use tbtoken_proto::client::ClientError;
use tbtoken_proto::words::printable;
use tbtoken_proto::{Customer, ErrorCode};

use crate::exit;
use crate::names::SHORTEST_BEGINNING;

/// Why a command could not be carried out. The text fits after `error: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The daemon could not be asked, or would not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is well-formed, but to another question. The client of the protocol rules this out.
    #[error("the daemon answered another question")]
    Mismatch,
    /// A name fits nobody, or several.
    #[error(transparent)]
    Name(#[from] Named),
    /// More customers are named than one request holds.
    #[error("{named} customers are named, more than the {most} that fit one request")]
    TooMany {
        /// So many.
        named: usize,
        /// So many of the first fit.
        most: usize,
    },
    /// Nobody is known by any name yet.
    #[error("tbtokend knows no customer yet: it could not read its table so far")]
    NotReadYet {
        /// The daemon's own words for why, if it has some.
        why: Option<String>,
    },
    /// `wait` has waited long enough.
    #[error("{missing} of {total} still not {goal} after {}: {}", seconds(*after), list(names, *missing))]
    StillWaiting {
        /// How long it has waited.
        after: Duration,
        /// What for.
        goal: &'static str,
        /// How many are missing.
        missing: usize,
        /// How many it has waited for.
        total: usize,
        /// The first of the missing ones, each with why.
        names: Vec<String>,
    },
    /// `wait` has waited long enough, and the daemon knew nobody in all this time.
    #[error("tbtokend has not read its table within {}", seconds(*after))]
    StillUnread {
        /// How long it has waited.
        after: Duration,
        /// The daemon's own words for why, if it has some.
        why: Option<String>,
    },
    /// `wait` has waited long enough, and there was nobody in all this time.
    #[error("no customer to wait for after {}: no row of the table has a URL, a user and a password", seconds(*after))]
    StillNobody {
        /// How long it has waited.
        after: Duration,
    },
    /// A customer that was waited for left the table.
    #[error("customer {0} has left the table, or has lost its URL, user or password")]
    Gone(String),
    /// The data could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// The file of `metrics --output` could not be written.
    #[error("cannot write {0}")]
    File(String, #[source] std::io::Error),
    /// An answer could not be turned into JSON.
    #[error("cannot write the answer as JSON")]
    Json(#[from] serde_json::Error),
}

/// A name that does not say who is meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Named {
    /// It fits nobody.
    #[error("there is no customer {name:?} (a row without user, password or URL does not count)")]
    Nobody {
        /// The name.
        name: String,
        /// Who may have been meant.
        near: Vec<String>,
    },
    /// It fits several.
    #[error("{name:?} may be any of {count} customers: {}", list(candidates, *count))]
    Several {
        /// The name.
        name: String,
        /// How many.
        count: usize,
        /// The first of them.
        candidates: Vec<String>,
    },
}

/// So many customers are listed in an error.
pub(crate) const MAX_LISTED: usize = 5;

impl Named {
    /// Nobody is called so; these are called nearly so.
    pub(crate) fn nobody(name: &str, near: &[&Customer]) -> Self {
        Self::Nobody { name: name.to_owned(), near: near.iter().map(|row| called(row)).collect() }
    }

    /// These are called so.
    pub(crate) fn several(name: &str, rows: &[&Customer]) -> Self {
        let candidates = rows.iter().take(MAX_LISTED).map(|row| called(row)).collect();
        Self::Several { name: name.to_owned(), count: rows.len(), candidates }
    }

    fn hint(&self) -> String {
        match self {
            Self::Nobody { near, .. } if !near.is_empty() => format!("did you mean {}?", near.join(", or ")),
            Self::Nobody { name, .. } if name.chars().count() < SHORTEST_BEGINNING => format!(
                "the beginning of an id needs {SHORTEST_BEGINNING} characters or more ; tbctl status lists the customers"
            ),
            Self::Nobody { .. } => "tbctl status lists the customers".to_owned(),
            Self::Several { .. } => "type more of the id, or all of it".to_owned(),
        }
    }
}

/// A customer as an error calls it: `8F1C02AA (ops@acme.example)`.
pub(crate) fn called(customer: &Customer) -> String {
    format!("{} ({})", customer.customer_id, customer.tb_username)
}

/// `a, b and 7 more`.
pub(crate) fn list(names: &[String], count: usize) -> String {
    match count.saturating_sub(names.len()) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn seconds(length: Duration) -> String {
    format!("{} s", length.as_secs_f64())
}

impl Error {
    /// Whether the daemon knows no row of that id.
    pub(crate) fn is_unknown_customer(&self) -> bool {
        matches!(self, Self::Client(ClientError::Refused(refusal)) if refusal.code == ErrorCode::UnknownCustomer)
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Client(error) => match error {
                ClientError::NotThere(_)
                | ClientError::NotASocket { .. }
                | ClientError::NotRunning(_)
                | ClientError::Closed(_)
                | ClientError::Io { .. } => exit::UNREACHABLE,
                ClientError::NoPermission(_) => exit::NO_PERMISSION,
                ClientError::TimedOut { .. } => exit::TIMED_OUT,
                ClientError::Protocol { .. } => exit::FAILED,
                ClientError::Refused(refusal) => match refusal.code {
                    ErrorCode::UnknownCustomer | ErrorCode::IneligibleCustomer => exit::UNKNOWN_CUSTOMER,
                    ErrorCode::ReadOnly | ErrorCode::Unauthorized | ErrorCode::Forbidden => {
                        exit::NO_PERMISSION
                    }
                    ErrorCode::BadRequest
                    | ErrorCode::UnknownAction
                    | ErrorCode::Busy
                    | ErrorCode::StoreUnavailable
                    | ErrorCode::BadConfiguration
                    | ErrorCode::ShuttingDown
                    | ErrorCode::Misdirected
                    | ErrorCode::Internal
                    | ErrorCode::Unknown => exit::FAILED,
                },
            },
            Self::Name(_) | Self::Gone(_) => exit::UNKNOWN_CUSTOMER,
            Self::TooMany { .. } => exit::USAGE,
            Self::StillWaiting { .. } | Self::StillUnread { .. } | Self::StillNobody { .. } => {
                exit::TIMED_OUT
            }
            Self::NotReadYet { .. } | Self::Mismatch | Self::Output(_) | Self::File(..) | Self::Json(_) => {
                exit::FAILED
            }
        }
    }

    /// What to do about it, if there is anything to say.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            // Whether it was done matters more than why it took so long.
            Self::Client(error @ ClientError::TimedOut { pending: true, .. }) => {
                error.hint().map(|hint| format!("see with tbctl status whether it was done ; {hint}"))
            }
            // Only here it can be told how to wait longer.
            Self::Client(error @ ClientError::TimedOut { .. }) => {
                error.hint().map(|hint| format!("{hint} ; wait longer with --timeout"))
            }
            Self::Client(error) => error.hint(),
            Self::Name(name) => Some(printable(&name.hint())),
            Self::NotReadYet { why: Some(why) } | Self::StillUnread { why: Some(why), .. } => {
                Some(printable(why))
            }
            Self::StillUnread { why: None, .. } => {
                Some("tbctl status ; wait longer with --timeout".to_owned())
            }
            Self::NotReadYet { why: None } => Some("try again in a moment".to_owned()),
            Self::StillWaiting { .. } => {
                Some("tbctl show ID says why and what to do ; wait longer with --timeout".to_owned())
            }
            Self::StillNobody { .. } => {
                Some("is it the right table? sudo tbtokend doctor says which rows count".to_owned())
            }
            Self::TooMany { .. } => {
                Some("name them in several calls ; tbctl refresh --all renews everyone not parked".to_owned())
            }
            Self::File(..) => Some("name a file in a folder that this user may write to".to_owned()),
            Self::Gone(_) | Self::Mismatch | Self::Output(_) | Self::Json(_) => None,
        }
    }

    /// The error and its causes in one line, safe to show.
    pub(crate) fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        printable(&text)
    }

    /// The word for programs: the daemon's own code, or one of `unreachable`, `no_permission`, `timed_out`,
    /// `ambiguous_customer`, `protocol` and `failed`.
    pub(crate) fn code(&self) -> serde_json::Value {
        match self {
            Self::Client(ClientError::Refused(refusal)) => {
                serde_json::to_value(refusal.code).unwrap_or_else(|_| "unknown".into())
            }
            Self::Client(ClientError::Protocol { .. }) | Self::Mismatch => "protocol".into(),
            Self::Name(Named::Several { .. }) => "ambiguous_customer".into(),
            Self::NotReadYet { .. } => "store_unavailable".into(),
            _ => match self.exit() {
                exit::UNREACHABLE => "unreachable".into(),
                exit::NO_PERMISSION => "no_permission".into(),
                exit::TIMED_OUT => "timed_out".into(),
                exit::UNKNOWN_CUSTOMER => "unknown_customer".into(),
                exit::USAGE => "bad_request".into(),
                _ => "failed".into(),
            },
        }
    }

    /// What `--json` prints instead of an answer; the same shape as a refusal of the daemon.
    pub(crate) fn json(&self) -> String {
        failure_json(&self.text(), self.code())
    }
}

/// An error as the daemon itself would write it.
pub(crate) fn failure_json(error: &str, code: serde_json::Value) -> String {
    // The map of serde_json sorts its keys; written by hand they stand in the order of the protocol.
    let error = serde_json::Value::from(error);
    format!("{{\"success\":false,\"error\":{error},\"code\":{code}}}\n")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use tbtoken_proto::Refusal;

    use super::*;

    fn refused(code: ErrorCode) -> ClientError {
        ClientError::Refused(Refusal { error: "no \u{1b}[2J".to_owned(), code })
    }

    #[test]
    fn every_error_has_its_exit_code_and_its_word() {
        let path = || PathBuf::from("/x");
        let io = || std::io::Error::other("the wire is cut");
        let cases: [(Error, u8, &str); 22] = [
            (Error::TooMany { named: 2, most: 1 }, 2, "bad_request"),
            (ClientError::NotThere(path()).into(), 3, "unreachable"),
            (ClientError::NotASocket { path: path(), what: "" }.into(), 3, "unreachable"),
            (ClientError::NotRunning(path()).into(), 3, "unreachable"),
            (ClientError::Closed(path()).into(), 3, "unreachable"),
            (ClientError::Io { path: path(), source: io() }.into(), 3, "unreachable"),
            (ClientError::NoPermission(path()).into(), 4, "no_permission"),
            (
                ClientError::TimedOut { path: path(), timeout: Duration::ZERO, pending: false }.into(),
                7,
                "timed_out",
            ),
            (ClientError::Protocol { path: path(), why: String::new() }.into(), 1, "protocol"),
            (refused(ErrorCode::UnknownCustomer).into(), 5, "unknown_customer"),
            (refused(ErrorCode::IneligibleCustomer).into(), 5, "ineligible_customer"),
            (refused(ErrorCode::ReadOnly).into(), 4, "read_only"),
            (refused(ErrorCode::BadRequest).into(), 1, "bad_request"),
            (refused(ErrorCode::UnknownAction).into(), 1, "unknown_action"),
            (refused(ErrorCode::Busy).into(), 1, "busy"),
            (refused(ErrorCode::StoreUnavailable).into(), 1, "store_unavailable"),
            (refused(ErrorCode::BadConfiguration).into(), 1, "bad_configuration"),
            (refused(ErrorCode::ShuttingDown).into(), 1, "shutting_down"),
            (refused(ErrorCode::Internal).into(), 1, "internal"),
            (refused(ErrorCode::Unknown).into(), 1, "unknown"),
            (Error::Mismatch, 1, "protocol"),
            (Error::Output(io()), 1, "failed"),
        ];
        for (error, exit, code) in cases {
            assert_eq!(error.exit(), exit, "{error:?}");
            assert_eq!(error.code(), code, "{error:?}");
        }
    }

    #[test]
    fn the_text_holds_the_cause_once_and_no_control_character() {
        let cause = std::io::Error::other("the wire is cut");
        let error = Error::from(ClientError::Io { path: PathBuf::from("/x"), source: cause });
        assert_eq!(error.text(), "cannot talk to tbtokend at /x: the wire is cut");
        assert_eq!(Error::from(refused(ErrorCode::Busy)).text(), "no \u{fffd}[2J");
        assert_eq!(
            Error::from(refused(ErrorCode::Busy)).json(),
            "{\"success\":false,\"error\":\"no \u{fffd}[2J\",\"code\":\"busy\"}\n"
        );
    }
}
