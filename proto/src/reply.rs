//! What the daemon answers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Cron, Daemon, Event, FailureKind, Host, Id, Request, Seq, Tokens};

/// One answer line: what was asked for, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The id of the request, echoed.
    pub id: Option<Id>,
    /// The answer proper.
    pub outcome: Result<Reply, Refusal>,
}

/// The answer to a request that was carried out. Which one it is follows from the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and most of them are the large one")]
pub enum Reply {
    /// To `status`.
    Status(StatusReply),
    /// To `start` and `stop`.
    Steer(SteerReply),
    /// To `refresh`.
    Refresh(RefreshReply),
    /// To `events`.
    Events(EventsReply),
    /// To `version`.
    Version(VersionReply),
    /// To `reload`.
    Reload(ReloadReply),
}

/// The answer to `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The loop.
    pub cron: Cron,
    /// The customers.
    pub tokens: Tokens,
    /// The ThingsBoard servers of the customers that were asked for, in the order of their names; absent if no
    /// customers were asked for. A server that nobody uses any more is left out: with `since`, a client forgets those
    /// that none of its customers names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<Host>>,
    /// The daemon.
    pub daemon: Daemon,
}

/// The answer to `start` and `stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerReply {
    /// What happened, for people.
    pub message: String,
    /// The loop as it is now.
    pub cron: Cron,
}

/// The answer to `refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshReply {
    /// What happened, for people.
    pub message: String,
    /// What became of each customer; absent when the client did not want to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RefreshResult>,
}

/// What a manual pass did. `total = updated + errors +` the skipped ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshResult {
    /// Whether nobody failed.
    pub success: bool,
    /// Customers whose new token was written.
    pub updated: usize,
    /// Customers whose renewal failed.
    pub errors: usize,
    /// Customers in `details`.
    pub total: usize,
    /// One entry for each customer that the request was about.
    pub details: Vec<Outcome>,
}

/// What became of one customer in a manual pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Who.
    pub customer_id: String,
    /// How it ended.
    pub status: OutcomeStatus,
    /// The new expiry, after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_expiry: Option<DateTime<Utc>>,
    /// The kind of failure, after an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    /// Why, unless it is a success. For a customer that was named it says how many passwords that ThingsBoard may have counted as
    /// wrong were sent to its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a manual pass ended for one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// The new token is in the table.
    Success,
    /// The renewal failed.
    Error,
    /// It was not tried.
    Skipped,
    /// An outcome that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The answer to `events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsReply {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// The number to give as `since` to go on from here.
    pub next: Seq,
}

/// The answer to `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReply {
    /// The daemon.
    pub daemon: Daemon,
}

/// The answer to `reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReply {
    /// What is in force now and what needs a restart, for people.
    pub message: String,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A sentence for people: what is wrong and what to do.
    pub error: String,
    /// The same for programs.
    pub code: ErrorCode,
}

/// The reasons to refuse a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is not a well-formed request.
    BadRequest,
    /// There is no such action.
    UnknownAction,
    /// A customer that was named is not in the table.
    UnknownCustomer,
    /// The row of a customer that was named is in the table, but cannot be renewed; the error says why. It comes before
    /// [`UnknownCustomer`](Self::UnknownCustomer), so that a client which looks for other meanings of an unknown name never
    /// takes the id of such a row for one.
    IneligibleCustomer,
    /// The monitor socket changes nothing.
    ReadOnly,
    /// Too many connections or requests at a time.
    Busy,
    /// The store cannot be read.
    StoreUnavailable,
    /// The configuration that was to be read again cannot be used; the old settings stay.
    BadConfiguration,
    /// The daemon is about to end.
    ShuttingDown,
    /// Over HTTP: no token, or a wrong one.
    Unauthorized,
    /// Over HTTP: a page of another site sent this.
    Forbidden,
    /// Over HTTP: the name in `Host` is not one of the daemon's.
    Misdirected,
    /// A bug in the daemon.
    Internal,
    /// A code that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The wire form of [`Answer`]: one flat object.
#[derive(Serialize)]
struct Wire<'a, T> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: &'a Option<Id>,
    #[serde(flatten)]
    body: &'a T,
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.outcome {
            Ok(body) => Wire { success: true, id: &self.id, body }.serialize(serializer),
            Err(body) => Wire { success: false, id: &self.id, body }.serialize(serializer),
        }
    }
}

/// What every answer begins with.
#[derive(Deserialize)]
struct Head {
    success: bool,
    id: Option<Id>,
}

impl Answer {
    /// Reads the answer line to `request`, its newline taken off. The request says which reply to expect.
    ///
    /// # Errors
    /// The line is not an answer of this protocol to that request.
    pub fn parse(line: &str, request: &Request) -> Result<Self, serde_json::Error> {
        // Two runs over the text instead of one over a tree: an answer may hold 100,000 customers.
        let head: Head = serde_json::from_str(line)?;
        let outcome = if head.success {
            Ok(match request {
                Request::Status(_) => Reply::Status(serde_json::from_str(line)?),
                Request::Start {} | Request::Stop {} => Reply::Steer(serde_json::from_str(line)?),
                Request::Refresh(_) => Reply::Refresh(serde_json::from_str(line)?),
                Request::Events { .. } => Reply::Events(serde_json::from_str(line)?),
                Request::Version {} => Reply::Version(serde_json::from_str(line)?),
                Request::Reload {} => Reply::Reload(serde_json::from_str(line)?),
            })
        } else {
            Err(serde_json::from_str(line)?)
        };
        Ok(Self { id: head.id, outcome })
    }
}
