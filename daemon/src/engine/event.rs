//! The facts that change the state: reports of a pass, answers of the store, orders of an operator.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use strum::{EnumIter, IntoStaticStr};

use super::counters::Operation;
use super::deferral::Deferral;
use super::policy::Trigger;
use crate::model::{
    CustomerId, Failure, FailureKind, LoopState, Record, Renewal, Secret, ServerKey, Skew, TokenAnswer,
};
use crate::store::{LedgerRead, StoreError, Table};
use crate::thingsboard::gate::Breaker;

/// One fact. Its time is passed beside it.
#[derive(Debug)]
#[allow(missing_docs, reason = "the sentence of each variant explains its fields")]
pub enum Event {
    /// The read of the table begins: its result may lack later writes.
    Reading,
    /// The table was read.
    TableRead(Table),
    /// The table could not be read.
    TableUnreadable(StoreError),
    /// The ledger was read at this instant of the machine's own time.
    LedgerRead { read: LedgerRead, seen: Instant },
    /// The store's ledger was replaced; the daemon writes back what it knows.
    LedgerReplaced,
    /// The ledger could not be read or written: no password is sent.
    LedgerFailed(StoreError),
    /// The ledger was written.
    LedgerWritten,
    /// A pass began, which is going to try so many customers.
    PassStarted { trigger: Trigger, attempts: usize },
    /// A customer is being renewed now.
    Attempting(CustomerId),
    /// ThingsBoard has answered a request for a token, or not in time. There is no failure if a token came, or if the server
    /// rejected the refresh token.
    Answered { method: RenewalMethod, took: Duration, failure: Option<FailureKind> },
    /// A token came; it is not in the table yet.
    Obtained {
        /// The token with its guards.
        renewal: Box<Renewal>,
        /// What the next renewal can use instead of the password.
        refresh_token: Option<Secret>,
        /// How it was obtained.
        method: RenewalMethod,
        /// How long ThingsBoard took.
        latency: Duration,
        /// By how much the server's clock is ahead of ours.
        skew: Skew,
    },
    /// The token is in the table, with this expiry.
    Saved { id: CustomerId, expiry: DateTime<Utc> },
    /// The row has changed meanwhile or holds a token that lives longer; the new one is dropped.
    Superseded(CustomerId),
    /// No token came, or it can never be saved.
    Failed { id: CustomerId, failure: Failure },
    /// Tokens could not be written; they are kept.
    SaveFailed { ids: Vec<CustomerId>, error: StoreError },
    /// The server rejected the refresh token; the password is next.
    RefreshTokenRefused(CustomerId),
    /// The pass left the customer out.
    Deferred { id: CustomerId, why: Deferral },
    /// The pass is at its time limit; the next pass follows at once and tries this customer. The
    /// leave is used if another row of its account has used the operator's leave for one send.
    CarriedOver { id: CustomerId, is_leave_used: bool },
    /// A token was checked; the answer is what ThingsBoard says about it.
    Checked { id: CustomerId, answer: TokenAnswer },
    /// The pass did not wait for the answer to a check of this customer's token.
    CheckAbandoned(CustomerId),
    /// A server answers again, or for the first time.
    ServerRecovered(ServerKey),
    /// The limit of logins or the circuit breaker of a server changed.
    GateMoved { server: ServerKey, limit: u32, breaker: Breaker },
    /// A pass ended.
    PassFinished,
    /// The interval passed during a pass.
    TickSkipped,
    /// The store has answered, or not in time.
    StoreCalled { operation: Operation, took: Duration },
    /// Records were written.
    Recorded,
    /// Records could not be written.
    RecordsFailed { records: Vec<Record>, error: StoreError },
    /// The clock stepped backward by this much.
    ClockStepped(TimeDelta),
    /// An operator started the loop.
    LoopStarted,
    /// An operator stopped the loop.
    LoopStopped,
    /// The process has started without the loop, because of an earlier order or the configuration.
    LoopStaysStopped(LoopState),
    /// The store could not keep an order to start or stop the loop; with the reason.
    LoopStateNotKept(String),
}

/// The method of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RenewalMethod {
    /// With the password.
    Login,
    /// With a refresh token.
    RefreshToken,
}
