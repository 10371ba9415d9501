//! Saves tokens in batches, and reports the outcome of each.

use std::pin::Pin;
use std::sync::Arc;

use super::Pass;
use crate::engine::counters::Operation;
use crate::engine::event::Event;
use crate::model::{Failure, Renewal};
use crate::store::{Saved, Store, StoreError};
use crate::thingsboard::Logins;

/// The most tokens in one call of the store: those that came during the call before.
const BATCH: usize = 1000;

/// A call of the store that saves tokens.
pub(super) type Saving<'a> =
    Pin<Box<dyn Future<Output = (Arc<Vec<Renewal>>, Result<Vec<Saved>, StoreError>)> + Send + 'a>>;

impl<'a, S: Store, L: Logins> Pass<'a, S, L> {
    /// Begins to save the tokens that wait.
    pub(super) fn save(&mut self) -> Saving<'a> {
        let batch: Vec<Renewal> = self.obtained.drain(..self.obtained.len().min(BATCH)).collect();
        let batch = Arc::new(batch);
        let store = Arc::clone(&self.tools.store);
        Box::pin(self.timed(Operation::Write, async move {
            let result = store.save(Arc::clone(&batch)).await;
            (batch, result)
        }))
    }

    pub(super) async fn saved(&mut self, batch: &[Renewal], result: Result<Vec<Saved>, StoreError>) {
        match result {
            Ok(outcomes) => {
                for (renewal, outcome) in batch.iter().zip(outcomes) {
                    self.report(outcome_event(renewal, outcome)).await;
                }
            }
            Err(error) => {
                let ids = batch.iter().map(|renewal| renewal.id.clone()).collect();
                self.store_error = Some(error.clone());
                self.report(Event::SaveFailed { ids, error }).await;
            }
        }
    }
}

fn outcome_event(renewal: &Renewal, outcome: Saved) -> Event {
    let id = renewal.id.clone();
    match outcome {
        Saved::Written => Event::Saved { id, expiry: renewal.expiry },
        Saved::Superseded => Event::Superseded(id),
        Saved::Refused { number } => {
            let why =
                format!("error {number}: a constraint or a trigger of the table refuses it for this row");
            Event::Failed { id, failure: Failure::Database { why } }
        }
        Saved::NotKept { why } => Event::Failed { id, failure: Failure::Database { why: why.to_owned() } },
        Saved::TooLong { capacity } => {
            let length = renewal.token.jwt().expose().chars().count();
            Event::Failed { id, failure: Failure::TokenTooLong { length, capacity } }
        }
    }
}
