//! The requests of a client, and how a line becomes one.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use strum::VariantNames;

use crate::{
    DEFAULT_EVENTS, DEFAULT_MATCH, ErrorCode, MAX_EVENTS, MAX_IN_TROUBLE, MAX_MATCH, Phase, Refusal,
    Revision, Seq, TokenStatus,
};

/// One request. See the table in the [crate documentation](crate).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[strum(serialize_all = "snake_case")]
pub enum Request {
    /// Returns the state of the loop, the customers and the daemon.
    Status(StatusQuery),
    /// Starts the loop.
    Start {},
    /// Stops the loop; a running pass finishes.
    Stop {},
    /// Starts a pass now.
    Refresh(Refresh),
    /// Returns events.
    Events {
        /// Only events after this one; without it, the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Seq>,
        /// The most events, 1 to [`MAX_EVENTS`].
        #[serde(default = "default_events")]
        limit: usize,
    },
    /// Returns the version of the daemon.
    Version {},
    /// Returns the metrics for Prometheus.
    Metrics {
        /// In which format.
        #[serde(default)]
        format: MetricsFormat,
    },
    /// Reads the configuration again, as SIGHUP does.
    Reload {},
    /// Returns the receivers of messages about troubles.
    NotifyList {},
    /// Sends a test message at once, and returns the receivers with what they said.
    NotifyTest {
        /// The name of one receiver; without it, all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receiver: Option<String>,
    },
}

/// The formats of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsFormat {
    /// Prometheus text 0.0.4, which node_exporter reads from files.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    Openmetrics,
}

fn default_events() -> usize {
    DEFAULT_EVENTS
}

/// What a `status` answer should hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {
    /// The customers to list.
    #[serde(default, skip_serializing_if = "Rows::is_all")]
    pub customers: Rows,
    /// Only customers that changed after this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Revision>,
}

/// The customers that a `status` answer should list. On the wire: absent, `"none"`, `{"in_trouble":N}`,
/// `{"match":{…}}`, or a list of ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// No customers, only the summary.
    None,
    /// At most this many customers, 1 to [`MAX_IN_TROUBLE`], that are [in trouble](crate::in_trouble), the worst first.
    /// `summary.in_trouble` counts all of them.
    InTrouble(usize),
    /// The customers that fit a filter. `tokens.matched` counts all of them.
    Match(Match),
    /// All customers.
    #[default]
    #[serde(untagged)]
    All,
    /// The customers with these ids.
    #[serde(untagged)]
    Only(Vec<String>),
}

impl Rows {
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// A filter over the customers. An absent part fits every customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Words that must all occur in the id, user, URL, status, state or failure of the customer. Case does not matter.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The customer's status is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<TokenStatus>,
    /// The customer's state is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<Phase>,
    /// The order.
    pub sort: Sort,
    /// The most customers, 1 to [`MAX_MATCH`].
    pub limit: usize,
}

impl Default for Match {
    fn default() -> Self {
        let (status, state) = (Vec::new(), Vec::new());
        Self { text: String::new(), status, state, sort: Sort::default(), limit: DEFAULT_MATCH }
    }
}

/// The order in which customers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// As [`words::problems_first`](crate::words::problems_first).
    #[default]
    Problems,
    /// By the end of the token, soonest first; customers without a token lead.
    Left,
    /// By id.
    Customer,
}

/// The wire form of [`Rows::InTrouble`] and [`Rows::Match`].
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Selection {
    InTrouble(usize),
    Match(Match),
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::All),
            Value::String(word) if word == "none" => Ok(Self::None),
            list @ Value::Array(_) => serde_json::from_value(list).map(Self::Only).map_err(D::Error::custom),
            selection @ Value::Object(_) => match serde_json::from_value(selection) {
                Ok(Selection::InTrouble(limit)) => Ok(Self::InTrouble(limit)),
                Ok(Selection::Match(filter)) => Ok(Self::Match(filter)),
                Err(error) => Err(D::Error::custom(error)),
            },
            _ => Err(D::Error::custom(
                "customers must be \"none\", {\"in_trouble\":N}, {\"match\":{…}} or a list of customer ids",
            )),
        }
    }
}

