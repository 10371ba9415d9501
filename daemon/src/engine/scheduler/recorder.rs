//! Writes the records that have changed: one call at a time, so that later changes go together.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::job::internal;
use crate::engine::event::Event;
use crate::model::Record;
use crate::store::{Store, StoreError};

/// The call under way, if there is one, and whether there may be another.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    under_way: Option<Call>,
    /// Records could not be written, and wait until the store works again or the process ends.
    pub(super) is_held: bool,
    /// How long the last call took.
    pub(super) took: Duration,
}

#[derive(Debug)]
struct Call {
    since: Instant,
    records: Vec<Record>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Recorder {
    /// Whether no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// When the call under way began, if there is one.
    pub(super) fn since(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|call| call.since)
    }

    /// Begins to write. Only when idle.
    pub(super) fn write<S: Store>(&mut self, store: &Arc<S>, records: Vec<Record>) {
        let (store, batch) = (Arc::clone(store), records.clone());
        let task = tokio::spawn(async move { store.record(batch).await });
        self.under_way = Some(Call { since: Instant::now(), records, task });
    }

    /// Waits for the end of the call under way; without one it never returns.
    pub(super) async fn next(&mut self) -> Event {
        let Some(Call { task, .. }) = &mut self.under_way else { return std::future::pending().await };
        let result = task.await.unwrap_or_else(|error| Err(internal(&error)));
        let Some(Call { since, records, .. }) = self.under_way.take() else { return Event::Recorded };
        self.took = since.elapsed();
        match result {
            Ok(()) => Event::Recorded,
            Err(error) => Event::RecordsFailed { records, error },
        }
    }
}
