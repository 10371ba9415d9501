//! Which operations of the store work. For example, it may be readable but refuse every token.

use chrono::{DateTime, Utc};

use super::State;
use super::lapses::Conditions;
use crate::engine::counters::Operation;
use crate::engine::history::NoticeKind;
use crate::store::StoreError;

impl State {
    /// Notes that an operation of the store fails. Reports it if no operation failed before.
    pub(super) fn store_fails(&mut self, operation: Operation, error: StoreError, at: DateTime<Utc>) {
        *self.customers.counters_mut().store_errors.entry((operation, error.class())).or_default() += 1;
        if self.store_errors.is_empty() {
            self.note(at, NoticeKind::StoreLost, None, error.with_remedy());
        }
        self.store_errors.insert(operation, error);
        self.set_store_condition(at);
    }

    /// Notes that an operation of the store works. Reports it if no other operation fails.
    pub(super) fn store_works(&mut self, operation: Operation, at: DateTime<Utc>) {
        if self.store_errors.remove(&operation).is_some() {
            self.set_store_condition(at);
            if self.store_errors.is_empty() {
                self.note(at, NoticeKind::StoreBack, None, "the database can be used again".to_owned());
            }
        }
    }

    /// Sets whether the store prevents renewals. Records alone do not.
    fn set_store_condition(&mut self, at: DateTime<Utc>) {
        let is_store_down = self.store_errors.keys().any(|operation| *operation != Operation::Records);
        self.customers.set_conditions(Conditions { is_store_down, ..self.customers.conditions }, at);
    }
}