/// The customers that a manual pass should renew, and whether to wait for it. Without `customers` and `all`, those that
/// are due or waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refresh {
    /// Exactly these customers, even if valid or parked; not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customers: Option<Vec<String>>,
    /// All customers that are not parked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Also send passwords that ThingsBoard has rejected, and one more than the budget allows; only with `customers`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Whether the answer comes when the pass is over (the default) or at once.
    #[serde(skip_serializing_if = "is_true")]
    pub wait: bool,
}

impl Default for Refresh {
    fn default() -> Self {
        Self { customers: None, all: false, force: false, wait: true }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// The mark by which a client recognizes the answer to its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(serde_json::Number),
    /// A string.
    Text(String),
}

/// A request with the id that its answer echoes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Envelope {
    /// The id, if the client sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// The request.
    #[serde(flatten)]
    pub request: Request,
}

impl Envelope {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong with the line, and the id of the request if it is readable.
    pub fn parse(line: &str) -> Result<Self, (Option<Id>, Refusal)> {
        let value: Value = serde_json::from_str(line).map_err(|error| {
            (None, bad(format!("the line is not JSON: {error}; send one object per line")))
        })?;
        match value {
            Value::Object(fields) => Self::from_fields(fields),
            _ => Err((None, bad("the line is JSON but no object; send {\"action\":…}"))),
        }
    }

    /// Reads the fields of a request.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_fields(mut fields: serde_json::Map<String, Value>) -> Result<Self, (Option<Id>, Refusal)> {
        let id = fields.remove("id").map(serde_json::from_value).transpose();
        let id = id.map_err(|_| (None, bad("id must be a string or a number")))?;
        match parse_request(fields) {
            Ok(request) => Ok(Self { id, request }),
            Err(refusal) => Err((id, refusal)),
        }
    }
}

fn bad(error: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, error)
}

fn parse_request(fields: serde_json::Map<String, Value>) -> Result<Request, Refusal> {
    let action = match fields.get("action") {
        Some(Value::String(action)) => action.clone(),
        Some(_) => return Err(bad("action must be a string")),
        None => return Err(bad(format!("action is missing; use one of {}", Request::VARIANTS.join(", ")))),
    };
    if !Request::VARIANTS.contains(&action.as_str()) {
        let error = format!("unknown action {action:?}; use one of {}", Request::VARIANTS.join(", "));
        return Err(Refusal::new(ErrorCode::UnknownAction, error));
    }
    let request: Request = serde_json::from_value(Value::Object(fields))
        .map_err(|error| bad(format!("{action} is not understood: {error}")))?;
    match &request {
        Request::Refresh(Refresh { customers: Some(_), all: true, .. }) => {
            Err(bad("refresh takes either customers or all, not both"))
        }
        Request::Refresh(Refresh { customers: None, force: true, .. }) => {
            Err(bad("force needs customers: name those whose password to send again"))
        }
        Request::Refresh(Refresh { customers: Some(ids), .. }) if ids.is_empty() => {
            Err(bad("customers is empty; leave it out to renew all customers that are due"))
        }
        Request::Status(StatusQuery { customers: Rows::InTrouble(limit), .. })
            if !(1..=MAX_IN_TROUBLE).contains(limit) =>
        {
            Err(bad(format!("in_trouble must be between 1 and {MAX_IN_TROUBLE}")))
        }
        // The answer would not mention a customer that recovered, so the client could never forget it.
        Request::Status(StatusQuery { customers: Rows::InTrouble(_), since: Some(_) }) => {
            Err(bad("status takes either in_trouble or since, not both"))
        }
        Request::Status(StatusQuery { customers: Rows::Match(_), since: Some(_) }) => {
            Err(bad("status takes either match or since, not both"))
        }
        Request::Status(StatusQuery { customers: Rows::Match(filter), .. })
            if filter.status.contains(&TokenStatus::Unknown) || filter.state.contains(&Phase::Unknown) =>
        {
            Err(bad("match has an unknown status or state; use those of the protocol"))
        }
        Request::Status(StatusQuery { customers: Rows::Match(Match { limit, .. }), .. })
            if !(1..=MAX_MATCH).contains(limit) =>
        {
            Err(bad(format!("limit must be between 1 and {MAX_MATCH}")))
        }
        Request::Events { limit, .. } if !(1..=MAX_EVENTS).contains(limit) => {
            Err(bad(format!("limit must be between 1 and {MAX_EVENTS}")))
        }
        _ => Ok(request),
    }
}
