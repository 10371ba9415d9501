//! All customers, and the only guard that changes them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::CustomerState;
use super::lapses::Conditions;
use super::records::Unwritten;
use crate::engine::counters::Counters;
use crate::model::{Changes, CustomerId, NoticeKind, Record};
use crate::store::Records;

/// How many customers that left the table are remembered for clients that ask for changes.
pub(super) const REMEMBERED_REMOVALS: usize = 10_000;

/// The customers, the revision of the whole, and which records the store does not have yet.
#[derive(Debug)]
pub(super) struct Customers {
    by_id: BTreeMap<CustomerId, CustomerState>,
    /// The revision of the latest change.
    pub(super) revision: u64,
    pub(super) unwritten: Unwritten,
    /// The customers that left the table with their revisions, oldest first.
    pub(super) removed: VecDeque<(u64, CustomerId)>,
    /// The removals before this revision are no longer known.
    pub(super) removed_floor: u64,
    /// The changes of customers that left the table, for when they come back.
    left: BTreeMap<CustomerId, Changes>,
    /// Shared with the snapshots: the first change after a snapshot makes a copy.
    pub(super) counters: Arc<Counters>,
    /// The conditions of all customers.
    pub(super) conditions: Conditions,
}

/// Reads all customers, in the order of their ids.
impl Deref for Customers {
    type Target = BTreeMap<CustomerId, CustomerState>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

/// One customer, open for change. Its drop gives a changed customer a new revision, and a changed record its time and its place in
/// the next write.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    customer: &'a mut CustomerState,
    revision: &'a mut u64,
    unwritten: &'a mut Unwritten,
    at: DateTime<Utc>,
    is_changed: bool,
    is_recorded: bool,
    /// Whether its record had a failure before.
    had_failed: bool,
}

impl Deref for Edit<'_> {
    type Target = CustomerState;

    fn deref(&self) -> &CustomerState {
        self.customer
    }
}

impl DerefMut for Edit<'_> {
    fn deref_mut(&mut self) -> &mut CustomerState {
        self.is_changed = true;
        self.customer
    }
}

impl<'a> Edit<'a> {
    fn new(
        customer: &'a mut CustomerState,
        revision: &'a mut u64,
        unwritten: &'a mut Unwritten,
        at: DateTime<Utc>,
    ) -> Self {
        Self { customer, revision, unwritten, at, is_changed: false, is_recorded: false, had_failed: false }
    }

    /// Clients see something differently that is not in the customer.
    pub(super) fn touch(&mut self) {
        self.is_changed = true;
    }

    /// The record, to be written.
    pub(super) fn record_mut(&mut self) -> &mut Record {
        self.is_changed = true;
        self.is_recorded = true;
        self.had_failed |= self.customer.record().failure.is_some();
        self.customer.record_mut()
    }

    /// Notes that its row is in the table. This alone is no change.
    pub(super) fn set_mark(&mut self, mark: bool) {
        self.customer.mark = mark;
    }

    /// Notes whether the pass under way is to renew it. This alone is no change.
    pub(super) fn set_in_pass(&mut self, is_in_pass: bool) {
        self.customer.is_in_pass = is_in_pass;
    }

    /// Takes over the record of the store. The daemon's own need not be written.
    pub(super) fn adopt(&mut self, record: Record) {
        self.is_changed = true;
        self.unwritten.given_up(&record.id);
        self.customer.adopt(record);
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        if self.is_changed {
            *self.revision += 1;
            self.customer.revision = *self.revision;
        }
        if self.is_recorded {
            self.customer.record_mut().updated_at = self.at;
            let id = &self.customer.row.id;
            match self.had_failed || self.customer.record().failure.is_some() {
                true => self.unwritten.changed(id),
                false => self.unwritten.succeeded(id),
            }
        }
    }
}

impl Customers {
    pub(super) fn new(start: u64, conditions: Conditions) -> Self {
        Self {
            by_id: BTreeMap::new(),
            revision: start,
            unwritten: Unwritten::default(),
            removed: VecDeque::new(),
            removed_floor: start,
            left: BTreeMap::new(),
            counters: Arc::default(),
            conditions,
        }
    }

