//! May this password be sent? The one place that decides it.
//!
//! ThingsBoard counts wrong passwords per user and disables the user when there were too many. It counts before it answers,
//! its count never decays, and only a right password (or an administrator) resets it. So:
//!
//! 1. **Budget.** Every send that ThingsBoard may have counted is a charge, whatever its password. At most
//!    `thingsboard.wrong_password_budget` are open, per user name as written and per account. An acceptance clears them, time
//!    never does. While a row holds accepted credentials of the account, others may not use the last charge.
//! 2. **One at a time.** One password in flight per account, whichever daemon sent it.
//! 3. **Rejected stays rejected.** Rejected credentials are not sent again, until they are accepted, an operator forces them,
//!    or the password is known to have been changed in ThingsBoard later.
//! 4. **Doubt.** After a send without an answer the server takes one password at a time, each after a good probe and a
//!    back-off, until one was answered. An account with an open charge goes alone on its server, and its last charge needs ten
//!    minutes of good probes.
//! 5. **Probe.** A login of a user that does not exist. If something other than ThingsBoard answers it, one password is sent
//!    in half an hour.
//! 6. **Refresh tokens are free.** Nothing here concerns them.
//! 7. **Charge before send.** A charge is in the store before the first byte is sent: see [`Ledger::charge`].

use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::HeldCredentials;
use super::ledger::Ledger;
use super::server::{Server, Verdict};
use crate::model::{AccountKey, Failure, Fingerprint, ServerKey};

/// The longest time that a password may be in flight. A charge of another daemon counts as in flight for this time, whatever
/// that daemon's `thingsboard.request_timeout` is.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(20);

/// How long a probe counts.
const PROBE_IS_FRESH: Duration = Duration::from_secs(5);

/// How long a server must have answered probes before it gets the last charge of an account.
const GOOD_BEFORE_LAST_CHARGE: Duration = Duration::from_secs(600);

/// The time between two passwords for a server whose probes have no verdict.
const WITHOUT_VERDICT: Duration = Duration::from_secs(1800);

/// The question whether a customer's password may be sent.
#[derive(Debug, Clone, Copy)]
pub struct LoginQuery<'a> {
    /// Its account.
    pub account: AccountKey,
    /// Its server.
    pub server: &'a ServerKey,
    /// The user name as the row writes it.
    pub username: &'a str,
    /// Server, user name and password.
    pub credentials: Fingerprint,
    /// All credentials that rows hold for the account.
    pub held: &'a HeldCredentials,
    /// What an operator allows.
    pub leave: Leave,
}

/// What an operator allows for one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Leave {
    /// Nothing: the daemon acts automatically.
    #[default]
    None,
    /// An operator requested it: the waits of rule 4 do not apply.
    Requested,
    /// An operator forces it: rejected credentials are sent again, and the budget is exceeded by one.
    Forced,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes, after a charge.
    Send,
    /// Not now.
    Wait(Reason),
    /// Not automatically: ThingsBoard has rejected the credentials before, or may have, or the budget is used up.
    Never(Failure),
}

/// Why a password has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The store's ledger is not known: no charge can be made.
    #[error("waiting for the database: no password is sent before it is noted there")]
    Store,
    /// A password of the account is in flight.
    #[error("waiting: another password of this account is in flight")]
    AccountBusy,
    /// A password to the server is in flight, and one of the two must be the only one.
    #[error(
        "waiting: its server gets one password at a time, because a password there was left unanswered or was rejected"
    )]
    ServerBusy,
    /// A probe must come first.
    #[error("waiting: its server must answer a probe before it gets the password")]
    Probe,
    /// The server did not answer the probe.
    #[error("waiting: its server does not answer the probe; the password is sent after it does")]
    ServerDown,
    /// Something other than ThingsBoard answers probes. The next password is sent half an hour after the last one.
    #[error(
        "waiting: something other than ThingsBoard answers at tb_url, and gets one password in 30 minutes; correct tb_url, or the proxy before ThingsBoard"
    )]
    NoVerdict,
    /// The server left passwords unanswered.
    #[error(
        "waiting: its server is in doubt, because it left a password unanswered; it gets the next one in {} or later",
        length(*wait)
    )]
    Doubt {
        /// How much of its back-off is left.
        wait: Duration,
    },
    /// The account has one charge left.
    #[error(
        "waiting: one more wrong password could lock the account, so the password is sent after its server has answered probes for another {}",
        length(*wait)
    )]
    LastCharge {
        /// How long the server must still answer probes.
        wait: Duration,
    },
}

fn length(wait: Duration) -> String {
    crate::text::length(TimeDelta::from_std(wait).unwrap_or_default())
}

