//! Manual refreshes: who waits for the next pass, who for the one under way, and what each is told. A refresh that one
//! pass did not get done goes on in the next, with those who are left, and is answered when all of them have been tried.

use std::collections::{HashMap, HashSet};

use super::super::event::Event;
use super::super::handle::RefreshRequest;
use super::super::outcome::{NotRefreshed, Outcome, Refreshed};
use super::super::plan::{Named, Plan, Selection};
use super::super::state::State;
use crate::model::CustomerId;

/// The manual refreshes that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// For the next pass.
    waiting: Vec<Pending>,
    /// For the pass under way.
    served: Vec<Pending>,
    /// What became of each customer in the pass under way.
    outcomes: HashMap<CustomerId, Outcome>,
    /// Whom the pass under way has left over for the next.
    left_over: HashSet<CustomerId>,
}

/// A request, and what earlier passes have done of it.
#[derive(Debug)]
struct Pending {
    request: RefreshRequest,
    /// Who is still to be tried, and what became of the others; none before its first pass.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    rest: HashSet<CustomerId>,
    done: Refreshed,
}

impl Pending {
    /// Whom the next pass must serve.
    fn selection(&self) -> Selection {
        match (&self.begun, &self.request.selection) {
            (None, selection) => selection.clone(),
            (Some(begun), Selection::Named(named)) => {
                Selection::Named(Named { ids: begun.rest.clone(), ..*named })
            }
            (Some(begun), _) => Selection::Rest(begun.rest.clone()),
        }
    }

    /// Whether it is about this customer, if the pass was.
    fn is_about(&self, id: &CustomerId) -> bool {
        match (&self.begun, &self.request.selection) {
            (Some(begun), _) => begun.rest.contains(id),
            (None, Selection::Named(named)) => named.ids.contains(id),
            (None, Selection::Rest(ids)) => ids.contains(id),
            (None, Selection::Due | Selection::DueNow | Selection::All) => true,
        }
    }

    /// The client may have gone; what was done is done all the same.
    fn answer(self, answer: Result<Refreshed, NotRefreshed>) {
        let _ = self.request.reply.send(answer);
    }

    /// There will be no pass for it, or for the rest of it.
    fn refuse(self, why: &NotRefreshed) {
        let answer = match &self.begun {
            None => Err(why.clone()),
            Some(begun) => {
                let left = || Outcome::Skipped(format!("not tried: {}", reason(why)));
                let left = begun.rest.iter().map(|id| (id.clone(), left()));
                Ok(sorted(begun.done.iter().cloned().chain(left).collect()))
            }
        };
        self.answer(answer);
    }
}

impl Requests {
    /// Adds one for the next pass. Those for whose answer nobody waits are put together: however many of them come while
    /// a pass is under way, there is one of each kind.
    pub(super) fn wait(&mut self, request: RefreshRequest) {
        if request.reply.is_closed() {
            let known = self.waiting.iter_mut().filter(|known| known.request.reply.is_closed());
            for known in known.filter(|known| known.begun.is_none()) {
                match (&mut known.request.selection, &request.selection) {
                    (Selection::Named(known), Selection::Named(named))
                        if known.with_force == named.with_force =>
                    {
                        known.ids.extend(named.ids.iter().cloned());
                        return;
                    }
                    (known, asked) if known == asked => return,
                    _ => {}
                }
            }
        }
        self.waiting.push(Pending { request, begun: None });
    }

    /// Whether someone waits for the next pass.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next pass begins with a look at the table.
    pub(super) fn begin(&mut self) {
        self.served = std::mem::take(&mut self.waiting);
        self.outcomes.clear();
        self.left_over.clear();
    }

    /// Whom the pass must serve.
    pub(super) fn selections(&self) -> Vec<Selection> {
        self.served.iter().map(Pending::selection).collect()
    }

