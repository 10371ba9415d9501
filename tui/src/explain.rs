//! Why a customer stands as it does, what happens next, and what the operator should do: in whole sentences.

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::{Customer, FailureKind, Phase, TokenStatus, words};

use crate::text::{sentence, time};

/// How much an explanation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A person must act.
    Bad,
    /// It may solve itself.
    Warn,
    /// All is well.
    Plain,
}

/// An explanation: what it begins with, how much that matters, and the sentences behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub(crate) headline: String,
    pub(crate) weight: Weight,
    pub(crate) sentences: Vec<String>,
}

/// Whether somebody will do what the daemon had in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loop {
    /// The loop runs.
    Running,
    /// It was stopped.
    Stopped,
    /// The daemon does not answer, so nobody knows.
    Unknown,
}

/// Explains a customer at `now`. Text of others in it is not yet made safe to show.
pub(crate) fn explain(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    let mut explanation = match (&customer.failure, customer.state) {
        (Some(failure), Phase::Parked) => Explanation {
            headline: format!("PARKED since {}: ", time(failure.at, now)),
            weight: Weight::Bad,
            sentences: vec![
                sentence(&failure.message),
                sentence(&failure.remedy),
                "r tries it once now.".to_owned(),
            ],
        },
        (None, Phase::Parked) => Explanation {
            headline: "PARKED: ".to_owned(),
            weight: Weight::Bad,
            sentences: vec![
                "It is not tried until its URL, user or password changes in the table, or r tries it once now."
                    .to_owned(),
            ],
        },
        (Some(failure), _) => {
            let count = match failure.consecutive {
                0 | 1 => String::new(),
                more => format!(" {more} times, last"),
            };
            Explanation {
                headline: format!("FAILED{count} at {}: ", time(failure.at, now)),
                weight: Weight::Warn,
                sentences: vec![
                    sentence(&failure.message),
                    next_attempt(customer, cron, now),
                    sentence(&failure.remedy),
                ],
            }
        }
        (None, _) => Explanation {
            headline: String::new(),
            weight: Weight::Plain,
            sentences: vec![token(customer, now), next_attempt(customer, cron, now)],
        },
    };
    explanation.sentences.retain(|sentence| !sentence.is_empty());
    explanation
}

/// The same for a single line: the kind of failure instead of its story.
pub(crate) fn in_short(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    let mut explanation = explain(customer, cron, now);
    if customer.failure.is_some() {
        let word = if customer.state == Phase::Parked { "PARKED: " } else { "FAILED: " };
        explanation.headline = word.to_owned();
        let next = match customer.state {
            Phase::Parked => "Enter tells more.".to_owned(),
            _ => next_attempt(customer, cron, now),
        };
        explanation.sentences = vec![format!("{}.", words::last_error(customer)), next];
    }
    explanation
}

/// How the token stands, in a sentence.
pub(crate) fn token(customer: &Customer, now: DateTime<Utc>) -> String {
    match customer.tbtokenexpiry {
        None => "There is no token in the table.".to_owned(),
        Some(expiry) if expiry < now => {
            format!("The token ended {} ago, at {}.", words::duration(now - expiry), time(expiry, now))
        }
        Some(expiry) => {
            format!(
                "The token is good until {}, for {} more.",
                time(expiry, now),
                words::duration(expiry - now)
            )
        }
    }
}

/// When it is tried next, in a sentence; empty where the loop's own state does not say.
fn next_attempt(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> String {
    match cron {
        Loop::Unknown => return "What happens next is not known while the daemon is unreachable.".to_owned(),
        _ if customer.state == Phase::Refreshing => return "It is being renewed now.".to_owned(),
        Loop::Stopped => return "The loop is STOPPED: nothing is renewed until S starts it.".to_owned(),
        Loop::Running => {}
    }
    let verb = if customer.failure.is_some() { "Tried again" } else { "Renewed" };
    match (customer.next_attempt_at, customer.token_status) {
        (Some(at), _) if at > now && at - now < TimeDelta::minutes(1) => {
            format!("{verb} in {}.", words::duration(at - now))
        }
        (Some(at), _) if at > now => {
            format!("{verb} in {}, at {}.", words::duration(at - now), time(at, now))
        }
        (Some(_), _) => format!("{verb} in the next pass."),
        (None, _) if customer.state == Phase::Due => format!("{verb} in the next pass."),
        (None, TokenStatus::Valid | TokenStatus::Unknown) => String::new(),
        (None, TokenStatus::Expired | TokenStatus::Missing | TokenStatus::ExpiringSoon) => {
            format!("{verb} in the next pass.")
        }
    }
}

/// What may happen when a parked customer is tried again, in sentences for a question.
pub(crate) fn risk(customer: &Customer) -> String {
    let why = customer.failure.as_ref().map_or_else(
        || "It is parked.".to_owned(),
        |failure| format!("It is parked: {}", sentence(&failure.message)),
    );
    let risk = match customer.failure.as_ref().map(|failure| failure.kind) {
        Some(FailureKind::CredentialsRejected | FailureKind::AccountLocked) => {
            "One more wrong password counts at ThingsBoard and could lock the account for good. Try only if \
             tb_password was corrected, or if the user was mended in ThingsBoard."
        }
        Some(
            FailureKind::AccountDisabled
            | FailureKind::PasswordExpired
            | FailureKind::PasswordViolatesPolicy
            | FailureKind::SecondFactorRequired,
        ) => "It sends the password once more and fails again unless the user was mended in ThingsBoard.",
        Some(
            FailureKind::RateLimited
            | FailureKind::ServerError
            | FailureKind::Unreachable
            | FailureKind::Timeout
            | FailureKind::UnexpectedResponse
            | FailureKind::BadUrl
            | FailureKind::InsecureUrl
            | FailureKind::TokenTooLong
            | FailureKind::Database
            | FailureKind::Unknown,
        )
        | None => "It fails again unless the cause was mended.",
    };
    format!("{why} {risk}")
}
