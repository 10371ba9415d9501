//! The words for a status, a failure, a duration, shared by `tbctl` and `tbtui` so that both say the same.

use std::borrow::Cow;
use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};

pub use crate::hidden::{escape_hidden, printable};
pub use crate::zone::{show_local_times, time, time_exact, timestamp, with_local_times};
use crate::{Customer, EventKind, FailureKind, Phase, StatusReply, TokenStatus, Trigger};

/// Says what is wrong with the database: it cannot be read, or it refuses a write. `None` if nothing is wrong.
pub fn database_trouble(readable: bool, writable: bool) -> Option<&'static str> {
    match (readable, writable) {
        (false, _) => Some("database unreachable"),
        (true, false) => Some("database refuses writes"),
        (true, true) => None,
    }
}

impl StatusReply {
    /// Says what is wrong with the database, as [`database_trouble`], and why.
    pub fn database_trouble(&self) -> Option<(&'static str, &str)> {
        let what = database_trouble(self.tokens.success, self.daemon.store_ok)?;
        let why = self.tokens.error.as_ref().or(self.daemon.store_error.as_ref());
        Some((what, why.map_or("the daemon gives no reason", |why| why.trim_end_matches('.'))))
    }
}

/// Says why the loop starts no pass, and how to start it: a fragment that follows "the loop".
pub fn stopped(since: Option<DateTime<Utc>>) -> String {
    match since {
        Some(since) => {
            format!("has been stopped by an operator since {}; start it with tbctl start", timestamp(since))
        }
        None => "is not started, because schedule.autostart is false; start it with tbctl start".to_owned(),
    }
}

impl TokenStatus {
    /// The word for people.
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// The sign before the word, so that a status is never shown by colour alone.
    pub fn sign(self) -> char {
        match self {
            Self::Expired => 'x',
            Self::Missing => '-',
            Self::ExpiringSoon => '!',
            Self::Valid => ' ',
            Self::Unknown => '?',
        }
    }
}

impl Phase {
    /// The word for people.
    pub fn word(self) -> &'static str {
        self.into()
    }
}

impl FailureKind {
    /// Two or three words for a table.
    pub fn short(self) -> &'static str {
        match self {
            Self::CredentialsRejected => "wrong password",
            Self::AttemptsExhausted => "attempts exhausted",
            Self::AccountDisabled => "user disabled",
            Self::AccountLocked => "user locked",
            Self::PasswordExpired => "password expired",
            Self::PasswordViolatesPolicy => "password against policy",
            Self::SecondFactorRequired => "second factor on",
            Self::RateLimited => "rate limited",
            Self::ServerError => "server error",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timed out",
            Self::UnexpectedResponse => "not ThingsBoard's answer",
            Self::BadUrl => "bad URL",
            Self::InsecureUrl => "http not allowed",
            Self::TokenTooLong => "token too long",
            Self::Database => "not saved",
            Self::Unknown => "unknown",
        }
    }
}

impl EventKind {
    /// The kind as a word for people.
    pub fn word(self) -> &'static str {
        self.into()
    }
}

impl Trigger {
    /// The reason as a word for people.
    pub fn word(self) -> &'static str {
        self.into()
    }
}

/// Returns the time until a token ends, for a table: `14m`, `-12m`, `42s`, `3h`, `6d`, or `-` without an expiry.
pub fn time_left(expiry: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    match expiry {
        None => "-".to_owned(),
        Some(expiry) if expiry < now => format!("-{}", duration(now - expiry)),
        Some(expiry) => duration(expiry - now),
    }
}

/// Says how a table without customers gets one, in this store.
pub fn how_to_add_a_customer(store: &str) -> &'static str {
    match store.starts_with("sqlite ") {
        true => "add one: sudo tbtokend customers add ID --user USER --url URL",
        false => "fill in tb_url, tb_username and tb_password of a row in the table",
    }
}

/// Returns what happens next to a customer, for a table: `parked`, `now`, `in 40s`.
pub fn next_step(customer: &Customer, now: DateTime<Utc>) -> String {
    match (customer.state, customer.next_attempt_at) {
        (Phase::Parked, _) => "parked".to_owned(),
        (Phase::Refreshing, _) => "now".to_owned(),
        (_, Some(at)) if at > now => format!("in {}", duration(at - now)),
        (Phase::Due, _) | (_, Some(_)) => "due".to_owned(),
        (_, None) => "-".to_owned(),
    }
}

