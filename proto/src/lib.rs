//! The control protocol of **tbtokend**, version 1.
//!
//! This documentation is the specification; the golden files under `proto/tests/golden/` pin the text of
//! every message. The daemon answers in these types, and `tbctl` and `tbtui` read them.
//!
//! # Transport
//!
//! A Unix stream socket, at [`socket_path`]. One JSON object per line, UTF-8, ended by `\n`. Many requests may
//! follow each other on one connection; each gets exactly one line back, in order.
//!
//! - A request line is at most [`MAX_REQUEST_BYTES`] long, its newline not counted. A line that is longer, not
//!   UTF-8, not JSON, not an object, has an unknown action or a field of the wrong type gets one error line.
//!   After an overlong or non-UTF-8 line the connection is closed as well.
//! - Unknown fields in a *request* are refused (`bad_request`), so that a typing mistake is not silently
//!   ignored. Unknown fields in an *answer* are ignored by clients, so that answers can grow.
//! - From the first byte of a request to its newline at most [`REQUEST_SECONDS`] pass, and as long from the connection
//!   to the newline of the first request. Later a client may be silent for as long as it likes. A client that does
//!   not read its answer for [`ANSWER_SECONDS`] is dropped. None of these disturbs another client.
//! - At most [`MAX_CONNECTIONS`] clients are connected to one socket, and [`MAX_CONNECTIONS_PER_USER`] of one user. The
//!   last place is kept for root and the socket's owner. One client more gets the place of the client that has
//!   been idle for longest (of the same user, if that user has 16); clients that have never asked anything go first. A
//!   client that loses its place, or finds none because all are being answered, is told `busy` and closed. Its last
//!   request is not carried out.
//! - Every answer has `success`. A refused one has `error`, a sentence for people, and `code`, for programs
//!   ([`ErrorCode`]).
//! - `id` (a string or a number) in a request is echoed in its answer.
//! - Times are RFC 3339 in UTC with `Z`. Durations are whole numbers with their unit in the name. Enumerations
//!   are snake_case strings.
//! - No answer ever holds a token, a refresh token or a password.
//!
//! # Requests
//!
//! | request | answer |
//! |---|---|
//! | `{"action":"status"}` | [`StatusReply`]: `cron`, `tokens`, `hosts`, `daemon` |
//! | `{"action":"status","customers":"none"}` | the same without `tokens.customers` and `hosts` |
//! | `{"action":"status","customers":{"in_trouble":N}}` | at most N (1 to 1000) of those who are [in trouble](in_trouble()), the worst first, and their hosts; not together with `since` |
//! | `{"action":"status","customers":{"match":{"text":"","status":[],"state":[],"sort":"problems","limit":500}}}` | at most `limit` (1 to 1000, default 500) of the customers that [fit](Match), in the order of [`Sort`], and their hosts; `tokens.matched` counts all that fit; not together with `since` |
//! | `{"action":"status","customers":["id",…]}` | only these rows and their hosts; an id whose row is in the table but cannot be renewed is `ineligible_customer`, and only without such an id one that is not there is `unknown_customer` |
//! | `{"action":"status","since":REV}` | only customers and hosts that changed after [`Revision`] REV, and `tokens.removed`; `daemon.revision` is the new REV. A REV from before a restart, or too old, gives everything and `tokens.complete` |
//! | `{"action":"start"}`, `{"action":"stop"}` | [`SteerReply`]; saying it twice succeeds and says that it was so already. It outlives a restart, unless the message says otherwise |
//! | `{"action":"refresh"}` | [`RefreshReply`] over everyone who is due now, waiting ones included |
//! | `{"action":"refresh","customers":["id",…]}` | exactly these, even if valid or parked; refused as `status` is. Passwords that ThingsBoard has rejected, or that the budget does not allow, are not sent |
//! | `{"action":"refresh","customers":["id",…],"force":true}` | the same, also with passwords that ThingsBoard has rejected, and one more than the budget allows |
//! | `{"action":"refresh","all":true}` | everyone who is not parked |
//! | `{"action":"refresh","wait":false}` | accepted at once, without `result`; the outcome is in `status` and `events`. With a name that is not known yet the daemon polls first |
//! | `{"action":"events","since":SEQ,"limit":N}` | [`EventsReply`]: events newer than SEQ, oldest first, at most N (1 to 1000, default 100); without `since`, the newest N |
//! | `{"action":"version"}` | [`VersionReply`] |
//! | `{"action":"metrics","format":"prometheus"}` | [`MetricsReply`]: what Prometheus reads, without `process_*`; `openmetrics` is the other [format](MetricsFormat) |
//!
//! On the monitor socket `start`, `stop` and `refresh` are refused with `read_only`.
//!
//! # HTTP
//!
//! The optional HTTP listener of the daemon answers the same requests with the same JSON. `GET /api/cron/refresh-tokens` is
//! `status`, `GET /api/events` is `events`, `GET /metrics` the text of `metrics`; `POST /api/cron/refresh-tokens` takes `status`, `start`, `stop` and `refresh`. Only
//! there an answer has the codes `unauthorized`, `forbidden` and `misdirected`.
//!
//! # Example
//!
//! ```text
//! → {"action":"stop","id":7}
//! ← {"success":true,"id":7,"message":"the loop is stopped by an operator since …; tbctl start. A running pass still ends","cron":{"running":false,…}}
//! → {"action":"refesh"}
//! ← {"success":false,"error":"unknown action \"refesh\"; …","code":"unknown_action"}
//! ```

