//! Whether the store can be used: it may be readable and refuse every token, or take tokens and no records.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::State;
use super::lapses::Conditions;
use crate::engine::counters::Operation;
use crate::engine::history::NoticeKind;
use crate::store::StoreError;

/// What fails, and why, the worst first. Each operation is proven only by itself: that records can be written says nothing
/// about tokens.
#[derive(Debug, Default)]
pub(super) struct Health(BTreeMap<Operation, StoreError>);

impl Health {
    /// Why the store cannot be used in this way, if it cannot.
    pub(super) fn error_of(&self, operation: Operation) -> Option<&StoreError> {
        self.0.get(&operation)
    }

    /// The worst of what fails.
    pub(super) fn error(&self) -> Option<&StoreError> {
        self.0.values().next()
    }

    /// Whether tokens cannot be written, as far as is known.
    pub(super) fn refuses_tokens(&self) -> bool {
        self.0.contains_key(&Operation::Write)
    }
}

impl State {
    /// One operation of the store fails. Said when none failed before.
    pub(super) fn store_fails(&mut self, operation: Operation, error: StoreError, at: DateTime<Utc>) {
        *self.customers.counters_mut().store_errors.entry((operation, error.class())).or_default() += 1;
        if self.health.error().is_none() {
            self.note(at, NoticeKind::StoreLost, None, error.with_remedy());
        }
        self.health.0.insert(operation, error);
        self.set_store_condition(at);
    }

    /// One operation of the store works. Said when that was the last that failed.
    pub(super) fn store_works(&mut self, operation: Operation, at: DateTime<Utc>) {
        if self.health.0.remove(&operation).is_some() {
            self.set_store_condition(at);
            if self.health.error().is_none() {
                self.note(at, NoticeKind::StoreBack, None, "the database can be used again".to_owned());
            }
        }
    }

    /// Records alone hold up no renewal.
    fn set_store_condition(&mut self, at: DateTime<Utc>) {
        let is_store_down = self.health.0.keys().any(|operation| *operation != Operation::Records);
        self.customers.set_conditions(Conditions { is_store_down, ..self.customers.conditions() }, at);
    }
}
