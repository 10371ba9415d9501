//! The answers of the daemon, and how a line becomes one.

use chrono::{DateTime, Utc};
use derive_more::{From, TryInto};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Cron, Daemon, Event, FailureKind, Id, Request, Seq, Server, Tokens};

/// One answer line: a reply, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The id of the request, echoed.
    pub id: Option<Id>,
    /// The reply, or the refusal.
    pub outcome: Result<Reply, Refusal>,
}

/// The answer to a request that was carried out. The request decides which variant it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, From, TryInto)]
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
    /// To `metrics`.
    Metrics(MetricsReply),
    /// To `reload`.
    Reload(ReloadReply),
    /// To `notify_list` and `notify_test`.
    Notify(NotifyReply),
}

/// The answer to `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The loop.
    pub cron: Cron,
    /// The customers.
    pub tokens: Tokens,
    /// The ThingsBoard servers of the customers in this answer, in the order of their names; absent if the request wants no
    /// customers. With `since`, a server that has lost its last customer is not mentioned: the client must forget each
    /// server that none of its customers names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<Server>>,
    /// The daemon.
    pub daemon: Daemon,
}

/// The answer to `start` and `stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerReply {
    /// What happened, for people.
    pub message: String,
    /// The state of the loop afterwards.
    pub cron: Cron,
}

/// The answer to `refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshReply {
    /// What happened, for people.
    pub message: String,
    /// The outcome for each customer; absent if the client did not want to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RefreshResult>,
}

/// The result of a manual pass. `total = updated + errors +` the skipped customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshResult {
    /// Whether no renewal failed.
    pub success: bool,
    /// Customers whose new token was written.
    pub updated: usize,
    /// Customers whose renewal failed.
    pub errors: usize,
    /// Customers in `details`.
    pub total: usize,
    /// One outcome for each customer of the request.
    pub details: Vec<Outcome>,
}

/// The outcome of a manual pass for one customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The customer.
    pub customer_id: String,
    /// How it ended.
    pub status: OutcomeStatus,
    /// The new expiry, after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_expiry: Option<DateTime<Utc>>,
    /// The kind of failure, after an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    /// Why there is no new token; absent after a success. For a named customer it also counts the passwords sent to its
    /// account that ThingsBoard may have counted as wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The kinds of outcomes of a manual pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// The new token is in the table.
    Success,
    /// The renewal failed.
    Error,
    /// The daemon did not try the customer.
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
    /// The `since` of a request that continues here.
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

/// The answer to `notify_list` and `notify_test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyReply {
    /// The receivers of messages; after a test of one, that one.
    pub receivers: Vec<Receiver>,
}

/// A receiver of messages about troubles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its name in the configuration.
    pub name: String,
    /// `email` or `webhook`.
    pub kind: String,
    /// Its server, without secrets.
    pub place: String,
    /// How many messages wait.
    pub queued: usize,
    /// When it last took a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_at: Option<DateTime<Utc>>,
    /// Why the last try failed; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The result of the test; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestResult>,
}

/// The result of a test of a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Whether it took the message. Whether the message then appears, only a person sees.
    pub accepted: bool,
    /// What it said: the code of SMTP, the status of HTTP, or the error of the connection.
    pub answer: String,
}

/// The answer to `metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsReply {
    /// The content type of the text.
    pub content_type: String,
    /// The exposition, without `process_*`, which node_exporter exports itself.
    pub text: String,
}

/// The reason why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A sentence for people: what is wrong and what to do.
    pub error: String,
    /// The same for programs.
    pub code: ErrorCode,
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(code: ErrorCode, error: impl Into<String>) -> Self {
        Self { code, error: error.into() }
    }
}

/// The reasons to refuse a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is not a well-formed request.
    BadRequest,
    /// There is no such action.
    UnknownAction,
    /// A named customer is not in the table.
    UnknownCustomer,
    /// The row of a named customer cannot be renewed; the error says why. It takes precedence over
    /// [`UnknownCustomer`](Self::UnknownCustomer): a client that takes unknown ids for prefixes must not take this one for
    /// one.
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

/// The wire form of [`Answer`], one flat object.
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

/// The fields that every answer has.
#[derive(Deserialize)]
struct Head {
    success: bool,
    id: Option<Id>,
}

impl Answer {
    /// Reads an answer line, without its newline. The request decides which reply is expected.
    ///
    /// # Errors
    /// The line is not an answer of this protocol to that request.
    pub fn parse(line: &str, request: &Request) -> Result<Self, serde_json::Error> {
        // Parsing the text twice is cheaper than building a tree: an answer may hold 100,000 customers.
        let head: Head = serde_json::from_str(line)?;
        let outcome = if head.success {
            Ok(match request {
                Request::Status(_) => Reply::Status(serde_json::from_str(line)?),
                Request::Start {} | Request::Stop {} => Reply::Steer(serde_json::from_str(line)?),
                Request::Refresh(_) => Reply::Refresh(serde_json::from_str(line)?),
                Request::Events { .. } => Reply::Events(serde_json::from_str(line)?),
                Request::Version {} => Reply::Version(serde_json::from_str(line)?),
                Request::Metrics { .. } => Reply::Metrics(serde_json::from_str(line)?),
                Request::Reload {} => Reply::Reload(serde_json::from_str(line)?),
                Request::NotifyList {} | Request::NotifyTest { .. } => {
                    Reply::Notify(serde_json::from_str(line)?)
                }
            })
        } else {
            Err(serde_json::from_str(line)?)
        };
        Ok(Self { id: head.id, outcome })
    }
}
