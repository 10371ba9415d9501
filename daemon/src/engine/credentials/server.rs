//! What is known of one server: whether it is in doubt, what it answered to probes, and which passwords are on their way.

use std::time::{Duration, Instant};

use super::rules::{Leave, Reason};

/// A probe says something of the server for so long.
pub(super) const PROBE_IS_FRESH: Duration = Duration::from_secs(5);

/// So long a server must have answered probes before it gets the last charge of an account.
pub(super) const GOOD_BEFORE_LAST_CHARGE: Duration = Duration::from_secs(600);

/// The longest back-off of a server in doubt.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// A server whose probes have no verdict gets one password in so long.
pub(super) const WITHOUT_VERDICT: Duration = Duration::from_secs(1800);

/// What a probe said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// ThingsBoard answers.
    Good,
    /// It does not.
    Bad,
    /// Something else answers.
    None,
}

/// One server.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    doubt: Option<Doubt>,
    probe: Option<(Instant, Verdict)>,
    /// Since when every probe was good, each soon after the one before.
    good_since: Option<Instant>,
    /// When it last got a password though the probe had no verdict.
    sent_without_verdict: Option<Instant>,
    passwords_in_flight: u32,
    /// Whether the password in flight must be the only one.
    is_alone: bool,
    /// Whether the password in flight was sent in doubt.
    was_in_doubt: bool,
}

/// A password was sent to the server, and what became of it is not known.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// Passwords without an answer: the one that began the doubt, and those that were sent in doubt.
    unanswered: u32,
    next_at: Instant,
}

/// What must be known of a password to decide whether its server may get it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// The open charges of its account.
    pub(super) charges: u8,
    /// Whether it would be the last that the budget allows.
    pub(super) is_last: bool,
    pub(super) leave: Leave,
}

impl Server {
    /// Whether anything is known of it that must not be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.doubt.is_none() && self.passwords_in_flight == 0 && self.good_since.is_none()
    }

    /// Why it may not get this password now; `Ok` if it may.
    pub(super) fn take(&self, need: Need, now: Instant) -> Result<(), Reason> {
        let goes_alone = self.doubt.is_some() || need.charges > 0;
        if self.is_alone || (goes_alone && self.passwords_in_flight > 0) {
            return Err(Reason::ServerBusy);
        }
        let has_leave = need.leave != Leave::None;
        if let Some(doubt) = self.doubt.filter(|doubt| doubt.next_at > now && !has_leave) {
            return Err(Reason::Doubt { wait: doubt.next_at - now });
        }
        let is_last = need.is_last && !has_leave;
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

    /// A password is about to be sent.
    pub(super) fn begin(&mut self, charges: u8, now: Instant) {
        self.passwords_in_flight += 1;
        self.was_in_doubt = self.doubt.is_some();
        self.is_alone = self.was_in_doubt || charges > 0;
        if matches!(self.probe, Some((_, Verdict::None))) {
            self.sent_without_verdict = Some(now);
        }
    }

    /// A password is no longer on its way.
    pub(super) fn end(&mut self) {
        self.passwords_in_flight = self.passwords_in_flight.saturating_sub(1);
        self.is_alone = false;
    }

    /// ThingsBoard accepted or rejected a password: there is no doubt that it answers.
    pub(super) fn answered(&mut self) {
        self.doubt = None;
    }

    /// What became of a password is not known. Those that were on their way together when the doubt began are one trouble,
    /// so only what is sent in doubt makes the back-off longer.
    pub(super) fn unanswered(&mut self, now: Instant, interval: Duration) {
        let before = self.doubt.map_or(0, |doubt| doubt.unanswered);
        let unanswered = if self.was_in_doubt { before + 1 } else { before.max(1) };
        let wait = interval.saturating_mul(1 << (unanswered - 1).min(16)).min(LONGEST_BACKOFF.max(interval));
        self.doubt = Some(Doubt { unanswered, next_at: now + wait });
    }

    /// A charge in flight was found of which no daemon knows.
    pub(super) fn found_in_flight(&mut self, now: Instant) {
        self.doubt.get_or_insert(Doubt { unanswered: 0, next_at: now });
    }

    /// A probe has ended. Probes that are further apart than two intervals do not show that it was good in between.
    pub(super) fn probed(&mut self, verdict: Verdict, now: Instant, interval: Duration) {
        let longest_gap = interval * 2 + WITHIN_A_PASS;
        let goes_on = self.probe.is_some_and(|(at, _)| now.saturating_duration_since(at) <= longest_gap);
        self.good_since = match verdict {
            Verdict::Good if goes_on => self.good_since.or(Some(now)),
            Verdict::Good => Some(now),
            Verdict::Bad | Verdict::None => None,
        };
        self.probe = Some((now, verdict));
    }
}

/// A probe may come so much later than the look at the table.
const WITHIN_A_PASS: Duration = Duration::from_secs(30);
