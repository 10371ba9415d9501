//! What `status` says: the loop, the customers and their tokens, the daemon itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Counts the changes of the daemon's picture of its customers. It only grows, and a restarted daemon begins
/// above every revision of the one before, so an old revision is never mistaken for a current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// The loop that polls the table once per interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// Whether the loop starts passes by itself. `stop` makes this false; the process goes on.
    pub running: bool,
    /// Since when an operator has it stopped, over restarts of the daemon. Absent while it runs, and where it was never started
    /// because `schedule.autostart` was false at the very first start.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The daemon started, or an operator started the loop.
    Start,
    /// The interval came round.
    Schedule,
    /// A token or a retry could not wait for the interval.
    Early,
    /// An operator asked for it.
    Manual,
    /// A reason that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The customers and what is known of their tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Whether the table could be read the last time.
    pub success: bool,
    /// Why not, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the table was last read; null if it never was.
    pub as_of: Option<DateTime<Utc>>,
    /// The customers that were asked for, in the order of their ids (those in trouble: the worst first); absent if none
    /// were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customers: Option<Vec<Customer>>,
    /// At most [`MAX_IN_TROUBLE`](crate::MAX_IN_TROUBLE) of those that are customers no longer, in the order of their ids; only
    /// in answers about all customers or about those in trouble, and not with `since`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ineligible: Vec<Ineligible>,
    /// With a filter: how many customers fit it, however many are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<usize>,
    /// Customers that left the table after the revision asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// With `since`: true when `customers` holds everyone, because the revision was too old or unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// Counts over all customers, whatever was asked for.
    pub summary: Summary,
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
    /// Customers whose last attempt failed and that wait for the next one.
    pub retrying: usize,
    /// Customers that somebody should look after, see [`in_trouble`].
    #[serde(default)]
    pub in_trouble: usize,
    /// Former customers, none of which is counted above: see [`Ineligible`].
    #[serde(default)]
    pub ineligible: usize,
}

/// A customer that has lost its user, password or URL, or its row. It is listed as long as its row holds a token or, if the row
/// is gone, until its last token ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ineligible {
    /// Its id.
    pub customer_id: String,
    /// Why it is not renewed any more, for people, as `its tb_password is blank`.
    pub reason: String,
    /// Since when the daemon knows it.
    pub since: DateTime<Utc>,
    /// When its last token ends; null if that is not known.
    pub tbtokenexpiry: Option<DateTime<Utc>>,
}

/// Whether somebody should look after a customer: its applications are without a token, or will be, because nobody
/// renews it.
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
    /// The ThingsBoard server that is used: the row's own, or the configured fallback.
    pub tb_url: String,
    /// How its token stands.
    pub token_status: TokenStatus,
    /// When its token ends, as the table says; less what the daemon's clock was set back by since that was written; or when
    /// ThingsBoard was found not to take it any more. Null without a token.
    pub tbtokenexpiry: Option<DateTime<Utc>>,
    /// The last check of its token with its server; absent while it has not been checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Whole minutes until then, rounded toward minus infinity; null without an expiry.
    pub minutes_until_expiry: Option<i64>,
    /// What the daemon does about it.
    pub state: Phase,
    /// The last renewal that was written; stays when a failure comes after it.
    pub last_success_at: Option<DateTime<Utc>>,
    /// How many renewals were written, over restarts.
    pub renewals: u64,
    /// When the daemon will try next. Null for a parked customer, unless it has a refresh token or is tried once a day.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed; null when it succeeded.
    pub failure: Option<Failure>,
    /// Its last changes, over restarts, oldest first; never that it was renewed.
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

/// What a check of a token found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckFound {
    /// ThingsBoard takes it.
    Works,
    /// ThingsBoard no longer takes it.
    Dead,
    /// The same, less than ten minutes after it replaced a dead one.
    Disputed,
    /// The answer says nothing about the token.
    Unclear,
    /// Something that this client does not know.
    #[serde(other)]
    Unknown,
}

/// One change of how a customer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: DateTime<Utc>,
    /// What: `failed`, `parked`, `unparked`, `recovered`, `expired`, `ineligible`, `token_dead`,
    /// `token_disputed`.
    pub kind: crate::EventKind,
}

/// How a token stands at the time of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenStatus {
    /// It has ended.
    Expired,
    /// There is none, or it has no expiry.
    Missing,
    /// It ends within the refresh window.
    ExpiringSoon,
    /// It needs nothing yet.
    Valid,
    /// A status that this client does not know.
    #[serde(other)]
    Unknown,
}

/// What the daemon does about a customer. On the wire the field is called `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing to do.
    Ok,
    /// To be renewed in the next pass.
    Due,
    /// Being renewed now.
    Refreshing,
    /// The last attempt failed; waits for `next_attempt_at`.
    Retrying,
    /// Its password is not sent by itself until its credentials change or an operator names it, or only once a day. Its refresh
    /// token is still used: then there is a `next_attempt_at`.
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
    /// Failed attempts since the last success; 0 if its password was never sent for it.
    pub consecutive: u32,
    /// Whether trying again is useless or dangerous: the customer is parked.
    pub permanent: bool,
    /// What a customer that is due waits for, such as a server in doubt, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// The reasons why a renewal can fail; closed in the daemon, open on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// ThingsBoard has rejected user and password; they are not sent again by themselves.
    CredentialsRejected,
    /// So many passwords that ThingsBoard may have counted as wrong were sent to the account that none is sent by itself. Check
    /// it in ThingsBoard, then refresh a customer with `force`.
    AttemptsExhausted,
    /// The ThingsBoard user is disabled. Nothing is counted, so it is tried once a day.
    AccountDisabled,
    /// ThingsBoard has disabled the user after too many wrong passwords.
    AccountLocked,
    /// The password has expired. Tried once a day.
    PasswordExpired,
    /// ThingsBoard wants another password before it lets the user in. Tried once a day.
    PasswordViolatesPolicy,
    /// The user needs a second factor, which a daemon does not have. Tried once a day.
    SecondFactorRequired,
    /// Too many requests for this tenant or customer.
    RateLimited,
    /// ThingsBoard answered with an internal error.
    ServerError,
    /// No connection to the server.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// An answer that is not ThingsBoard's.
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
    /// The revision of its picture of the customers.
    pub revision: Revision,
    /// Which store it uses: the kind and where it is.
    pub store: String,
    /// Whether the store could be used the last time, for reading and for writing.
    pub store_ok: bool,
    /// Why not, and what to do about it, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_error: Option<String>,
    /// Where sent passwords are noted, if not in the database, as `in FILE, because …`. Other daemons do not see such a
    /// file, so several daemons on one table need the ledger in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// That the key of the stored fingerprints is another one than they were made with, what follows from that, and how an
    /// operator decides; absent if it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_mismatch: Option<String>,
    /// The configuration file that was read; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_file: Option<String>,
    /// The HTTP listener, if there is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpListener>,
    /// Tokens obtained with a password since the daemon started.
    #[serde(default)]
    pub renewals_by_login: u64,
    /// Tokens obtained with a refresh token since the daemon started.
    #[serde(default)]
    pub renewals_by_refresh_token: u64,
}

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpListener {
    /// Where it listens, or is to listen: `127.0.0.1:9137`, `unix:/run/tbtokend/http.sock`.
    pub listen: String,
    /// Why it does not listen now, if it does not; it is tried again every 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is dangerous about it, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}