    /// The plan is made: refuses who named somebody unknown, and notes who is left alone.
    pub(super) fn planned(&mut self, plan: &Plan, state: &State) {
        let names_unknown = |pending: &Pending| match (&pending.begun, &pending.request.selection) {
            (None, Selection::Named(named)) => plan.unknown.iter().any(|id| named.ids.contains(id)),
            _ => false,
        };
        let (refused, served) = std::mem::take(&mut self.served).into_iter().partition(names_unknown);
        self.served = served;
        for pending in refused {
            let Selection::Named(named) = &pending.request.selection else { continue };
            let mut unknown: Vec<_> =
                named.ids.iter().filter(|id| state.entry(id).is_none()).cloned().collect();
            unknown.sort();
            pending.answer(Err(NotRefreshed::Unknown(unknown)));
        }
        for id in &plan.parked {
            let failure = state.entry(id).and_then(|entry| entry.record().failure.as_deref());
            let why = failure.map_or("", |failure| &failure.message);
            let is_named = self.served.iter().any(|pending| {
                matches!(&pending.request.selection, Selection::Named(named) if named.ids.contains(id))
            });
            let hint = if is_named && failure.is_some_and(|failure| failure.kind.is_the_ledgers()) {
                "; only --force sends its password again"
            } else {
                ""
            };
            let outcome = Outcome::Skipped(format!("parked: {why}{hint}"));
            self.outcomes.insert(id.clone(), outcome);
        }
    }

    /// Notes what became of a customer.
    pub(super) fn note(&mut self, event: &Event) {
        if self.served.is_empty() {
            return;
        }
        match event {
            Event::Saved { id, expiry } => {
                self.outcomes.insert(id.clone(), Outcome::Renewed(*expiry));
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
                self.outcomes.insert(id.clone(), Outcome::Skipped(why.to_string()));
            }
            Event::LeftOver(id) => {
                self.left_over.insert(id.clone());
            }
            _ => {}
        }
    }

    /// The pass is over: answers those whom it has served, and lets those wait on of whose customers it left some over.
    pub(super) fn answer(&mut self) {
        let outcomes = std::mem::take(&mut self.outcomes);
        let left_over = std::mem::take(&mut self.left_over);
        let mut unfinished = Vec::new();
        for mut pending in std::mem::take(&mut self.served) {
            let rest: HashSet<_> = left_over.iter().filter(|id| pending.is_about(id)).cloned().collect();
            let mut done = details(&pending, &outcomes, &rest);
            done.extend(pending.begun.take().into_iter().flat_map(|begun| begun.done));
            if rest.is_empty() {
                pending.answer(Ok(sorted(done)));
            } else {
                pending.begun = Some(Begun { rest, done });
                unfinished.push(pending);
            }
        }
        // Before whoever has come meanwhile.
        self.waiting.splice(0..0, unfinished);
    }

    /// Refuses those whom the pass should have served.
    pub(super) fn refuse(&mut self, why: &NotRefreshed) {
        for pending in self.served.drain(..) {
            pending.refuse(why);
        }
    }

    /// Refuses those who wait for the next pass: there will be none.
    pub(super) fn refuse_waiting(&mut self) {
        for pending in self.waiting.drain(..) {
            pending.refuse(&NotRefreshed::ShuttingDown);
        }
    }
}

/// What a request is told of this pass: of those whom it named, or of everyone whom the pass touched; not of the rest.
fn details(
    pending: &Pending,
    outcomes: &HashMap<CustomerId, Outcome>,
    rest: &HashSet<CustomerId>,
) -> Refreshed {
    let named = match (&pending.begun, &pending.request.selection) {
        (Some(begun), _) => Some(&begun.rest),
        (None, Selection::Named(named)) => Some(&named.ids),
        (None, _) => None,
    };
    match named {
        Some(ids) => {
            let outcome = |id| outcomes.get(id).cloned().unwrap_or_else(cut_short);
            ids.iter().filter(|id| !rest.contains(*id)).map(|id| (id.clone(), outcome(id))).collect()
        }
        None => outcomes.iter().map(|(id, outcome)| (id.clone(), outcome.clone())).collect(),
    }
}

fn sorted(mut details: Refreshed) -> Refreshed {
    details.sort_by(|(a, _), (b, _)| a.cmp(b));
    details
}

fn cut_short() -> Outcome {
    Outcome::Skipped("not tried: the pass was cut short, or its row is gone".to_owned())
}

fn reason(why: &NotRefreshed) -> String {
    match why {
        NotRefreshed::Unknown(_) => "its row is gone".to_owned(),
        NotRefreshed::StoreUnavailable(error) => format!("the table could not be read again: {error}"),
        NotRefreshed::ShuttingDown => "tbtokend is shutting down".to_owned(),
    }
}

#[cfg(test)]
mod tests;
