//! The words for a status, a reason, a duration: here once, so that `tbctl` and `tbtui` say the same.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

pub use crate::hidden::{escape_hidden, printable};
use crate::{Customer, EventKind, FailureKind, Phase, TokenStatus, Trigger};

/// What is wrong with the database, if anything is: whether the table can be read, and whether everything that is to be
/// written is taken. Where it must be seen, it is written in capitals.
pub fn database_trouble(readable: bool, writable: bool) -> Option<&'static str> {
    match (readable, writable) {
        (false, _) => Some("database unreachable"),
        (true, false) => Some("database refuses writes"),
        (true, true) => None,
    }
}

/// Why the loop starts no pass, and how it is started: a fragment that follows "the loop is".
pub fn stopped(since: Option<DateTime<Utc>>) -> String {
    match since {
        Some(since) => {
            let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("stopped by an operator since {since}; tbctl start")
        }
        None => "not started, because schedule.autostart is false; tbctl start".to_owned(),
    }
}

impl TokenStatus {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Missing => "missing",
            Self::ExpiringSoon => "expiring soon",
            Self::Valid => "valid",
            Self::Unknown => "unknown",
        }
    }

    /// The sign that stands before the word, so that a status is never colour alone.
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
        match self {
            Self::Ok => "ok",
            Self::Due => "due",
            Self::Refreshing => "refreshing",
            Self::Retrying => "retrying",
            Self::Parked => "parked",
            Self::Unknown => "unknown",
        }
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
        match self {
            Self::Renewed => "renewed",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Unparked => "unparked",
            Self::Ineligible => "ineligible",
            Self::Recovered => "recovered",
            Self::Expired => "expired",
            Self::TokenDead => "token dead",
            Self::TokenDisputed => "token disputed",
            Self::PassStarted => "pass started",
            Self::PassFinished => "pass finished",
            Self::StoreLost => "store lost",
            Self::StoreBack => "store back",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

impl Trigger {
    /// The reason as a word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Schedule => "schedule",
            Self::Early => "ahead of schedule",
            Self::Manual => "manual",
            Self::Unknown => "unknown",
        }
    }
}

/// The time that a token has left at `now`, as short as a table needs it: `14m`, `-12m`, `42s`, `3h`, `6d`, or `-`
/// without an expiry.
pub fn left(expiry: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    match expiry {
        None => "-".to_owned(),
        Some(expiry) if expiry < now => format!("-{}", duration(now - expiry)),
        Some(expiry) => duration(expiry - now),
    }
}

/// What happens next to a customer: `parked`, `now`, `in 40s`.
pub fn next(customer: &Customer, now: DateTime<Utc>) -> String {
    match (customer.state, customer.next_attempt_at) {
        (Phase::Parked, _) => "parked".to_owned(),
        (Phase::Refreshing, _) => "now".to_owned(),
        (_, Some(at)) if at > now => format!("in {}", duration(at - now)),
        (Phase::Due, _) => "due".to_owned(),
        (_, Some(_)) => "due".to_owned(),
        (_, None) => "-".to_owned(),
    }
}

/// The last failure in a few words, with its count: `timed out (x4)`. Of a customer that only waits, what it waits for:
/// `waiting: timed out`. Empty without either.
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

/// Whether a customer has not failed itself: it waits because its server, or another row with its password, has.
pub fn is_waiting(customer: &Customer) -> bool {
    customer.state != Phase::Parked
        && customer.failure.as_ref().is_some_and(|failure| failure.consecutive == 0)
}

/// A length of time in its largest whole unit, rounded down: `42s`, `14m`, `3h`, `6d`. Negative ones count as zero.
pub fn duration(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// By how much a clock is ahead (`+0.3s`, `+2m`) or behind (`-12.0s`), in milliseconds.
pub fn skew(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { '-' } else { '+' };
    format!("{sign}{}", skew_length(milliseconds))
}

/// How far a clock is off: `0.3s`, `2m`.
pub(crate) fn skew_length(milliseconds: i64) -> String {
    match milliseconds.unsigned_abs() {
        ms @ 0..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        ms => duration(TimeDelta::milliseconds(i64::try_from(ms).unwrap_or(i64::MAX))),
    }
}

/// A time of day in UTC, with the date when that is not today's: `14:03Z`, `Nov 22 14:03Z`.
pub fn time(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    dated(at, now, "%H:%MZ")
}

/// The same to the second: `14:03:07Z`.
pub fn time_exact(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    dated(at, now, "%H:%M:%SZ")
}

fn dated(at: DateTime<Utc>, now: DateTime<Utc>, format: &str) -> String {
    let time = at.format(format);
    if at.date_naive() == now.date_naive() {
        time.to_string()
    } else {
        format!("{} {time}", at.format("%b %-d"))
    }
}

/// `text` as a sentence: its first letter large, a full stop at its end. The names of programs and columns stay as
/// they are, wherever they stand.
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

/// Whether this is the name of something that must be written so: `tbtokend`, `tb_url`, `store.server`.
fn is_name(word: &str) -> bool {
    const PROGRAMS: [&str; 5] = ["tbtokend", "tbctl", "tbtui", "systemctl", "journalctl"];
    PROGRAMS.contains(&word) || word.trim_end_matches(['.', ':', ',', ';']).contains(['_', '.'])
}

/// Ids are never shortened to less: a single letter tells three customers apart, but nobody recognizes them by it.
const SHORTEST_ID: usize = 8;

/// As many characters of an id as tell all these ids apart, which come in their order.
pub fn short_id_length<'a>(ids: impl IntoIterator<Item = &'a str>) -> usize {
    let mut shared = 0;
    let mut before = "";
    for id in ids {
        // Neighbours in the order of ids share the longest beginnings.
        shared = shared.max(before.chars().zip(id.chars()).take_while(|(a, b)| a == b).count());
        before = id;
    }
    (shared + 1).max(SHORTEST_ID)
}

/// An id, or its beginning of so many characters and `more`, the sign that it goes on; whole as well where the sign would
/// take the room of all that is left.
pub fn short_id<'a>(id: &'a str, length: usize, more: &str) -> Cow<'a, str> {
    match id.char_indices().nth(length) {
        Some((end, _)) if id[end..].chars().count() > more.chars().count() => {
            Cow::Owned(format!("{}{more}", &id[..end]))
        }
        _ => Cow::Borrowed(id),
    }
}

/// Whether there is nothing to say about a customer: its token is valid and its last attempt succeeded.
pub fn healthy(customer: &Customer) -> bool {
    Standing::of(customer).healthy()
}

/// The order in which people look at customers: by [`Standing::rank`], then by id.
pub fn problems_first(a: &Customer, b: &Customer) -> std::cmp::Ordering {
    let rank = |customer| Standing::of(customer).rank();
    rank(a).cmp(&rank(b)).then_with(|| a.customer_id.cmp(&b.customer_id))
}

/// What the order of customers depends on: they need not be made for it.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// How the token stands.
    pub status: TokenStatus,
    /// What the daemon does about it.
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

    /// The lower, the sooner somebody should look: trouble first, then whoever has the least time left. Among equals
    /// the parked ones lead, because they wait for a person.
    pub fn rank(self) -> impl Ord {
        (self.healthy(), self.status, self.state != Phase::Parked, self.expiry)
    }
}
