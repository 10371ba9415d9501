//! Events: what happened to the daemon and its customers, in order.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The number of an event. It only grows, across restarts too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub seq: Seq,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What it was.
    pub kind: EventKind,
    /// The customer; absent where the event concerns all or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// A sentence for people.
    pub message: String,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub enum EventKind {
    /// A new token was written.
    Renewed,
    /// An attempt failed; another one follows.
    Failed,
    /// An attempt failed for good: the customer is parked.
    Parked,
    /// A parked customer is tried again: its credentials changed or an operator named it.
    Unparked,
    /// The first success after failures.
    Recovered,
    /// A token has ended without a new one.
    Expired,
    /// ThingsBoard no longer accepts a token before its end; it is renewed. Without a customer: the number of one server.
    #[strum(serialize = "token dead")]
    TokenDead,
    /// ThingsBoard does not take the new token either that replaced a dead one less than ten minutes ago; it stays.
    #[strum(serialize = "token disputed")]
    TokenDisputed,
    /// A customer has lost its row, or its user, password or URL. It is no longer renewed; the end of its last token is
    /// [`Expired`](Self::Expired).
    Ineligible,
    /// A pass began.
    #[strum(serialize = "pass started")]
    PassStarted,
    /// A pass ended.
    #[strum(serialize = "pass finished")]
    PassFinished,
    /// The store cannot be used.
    #[strum(serialize = "store lost")]
    StoreLost,
    /// The store can be used again.
    #[strum(serialize = "store back")]
    StoreBack,
    /// The loop was started.
    Started,
    /// The loop was stopped.
    Stopped,
    /// A kind that this client does not know.
    #[serde(other)]
    Unknown,
}
