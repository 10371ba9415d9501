//! Whether the store can be used: it may be readable and refuse every token, or take tokens and no records.

use chrono::{DateTime, Utc};

use super::State;
use crate::engine::history::NoticeKind;
use crate::store::StoreError;

/// What the store is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Save,
    Record,
    Ledger,
}

/// What fails, and why. Each use is proven only by itself: that records can be written says nothing about tokens.
#[derive(Debug, Default)]
pub(super) struct Health {
    read: Option<StoreError>,
    save: Option<StoreError>,
    record: Option<StoreError>,
    ledger: Option<StoreError>,
}

impl Health {
    /// Why the table cannot be read, if it cannot.
    pub(super) fn read_error(&self) -> Option<&StoreError> {
        self.read.as_ref()
    }

    /// The worst of what fails.
    pub(super) fn error(&self) -> Option<&StoreError> {
        self.read.as_ref().or(self.save.as_ref()).or(self.record.as_ref()).or(self.ledger.as_ref())
    }

    fn of(&mut self, which: Use) -> &mut Option<StoreError> {
        match which {
            Use::Read => &mut self.read,
            Use::Save => &mut self.save,
            Use::Record => &mut self.record,
            Use::Ledger => &mut self.ledger,
        }
    }

    /// Whether tokens cannot be written, as far as is known.
    pub(super) fn refuses_tokens(&self) -> bool {
        self.save.is_some()
    }
}

impl State {
    /// One use of the store fails. Said when none failed before.
    pub(super) fn store_fails(&mut self, which: Use, error: StoreError, at: DateTime<Utc>) {
        if self.health.error().is_none() {
            self.note(at, NoticeKind::StoreLost, None, error.with_remedy());
        }
        *self.health.of(which) = Some(error);
    }

    /// One use of the store works. Said when that was the last that failed.
    pub(super) fn store_works(&mut self, which: Use, at: DateTime<Utc>) {
        if self.health.of(which).take().is_some() && self.health.error().is_none() {
            self.note(at, NoticeKind::StoreBack, None, "the database can be used again".to_owned());
        }
    }
}
