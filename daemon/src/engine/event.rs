//! The facts that change what is known: what a pass reports, what the store says, what an operator does.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use strum::{EnumIter, IntoStaticStr};

use super::counters::Operation;
use super::deferral::Deferral;
use super::policy::Trigger;
use crate::model::{
    CustomerId, Failure, FailureKind, HostKey, LoopState, Record, Renewal, Secret, Skew, TokenAnswer,
};
use crate::store::{LedgerRead, StoreError, Table};
use crate::thingsboard::gate::Breaker;

/// One fact. When it happened is said beside it.
#[derive(Debug)]
pub enum Event {
    /// The table is being read: what is written from now on may be missing from what comes.
    Reading,
    /// The table was read.
    TableRead(Table),
    /// The table could not be read.
    TableUnreadable(StoreError),
    /// The ledger was read.
    LedgerRead {
        /// What was read.
        read: LedgerRead,
        /// When, by the machine's own time.
        seen: Instant,
    },
    /// The store's ledger was found to be another one; what is known here is written back.
    LedgerReplaced,
    /// The ledger could not be read or written: no password is sent.
    LedgerFailed(StoreError),
    /// The ledger was written.
    LedgerWritten,
    /// A pass began.
    PassStarted {
        /// Why.
        trigger: Trigger,
        /// How many customers it is going to try.
        attempts: usize,
    },
    /// A customer is being renewed now.
    Attempting(CustomerId),
    /// ThingsBoard has answered a request for a token, or not in time.
    Answered {
        /// What was sent.
        via: Via,
        /// How long it took.
        took: Duration,
        /// Why no token came, if it was no matter of the refresh token.
        failure: Option<FailureKind>,
    },
    /// A token came; it is not in the table yet.
    Obtained {
        /// The token with its guards.
        renewal: Box<Renewal>,
        /// What the next renewal can use instead of the password.
        refresh_token: Option<Secret>,
        /// How it was obtained.
        via: Via,
        /// How long ThingsBoard took.
        latency: Duration,
        /// By how much the server's clock is ahead of ours.
        skew: Skew,
    },
    /// The token is in the table.
    Saved {
        /// Whose.
        id: CustomerId,
        /// The expiry that was written with it.
        expiry: DateTime<Utc>,
    },
    /// The row has changed meanwhile or holds a token that lives longer; the new one is dropped.
    Superseded(CustomerId),
    /// No token came, or it can never be saved.
    Failed {
        /// Who.
        id: CustomerId,
        /// Why.
        failure: Failure,
    },
    /// Tokens could not be written; they are kept.
    SaveFailed {
        /// Whose.
        ids: Vec<CustomerId>,
        /// Why.
        error: StoreError,
    },
    /// The server does not take the refresh token any more; the password is next.
    RefreshTokenRefused(CustomerId),
    /// Not tried in this pass after all.
    Deferred {
        /// The customer.
        id: CustomerId,
        /// Why.
        why: Deferral,
    },
    /// The pass has lasted long enough; this one's turn comes in the next, at once.
    LeftOver {
        /// The customer.
        id: CustomerId,
        /// Whether another row of its account has used what an operator allowed for one send.
        is_leave_used: bool,
    },
    /// A token was checked.
    Checked {
        /// Whose.
        id: CustomerId,
        /// What ThingsBoard says of it.
        answer: TokenAnswer,
    },
    /// The pass did not wait for the answer to a check of this customer's token.
    CheckCutShort(CustomerId),
    /// A server answers again, or for the first time.
    ServerRecovered(HostKey),
    /// A server is asked in another way than before.
    GateMoved {
        /// Which.
        host: HostKey,
        /// How many logins it gets at a time at most.
        limit: u32,
        /// Whether it is asked at all.
        breaker: Breaker,
    },
    /// A pass ended.
    PassFinished,
    /// The interval came round during a pass.
    TickSkipped,
    /// The store has answered, or not in time.
    StoreCalled {
        /// What it was used for.
        operation: Operation,
        /// How long it took.
        took: Duration,
    },
    /// Records were written.
    Recorded,
    /// Records could not be written.
    RecordsFailed {
        /// The records.
        records: Vec<Record>,
        /// Why.
        error: StoreError,
    },
    /// The clock was found to be set back by this much.
    ClockSetBack(TimeDelta),
    /// An operator started the loop.
    LoopStarted,
    /// An operator stopped the loop.
    LoopStopped,
    /// The process has started and the loop has not, because of an earlier order or the configuration.
    LoopStaysStopped(LoopState),
    /// The store could not keep what an operator said. Why.
    LoopStateNotKept(String),
}

/// How a token was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Via {
    /// With the password.
    Login,
    /// With a refresh token.
    RefreshToken,
}
