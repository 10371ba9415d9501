//! The control protocol of **tbtokend**, version 1.
//!
//! This documentation is the specification; the golden files under `proto/tests/golden/` pin the text of
//! every message. The daemon answers in these types, and `tbctl` and `tbtui` read them.
//!
//! # Transport
//!
//! A Unix stream socket at [`socket_path`]. One JSON object per line, UTF-8, ended by `\n`. A connection carries any
//! number of requests; each gets exactly one line back, in order.
//!
//! - A request line is at most [`MAX_REQUEST_BYTES`] long, without its newline. A line that is longer, is not UTF-8, JSON
//!   or an object, or has an unknown action or a field of the wrong type gets one error line. After an overlong or
//!   non-UTF-8 line the daemon also closes the connection.
//! - An unknown field in a *request* is refused (`bad_request`), so that a typing mistake does not pass unnoticed. Clients
//!   ignore unknown fields in an *answer*, so that answers can grow.
//! - A request must arrive within [`REQUEST_SECONDS`] of its first byte; the first request within the same time of the
//!   connection. After that a client may stay silent. A client that leaves an answer unread for [`ANSWER_SECONDS`]
//!   is disconnected. Other clients notice none of this.
//! - One socket holds at most [`MAX_CONNECTIONS`] clients, and [`MAX_CONNECTIONS_PER_USER`] of one user. The last place is
//!   kept for root and the socket's owner.
//! - One client more takes the place of the client that has been idle longest (of the same user, if that user has 16).
//!   Clients that never sent a request lose their place first. If all clients are being served, the new one gets none.
//!   A client without a place gets `busy` and is disconnected; its last request is not carried out.
//! - Every answer has `success`. A refused request gets `error`, a sentence for people, and `code`, for programs
//!   ([`ErrorCode`]).
//! - The answer echoes the request's `id` (a string or a number).
//! - Times are RFC 3339 in UTC with `Z`. Durations are whole numbers with their unit in the name. Enumerations
//!   are snake_case strings.
//! - No answer ever holds a token, a refresh token or a password.
//!
//! # Requests
//!
//! | request | answer |
//! |---|---|
//! | `{"action":"status"}` | [`StatusReply`]: `cron`, `tokens`, `servers`, `daemon` |
//! | `{"action":"status","customers":"none"}` | the same without `tokens.customers` and `servers` |
//! | `{"action":"status","customers":{"in_trouble":N}}` | at most N (1 to 1000) of the customers [in trouble](in_trouble()), the worst first, and their servers; not together with `since` |
//! | `{"action":"status","customers":{"match":{"text":"","status":[],"state":[],"sort":"problems","limit":500}}}` | at most `limit` (1 to 1000, default 500) of the customers that [fit](Match), in the order of [`Sort`], and their servers; `tokens.matched` counts all that fit; not together with `since` |
//! | `{"action":"status","customers":["id",…]}` | only these customers and their servers. An id whose row cannot be renewed is refused as `ineligible_customer`; otherwise an id without a row is refused as `unknown_customer` |
//! | `{"action":"status","since":REV}` | only customers and servers that changed after [`Revision`] REV, and `tokens.removed`; `daemon.revision` is the new REV. If REV is too old or from before a restart, the answer holds everything and `tokens.complete` |
//! | `{"action":"start"}`, `{"action":"stop"}` | [`SteerReply`]; a second time succeeds and says that nothing changed. The state outlives a restart, unless the message says otherwise |
//! | `{"action":"refresh"}` | [`RefreshReply`] over all customers that are due or waiting |
//! | `{"action":"refresh","customers":["id",…]}` | exactly these, even if valid or parked; unknown and ineligible ids are refused as for `status`. Passwords that ThingsBoard has rejected, or that the budget does not allow, are not sent |
//! | `{"action":"refresh","customers":["id",…],"force":true}` | the same, also with passwords that ThingsBoard has rejected, and one more than the budget allows |
//! | `{"action":"refresh","all":true}` | all customers that are not parked |
//! | `{"action":"refresh","wait":false}` | answered at once, without `result`; the outcome is in `status` and `events`. For an id that is not known yet the daemon polls first |
//! | `{"action":"events","since":SEQ,"limit":N}` | [`EventsReply`]: events newer than SEQ, oldest first, at most N (1 to 1000, default 100); without `since`, the newest N |
//! | `{"action":"version"}` | [`VersionReply`]; `daemon.http` is there if an HTTP listener is configured |
//! | `{"action":"metrics","format":"prometheus"}` | [`MetricsReply`]: what Prometheus reads, without `process_*`; `openmetrics` is the other [format](MetricsFormat) |
//! | `{"action":"reload"}` | [`ReloadReply`]: the configuration is read again, as by SIGHUP. A file that cannot be used is refused with `bad_configuration`, and the old settings stay |
//! | `{"action":"notify_list"}` | [`NotifyReply`]: the receivers of messages about troubles |
//! | `{"action":"notify_test","receiver":"NAME"}` | [`NotifyReply`] with the results of a test message to that receiver, or to all; answered within 20 s |
//!
//! On the monitor socket `start`, `stop`, `refresh`, `reload`, `notify_list` and `notify_test` are refused with `read_only`.
//!
//! # HTTP
//!
//! The optional HTTP listener of the daemon answers the same requests with the same JSON. `GET /api/cron/refresh-tokens` is
//! `status`, `GET /api/events` is `events`, `GET /metrics` the text of `metrics`; `POST /api/cron/refresh-tokens` takes `status`,
//! `start`, `stop` and `refresh`. These codes occur only over HTTP:
//!
//! | code | means |
//! |---|---|
//! | `unauthorized` | there is no token, or a wrong one |
//! | `forbidden` | a page of another site sent this |
//! | `misdirected` | the name in `Host` is not one of the daemon's |
//!
//! # Example
//!
//! ```text
//! → {"action":"stop","id":7}
//! ← {"success":true,"id":7,"message":"the loop has been stopped by an operator since …; start it with tbctl start. A running pass still finishes","cron":{"running":false,…}}
//! → {"action":"refesh"}
//! ← {"success":false,"error":"unknown action \"refesh\"; …","code":"unknown_action"}
//! ```