    /// Opens one customer for change at `at`.
    pub(super) fn edit(&mut self, id: &CustomerId, at: DateTime<Utc>) -> Option<Edit<'_>> {
        let customer = self.by_id.get_mut(id)?;
        customer.count_time(at, self.conditions, Arc::make_mut(&mut self.counters));
        Some(Edit::new(customer, &mut self.revision, &mut self.unwritten, at))
    }

    /// Opens each customer in turn.
    pub(super) fn edit_all(&mut self, at: DateTime<Utc>, mut change: impl FnMut(&mut Edit<'_>)) {
        let counters = Arc::make_mut(&mut self.counters);
        for customer in self.by_id.values_mut() {
            customer.count_time(at, self.conditions, counters);
            change(&mut Edit::new(customer, &mut self.revision, &mut self.unwritten, at));
        }
    }

    /// The counters, for a change.
    pub(super) fn counters_mut(&mut self) -> &mut Counters {
        Arc::make_mut(&mut self.counters)
    }

    /// Counts the time of all customers, then changes their conditions.
    pub(super) fn set_conditions(&mut self, conditions: Conditions, at: DateTime<Utc>) {
        if conditions != self.conditions {
            self.edit_all(at, |_| {});
            self.conditions = conditions;
        }
    }

    /// Adds new customers.
    pub(super) fn add(&mut self, mut new: Vec<CustomerState>) {
        for customer in &mut new {
            self.revision += 1;
            customer.revision = self.revision;
            if let Some(changes) = self.left.remove(&customer.row.id) {
                customer.record_mut().changes = changes;
            }
        }
        let new = new.into_iter().map(|customer| (customer.row.id.clone(), customer));
        if self.by_id.is_empty() {
            // All at once fills the nodes of the map; one by one leaves a third of them empty.
            self.by_id = new.collect();
        } else {
            self.by_id.extend(new);
        }
    }

    /// Removes customers, and returns them.
    pub(super) fn remove(&mut self, is_gone: impl Fn(&CustomerState) -> bool) -> Vec<CustomerState> {
        let gone: Vec<_> = self.by_id.extract_if(.., |_, customer| is_gone(customer)).collect();
        for (id, _) in &gone {
            self.revision += 1;
            self.removed.push_back((self.revision, id.clone()));
            if self.removed.len() > REMEMBERED_REMOVALS
                && let Some((revision, _)) = self.removed.pop_front()
            {
                self.removed_floor = revision;
            }
        }
        gone.into_iter().map(|(_, customer)| customer).collect()
    }

    /// Notes the removal of a customer as the last of its changes, and has its record written.
    pub(super) fn left(&mut self, customer: &CustomerState, at: DateTime<Utc>) {
        let mut record = customer.record().clone();
        record.changes.add(at, NoticeKind::Ineligible);
        record.updated_at = at;
        self.remember_left(&record);
        self.unwritten.left(record);
    }

    /// Keeps the changes in the record of a customer that is not in the table.
    pub(super) fn remember_left(&mut self, record: &Record) {
        self.left.insert(record.id.clone(), record.changes.clone());
        if self.left.len() > REMEMBERED_REMOVALS {
            self.left.pop_first();
        }
    }

    /// Adds a change to a customer's record. This alone causes no write: the next write of the record includes it.
    pub(super) fn remember(&mut self, id: &CustomerId, at: DateTime<Utc>, kind: NoticeKind) {
        if let Some(mut edit) = self.edit(id, at) {
            edit.is_changed = true;
            edit.customer.record_mut().changes.add(at, kind);
        } else if let Some(changes) = self.left.get_mut(id) {
            changes.add(at, kind);
        }
    }

    /// Takes at most `most` records to write now.
    pub(super) fn take_unwritten(&mut self, which: Records, most: usize) -> Vec<Record> {
        let by_id = &self.by_id;
        self.unwritten.take(which, most, |id| by_id.get(id).map(CustomerState::record))
    }

    /// Has these records written again, because the write failed.
    pub(super) fn not_written(&mut self, records: Vec<Record>) {
        let by_id = &self.by_id;
        self.unwritten.not_written(records, |id| by_id.contains_key(id));
    }
}