pub mod client;
mod event;
pub mod explain;
pub mod fit;
mod hidden;
mod host;
#[cfg(feature = "man")]
pub mod man;
mod reply;
mod request;
mod status;
pub mod words;

use std::path::PathBuf;

pub use event::{Event, EventKind, Seq};
pub use hidden::is_hidden;
pub use host::{BreakerState, Host, host_of};
pub use reply::{
    Answer, ErrorCode, EventsReply, MetricsReply, Outcome, OutcomeStatus, RefreshReply, RefreshResult,
    Refusal, Reply, StatusReply, SteerReply, VersionReply,
};
pub use request::{Envelope, Id, Match, MetricsFormat, Refresh, Request, Rows, Sort, StatusQuery};
pub use status::{
    Change, Check, CheckFound, Cron, Customer, Daemon, Failure, FailureKind, HttpListener, Ineligible,
    LastRun, Phase, Revision, Summary, TokenStatus, Tokens, Trigger, in_trouble,
};

/// The version of the protocol that this crate speaks; `daemon.protocol` in an answer.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest request line in bytes, without its newline.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// How long a request may take from its first byte to its newline, and the first one from the connection on, in
/// seconds.
pub const REQUEST_SECONDS: u64 = 10;

/// How long a client may leave its answer unread, in seconds.
pub const ANSWER_SECONDS: u64 = 10;

/// How many clients may be connected to one socket at a time.
pub const MAX_CONNECTIONS: usize = 64;

/// How many of them may be of one user.
pub const MAX_CONNECTIONS_PER_USER: usize = 16;

/// How many customers an answer about those in trouble holds at most.
pub const MAX_IN_TROUBLE: usize = 1000;

/// How many customers that fit a filter one answer holds at most, and how many when the request does not say.
pub const MAX_MATCH: usize = 1000;
/// See [`MAX_MATCH`].
pub const DEFAULT_MATCH: usize = 500;

/// How many events one answer holds at most, and how many when the request does not say.
pub const MAX_EVENTS: usize = 1000;
/// See [`MAX_EVENTS`].
pub const DEFAULT_EVENTS: usize = 100;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tbtokend/control.sock";

/// The environment variable that names the socket for the clients.
pub const SOCKET_VARIABLE: &str = "TBTOKEND_SOCKET";

/// The socket that a client should use: the one given on the command line, else `$TBTOKEND_SOCKET` unless it is
/// empty, else [`DEFAULT_SOCKET`].
pub fn socket_path(given: Option<PathBuf>) -> PathBuf {
    given
        .or_else(|| std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
}
