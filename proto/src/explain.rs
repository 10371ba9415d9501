//! Why a customer stands as it does, what happens next, and what the operator should do: in whole sentences, here
//! once, so that `tbctl` and `tbtui` say the same.
//!
//! What a server or a table said is repeated in these sentences as it came; whoever shows them makes it safe first
//! ([`words::printable`]).

use chrono::{DateTime, TimeDelta, Utc};

use crate::words::{self, sentence, time};
use crate::{BreakerState, CheckFound, Customer, FailureKind, Host, Phase, TokenStatus};

/// How much an explanation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A person must act.
    Bad,
    /// It may solve itself.
    Warn,
    /// All is well.
    Plain,
}

/// Whether somebody will do what the daemon had in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// The loop runs.
    Running,
    /// It was stopped.
    Stopped,
    /// The daemon does not answer, so nobody knows.
    Unknown,
}

/// How the reader can act, in the words of the program in which he reads: a key or a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways<'a> {
    /// What tries the customer now: `r`, or `tbctl refresh 8f1c02aa`.
    pub refresh: &'a str,
    /// The same where one more wrong password could lock the account: `r`, or `tbctl refresh --force 8f1c02aa`.
    pub force: &'a str,
    /// What starts the loop: `S`, or `tbctl start`.
    pub start: &'a str,
}

/// An explanation, in parts that are whole sentences or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What it begins with: `PARKED since 13:36Z`; empty while all is well.
    pub headline: String,
    /// How much it matters.
    pub weight: Weight,
    /// Why it stands so.
    pub why: String,
    /// What happens by itself, and when.
    pub next: String,
    /// What the operator should do.
    pub remedy: String,
    /// How to have it tried at once, where it is not tried by itself.
    pub at_once: String,
}

impl Explanation {
    /// The sentences for where there is little room, in the order in which they matter.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        // Of a parked customer the remedy says already what the daemon waits for.
        let parts = match self.weight {
            Weight::Bad if !self.remedy.is_empty() => [&self.why, &self.remedy, &self.at_once],
            Weight::Bad => [&self.why, &self.next, &self.at_once],
            Weight::Warn | Weight::Plain => [&self.why, &self.next, &self.remedy],
        };
        parts.into_iter().map(String::as_str).filter(|part| !part.is_empty())
    }

    /// What happens next, and how to hurry it.
    pub fn what_next(&self) -> String {
        [self.next.as_str(), self.at_once.as_str()].join(" ").trim().to_owned()
    }
}

/// Explains a customer at `now`.
pub fn explain(customer: &Customer, cron: Loop, ways: &Ways<'_>, now: DateTime<Utc>) -> Explanation {
    let at_once = || match cron {
        // Nobody is there who could.
        Loop::Unknown => String::new(),
        Loop::Running | Loop::Stopped if needs_force(customer) => {
            format!("{} tries it once now.", ways.force)
        }
        Loop::Running | Loop::Stopped => format!("{} tries it once now.", ways.refresh),
    };
    let next = || next_attempt(customer, cron, ways, now);
    match (&customer.failure, customer.state) {
        (Some(failure), Phase::Parked) => Explanation {
            headline: format!("PARKED since {}", time(failure.at, now)),
            weight: Weight::Bad,
            why: sentence(&failure.message),
            next: next_of_parked(customer, cron, ways, now),
            remedy: sentence(&failure.remedy),
            at_once: at_once(),
        },
        (None, Phase::Parked) => Explanation {
            headline: "PARKED".to_owned(),
            weight: Weight::Bad,
            why: String::new(),
            next: next_of_parked(customer, cron, ways, now),
            remedy: String::new(),
            at_once: at_once(),
        },
        (Some(failure), _) if words::is_waiting(customer) => Explanation {
            headline: "WAITING".to_owned(),
            weight: Weight::Warn,
            why: sentence(&failure.message),
            next: next(),
            remedy: without_promise(&sentence(&failure.remedy)),
            at_once: String::new(),
        },
        (Some(failure), _) => {
            let count = match failure.consecutive {
                0 | 1 => String::new(),
                more => format!(" {more} times, last"),
            };
            Explanation {
                headline: format!("FAILED{count} at {}", time(failure.at, now)),
                weight: Weight::Warn,
                why: sentence(&failure.message),
                next: next(),
                remedy: without_promise(&sentence(&failure.remedy)),
                at_once: String::new(),
            }
        }
        (None, _) => Explanation {
            headline: String::new(),
            weight: Weight::Plain,
            why: token(customer, now),
            next: next(),
            remedy: String::new(),
            at_once: String::new(),
        },
    }
}

/// With these words a remedy of the daemon begins where nobody has to do anything.
const PROMISE: &str = "It is tried again by itself";

/// A remedy without its promise that it is tried again, whose sentence it is. When that will be is told by
/// [`Explanation::next`], and a stopped loop or an unreachable daemon keep no promise.
fn without_promise(remedy: &str) -> String {
    let Some(rest) = remedy.strip_prefix(PROMISE) else { return remedy.to_owned() };
    // The promise ends with its sentence (`…, more slowly. If this stays, …`) or half of it (`…; if this stays, …`).
    let rest = match rest.find([';', '.']) {
        Some(end) => rest[end + 1..].trim(),
        None => "",
    };
    sentence(rest)
}

