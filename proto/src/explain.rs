//! Explanations of a customer in whole sentences: why it fails, what happens next, and what the operator should do.
//! `tbctl` and `tbtui` share them, so that both say the same.
//!
//! The sentences quote servers and tables as they are: make them safe before printing ([`words::printable`]).

use chrono::{DateTime, TimeDelta, Utc};

use crate::words::{self, sentence, time, time_exact};
use crate::{BreakerState, CheckFound, Customer, Failure, FailureKind, Phase, Server, TokenStatus};

/// The urgency of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A person must act.
    Bad,
    /// It may recover without a person.
    Warn,
    /// All is well.
    Plain,
}

/// Whether the daemon will carry out what it plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// The loop runs.
    Running,
    /// The loop is stopped.
    Stopped,
    /// The daemon does not answer.
    Unknown,
}

/// The keys or commands with which the reader acts in the program that prints the explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways<'a> {
    /// Tries the customer now: `r`, or `tbctl refresh 8f1c02aa`.
    pub refresh: &'a str,
    /// Tries it where one more wrong password could lock the account: `r`, or `tbctl refresh --force 8f1c02aa`.
    pub force: &'a str,
    /// Starts the loop: `S`, or `tbctl start`.
    pub start: &'a str,
}

/// An explanation of a customer. Each part holds whole sentences or is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The state in capitals: `PARKED since 13:36Z`; empty while all is well.
    pub headline: String,
    /// How urgent it is.
    pub weight: Weight,
    /// The cause.
    pub why: String,
    /// What the daemon does next, and when.
    pub next: String,
    /// What the operator should do.
    pub remedy: String,
    /// How the operator can have it tried now; empty where the daemon tries it anyway.
    pub at_once: String,
}

impl Explanation {
    /// Returns the most important sentences, for where there is little room.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        // For a parked customer the remedy already says what the daemon waits for.
        let parts = match self.weight {
            Weight::Bad if !self.remedy.is_empty() => [&self.why, &self.remedy, &self.at_once],
            Weight::Bad => [&self.why, &self.next, &self.at_once],
            Weight::Warn | Weight::Plain => [&self.why, &self.next, &self.remedy],
        };
        parts.into_iter().map(String::as_str).filter(|part| !part.is_empty())
    }

    /// Returns what happens next, and how to have it sooner.
    pub fn what_next(&self) -> String {
        [self.next.as_str(), self.at_once.as_str()].join(" ").trim().to_owned()
    }
}

/// Explains a customer at `now`.
pub fn explain(customer: &Customer, cron: Loop, ways: &Ways<'_>, now: DateTime<Utc>) -> Explanation {
    let failure = customer.failure.as_ref();
    let is_parked = customer.state == Phase::Parked;
    let headline = match failure {
        Some(failure) if is_parked => format!("PARKED since {}", time(failure.at, now)),
        None if is_parked => "PARKED".to_owned(),
        Some(_) if words::is_waiting(customer) => "WAITING".to_owned(),
        Some(failure) if failure.consecutive > 1 => {
            format!("FAILED {} times, last at {}", failure.consecutive, time(failure.at, now))
        }
        Some(failure) => format!("FAILED at {}", time(failure.at, now)),
        None => String::new(),
    };
    let why = failure.map(|failure| sentence(&failure.message));
    let remedy = failure.map(|failure| sentence(&failure.remedy)).unwrap_or_default();
    if is_parked {
        let way = if needs_force(customer) { ways.force } else { ways.refresh };
        let is_reachable = cron != Loop::Unknown;
        return Explanation {
            headline,
            weight: Weight::Bad,
            why: why.unwrap_or_default(),
            next: next_of_parked(customer, cron, ways, now),
            remedy,
            at_once: if is_reachable { format!("{way} tries it once now.") } else { String::new() },
        };
    }
    Explanation {
        headline,
        weight: if failure.is_some() { Weight::Warn } else { Weight::Plain },
        why: why.unwrap_or_else(|| describe_token(customer, now)),
        next: next_attempt(customer, cron, ways, now),
        remedy: without_promise(&remedy),
        at_once: String::new(),
    }
}