impl Ledger {
    /// Whether this password may be sent at `now`.
    pub fn may_send(&self, query: &LoginQuery<'_>, now: Instant) -> Answer {
        if query.leave != Leave::Forced
            && let Some(refusal) = self.refusal(query)
        {
            // The password in flight may be accepted, and then its charge is no more.
            let may_end = matches!(refusal, Failure::AttemptsExhausted { .. })
                && self.is_in_flight(&query.account, now);
            return if may_end { Answer::Wait(Reason::AccountBusy) } else { Answer::Never(refusal) };
        }
        if !self.is_trusted() {
            return Answer::Wait(Reason::Store);
        }
        if self.is_in_flight(&query.account, now) {
            return Answer::Wait(Reason::AccountBusy);
        }
        let charges = self.charges_of(&query.account, query.server, query.username);
        let unknown = Server::default();
        match self.servers.get(query.server).unwrap_or(&unknown).take(
            charges,
            self.is_last(charges),
            query.leave,
            now,
        ) {
            Ok(()) => Answer::Send,
            Err(reason) => Answer::Wait(reason),
        }
    }

    /// Why this password is not sent until something changes.
    pub fn refusal(&self, query: &LoginQuery<'_>) -> Option<Failure> {
        let account = self.account(&query.account)?;
        if let Some(kind) = account.rejection(&query.credentials) {
            return Some(Failure::RejectedBefore { kind });
        }
        if let Some(kind) = account.unknown_rejection(query.username, &query.credentials) {
            return Some(Failure::RejectionUnknown { kind });
        }
        let charges = account.charges_against(query.server, query.username);
        let is_kept = || query.held.iter().any(|other| account.is_accepted(other));
        let is_exhausted = charges >= self.settings.budget
            || (self.is_last(charges) && !account.is_accepted(&query.credentials) && is_kept());
        is_exhausted.then_some(Failure::AttemptsExhausted { charges })
    }

    /// Whether the account may get exactly one more charge. Then its server is probed at each poll.
    pub fn has_last_charge(&self, query: &LoginQuery<'_>) -> bool {
        let charges = self.charges_of(&query.account, query.server, query.username);
        self.is_last(charges) && self.refusal(query).is_none()
    }

    fn is_last(&self, charges: u8) -> bool {
        charges > 0 && charges.saturating_add(1) == self.settings.budget
    }

    /// Whether a password of the account is in flight: our own until it is settled, another daemon's for the longest time of a
    /// request.
    fn is_in_flight(&self, key: &AccountKey, now: Instant) -> bool {
        let Some(charge) = self.account(key).and_then(|account| account.in_flight.as_ref()) else {
            return false;
        };
        let seen = self.seen_in_flight(key).filter(|(number, _)| *number == charge.number);
        seen.is_none_or(|(_, since)| now.saturating_duration_since(since) < LONGEST_REQUEST)
    }
}

impl Server {
    /// Whether it may get a password of an account with these open charges now, or why not.
    fn take(&self, charges: u8, is_last: bool, leave: Leave, now: Instant) -> Result<(), Reason> {
        let goes_alone = self.doubt.is_some() || charges > 0;
        if self.is_alone || (goes_alone && self.passwords_in_flight > 0) {
            return Err(Reason::ServerBusy);
        }
        let has_leave = leave != Leave::None;
        if let Some(doubt) = self.doubt.filter(|doubt| doubt.next_at > now && !has_leave) {
            return Err(Reason::Doubt { wait: doubt.next_at - now });
        }
        let is_last = is_last && !has_leave;
        if self.doubt.is_none() && !is_last {
            return Ok(());
        }
        match self.probe.filter(|(at, _)| now.saturating_duration_since(*at) <= PROBE_IS_FRESH) {
            None => Err(Reason::Probe),
            Some((_, Verdict::Bad)) => Err(Reason::ServerDown),
            Some((_, Verdict::None)) if is_last || self.was_sent_without_verdict(now) => {
                Err(Reason::NoVerdict)
            }
            Some((_, Verdict::None)) => Ok(()),
            Some((_, Verdict::Good)) if is_last => self.has_been_good(now),
            Some((_, Verdict::Good)) => Ok(()),
        }
    }

    fn was_sent_without_verdict(&self, now: Instant) -> bool {
        self.sent_without_verdict.is_some_and(|at| now.saturating_duration_since(at) < WITHOUT_VERDICT)
    }

    fn has_been_good(&self, now: Instant) -> Result<(), Reason> {
        let good_for = self.good_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        match GOOD_BEFORE_LAST_CHARGE.checked_sub(good_for) {
            Some(wait) if !wait.is_zero() => Err(Reason::LastCharge { wait }),
            _ => Ok(()),
        }
    }
}
