//! What is known about each customer, and how each fact changes it. Pure: the caller passes the time and a random number.

mod adopting;
mod checking;
mod clock;
mod customer;
mod customers;
mod failing;
mod health;
mod ineligible;
mod lapses;
mod records;
mod renewing;
mod servers;
mod table;
mod verdict;
mod waiting;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use checking::{CheckResult, Checks};
pub use customer::CustomerState;
use customers::Customers;
pub use ineligible::{FormerCustomer, IneligibleRows};
pub use lapses::Conditions;
pub use servers::{Server, Servers};
pub use verdict::{DAILY, Verdict};

use super::counters::{Counters, Operation};
use super::credentials::{self, Ledger};
use super::event::Event;
use super::history::{History, Notice, NoticeKind};
use super::policy::{Policy, Trigger};
use crate::model::{CustomerId, Failure, FingerprintKey, Record, ServerKey, TokenStatus};
use crate::store::{LedgerPlace, Records, RowProblem, StoreError};

/// Everything that the daemon knows. Only the scheduler changes it, through facts.
#[derive(Debug)]
pub struct State {
    policy: Policy,
    customers: Customers,
    /// Alternates with every poll: customers with the other mark have lost their row.
    mark: bool,
    /// The rows of the table that cannot be renewed.
    pub ineligible: IneligibleRows,
    former: BTreeMap<CustomerId, FormerCustomer>,
    servers: Servers,
    /// A token was found dead, and no pass has begun for it yet.
    has_new_death: bool,
    ledger: Ledger,
    /// Where the ledger is stored; none before the first read.
    pub ledger_place: Option<LedgerPlace>,
    /// Servers that answer again, and since when. The end of the pass ends the waits for all of them together.
    recovered: BTreeMap<ServerKey, DateTime<Utc>>,
    key: Option<FingerprintKey>,
    /// What happened.
    pub history: History,
    /// When the table was last read.
    pub table_read_at: Option<DateTime<Utc>>,
    /// Why the store cannot be used, by operation, the worst first. Each operation is proven only by itself: that records can
    /// be written says nothing about tokens.
    store_errors: BTreeMap<Operation, StoreError>,
    /// When the clock of this machine last stepped backward, by the clock after the step.
    pub clock_stepped_at: Option<DateTime<Utc>>,
    /// The problems of rows that were reported.
    reported_problems: HashSet<RowProblem>,
    has_reported_lost_records: bool,
    /// The number of customers whose passwords wait for an operator, because the fingerprint key was replaced.
    undecidable: usize,
    /// The counts of the pass under way, or of the last one.
    pub pass: PassCounts,
    /// The trigger and the beginning of the pass under way.
    pass_began: Option<(Trigger, DateTime<Utc>)>,
}

/// The counts of the pass under way, or of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassCounts {
    /// Customers tried.
    pub total: usize,
    /// Tokens written.
    pub updated: usize,
    /// Failures.
    pub errors: usize,
}

impl State {
    /// Makes an empty state. Revisions and the numbers of notices begin at `start`. A later process must choose a higher one,
    /// because clients recognize a restart by it.
    pub fn new(policy: Policy, start: u64, ledger: credentials::Settings) -> Self {
        Self {
            customers: Customers::new(start, Conditions::healthy(policy.interval)),
            policy,
            mark: false,
            ineligible: IneligibleRows::default(),
            former: BTreeMap::new(),
            servers: Servers::default(),
            has_new_death: false,
            ledger: Ledger::new(ledger),
            ledger_place: None,
            recovered: BTreeMap::new(),
            key: None,
            history: History::starting_at(start + 1),
            table_read_at: None,
            store_errors: BTreeMap::new(),
            clock_stepped_at: None,
            reported_problems: HashSet::new(),
            has_reported_lost_records: false,
            undecidable: 0,
            pass: PassCounts::default(),
            pass_began: None,
        }
    }

    /// Changes the policy. Clients may see a change in every customer, so each gets a new revision.
    pub fn set_policy(&mut self, policy: Policy, at: DateTime<Utc>) {
        self.ledger.set(policy.wrong_password_budget, policy.interval.to_std().unwrap_or_default());
        let longest_gap = Conditions::healthy(policy.interval).longest_gap;
        self.customers.set_conditions(Conditions { longest_gap, ..self.customers.conditions }, at);
        self.policy = policy;
        self.customers.edit_all(at, |edit| edit.touch());
    }

    /// All customers, in the order of their ids.
    pub fn customers(&self) -> &BTreeMap<CustomerId, CustomerState> {
        &self.customers
    }

    /// One customer.
    pub fn customer(&self, id: &CustomerId) -> Option<&CustomerState> {
        self.customers.get(id)
    }

    /// The ledger, while no pass has it.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Lends the ledger to a pass. Until it is [given back](Self::return_ledger) the state knows no account. If that never
    /// happens, the ledger is read from the store again.
    pub fn lend_ledger(&mut self) -> Ledger {
        let unread = Ledger::new(self.ledger.settings.clone());
        std::mem::replace(&mut self.ledger, unread)
    }