/// When a parked customer is tried next: its password once a day where ThingsBoard counts nothing, and its refresh token, if it
/// has one.
fn next_of_parked(customer: &Customer, cron: Loop, ways: &Ways<'_>, now: DateTime<Utc>) -> String {
    const CHANGE: &str = "its URL, user or password changes in the table.";
    let kind = customer.failure.as_ref().map(|failure| failure.kind);
    let next = next_attempt(customer, cron, ways, now);
    match (customer.next_attempt_at, kind) {
        (None, Some(FailureKind::AttemptsExhausted)) => {
            "Its password is not sent by itself until another row shows that ThingsBoard accepts this user."
                .to_owned()
        }
        (None, _) => format!("It is not tried by itself until {CHANGE}"),
        (Some(_), _) if cron != Loop::Running => next,
        (Some(_), _) if needs_force(customer) => {
            format!("Its password is not sent by itself, but its refresh token may still work. {next}")
        }
        (Some(_), _) => format!("{}, or at once when {CHANGE}", next.trim_end_matches('.')),
    }
}

/// How the token stands, in a sentence.
pub fn token(customer: &Customer, now: DateTime<Utc>) -> String {
    match customer.tbtokenexpiry {
        None => "There is no token in the table.".to_owned(),
        Some(died) if customer.check.is_some_and(|check| check.found == CheckFound::Dead) => {
            format!("ThingsBoard no longer takes the token, as it turned out at {}.", time(died, now))
        }
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

/// When the token was last checked with its server and what was found: `40s ago: works`; empty if it was not.
pub fn check(customer: &Customer, now: DateTime<Utc>) -> String {
    let Some(check) = customer.check else { return String::new() };
    let found = match check.found {
        CheckFound::Works => "works",
        CheckFound::Dead => "ThingsBoard no longer takes it",
        CheckFound::Disputed => "ThingsBoard does not take it, though it is new",
        CheckFound::Unclear | CheckFound::Unknown => "the answer says nothing about it",
    };
    format!("{} ago: {found}", words::duration(now - check.at))
}

/// When it is tried next, in a sentence; empty where the loop's own state does not say.
pub fn next_attempt(customer: &Customer, cron: Loop, ways: &Ways<'_>, now: DateTime<Utc>) -> String {
    match cron {
        Loop::Unknown => return "What happens next is not known while the daemon is unreachable.".to_owned(),
        _ if customer.state == Phase::Refreshing => return "It is being renewed now.".to_owned(),
        Loop::Stopped => {
            return format!("The loop is STOPPED: nothing is renewed until {} starts it.", ways.start);
        }
        Loop::Running => {}
    }
    let waiting = customer.failure.as_ref().and_then(|failure| failure.waiting.as_deref());
    if let Some(waiting) = waiting.filter(|_| customer.state != Phase::Parked) {
        return sentence(waiting);
    }
    let verb = match &customer.failure {
        None => "Renewed",
        Some(_) if words::is_waiting(customer) => "Tried",
        Some(_) => "Tried again",
    };
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

/// How a server is treated and how its clock goes, in sentences; empty where nothing is known.
pub fn server(host: &Host) -> String {
    let treated = match (host.state, host.limit) {
        (BreakerState::Closed, 1) => "At most one login to this server at once.".to_owned(),
        (BreakerState::Closed, limit) => format!("At most {limit} logins to this server at once."),
        (BreakerState::HalfOpen, _) => {
            "Something other than ThingsBoard answers there: one login each poll finds out what it is; the rest wait."
                .to_owned()
        }
        (BreakerState::Open, _) => "Server down: it gets one probe each poll, and its customers wait.".to_owned(),
        (BreakerState::Unknown, _) => String::new(),
    };
    // What is below is the grain of the measurement.
    const EXACT_ENOUGH: u64 = 1000;
    let clock = match host.skew_ms {
        None => String::new(),
        Some(skew) if skew.unsigned_abs() < EXACT_ENOUGH => {
            format!("Its clock is right (skew {}).", words::skew(skew))
        }
        Some(skew) => {
            let way = if skew < 0 { "behind" } else { "ahead" };
            format!("Its clock is {} {way}, which does no harm here.", words::skew_length(skew))
        }
    };
    [treated, clock].join(" ").trim().to_owned()
}

/// Whether a refresh by name sends the customer's password only with `force`.
pub fn needs_force(customer: &Customer) -> bool {
    let kind = customer.failure.as_ref().filter(|failure| failure.permanent).map(|failure| failure.kind);
    matches!(
        kind,
        Some(FailureKind::CredentialsRejected | FailureKind::AccountLocked | FailureKind::AttemptsExhausted)
    )
}

/// What may happen when a parked customer is tried again, in sentences for a question.
pub fn risk(customer: &Customer) -> String {
    let why = customer.failure.as_ref().map_or_else(
        || "It is parked.".to_owned(),
        |failure| format!("It is parked: {}", sentence(&failure.message)),
    );
    let risk = match customer.failure.as_ref().map(|failure| failure.kind) {
        Some(FailureKind::CredentialsRejected | FailureKind::AccountLocked) => {
            "One more wrong password counts at ThingsBoard and could lock the account for good. Try only if \
             tb_password was corrected, or if the user was corrected in ThingsBoard."
        }
        Some(FailureKind::AttemptsExhausted) => {
            "This sends one password more than the budget allows. If it is wrong, it could lock the account for good. \
             Check in ThingsBoard first that tb_username and tb_password are right."
        }
        Some(
            FailureKind::AccountDisabled
            | FailureKind::PasswordExpired
            | FailureKind::PasswordViolatesPolicy
            | FailureKind::SecondFactorRequired,
        ) => "This sends the password again. Correct the user in ThingsBoard first.",
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
        | None => "It fails again unless the cause was corrected.",
    };
    format!("{why} {risk}")
}
