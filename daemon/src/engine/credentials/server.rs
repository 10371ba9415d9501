//! What is known about one server: its doubt, its probes, and its passwords in flight.

use std::time::{Duration, Instant};

/// The longest back-off of a server in doubt.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// ThingsBoard answers.
    Good,
    /// ThingsBoard does not answer.
    Bad,
    /// Something else answers.
    None,
}

/// One server.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    pub(super) doubt: Option<Doubt>,
    pub(super) probe: Option<(Instant, Verdict)>,
    /// Since when all probes were good, without a long gap between them.
    pub(super) good_since: Option<Instant>,
    /// When it last got a password after a probe without a verdict.
    pub(super) sent_without_verdict: Option<Instant>,
    pub(super) passwords_in_flight: u32,
    /// Whether the password in flight must be the only one.
    pub(super) is_alone: bool,
    /// Whether the password in flight was sent in doubt.
    was_in_doubt: bool,
}

/// The doubt about a server that left a password unanswered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// The passwords without an answer: the one that began the doubt, and those that were sent in doubt.
    unanswered: u32,
    pub(super) next_at: Instant,
}

impl Server {
    /// Whether it may be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.doubt.is_none() && self.passwords_in_flight == 0 && self.good_since.is_none()
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

    /// A password is no longer in flight.
    pub(super) fn end(&mut self) {
        self.passwords_in_flight = self.passwords_in_flight.saturating_sub(1);
        self.is_alone = false;
    }

    /// ThingsBoard accepted or rejected a password, which ends the doubt.
    pub(super) fn answered(&mut self) {
        self.doubt = None;
    }

    /// A password has no answer. The passwords in flight when the doubt began are one trouble, so only passwords that are
    /// sent in doubt make the back-off longer.
    pub(super) fn unanswered(&mut self, now: Instant, interval: Duration) {
        let before = self.doubt.map_or(0, |doubt| doubt.unanswered);
        let unanswered = if self.was_in_doubt { before + 1 } else { before.max(1) };
        let wait = interval.saturating_mul(1 << (unanswered - 1).min(16)).min(LONGEST_BACKOFF.max(interval));
        self.doubt = Some(Doubt { unanswered, next_at: now + wait });
    }

    /// A charge in flight was found that no running daemon made.
    pub(super) fn found_in_flight(&mut self, now: Instant) {
        self.doubt.get_or_insert(Doubt { unanswered: 0, next_at: now });
    }

    /// A probe has ended. After a gap of more than two intervals the server counts as good only from this probe on.
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

/// How much later than its poll a probe may come.
const WITHIN_A_PASS: Duration = Duration::from_secs(30);
