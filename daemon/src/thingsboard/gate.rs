//! How many logins one server gets at a time, and when it gets none. Pure arithmetic.

/// The gate before one ThingsBoard server: the limit of logins in flight and the circuit breaker.
///
/// The limit grows while logins succeed and halves on trouble; a server whose breaker is open gets one probe a wake.
/// Only a limit that was in use grows, as with TCP's congestion window (RFC 2861): single logins that succeed say nothing
/// about fifty at a time, and the server would be flooded on the day when they are all due together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    limit: u32,
    most: u32,
    in_flight: u32,
    /// Successes in this round, which has as many as the limit.
    good: u32,
    /// The most logins that were in flight at a time in this round.
    peak: u32,
    /// Slow start, until the first trouble: the limit doubles. After that it grows by one.
    slow_start: bool,
    /// The server has not answered yet: one login finds out whether it does before others are sent.
    is_first: bool,
    /// Counts the halvings. Trouble of a login that began before the last one is the same trouble.
    epoch: u32,
    dead_in_a_row: u32,
    recovery: Recovery,
    breaker: Breaker,
    /// Even one login at a time was too much: no more until the next poll.
    paused: bool,
}

/// Whether the server answers, as far as customers that wait for it must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// Some may wait: it has not answered yet, or not since its last trouble.
    Awaited,
    /// It answers, and this was not told yet.
    Untold,
    /// It was told.
    Told,
}

/// The circuit breaker of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Logins pass, up to the limit.
    Closed,
    /// Something else than ThingsBoard answered the probe: one login a wake finds out what it is.
    HalfOpen,
    /// The server is treated as down; nothing passes before a good probe.
    Open,
}

/// Stands for one login in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    epoch: u32,
}

/// What a request says about the server, whatever it says about the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// ThingsBoard answers.
    Answered,
    /// Something else answers: a portal, a proxy, a page about maintenance.
    ForeignAnswer,
    /// It asks for less: 429.
    Overloaded,
    /// No answer of ThingsBoard: no connection, none in time, or 5xx.
    Unanswered,
}

impl Gate {
    /// Logins in flight to begin with.
    pub const INITIAL_LIMIT: u32 = 4;

    /// Failures to get an answer in a row after which a server counts as dead, once it has answered at all.
    pub const OPENS_AFTER: u32 = 3;

    /// A fresh gate that never lets more than `most` through at a time.
    pub fn new(most: u32) -> Self {
        let most = most.max(1);
        Self {
            limit: Self::INITIAL_LIMIT.min(most),
            most,
            in_flight: 0,
            good: 0,
            peak: 0,
            slow_start: true,
            is_first: true,
            epoch: 0,
            dead_in_a_row: 0,
            recovery: Recovery::Awaited,
            breaker: Breaker::Closed,
            paused: false,
        }
    }

    /// Never lets more than `most` through at a time, from now on.
    pub fn set_maximum(&mut self, most: u32) {
        self.most = most.max(1);
        self.limit = self.limit.min(self.most);
    }

    /// A new wake: a paused server gets logins again. A dead one gets a new probe: see
    /// [`needs_probe`](Self::needs_probe).
    pub fn wake(&mut self) {
        self.paused = false;
        if self.breaker == Breaker::HalfOpen {
            self.breaker = Breaker::Open;
        }
    }

    /// Whether nothing passes before a probe was good.
    pub fn needs_probe(&self) -> bool {
        self.breaker == Breaker::Open
    }

    /// Whether one login more may pass now.
    pub fn has_room(&self) -> bool {
        match self.breaker {
            Breaker::Closed if self.paused => false,
            Breaker::Closed => self.in_flight < if self.is_first { 1 } else { self.limit },
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

    /// A login that had entered was not sent.
    pub fn cancel(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A login has ended.
    pub fn leave(&mut self, ticket: Ticket, signal: Signal) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.breaker == Breaker::HalfOpen && signal != Signal::Answered {
            self.breaker = Breaker::Open;
        }
        match signal {
            Signal::Answered => self.well(),
            Signal::ForeignAnswer => self.recovery = Recovery::Awaited,
            Signal::Overloaded => {
                self.recovery = Recovery::Awaited;
                self.dead_in_a_row = 0;
                self.trouble(ticket);
            }
            Signal::Unanswered => {
                self.recovery = Recovery::Awaited;
                self.dead_in_a_row = self.dead_in_a_row.saturating_add(1);
                self.trouble(ticket);
                // A server that never answered is found dead by one login; probes do the rest, so that its pass ends soon.
                if self.is_first || self.dead_in_a_row >= Self::OPENS_AFTER {
                    self.breaker = Breaker::Open;
                }
            }
        }
    }

    /// A probe has ended: `Well` when ThingsBoard answered, `Foreign` when something else did.
    pub fn finish_probe(&mut self, signal: Signal) {
        match signal {
            Signal::Answered => {
                self.dead_in_a_row = 0;
                self.is_first = false;
                self.tell_recovery();
                if matches!(self.breaker, Breaker::Open | Breaker::HalfOpen) {
                    self.breaker = Breaker::Closed;
                }
            }
            Signal::ForeignAnswer if self.breaker == Breaker::Open => self.breaker = Breaker::HalfOpen,
            Signal::ForeignAnswer => {}
            Signal::Overloaded | Signal::Unanswered => self.recovery = Recovery::Awaited,
        }
    }

    /// Whether the server answers after trouble, or for the first time: then customers that waited for it need not wait
    /// longer. Said once.
    pub fn take_recovery(&mut self) -> bool {
        let is_back = self.recovery == Recovery::Untold;
        if is_back {
            self.recovery = Recovery::Told;
        }
        is_back
    }

    /// Whether nothing more can pass in this wake, however many logins end.
    pub fn is_shut(&self) -> bool {
        self.breaker == Breaker::Open || self.paused
    }

    /// How the breaker stands.
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// The present limit.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn tell_recovery(&mut self) {
        if self.recovery == Recovery::Awaited {
            self.recovery = Recovery::Untold;
        }
    }

    fn well(&mut self) {
        self.dead_in_a_row = 0;
        self.good += 1;
        if self.is_first {
            // It was one at a time because nothing was known, not because the limit was in use.
            self.is_first = false;
            self.new_round();
        } else if self.good >= self.limit {
            let was_in_use = self.peak >= self.limit;
            self.new_round();
            if was_in_use {
                let grown = if self.slow_start { self.limit.saturating_mul(2) } else { self.limit + 1 };
                self.limit = grown.min(self.most);
            }
        }
        self.tell_recovery();
        if self.breaker == Breaker::HalfOpen {
            self.breaker = Breaker::Closed;
        }
    }

    fn new_round(&mut self) {
        self.good = 0;
        self.peak = self.in_flight;
    }

    fn trouble(&mut self, ticket: Ticket) {
        if ticket.epoch != self.epoch {
            return;
        }
        if self.limit == 1 && self.breaker == Breaker::Closed {
            self.paused = true;
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.limit = (self.limit / 2).max(1);
        self.slow_start = false;
        self.new_round();
    }
}

#[cfg(test)]
mod tests;
