//! The errors of the commands, and the exit code, hint and JSON of each.

use std::time::Duration;

use tbtoken_proto::client::ClientError;
use tbtoken_proto::words::{printable, with_causes};
use tbtoken_proto::{Customer, ErrorCode};

use crate::exit;
use crate::names::SHORTEST_PREFIX;

/// Why a command failed. The text fits after `error: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The daemon does not answer, or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The name fits no customer. These have a similar name.
    #[error("there is no customer {name:?} (a row without user, password or URL does not count)")]
    NoCustomer { name: String, near: Vec<String> },
    /// The name fits several customers: so many, and the first of them.
    #[error("{name:?} may be any of {count} customers: {}", list(candidates, *count))]
    Ambiguous { name: String, count: usize, candidates: Vec<String> },
    /// More customers are named than fit one request.
    #[error("{named} customers are named, more than the {most} that fit one request")]
    TooMany { named: usize, most: usize },
    /// The daemon knows no customer yet, for this reason if it gives one.
    #[error("tbtokend knows no customer yet, because it has not read its table")]
    NotReadYet { why: Option<String> },
    /// `wait` has waited for so long.
    #[error("gave up after {} s: {missing}", after.as_secs_f64())]
    StillWaiting { after: Duration, missing: String, hint: &'static str },
    /// A customer that `wait` waits for is gone.
    #[error("customer {0} has left the table, or has lost its URL, user or password")]
    Gone(String),
    /// Standard output takes no data.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// The file of `metrics --output` cannot be written.
    #[error("cannot write {0}")]
    File(String, #[source] std::io::Error),
    /// An answer cannot be written as JSON.
    #[error("cannot write the answer as JSON")]
    Json(#[from] serde_json::Error),
}

/// The most customers that an error lists.
pub(crate) const MAX_LISTED: usize = 5;

/// Names a customer in an error: `8F1C02AA (ops@acme.example)`.
pub(crate) fn id_and_user(customer: &Customer) -> String {
    format!("{} ({})", customer.customer_id, customer.tb_username)
}

/// Lists the first of `count` names: `a, b and 7 more`.
pub(crate) fn list(names: &[String], count: usize) -> String {
    match count.saturating_sub(names.len()) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

impl Error {
    /// Whether the daemon knows no row with that id.
    pub(crate) fn is_unknown_customer(&self) -> bool {
        matches!(self, Self::Client(ClientError::Refused(refusal)) if refusal.code == ErrorCode::UnknownCustomer)
    }

    /// Returns the exit code.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Client(error) if error.is_unreachable() => exit::UNREACHABLE,
            Self::Client(ClientError::NoPermission(_)) => exit::NO_PERMISSION,
            Self::Client(ClientError::TimedOut { .. }) | Self::StillWaiting { .. } => exit::TIMED_OUT,
            Self::Client(ClientError::Refused(refusal)) => match refusal.code {
                ErrorCode::UnknownCustomer | ErrorCode::IneligibleCustomer => exit::UNKNOWN_CUSTOMER,
                ErrorCode::ReadOnly | ErrorCode::Unauthorized | ErrorCode::Forbidden => exit::NO_PERMISSION,
                _ => exit::FAILED,
            },
            Self::NoCustomer { .. } | Self::Ambiguous { .. } | Self::Gone(_) => exit::UNKNOWN_CUSTOMER,
            Self::TooMany { .. } => exit::USAGE,
            Self::Client(_) | Self::NotReadYet { .. } | Self::Output(_) | Self::File(..) | Self::Json(_) => {
                exit::FAILED
            }
        }
    }

    /// Returns what to do about it, safe to print.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Client(error) => {
                let hint = error.hint()?;
                match error {
                    // Whether the request was carried out matters more than the cause of the delay.
                    ClientError::TimedOut { pending: true, .. } => {
                        format!("tbctl status shows whether it was carried out ; {hint}")
                    }
                    ClientError::TimedOut { .. } => format!("{hint} ; wait longer with --timeout"),
                    _ => hint,
                }
            }
            Self::NoCustomer { near, .. } if !near.is_empty() => {
                format!("did you mean {}?", near.join(", or "))
            }
            Self::NoCustomer { name, .. } if name.chars().count() < SHORTEST_PREFIX => {
                format!(
                    "the beginning of an id needs {SHORTEST_PREFIX} characters or more ; tbctl status lists the customers"
                )
            }
            Self::NotReadYet { why: Some(why) } => why.clone(),
            Self::NoCustomer { .. } => "tbctl status lists the customers".to_owned(),
            Self::Ambiguous { .. } => "type more of the id, or all of it".to_owned(),
            Self::NotReadYet { why: None } => "try again in a moment".to_owned(),
            Self::StillWaiting { hint, .. } => format!("{hint} ; wait longer with --timeout"),
            Self::TooMany { .. } => {
                "name them in several calls ; tbctl refresh --all renews all customers that are not parked"
                    .to_owned()
            }
            Self::File(..) => "name a file in a folder that this user may write to".to_owned(),
            Self::Gone(_) | Self::Output(_) | Self::Json(_) => return None,
        };
        Some(printable(&hint))
    }

    /// Returns the error and its causes in one line, safe to print.
    pub(crate) fn text(&self) -> String {
        with_causes(self)
    }

    /// Returns the code for programs: the daemon's own code, or a word for the exit code.
    pub(crate) fn code(&self) -> serde_json::Value {
        match self {
            Self::Client(ClientError::Refused(refusal)) => {
                serde_json::to_value(refusal.code).unwrap_or_else(|_| "unknown".into())
            }
            Self::Client(ClientError::Protocol { .. }) => "protocol".into(),
            Self::Ambiguous { .. } => "ambiguous_customer".into(),
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

    /// Returns the answer of `--json`, in the form of the daemon's refusals.
    pub(crate) fn json(&self) -> String {
        failure_json(&self.text(), self.code())
    }
}

/// Writes an error in the form of the daemon's refusals.
pub(crate) fn failure_json(error: &str, code: serde_json::Value) -> String {
    // The map of serde_json sorts its keys; the protocol has another order.
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
        ClientError::Refused(Refusal::new(code, "no \u{1b}[2J"))
    }

    #[test]
    fn every_error_has_an_exit_code_and_a_code_for_programs() {
        let path = || PathBuf::from("/x");
        let io = || std::io::Error::other("the wire is cut");
        let cases: [(Error, u8, &str); 21] = [
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
