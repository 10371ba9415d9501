//! Manual refreshes: who waits for the next pass, who for the one under way, and what each is told.

use std::collections::HashMap;

use super::super::event::Event;
use super::super::handle::{NotRefreshed, Outcome, RefreshRequest, Refreshed};
use super::super::plan::{Plan, Selection};
use super::super::state::State;
use crate::model::CustomerId;

/// The manual refreshes that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// For the next pass.
    waiting: Vec<RefreshRequest>,
    /// For the pass under way.
    served: Vec<RefreshRequest>,
    /// What became of each customer in the pass under way.
    outcomes: HashMap<CustomerId, Outcome>,
}

impl Requests {
    /// Adds one for the next pass.
    pub(super) fn wait(&mut self, request: RefreshRequest) {
        self.waiting.push(request);
    }

    /// Whether someone waits for the next pass.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next pass begins with a look at the table.
    pub(super) fn begin(&mut self) {
        self.served = std::mem::take(&mut self.waiting);
        self.outcomes.clear();
    }

    /// Whom the pass must serve.
    pub(super) fn selections(&self) -> Vec<Selection> {
        self.served.iter().map(|request| request.selection.clone()).collect()
    }

    /// The plan is made: refuses who named somebody unknown, and notes who is left alone.
    pub(super) fn planned(&mut self, plan: &Plan, state: &State) {
        let names_unknown = |request: &RefreshRequest| match &request.selection {
            Selection::Named(ids) => plan.unknown.iter().any(|id| ids.contains(id)),
            _ => false,
        };
        let (refused, served) = std::mem::take(&mut self.served).into_iter().partition(names_unknown);
        self.served = served;
        for request in refused {
            let Selection::Named(ids) = request.selection else { continue };
            let mut unknown: Vec<_> = ids.into_iter().filter(|id| state.entry(id).is_none()).collect();
            unknown.sort();
            let _ = request.reply.send(Err(NotRefreshed::Unknown(unknown)));
        }
        for id in &plan.parked {
            let failure = state.entry(id).and_then(|entry| entry.record.failure.as_ref());
            let why = failure.map_or("", |failure| &failure.message);
            let outcome = Outcome::Skipped(format!("parked: {why}"));
            self.outcomes.insert(id.clone(), outcome);
        }
    }

    /// Notes what became of a customer. `state` is as it was before the event.
    pub(super) fn note(&mut self, event: &Event, state: &State) {
        if self.served.is_empty() {
            return;
        }
        match event {
            Event::Saved(id) => {
                let expiry = state.entry(id).and_then(|entry| entry.unsaved.as_ref()).map(|new| new.expiry);
                if let Some(expiry) = expiry {
                    self.outcomes.insert(id.clone(), Outcome::Renewed(expiry));
                }
            }
            Event::Failed { id, failure } => {
                let outcome = Outcome::Failed(failure.kind(), failure.to_string());
                self.outcomes.insert(id.clone(), outcome);
            }
            Event::SaveFailed { ids, error } => {
                let kind = crate::model::FailureKind::Database;
                let message = format!("the new token could not be saved yet: {error}");
                let failed = ids.iter().map(|id| (id.clone(), Outcome::Failed(kind, message.clone())));
                self.outcomes.extend(failed);
            }
            Event::Superseded(id) => {
                let why = "the row was changed meanwhile, or holds a token that lives longer";
                self.outcomes.insert(id.clone(), Outcome::Skipped(why.to_owned()));
            }
            Event::Deferred { id, why } => {
                let why = why.as_ref().map_or_else(
                    || "not tried: the pass was cut short".to_owned(),
                    |why| format!("not tried, because of others on the same server: {why}"),
                );
                self.outcomes.insert(id.clone(), Outcome::Skipped(why));
            }
            _ => {}
        }
    }

    /// Answers those whom the pass served.
    pub(super) fn answer(&mut self) {
        for request in std::mem::take(&mut self.served) {
            // The client may have gone; the pass took place all the same.
            let _ = request.reply.send(Ok(details(&request.selection, &self.outcomes)));
        }
        self.outcomes.clear();
    }

    /// Refuses those whom the pass should have served.
    pub(super) fn refuse(&mut self, why: &NotRefreshed) {
        for request in self.served.drain(..) {
            let _ = request.reply.send(Err(why.clone()));
        }
    }

    /// Refuses those who wait for the next pass: there will be none.
    pub(super) fn refuse_waiting(&mut self) {
        for request in self.waiting.drain(..) {
            let _ = request.reply.send(Err(NotRefreshed::ShuttingDown));
        }
    }
}

/// What a request is told: of those whom it named, or of everyone whom the pass touched.
fn details(selection: &Selection, outcomes: &HashMap<CustomerId, Outcome>) -> Refreshed {
    let mut details: Refreshed = match selection {
        Selection::Named(ids) => {
            let outcome = |id| outcomes.get(id).cloned().unwrap_or_else(cut_short);
            ids.iter().map(|id| (id.clone(), outcome(id))).collect()
        }
        _ => outcomes.iter().map(|(id, outcome)| (id.clone(), outcome.clone())).collect(),
    };
    details.sort_by(|(a, _), (b, _)| a.cmp(b));
    details
}

fn cut_short() -> Outcome {
    Outcome::Skipped("not tried: the pass was cut short".to_owned())
}