/// The beginning of a remedy of the daemon where the operator need not do anything.
const PROMISE: &str = "It is tried again by itself";

/// Removes the promise of another attempt from a remedy. [`Explanation::next`] says when that attempt is, and a stopped
/// loop or an unreachable daemon does not keep the promise.
fn without_promise(remedy: &str) -> String {
    let Some(rest) = remedy.strip_prefix(PROMISE) else { return remedy.to_owned() };
    // The promise ends at a full stop (`…, more slowly. If this stays, …`) or a semicolon (`…; if this stays, …`).
    let rest = match rest.find([';', '.']) {
        Some(end) => rest[end + 1..].trim(),
        None => "",
    };
    sentence(rest)
}

/// A line of a description: `last error    wrong password`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name of the fact; empty for a line that continues the one before.
    pub name: &'static str,
    /// The fact.
    pub value: String,
    /// The style of the fact.
    pub emphasis: Emphasis,
}

/// The style of a fact in a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emphasis {
    /// As a title.
    Title,
    /// That of the token's status.
    Status,
    /// That of the explanation's [`Weight`].
    Weight,
    /// None.
    Plain,
}

/// Describes a customer in full: the fields that `tbctl show` prints and the detail of `tbtui` shows.
pub fn describe(
    customer: &Customer,
    server: Option<&Server>,
    explanation: &Explanation,
    now: DateTime<Utc>,
) -> Vec<Field> {
    let Explanation { headline, why, remedy, .. } = explanation;
    let failure = customer.failure.as_ref();
    let error = |failure: &Failure| {
        // Scripts, the log and the documentation use the word of the wire.
        let kind = serde_json::to_value(failure.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default();
        format!("{} [{kind}], at {}", words::last_error(customer), time_exact(failure.at, now))
    };
    let state = if headline.is_empty() { customer.state.word() } else { headline };
    let success = |at| format!("{}, {} ago", time_exact(at, now), words::duration(now - at));
    let status = format!("{} {}", customer.token_status.sign(), customer.token_status.word());
    let fields = [
        ("customer", customer.customer_id.clone(), Emphasis::Title),
        ("user", customer.tb_username.clone(), Emphasis::Plain),
        ("ThingsBoard", customer.tb_url.clone(), Emphasis::Plain),
        ("", server.map(describe_server).unwrap_or_default(), Emphasis::Plain),
        ("token", format!("{}. {}", status.trim(), describe_token(customer, now)), Emphasis::Status),
        ("checked", describe_check(customer, now), Emphasis::Plain),
        ("state", state.to_owned(), Emphasis::Weight),
        ("last error", failure.map(error).unwrap_or_default(), Emphasis::Plain),
        ("why", failure.map(|_| why.clone()).unwrap_or_default(), Emphasis::Plain),
        ("what to do", remedy.clone(), Emphasis::Plain),
        ("what next", explanation.what_next(), Emphasis::Plain),
        ("renewals", customer.renewals.to_string(), Emphasis::Plain),
        ("last success", customer.last_success_at.map_or("never".to_owned(), success), Emphasis::Plain),
    ];
    let fields = fields.into_iter().map(|(name, value, emphasis)| Field { name, value, emphasis });
    fields.filter(|field| !field.value.is_empty()).collect()
}

/// Says when a parked customer is tried next: with its refresh token, or with its password once a day if ThingsBoard does
/// not count the failures.
fn next_of_parked(customer: &Customer, cron: Loop, ways: &Ways<'_>, now: DateTime<Utc>) -> String {
    const CHANGE: &str = "its URL, user or password changes in the table.";
    let kind = customer.failure.as_ref().map(|failure| failure.kind);
    let next = next_attempt(customer, cron, ways, now);
    match (customer.next_attempt_at, kind) {
        (None, Some(FailureKind::AttemptsExhausted)) => {
            "The daemon does not send its password until another row shows that ThingsBoard accepts this user."
                .to_owned()
        }
        (None, _) => format!("The daemon does not try it until {CHANGE}"),
        (Some(_), _) if cron != Loop::Running => next,
        (Some(_), _) if needs_force(customer) => {
            format!("The daemon does not send its password, but its refresh token may still work. {next}")
        }
        (Some(_), _) => format!("{}, or at once when {CHANGE}", next.trim_end_matches('.')),
    }
}

/// Says until when the token is valid.
pub fn describe_token(customer: &Customer, now: DateTime<Utc>) -> String {
    match customer.tbtokenexpiry {
        None => "There is no token in the table.".to_owned(),
        Some(died) if customer.check.is_some_and(|check| check.found == CheckFound::Dead) => {
            format!("ThingsBoard no longer accepts the token, as a check found at {}.", time(died, now))
        }
        Some(expiry) if expiry < now => {
            format!("The token ended {} ago, at {}.", words::duration(now - expiry), time(expiry, now))
        }
        Some(expiry) => {
            let left = words::duration(expiry - now);
            format!("The token is good until {}, for {left} more.", time(expiry, now))
        }
    }
}

/// Says when the token was last checked with its server, and the result: `40s ago: works`; empty if it was not checked.
pub fn describe_check(customer: &Customer, now: DateTime<Utc>) -> String {
    let Some(check) = customer.check else { return String::new() };
    let found = match check.found {
        CheckFound::Works => "works",
        CheckFound::Dead => "ThingsBoard no longer accepts it",
        CheckFound::Disputed => "ThingsBoard does not accept it, although it is new",
        CheckFound::Unclear | CheckFound::Unknown => "the answer is inconclusive",
    };
    format!("{} ago: {found}", words::duration(now - check.at))
}

/// Says when the customer is tried next; empty where that is not known.
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
        (None, TokenStatus::Valid | TokenStatus::Unknown) if customer.state != Phase::Due => String::new(),
        (Some(_), _) | (None, _) => format!("{verb} in the next pass."),
    }
}