/// Returns the last failure with its count, for a table: `timed out (x4)`; for a customer that only waits,
/// `waiting: timed out`. Empty without a failure.
pub fn last_error(customer: &Customer) -> String {
    match &customer.failure {
        None => String::new(),
        Some(failure) if is_waiting(customer) => format!("waiting: {}", failure.kind.short()),
        Some(failure) if failure.consecutive > 1 => {
            format!("{} (x{})", failure.kind.short(), failure.consecutive)
        }
        Some(failure) => failure.kind.short().to_owned(),
    }
}

/// Whether a customer waits because its server, or another row with its password, has failed, and not itself.
pub fn is_waiting(customer: &Customer) -> bool {
    customer.state != Phase::Parked
        && customer.failure.as_ref().is_some_and(|failure| failure.consecutive == 0)
}

/// Formats a length of time in its largest whole unit, rounded down: `42s`, `14m`, `3h`, `6d`. A negative one is `0s`.
pub fn duration(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Formats how far a clock is ahead (`+0.3s`, `+2m`) or behind (`-12.0s`).
pub fn skew(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { '-' } else { '+' };
    format!("{sign}{}", skew_length(milliseconds))
}

/// Formats the absolute value of a clock's skew: `0.3s`, `2m`.
pub(crate) fn skew_length(milliseconds: i64) -> String {
    match milliseconds.unsigned_abs() {
        ms @ 0..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        ms => duration(TimeDelta::milliseconds(i64::try_from(ms).unwrap_or(i64::MAX))),
    }
}

/// Returns an error with its causes, on one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    printable(&text)
}

/// Turns `text` into a sentence: a capital at its beginning, a full stop at its end. The name of a program, column or
/// setting keeps its small letter.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    let stop = if text.ends_with(['.', '!', '?', ':', '…']) { "" } else { "." };
    if is_name(text.split_whitespace().next().unwrap_or_default()) {
        return format!("{text}{stop}");
    }
    format!("{}{}{stop}", first.to_uppercase(), chars.as_str())
}

/// Whether a word is a name whose first letter stays small: `tbtokend`, `tb_url`, `store.server`.
fn is_name(word: &str) -> bool {
    const PROGRAMS: [&str; 5] = ["tbtokend", "tbctl", "tbtui", "systemctl", "journalctl"];
    PROGRAMS.contains(&word) || word.trim_end_matches(['.', ':', ',', ';']).contains(['_', '.'])
}

/// The shortest short id: one letter may tell all customers apart, but no operator recognizes a customer by it.
const SHORTEST_ID: usize = 8;

/// Returns how many characters tell all these ids apart. The ids must be sorted.
pub fn short_id_length<'a>(ids: impl IntoIterator<Item = &'a str>) -> usize {
    let mut shared = 0;
    let mut before = "";
    for id in ids {
        // Of sorted ids, neighbours share the longest prefix.
        shared = shared.max(before.chars().zip(id.chars()).take_while(|(a, b)| a == b).count());
        before = id;
    }
    (shared + 1).max(SHORTEST_ID)
}

/// Shortens an id to `length` characters and the ellipsis `more`. The id stays whole if the ellipsis takes as much room
/// as the rest.
pub fn short_id<'a>(id: &'a str, length: usize, more: &str) -> Cow<'a, str> {
    match id.char_indices().nth(length) {
        Some((end, _)) if id[end..].chars().count() > more.chars().count() => {
            Cow::Owned(format!("{}{more}", &id[..end]))
        }
        _ => Cow::Borrowed(id),
    }
}

/// Whether a customer's token is valid and its last attempt succeeded.
pub fn is_healthy(customer: &Customer) -> bool {
    Standing::of(customer).healthy()
}

/// Compares two customers by [`Standing::rank`], then by id.
pub fn problems_first(a: &Customer, b: &Customer) -> std::cmp::Ordering {
    let rank = |customer| Standing::of(customer).rank();
    rank(a).cmp(&rank(b)).then_with(|| a.customer_id.cmp(&b.customer_id))
}

/// The facts about a customer that its rank depends on. They exist without a whole [`Customer`].
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The status of the token.
    pub status: TokenStatus,
    /// The state of the renewal.
    pub state: Phase,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// When the token ends.
    pub expiry: Option<DateTime<Utc>>,
}

impl Standing {
    fn of(customer: &Customer) -> Self {
        Self {
            status: customer.token_status,
            state: customer.state,
            failing: customer.failure.is_some(),
            expiry: customer.tbtokenexpiry,
        }
    }

    fn healthy(self) -> bool {
        self.status == TokenStatus::Valid && !self.failing
    }

    /// Returns the rank of a customer, lowest first: trouble leads, then the token that ends soonest. Within a status parked
    /// customers lead, because they wait for a person.
    pub fn rank(self) -> impl Ord {
        (self.healthy(), self.status, self.state != Phase::Parked, self.expiry)
    }
}