pub mod client;
mod event;
pub mod explain;
pub mod fit;
mod hidden;
#[cfg(feature = "man")]
pub mod man;
mod reply;
mod request;
mod server;
mod status;
pub mod words;
mod zone;

use std::path::PathBuf;

pub use event::{Event, EventKind, Seq};
pub use hidden::is_hidden;
pub use reply::{
    Answer, ErrorCode, EventsReply, MetricsReply, NotifyReply, Outcome, OutcomeStatus, Receiver,
    RefreshReply, RefreshResult, Refusal, ReloadReply, Reply, StatusReply, SteerReply, TestResult,
    VersionReply,
};
pub use request::{Envelope, Id, Match, MetricsFormat, Refresh, Request, Rows, Sort, StatusQuery};
pub use server::{BreakerState, Server, host_of};
pub use status::{
    Change, Check, CheckFound, Cron, Customer, Daemon, Failure, FailureKind, HttpListener, Ineligible,
    LastRun, Phase, Revision, Summary, TokenStatus, Tokens, Trigger, in_trouble,
};

/// The version of the protocol that this crate speaks; `daemon.protocol` in an answer.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest request line in bytes, without its newline.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The seconds in which a request must arrive, from its first byte to its newline; for the first request, from the
/// connection to its newline.
pub const REQUEST_SECONDS: u64 = 10;

/// The seconds for which a client may leave an answer unread.
pub const ANSWER_SECONDS: u64 = 10;

/// The most clients that one socket serves at a time.
pub const MAX_CONNECTIONS: usize = 64;

/// The most clients of one user that one socket serves at a time.
pub const MAX_CONNECTIONS_PER_USER: usize = 16;

/// The most customers in an answer to [`Rows::InTrouble`].
pub const MAX_IN_TROUBLE: usize = 1000;

/// The most customers in an answer to [`Rows::Match`].
pub const MAX_MATCH: usize = 1000;
/// The most customers in an answer to [`Rows::Match`] if the request has no `limit`.
pub const DEFAULT_MATCH: usize = 500;

/// The most events in one answer.
pub const MAX_EVENTS: usize = 1000;
/// The most events in one answer if the request has no `limit`.
pub const DEFAULT_EVENTS: usize = 100;

/// The path of the control socket, unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tbtokend/control.sock";

/// The environment variable in which clients find the path of the socket.
pub const SOCKET_VARIABLE: &str = "TBTOKEND_SOCKET";

/// Returns the socket that a client should use: the one given on the command line, else `$TBTOKEND_SOCKET` unless it
/// is empty, else [`DEFAULT_SOCKET`].
pub fn socket_path(given: Option<PathBuf>) -> PathBuf {
    given
        .or_else(|| std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
}
