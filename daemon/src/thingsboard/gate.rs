//! The limit of logins that one server gets at a time, and its circuit breaker. Pure arithmetic.

use strum::{EnumIter, IntoStaticStr};

/// The gate before one ThingsBoard server: the limit of logins in flight and the circuit breaker.
///
/// The limit grows while logins succeed and halves on trouble. A server whose breaker is open gets one probe per wake.
/// Only a limit that was in use grows, as with TCP's congestion window (RFC 2861). Single logins that succeed say nothing
/// about fifty at a time, and the server would be flooded when all are due together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    limit: u32,
    maximum: u32,
    in_flight: u32,
    /// The successes in this round. A round has as many as the limit.
    successes: u32,
    /// The most logins that were in flight at a time in this round.
    peak: u32,
    /// Whether the limit doubles (slow start). After the first trouble it grows by one.
    slow_start: bool,
    /// Whether the server has never answered. Then one login finds out whether it works before others are sent.
    never_answered: bool,
    /// The number of halvings. A login that began before the last one cannot cause another: it is the same trouble.
    epoch: u32,
    failures_in_a_row: u32,
    recovery: Recovery,
    breaker: Breaker,
    /// Whether even one login at a time was too much. Then the server gets none until the next poll.
    paused: bool,
}

/// Whether the server answers again, and the customers that wait for it do not know it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// The server has not answered yet, or not since its last trouble. Customers may wait for it.
    Awaited,
    /// The server answers, and this was not reported yet.
    Unreported,
    /// The server answers, and this was reported.
    Reported,
}

/// The circuit breaker of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Breaker {
    /// Logins pass, up to the limit.
    Closed,
    /// Something other than ThingsBoard answered the probe. One login per wake finds out what it is.
    HalfOpen,
    /// The server is treated as down. No login passes before a good probe.
    Open,
}

/// One login in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    epoch: u32,
}

/// The outcome of a request with respect to the server, not to the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// ThingsBoard answered.
    Answered,
    /// Something else answered: a portal, a proxy or a maintenance page.
    ForeignAnswer,
    /// The server asked for fewer requests: 429.
    Overloaded,
    /// ThingsBoard did not answer: no connection, no answer in time, or 5xx.
    Unanswered,
}

impl Gate {
    /// The limit of a new gate.
    pub const INITIAL_LIMIT: u32 = 4;

    /// The unanswered requests in a row that open the breaker of a server that has answered before.
    pub const FAILURES_TO_OPEN: u32 = 3;

    /// Makes a gate that never lets more than `maximum` logins through at a time.
    pub fn new(maximum: u32) -> Self {
        let maximum = maximum.max(1);
        Self {
            limit: Self::INITIAL_LIMIT.min(maximum),
            maximum,
            in_flight: 0,
            successes: 0,
            peak: 0,
            slow_start: true,
            never_answered: true,
            epoch: 0,
            failures_in_a_row: 0,
            recovery: Recovery::Awaited,
            breaker: Breaker::Closed,
            paused: false,
        }
    }

    /// Changes the maximum of logins at a time.
    pub fn set_maximum(&mut self, maximum: u32) {
        self.maximum = maximum.max(1);
        self.limit = self.limit.min(self.maximum);
    }

    /// Begins a wake: a paused server gets logins again. A server that is down gets a new probe, see
    /// [`needs_probe`](Self::needs_probe).
    pub fn wake(&mut self) {
        self.paused = false;
        if self.breaker == Breaker::HalfOpen {
            self.breaker = Breaker::Open;
        }
    }

    /// Whether no login passes before a good probe.
    pub fn needs_probe(&self) -> bool {
        self.breaker == Breaker::Open
    }

    /// Whether one more login may pass now.
    pub fn has_room(&self) -> bool {
        match self.breaker {
            Breaker::Closed if self.never_answered => !self.paused && self.in_flight == 0,
            Breaker::Closed => !self.paused && self.in_flight < self.limit,
            Breaker::Open => false,
            Breaker::HalfOpen => self.in_flight == 0,
        }
    }

    /// Lets one login through, if there is room.
    pub fn enter(&mut self) -> Option<Ticket> {
        if !self.has_room() {
            return None;
        }
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
        Some(Ticket { epoch: self.epoch })
    }

    /// Takes back a login that entered and was not sent.
    pub fn cancel(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Records the end of a login.
    pub fn leave(&mut self, ticket: Ticket, signal: Signal) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.breaker == Breaker::HalfOpen && signal != Signal::Answered {
            self.breaker = Breaker::Open;
        }
        match signal {
            Signal::Answered => self.note_success(),
            Signal::ForeignAnswer => self.recovery = Recovery::Awaited,
            Signal::Overloaded => {
                self.recovery = Recovery::Awaited;
                self.failures_in_a_row = 0;
                self.note_trouble(ticket);
            }
            Signal::Unanswered => {
                self.recovery = Recovery::Awaited;
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.note_trouble(ticket);
                // For a server that never answered one login is enough. Then only probes are sent, so that its pass ends soon.
                if self.never_answered || self.failures_in_a_row >= Self::FAILURES_TO_OPEN {
                    self.breaker = Breaker::Open;
                }
            }
        }
    }

    /// Records the end of a probe: `Answered` if ThingsBoard answered, `ForeignAnswer` if something else did.
    pub fn finish_probe(&mut self, signal: Signal) {
        match signal {
            Signal::Answered => {
                self.failures_in_a_row = 0;
                self.never_answered = false;
                self.note_recovery();
                self.breaker = Breaker::Closed;
            }
            Signal::ForeignAnswer if self.breaker == Breaker::Open => self.breaker = Breaker::HalfOpen,
            Signal::ForeignAnswer => {}
            Signal::Overloaded | Signal::Unanswered => self.recovery = Recovery::Awaited,
        }
    }

    /// Returns true once after the server answers again, or for the first time. Customers that wait for it then need not
    /// wait longer.
    pub fn take_recovery(&mut self) -> bool {
        let is_back = self.recovery == Recovery::Unreported;
        if is_back {
            self.recovery = Recovery::Reported;
        }
        is_back
    }

    /// Whether no more logins can pass in this wake, even when others end.
    pub fn is_shut(&self) -> bool {
        self.breaker == Breaker::Open || self.paused
    }

    /// Returns the state of the breaker.
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// Returns the limit.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn note_recovery(&mut self) {
        if self.recovery == Recovery::Awaited {
            self.recovery = Recovery::Unreported;
        }
    }

    fn note_success(&mut self) {
        self.failures_in_a_row = 0;
        self.successes += 1;
        if self.never_answered {
            // The server got one login at a time because it was unknown, not because the limit was in use.
            self.never_answered = false;
            self.begin_round();
        } else if self.successes >= self.limit {
            let was_in_use = self.peak >= self.limit;
            self.begin_round();
            if was_in_use {
                let grown = if self.slow_start { self.limit.saturating_mul(2) } else { self.limit + 1 };
                self.limit = grown.min(self.maximum);
            }
        }
        self.note_recovery();
        if self.breaker == Breaker::HalfOpen {
            self.breaker = Breaker::Closed;
        }
    }

    fn begin_round(&mut self) {
        self.successes = 0;
        self.peak = self.in_flight;
    }

    fn note_trouble(&mut self, ticket: Ticket) {
        if ticket.epoch != self.epoch {
            return;
        }
        if self.limit == 1 && self.breaker == Breaker::Closed {
            self.paused = true;
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.limit = (self.limit / 2).max(1);
        self.slow_start = false;
        self.begin_round();
    }
}

#[cfg(test)]
mod tests;
