//! What is known of one server: whether it is in doubt, what it answered to probes, and which passwords are on their way.

use std::time::{Duration, Instant};

/// The longest back-off of a server in doubt.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

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
    pub(super) doubt: Option<Doubt>,
    pub(super) probe: Option<(Instant, Verdict)>,
    /// Since when every probe was good, each soon after the one before.
    pub(super) good_since: Option<Instant>,
    /// When it last got a password though the probe had no verdict.
    pub(super) sent_without_verdict: Option<Instant>,
    pub(super) passwords_in_flight: u32,
    /// Whether the password in flight must be the only one.
    pub(super) is_alone: bool,
    /// Whether the password in flight was sent in doubt.
    was_in_doubt: bool,
}

/// A password was sent to the server, and what became of it is not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// Passwords without an answer: the one that began the doubt, and those that were sent in doubt.
    unanswered: u32,
    pub(super) next_at: Instant,
}

impl Server {
    /// Whether anything is known of it that must not be forgotten.
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
