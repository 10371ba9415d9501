//! The parts of a `status` answer: the loop, the customers and their tokens, the daemon.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The number of a change to the daemon's snapshot. It only grows. A restarted daemon begins above all earlier
/// revisions, so that an old revision is never mistaken for a current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// The loop that polls the table once per interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// Whether the loop starts passes. `stop` makes this false; the process keeps running.
    pub running: bool,
    /// When an operator stopped the loop; kept across restarts. Absent while it runs, and while it was never started because
    /// `schedule.autostart` was false at the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_since: Option<DateTime<Utc>>,
    /// One line for people.
    pub description: String,
    /// Seconds between two polls, rounded up to a whole one.
    pub interval_seconds: u64,
    /// Whether a pass is under way now.
    pub refreshing: bool,
    /// When the loop polls next; null while it is stopped.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last pass that ended, if there was one since the daemon started.
    pub last_run: Option<LastRun>,
}

/// A pass that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// What began it.
    pub reason: Trigger,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Customers that it tried to renew.
    pub total: usize,
    /// Customers whose new token was written.
    pub updated: usize,
    /// Customers whose renewal failed.
    pub errors: usize,
}

/// What began a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub enum Trigger {
    /// The daemon started, or an operator started the loop.
    Start,
    /// The interval passed.
    Schedule,
    /// A renewal was due before the interval passed.
    #[strum(serialize = "ahead of schedule")]
    Early,
    /// An operator requested it.
    Manual,
    /// A reason that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The customers and their tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Whether the last read of the table succeeded.
    pub success: bool,
    /// Why the table cannot be read; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the table was last read; null before the first read.
    pub as_of: Option<DateTime<Utc>>,
    /// The requested customers, in the order of their ids (those in trouble: the worst first); absent if none are requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customers: Option<Vec<Customer>>,
    /// At most [`MAX_IN_TROUBLE`](crate::MAX_IN_TROUBLE) former customers, in the order of their ids; only in answers about
    /// all customers or those in trouble, and not with `since`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ineligible: Vec<Ineligible>,
    /// With a filter: how many customers fit it, listed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<usize>,
    /// Customers that left the table after the requested revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// With `since`: whether `customers` holds all customers because the revision is too old or unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// Counts over all customers, whatever the request.
    pub summary: Summary,
}

impl Tokens {
    /// Returns those of the `known` customers that are gone: their rows have left the table, or cannot be renewed. A daemon
    /// that has not read its table since it started knows no customer, which means nothing.
    pub fn gone<'a>(&self, known: impl Iterator<Item = &'a String>) -> Vec<String> {
        let listed = self.customers.iter().flatten().map(|row| row.customer_id.as_str());
        let listed: HashSet<&str> = listed.collect();
        let is_whole = self.complete && self.as_of.is_some();
        let unlisted = known.filter(|id| is_whole && !listed.contains(id.as_str()));
        self.removed.iter().cloned().chain(unlisted.cloned()).collect()
    }
}

/// Counts over all customers. `valid + expiring_soon + expired + missing = total`; `parked`, `retrying` and
/// `in_trouble` cut across them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Eligible customers.
    pub total: usize,
    /// Tokens that need nothing yet.
    pub valid: usize,
    /// Tokens that end within the refresh window.
    pub expiring_soon: usize,
    /// Tokens that have ended.
    pub expired: usize,
    /// Customers without a token or without an expiry.
    pub missing: usize,
    /// Customers that are [parked](Phase::Parked).
    pub parked: usize,
    /// Customers whose last attempt failed and that have a next attempt time.
    pub retrying: usize,
    /// Customers that need a person's attention, see [`in_trouble`].
    #[serde(default)]
    pub in_trouble: usize,
    /// Former customers, not counted above: see [`Ineligible`].
    #[serde(default)]
    pub ineligible: usize,
}

/// A customer that has lost its user, password or URL, or its row. It is listed as long as its row holds a token or, if the row
/// is gone, until its last token ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ineligible {
    /// Its id.
    pub customer_id: String,
    /// Why it is no longer renewed, for people, such as `its tb_password is blank`.
    pub reason: String,
    /// When the daemon noticed it.
    pub since: DateTime<Utc>,
    /// When its last token ends; null if not known.
    pub tbtokenexpiry: Option<DateTime<Utc>>,
}

/// Whether a customer needs a person's attention: it has no valid token, or the daemon has stopped renewing it.
pub fn in_trouble(status: TokenStatus, state: Phase) -> bool {
    match (status, state) {
        (TokenStatus::Expired | TokenStatus::Missing, _) | (_, Phase::Parked) => true,
        (TokenStatus::ExpiringSoon | TokenStatus::Valid | TokenStatus::Unknown, _) => false,
    }
}

