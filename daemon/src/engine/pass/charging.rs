//! Charges passwords in the ledger before they are sent, and records their outcomes there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::Pass;
use super::queues::Request;
use super::sending::{Requests, login};
use crate::engine::counters::Operation;
use crate::engine::credentials::{Charge, Step};
use crate::engine::event::{Event, RenewalMethod};
use crate::store::{LedgerRead, LedgerWritten, Store, StoreError};
use crate::thingsboard::Logins;

/// A password with less time than this left is not sent.
const SHORTEST_LOGIN: Duration = Duration::from_millis(200);

/// A password that waits for its charge to be in the store.
pub(super) struct Charged {
    pub(super) request: Request,
    pub(super) charge: Charge,
    /// When it was charged, by both clocks.
    pub(super) at: (Instant, DateTime<Utc>),
}

impl Charged {
    /// The time that is left to send the password. The time for which the machine slept counts too.
    fn time_left(&self, (instant, time): (Instant, DateTime<Utc>), request_timeout: Duration) -> Duration {
        let by_instant = instant.saturating_duration_since(self.at.0);
        let by_time = (time - self.at.1).to_std().unwrap_or_default();
        request_timeout.saturating_sub(by_instant.max(by_time))
    }
}

/// A call for the ledger.
pub(super) type Writing<'a> = Pin<Box<dyn Future<Output = LedgerCall> + Send + 'a>>;

/// A call for the ledger that has ended.
pub(super) enum LedgerCall {
    /// A write, and the passwords that wait for it.
    Wrote(Vec<Charged>, Result<LedgerWritten, StoreError>),
    /// The ledger was replaced, and is read as a whole.
    Read(Result<LedgerRead, StoreError>),
}

impl<'a, S: Store, L: Logins> Pass<'a, S, L> {
    /// The next call for the ledger, if one is needed: it writes outcomes, and the charges of passwords to be sent.
    pub(super) fn call_ledger(&mut self, is_stopping: bool) -> Option<Writing<'a>> {
        if is_stopping || self.has_ledger_failed {
            self.return_unwritten_charges();
        }
        if self.has_ledger_failed {
            return None;
        }
        let store = Arc::clone(&self.tools.store);
        if self.ledger.must_be_read() {
            let known = self.ledger.stamp();
            let read = async move { LedgerCall::Read(store.read_ledger(known).await) };
            return Some(Box::pin(self.timed(Operation::Ledger, read)));
        }
        let must_check = std::mem::take(&mut self.checks_ledger);
        let Some(write) = self.ledger.next_write(self.tools.clock.now(), must_check) else {
            self.return_unwritten_charges();
            return None;
        };
        // A write holds a limited number of accounts. A password waits for the write of its charge.
        let is_in_write = |charged: &mut Charged| self.ledger.is_in_write(&charged.request.attempt.account);
        let charged: Vec<Charged> = self.charging.extract_if(.., is_in_write).collect();
        self.being_charged = charged.len();
        Some(Box::pin(self.timed(Operation::Ledger, async move {
            LedgerCall::Wrote(charged, store.write_ledger(write).await)
        })))
    }

    /// Gives up the passwords whose charge is not written yet.
    fn return_unwritten_charges(&mut self) {
        for Charged { request, charge, .. } in std::mem::take(&mut self.charging) {
            self.ledger.give_back(charge);
            self.cancel(request);
        }
    }

    /// Sends the passwords whose charges are in the store now. The others are not sent.
    pub(super) async fn ledger_written(
        &mut self,
        charged: Vec<Charged>,
        result: Result<LedgerWritten, StoreError>,
        is_stopping: bool,
        requests: &mut Requests<'a>,
    ) {
        let unmade = match result {
            Ok(written) => {
                if !matches!(written, LedgerWritten::Replaced) {
                    self.report(Event::LedgerWritten).await;
                }
                self.ledger.written(written, Instant::now().into_std())
            }
            Err(error) => {
                self.ledger_failed(error).await;
                self.ledger.write_failed()
            }
        };
        // Charges that were made during the write can be lost too.
        let is_lost = |charged: &mut Charged| unmade.contains(&charged.charge.number);
        let lost: Vec<Charged> = self.charging.extract_if(.., is_lost).collect();
        let logins = &*self.tools.logins;
        for charged in charged.into_iter().chain(lost) {
            let left = charged.time_left(self.both_clocks(), self.tools.limits.request_timeout);
            let Charged { request, charge, .. } = charged;
            if unmade.contains(&charge.number) {
                self.ledger.cancel(&charge.send.server);
                self.cancel(request);
            } else if is_stopping || left < SHORTEST_LOGIN {
                self.ledger.give_back(charge);
                self.cancel(request);
            } else {
                let id = request.attempt.customer.id.clone();
                self.in_flight.insert(id, (Instant::now(), RenewalMethod::Login));
                requests.push(Box::pin(login(logins, request, charge, left)));
            }
        }
    }

    pub(super) async fn ledger_read(&mut self, result: Result<LedgerRead, StoreError>) {
        match result {
            Ok(read) => {
                if self.ledger.take_in(&read, Instant::now().into_std()) == Step::Replaced {
                    self.report(Event::LedgerReplaced).await;
                }
            }
            Err(error) => self.ledger_failed(error).await,
        }
    }

    /// Without the ledger no password is sent. Tokens that were obtained are saved anyway.
    async fn ledger_failed(&mut self, error: StoreError) {
        self.has_ledger_failed = true;
        self.queues.ledger_failed();
        self.report(Event::LedgerFailed(error)).await;
    }

    /// A password was not sent: its customer goes back to the queue.
    fn cancel(&mut self, request: Request) {
        let gate = self.queues.key(request.server).and_then(|server| self.gates.get_mut(server));
        if let Some(gate) = gate {
            gate.cancel();
        }
        self.queues.requeue_uncharged(request.server, request.attempt);
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::queues::Start;
    use super::super::queues::tests::{Stage, attempt};
    use super::*;

    /// The machine's own clock stands still while the machine sleeps.
    #[test]
    fn p02_a_password_that_a_sleeping_machine_kept_back_has_no_time_left() {
        let mut stage = Stage::new(vec![attempt("a", "a", "p")]);
        let Some(Start::Login(request, charge)) = stage.next() else { panic!() };
        let at = (Instant::now(), DateTime::UNIX_EPOCH);
        let charged = Charged { request, charge, at };
        for (own, day, left) in [(0, 0, 10), (3, 0, 7), (0, 4, 6), (5, 4, 5), (2, 3_600, 0), (2, -3_600, 8)] {
            let now = (at.0 + Duration::from_secs(own), at.1 + TimeDelta::seconds(day));
            let expected = Duration::from_secs(left);
            assert_eq!(charged.time_left(now, Duration::from_secs(10)), expected, "{own} s, {day} s");
        }
    }
}