/// Says how a server is treated and whether its clock is right; empty where nothing is known.
pub fn describe_server(server: &Server) -> String {
    let treated = match (server.breaker, server.limit) {
        (BreakerState::Closed, 1) => "At most one login to this server at once.".to_owned(),
        (BreakerState::Closed, limit) => format!("At most {limit} logins to this server at once."),
        (BreakerState::HalfOpen, _) => {
            "Something other than ThingsBoard answers: one login per poll finds out what it is; the rest wait."
                .to_owned()
        }
        (BreakerState::Open, _) => "Server down: it gets one probe per poll; its customers wait.".to_owned(),
        (BreakerState::Unknown, _) => String::new(),
    };
    // A smaller difference is within the error of the measurement.
    const EXACT_ENOUGH: u64 = 1000;
    let clock = match server.skew_ms {
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

/// Whether a refresh by name needs `force` to send the customer's password.
pub fn needs_force(customer: &Customer) -> bool {
    let kind = customer.failure.as_ref().filter(|failure| failure.permanent).map(|failure| failure.kind);
    matches!(
        kind,
        Some(FailureKind::CredentialsRejected | FailureKind::AccountLocked | FailureKind::AttemptsExhausted)
    )
}

/// Says what may happen when a parked customer is tried again, for a dialog that asks for confirmation.
pub fn describe_risk(customer: &Customer) -> String {
    let why = customer.failure.as_ref().map_or_else(
        || "It is parked.".to_owned(),
        |failure| format!("It is parked: {}", sentence(&failure.message)),
    );
    let risk = match customer.failure.as_ref().map(|failure| failure.kind) {
        Some(FailureKind::CredentialsRejected | FailureKind::AccountLocked) => {
            "ThingsBoard counts one more wrong password and could lock the account for good. Correct tb_password, or the \
             user in ThingsBoard, first."
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
        ) => "This sends the password again. Fix the user in ThingsBoard first.",
        _ => "It fails again unless the cause is fixed.",
    };
    format!("{why} {risk}")
}