    /// Takes the ledger back. The settings may have changed meanwhile.
    pub fn return_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
        self.ledger.set(self.policy.wrong_password_budget, self.policy.interval.to_std().unwrap_or_default());
    }

    /// The servers of all customers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The revision of the latest change.
    pub fn revision(&self) -> u64 {
        self.customers.revision
    }

    /// The customers that left the table with their revisions, oldest first, and the revision since which the list is complete.
    pub fn removed(&self) -> (&VecDeque<(u64, CustomerId)>, u64) {
        (&self.customers.removed, self.customers.removed_floor)
    }

    /// Why the store cannot be used.
    pub fn store_error(&self) -> Option<&StoreError> {
        self.store_errors.values().next()
    }

    /// The conditions that make all customers lapse together.
    pub fn conditions(&self) -> Conditions {
        self.customers.conditions
    }

    /// Counts the time of all customers up to `now`.
    pub fn count_time(&mut self, now: DateTime<Utc>) {
        self.customers.edit_all(now, |_| {});
    }

    /// The counters since the start.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.customers.counters
    }

    /// Why this operation of the store fails.
    pub fn error_of(&self, operation: Operation) -> Option<&StoreError> {
        self.store_errors.get(&operation)
    }

    /// Takes at most `most` changed records to write now: of all, or of those whose failure has begun, changed or ended.
    pub fn take_unrecorded(&mut self, which: Records, most: usize) -> Vec<Record> {
        self.customers.take_unwritten(which, most)
    }

    /// Whether such records wait for a write.
    pub fn has_unrecorded(&self, which: Records) -> bool {
        self.customers.unwritten.is_waiting(which)
    }

    /// Applies a fact of the time `at`. `random` is in 0..1, for the spread of a back-off.
    pub fn apply(&mut self, event: Event, at: DateTime<Utc>, random: f64) {
        match event {
            Event::Reading => {
                self.customers.unwritten.reading();
                self.set_reading(true, at);
            }
            Event::TableRead(table) => {
                self.set_reading(false, at);
                self.table_read(table, at);
            }
            Event::TableUnreadable(error) => {
                self.customers.unwritten.read();
                self.set_reading(false, at);
                self.store_fails(Operation::Read, error, at);
            }
            Event::LedgerRead { read, seen } => self.ledger_read(&read, seen, at),
            Event::LedgerReplaced => self.report_ledger_replaced(at),
            Event::LedgerFailed(error) => self.store_fails(Operation::Ledger, error, at),
            Event::LedgerWritten => self.store_works(Operation::Ledger, at),
            Event::PassStarted { trigger, attempts } => self.pass_started(trigger, attempts, at),
            Event::Attempting(id) => self.attempting(&id, at),
            Event::Answered { method, took, failure } => {
                self.customers.counters_mut().request(method, took, failure);
            }
            Event::Obtained { renewal, refresh_token, method, latency, skew } => {
                self.obtained(renewal, refresh_token, method, latency, skew, at);
            }
            Event::RefreshTokenRefused(id) => self.refresh_token_refused(&id, at),
            Event::Saved { id, expiry } => self.saved(&id, expiry, at),
            Event::Superseded(id) => self.superseded(&id, at),
            Event::Failed { id, failure } => self.failed(&id, &failure, at, random),
            Event::SaveFailed { ids, error } => {
                let why = error.to_string();
                self.store_fails(Operation::Write, error, at);
                for id in &ids {
                    self.failed(id, &Failure::Database { why: why.clone() }, at, random);
                }
            }
            Event::Deferred { id, why } => self.deferred(&id, Some(why), at),
            Event::CarriedOver { id, .. } => self.deferred(&id, None, at),
            Event::Checked { id, answer } => self.token_checked(&id, answer, at),
            Event::CheckAbandoned(id) => self.check_abandoned(&id, at),
            Event::ServerRecovered(server) => {
                let revision = self.customers.revision + 1;
                if self.servers.get_mut(&server).is_some_and(|known| known.answered(at, revision)) {
                    self.customers.revision = revision;
                }
                self.recovered.insert(server, at);
            }
            Event::GateMoved { server, limit, breaker } => {
                let revision = self.customers.revision + 1;
                let known = self.servers.get_mut(&server);
                if known.is_some_and(|known| known.set_gate((limit, breaker), at, revision)) {
                    self.customers.revision = revision;
                }
            }
            Event::PassFinished => self.pass_finished(at),
            Event::TickSkipped => self.customers.counters_mut().ticks_skipped += 1,
            Event::StoreCalled { operation, took } => {
                self.customers.counters_mut().store_called(operation, took);
            }
            Event::Recorded => {
                self.customers.unwritten.written();
                self.store_works(Operation::Records, at);
            }
            Event::RecordsFailed { records, error } => {
                self.customers.not_written(records);
                self.store_fails(Operation::Records, error, at);
            }
            Event::ClockStepped(by) => self.clock_stepped(by, at),
            Event::LoopStarted => self.steered(true, "the loop was started", at),
            Event::LoopStopped => self.steered(false, "the loop was stopped", at),
            Event::LoopStaysStopped(state) => {
                self.set_stopped(true, at);
                self.note(at, NoticeKind::Warning, None, format!("nothing is renewed: the loop {state}"));
            }
            Event::LoopStateNotKept(why) => {
                let message = format!(
                    "the order to start or stop the loop is not stored yet ({why}): a restart before the database works forgets it"
                );
                self.note(at, NoticeKind::Warning, None, message);
            }
        }
    }

    /// Brings every status up to `now`. Returns the time of the next change of a status.
    pub fn advance(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut expired = Vec::new();
        let mut next = None;
        let window = self.policy.window;
        self.customers.edit_all(now, |edit| {
            let status = edit.status_at(now, window);
            if status != edit.status {
                if status == TokenStatus::Expired && edit.status != TokenStatus::Missing {
                    expired.push(edit.row.id.clone());
                }
                edit.status = status;
            }
            if edit.unsaved.as_ref().is_some_and(|renewal| renewal.expiry <= now) {
                edit.unsaved = None;
            }
            next = [next, edit.next_change(window)].into_iter().flatten().min();
        });
        for id in expired {
            let conditions = self.customers.conditions;
            if let Some(cause) = self.customers.get(&id).map(|customer| customer.lapse_cause(conditions)) {
                *self.customers.counters_mut().lapses.entry(cause).or_default() += 1;
            }
            let message = "its token has ended without a new one".to_owned();
            self.note(now, NoticeKind::Expired, Some(&id), message);
        }
        [next, self.end_last_tokens(now)].into_iter().flatten().min()
    }

    fn pass_started(&mut self, trigger: Trigger, attempts: usize, at: DateTime<Utc>) {
        self.pass_began = Some((trigger, at));
        self.pass = PassCounts { total: attempts, ..PassCounts::default() };
        if attempts > 0 {
            let customers = if attempts == 1 { "customer" } else { "customers" };
            self.note(at, NoticeKind::PassStarted, None, format!("renewing {attempts} {customers}"));
        }
    }

    /// The pass that begins is to renew these customers.
    pub fn take_into_pass<'a>(&mut self, ids: impl Iterator<Item = &'a CustomerId>, at: DateTime<Utc>) {
        for id in ids {
            if let Some(mut edit) = self.customers.edit(id, at) {
                edit.set_in_pass(true);
            }
        }
    }

    fn set_reading(&mut self, is_reading: bool, at: DateTime<Utc>) {
        self.customers.set_conditions(Conditions { is_reading, ..self.customers.conditions }, at);
    }

    fn pass_finished(&mut self, at: DateTime<Utc>) {
        if let Some((trigger, began)) = self.pass_began.take() {
            self.customers.counters_mut().pass(trigger, (at - began).to_std().unwrap_or_default());
        }
        self.end_waits(at);
        self.report_dead_tokens(at);
        self.customers.edit_all(at, |edit| {
            // After a pass that was cut short no customer stays "refreshing".
            if edit.attempting {
                edit.attempting = false;
            }
            edit.set_in_pass(false);
        });
        self.unpark_what_the_ledger_allows(at);
        self.count_undecidable(at);
        let PassCounts { total, updated, errors } = self.pass;
        if total > 0 {
            let message = format!("{updated} of {total} renewed, {errors} failed");
            self.note(at, NoticeKind::PassFinished, None, message);
        }
    }

    fn steered(&mut self, runs: bool, message: &str, at: DateTime<Utc>) {
        self.set_stopped(!runs, at);
        let kind = if runs { NoticeKind::Started } else { NoticeKind::Stopped };
        self.note(at, kind, None, message.to_owned());
    }

    fn set_stopped(&mut self, is_stopped: bool, at: DateTime<Utc>) {
        self.customers.set_conditions(Conditions { is_stopped, ..self.customers.conditions }, at);
    }

    fn note(&mut self, at: DateTime<Utc>, kind: NoticeKind, customer: Option<&CustomerId>, message: String) {
        let notice = Notice::new(at, kind, message);
        self.add_notice(match customer {
            Some(id) => notice.of(id),
            None => notice,
        });
    }

    /// Adds a notice to the history, and to the changes of its customer if it is one.
    fn add_notice(&mut self, notice: Notice) {
        let counters = self.customers.counters_mut();
        match (notice.kind, &notice.failure) {
            (NoticeKind::Parked, Some(failure)) => *counters.parked.entry(failure.kind).or_default() += 1,
            (NoticeKind::Recovered, _) => counters.recovered += 1,
            _ => {}
        }
        if let Some(id) = notice.customer.as_ref().filter(|_| notice.kind.is_remembered()) {
            self.customers.remember(id, notice.at, notice.kind);
        }
        self.history.push(notice);
    }
}

#[cfg(test)]
mod tests;