/// One customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// The id, as text.
    pub customer_id: String,
    /// The ThingsBoard user.
    pub tb_username: String,
    /// The URL of its ThingsBoard server: that of the row, or the configured fallback.
    pub tb_url: String,
    /// The status of its token.
    pub token_status: TokenStatus,
    /// When its token ends: the time in the table, corrected by clock steps backward since it was written. For a dead
    /// token, when it was found dead. Null without a token.
    pub tbtokenexpiry: Option<DateTime<Utc>>,
    /// The last check of its token with its server; absent while it has not been checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Whole minutes until then, rounded toward minus infinity; null without an expiry.
    pub minutes_until_expiry: Option<i64>,
    /// What the daemon does about it.
    pub state: Phase,
    /// When its last new token was written; failures do not change it.
    pub last_success_at: Option<DateTime<Utc>>,
    /// How many new tokens were written, across restarts.
    pub renewals: u64,
    /// When the daemon tries next. Null for a parked customer, unless it has a refresh token or is tried once a day.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed; null when it succeeded.
    pub failure: Option<Failure>,
    /// Its last changes except renewals, across restarts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// A check of a token with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// When.
    pub at: DateTime<Utc>,
    /// What it found.
    pub found: CheckFound,
}

/// The result of a check of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckFound {
    /// ThingsBoard takes it.
    Works,
    /// ThingsBoard no longer accepts it.
    Dead,
    /// The same, less than ten minutes after it replaced a dead one.
    Disputed,
    /// The answer says nothing about the token.
    Unclear,
    /// Something that this client does not know.
    #[serde(other)]
    Unknown,
}

/// One change in the state of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The kind: `failed`, `parked`, `unparked`, `recovered`, `expired`, `ineligible`, `token_dead` or `token_disputed`.
    pub kind: crate::EventKind,
}

/// The status of a token at the time of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub enum TokenStatus {
    /// It has ended.
    Expired,
    /// There is none, or it has no expiry.
    Missing,
    /// It ends within the refresh window.
    #[strum(serialize = "expiring soon")]
    ExpiringSoon,
    /// It needs nothing yet.
    Valid,
    /// A status that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The state of a customer's renewal. On the wire the field is called `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub enum Phase {
    /// Nothing to do.
    Ok,
    /// The next pass renews it.
    Due,
    /// A running pass renews it.
    Refreshing,
    /// The last attempt failed; the next one is at `next_attempt_at`.
    Retrying,
    /// Its password is not sent until its credentials change or an operator names it, or only once a day. A refresh token
    /// is still used: then there is a `next_attempt_at`.
    Parked,
    /// A state that this client does not know.
    #[serde(other)]
    Unknown,
}

/// Why the last attempt for a customer failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The reason, for programs.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
    /// What to do about it, for people.
    pub remedy: String,
    /// When the last attempt failed.
    pub at: DateTime<Utc>,
    /// Failed attempts since the last success; 0 if the failure is that of its server or of another row.
    pub consecutive: u32,
    /// Whether another attempt is useless or dangerous, so that the customer is parked.
    pub permanent: bool,
    /// What a due customer waits for, such as its server, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// The reasons why a renewal can fail; closed in the daemon, open on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// ThingsBoard has rejected user and password; the daemon does not send them again.
    CredentialsRejected,
    /// The account has used up its budget of passwords that ThingsBoard may have counted as wrong. Check the user in
    /// ThingsBoard, then refresh a customer with `force`.
    AttemptsExhausted,
    /// The ThingsBoard user is disabled. ThingsBoard counts no failure, so the daemon tries once a day.
    AccountDisabled,
    /// ThingsBoard has disabled the user after too many wrong passwords.
    AccountLocked,
    /// The password has expired. Tried once a day.
    PasswordExpired,
    /// The password violates ThingsBoard's policy, and the user must change it. Tried once a day.
    PasswordViolatesPolicy,
    /// The user needs a second factor, which a daemon does not have. Tried once a day.
    SecondFactorRequired,
    /// ThingsBoard answered that this tenant or customer sends too many requests.
    RateLimited,
    /// ThingsBoard answered with an internal error.
    ServerError,
    /// No connection to the server.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The answer is not from ThingsBoard.
    UnexpectedResponse,
    /// The row's URL cannot be used.
    BadUrl,
    /// The row's URL is `http` and the configuration demands `https`.
    InsecureUrl,
    /// The token does not fit into its column.
    TokenTooLong,
    /// The token could not be written.
    Database,
    /// A reason that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its version.
    pub version: String,
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// The revision of its snapshot.
    pub revision: Revision,
    /// The kind of its store, and where it is.
    pub store: String,
    /// Whether the last read and the last write of the store succeeded.
    pub store_ok: bool,
    /// Why the store cannot be used, and what to do about it; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_error: Option<String>,
    /// Where the ledger of sent passwords is, if not in the database: `in FILE, because …`. Other daemons do not see that
    /// file, so several daemons on one table need the ledger in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// Why the key does not fit the stored fingerprints, what follows, and what the operator can do; absent if it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_mismatch: Option<String>,
    /// The configuration file; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_file: Option<String>,
    /// The HTTP listener; absent if none is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpListener>,
    /// The receivers of messages about troubles that did not take the last one; absent if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing_receivers: Vec<String>,
    /// Renewals by login since the daemon started.
    #[serde(default)]
    pub renewals_by_login: u64,
    /// Renewals by refresh token since the daemon started.
    #[serde(default)]
    pub renewals_by_refresh_token: u64,
}

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpListener {
    /// Its configured address: `127.0.0.1:9137`, `unix:/run/tbtokend/http.sock`.
    pub listen: String,
    /// Why it does not listen; absent if it does. The daemon tries again every 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is dangerous about it, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}
