//! Manual refreshes: those for the next pass and for the pass under way, and their answers. If a pass carries customers of a
//! refresh over, the refresh continues in the next pass. It is answered when all its customers were tried.

use std::collections::{HashMap, HashSet};

use super::super::credentials::Leave;
use super::super::event::Event;
use super::super::handle::RefreshRequest;
use super::super::outcome::{Outcome, Outcomes, RefreshRefusal};
use super::super::plan::{Plan, Selection};
use super::super::state::State;
use crate::model::{CustomerId, FailureKind, may_be_counted};

/// The manual refreshes that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// For the next pass.
    waiting: Vec<Pending>,
    /// For the pass under way.
    current: Vec<Pending>,
    /// The outcomes of the pass under way.
    outcomes: HashMap<CustomerId, Outcome>,
    /// Customers that the pass under way carries over to the next, and whether another row of the account has used the
    /// operator's leave.
    carried_over: HashMap<CustomerId, bool>,
}

/// A request that is not answered completely.
#[derive(Debug)]
struct Pending {
    request: RefreshRequest,
    /// The result of its passes so far; none before the end of the first.
    progress: Option<Progress>,
}

/// The result of the passes of a request so far.
#[derive(Debug)]
struct Progress {
    /// Customers to be tried.
    remaining: HashSet<CustomerId>,
    /// Those of them whose operator's leave, for one send of their account, is used up.
    without_leave: HashSet<CustomerId>,
    /// The outcomes of the others.
    done: Outcomes,
}

impl Pending {
    /// The customers that the next pass must serve.
    fn selections(&self) -> Vec<Selection> {
        let Some(progress) = &self.progress else { return vec![self.request.selection.clone()] };
        let (leave, even_parked) = match &self.request.selection {
            Selection::Ids { leave, even_parked, .. } => (*leave, *even_parked),
            Selection::Due | Selection::DueNow | Selection::All => (Leave::Requested, false),
        };
        let ids = &progress.remaining - &progress.without_leave;
        let with_leave = Selection::Ids { ids, leave, even_parked };
        let ids = progress.without_leave.clone();
        let without = Selection::Ids { ids, leave: Leave::None, even_parked: false };
        vec![with_leave, without]
    }

    /// The customers of the request; none if they are all customers of the pass.
    fn ids(&self) -> Option<&HashSet<CustomerId>> {
        match (&self.progress, &self.request.selection) {
            (Some(progress), _) => Some(&progress.remaining),
            (None, Selection::Ids { ids, .. }) => Some(ids),
            (None, Selection::Due | Selection::DueNow | Selection::All) => None,
        }
    }

    /// Answers the request. A client that was answered before, or has disconnected, gets nothing.
    fn answer(&mut self, answer: Result<Outcomes, RefreshRefusal>) {
        if let Some(reply) = self.request.reply.take() {
            let _ = reply.send(answer);
        }
    }

    /// Ends the request, because there is no pass for its customers.
    fn refuse(mut self, why: &RefreshRefusal) {
        let answer = match &self.progress {
            None => Err(why.clone()),
            Some(progress) => {
                let left = || Outcome::Skipped(format!("not tried: {}", reason(why)));
                let left = progress.remaining.iter().map(|id| (id.clone(), left()));
                Ok(sorted(progress.done.iter().cloned().chain(left).collect()))
            }
        };
        self.answer(answer);
    }
}

impl Requests {
    /// Adds a request for the next pass. Requests whose clients do not wait are merged, so that any number of them during a pass
    /// becomes one of each kind.
    pub(super) fn add(&mut self, request: RefreshRequest) {
        if request.is_unattended() {
            let known = self.waiting.iter_mut().filter(|known| known.request.is_unattended());
            for known in known.filter(|known| known.progress.is_none()) {
                match (&mut known.request.selection, &request.selection) {
                    (
                        Selection::Ids { ids: known, leave: known_leave, .. },
                        Selection::Ids { ids, leave, .. },
                    ) if known_leave == leave => {
                        known.extend(ids.iter().cloned());
                        return;
                    }
                    (known, new) if known == new => return,
                    _ => {}
                }
            }
        }
        self.waiting.push(Pending { request, progress: None });
    }

    /// Whether a request waits for the next pass.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The poll of the next pass begins: the waiting requests become its own.
    pub(super) fn begin(&mut self) {
        self.current = std::mem::take(&mut self.waiting);
        self.outcomes.clear();
        self.carried_over.clear();
    }

    /// The customers that the pass must serve.
    pub(super) fn selections(&self) -> Vec<Selection> {
        let selections = self.current.iter().flat_map(Pending::selections);
        selections
            .filter(|selection| !matches!(selection, Selection::Ids { ids, .. } if ids.is_empty()))
            .collect()
    }

    /// Takes over the plan: refuses requests with unknown names, answers requests that do not wait for the pass, and notes
    /// the parked customers.
    pub(super) fn plan_made(&mut self, plan: &Plan, state: &State) {
        let names_unknown = |pending: &Pending| {
            pending.progress.is_none() && plan.unknown.iter().any(|id| pending.request.selection.names(id))
        };
        let (refused, current) = std::mem::take(&mut self.current).into_iter().partition(names_unknown);
        self.current = current;
        for mut pending in refused {
            let named = pending.request.selection.named().into_iter().flatten();
            let mut unknown: Vec<_> = named.filter(|id| state.customer(id).is_none()).cloned().collect();
            unknown.sort();
            let why = |id: &CustomerId| Some((id.clone(), state.ineligible.why(id.as_str())?));
            let ineligible: Vec<_> = unknown.iter().filter_map(why).collect();
            pending.answer(Err(match ineligible.is_empty() {
                false => RefreshRefusal::Ineligible(ineligible),
                true => RefreshRefusal::Unknown(unknown),
            }));
        }
        for pending in self.current.iter_mut().filter(|pending| !pending.request.wait) {
            pending.answer(Ok(Vec::new()));
        }
        for id in &plan.parked {
            let failure = state.customer(id).and_then(|customer| customer.record().failure.as_deref());
            let why = failure.map_or("", |failure| &failure.message);
            let is_named = self.current.iter().any(|pending| pending.request.selection.names(id));
            let kind = failure.map(|failure| failure.kind).filter(|_| is_named);
            let hint = if kind.is_some_and(FailureKind::is_the_ledgers) {
                "; only --force sends its password again"
            } else {
                ""
            };
            let counted = kind.and_then(|kind| counted(state, id, kind)).unwrap_or_default();
            let outcome = Outcome::Skipped(format!("parked: {why}{counted}{hint}"));
            self.outcomes.insert(id.clone(), outcome);
        }
    }

    /// Notes the outcome of a customer.
    pub(super) fn note(&mut self, event: &Event) {
        if self.current.is_empty() {
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
                let kind = FailureKind::Database;
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
            Event::CarriedOver { id, is_leave_used } => {
                self.carried_over.insert(id.clone(), *is_leave_used);
            }
            _ => {}
        }
    }

    /// Ends the pass: answers its requests. A request with customers carried over waits for the next pass.
    pub(super) fn answer(&mut self, state: &State) {
        let outcomes = std::mem::take(&mut self.outcomes);
        let carried_over = std::mem::take(&mut self.carried_over);
        let mut unfinished = Vec::new();
        for mut pending in std::mem::take(&mut self.current) {
            let is_about = |id: &&CustomerId| pending.ids().is_none_or(|ids| ids.contains(*id));
            let remaining: HashSet<_> = carried_over.keys().filter(is_about).cloned().collect();
            let mut done = outcomes_of(&pending, &outcomes, &remaining);
            for (id, outcome) in done.iter_mut().filter(|(id, _)| pending.request.selection.names(id)) {
                if let Outcome::Failed(kind, message) = outcome {
                    message.push_str(&counted(state, id, *kind).unwrap_or_default());
                }
            }
            let progress = pending.progress.take();
            let had_no_leave = |id: &CustomerId| {
                progress.as_ref().is_some_and(|progress| progress.without_leave.contains(id))
            };
            let has_no_leave = |id: &&CustomerId| carried_over.get(*id) == Some(&true) || had_no_leave(id);
            let without_leave = remaining.iter().filter(has_no_leave).cloned().collect();
            done.extend(progress.into_iter().flat_map(|progress| progress.done));
            if remaining.is_empty() {
                pending.answer(Ok(sorted(done)));
            } else {
                pending.progress = Some(Progress { remaining, without_leave, done });
                unfinished.push(pending);
            }
        }
        // They come before newer requests.
        self.waiting.splice(0..0, unfinished);
    }

    /// Refuses the requests of the pass, which cannot begin.
    pub(super) fn refuse(&mut self, why: &RefreshRefusal) {
        for pending in self.current.drain(..) {
            pending.refuse(why);
        }
    }

    /// Refuses the requests for the next pass, because the process ends.
    pub(super) fn refuse_waiting(&mut self) {
        for pending in self.waiting.drain(..) {
            pending.refuse(&RefreshRefusal::ShuttingDown);
        }
    }
}

/// Returns the outcomes of this pass for the customers of a request, except those carried over.
fn outcomes_of(
    pending: &Pending,
    outcomes: &HashMap<CustomerId, Outcome>,
    remaining: &HashSet<CustomerId>,
) -> Outcomes {
    match pending.ids() {
        Some(ids) => {
            let outcome = |id| outcomes.get(id).cloned().unwrap_or_else(cut_short);
            ids.iter().filter(|id| !remaining.contains(*id)).map(|id| (id.clone(), outcome(id))).collect()
        }
        None => outcomes.iter().map(|(id, outcome)| (id.clone(), outcome.clone())).collect(),
    }
}

/// Says how many passwords ThingsBoard may have counted, before an operator forces another; none if the failure says so already.
fn counted(state: &State, id: &CustomerId, kind: FailureKind) -> Option<String> {
    let customer = state.customer(id).filter(|_| kind != FailureKind::AttemptsExhausted)?;
    let username = &customer.row.credentials.username;
    let charges = state.ledger().charges_of(&customer.account?, customer.server.as_ref()?, username);
    (charges > 0).then(|| format!("; {}", may_be_counted(charges)))
}

fn sorted(mut details: Outcomes) -> Outcomes {
    details.sort_by(|(a, _), (b, _)| a.cmp(b));
    details
}

fn cut_short() -> Outcome {
    Outcome::Skipped("not tried: the pass was cut short, or its row is gone".to_owned())
}

fn reason(why: &RefreshRefusal) -> String {
    match why {
        RefreshRefusal::Ineligible(_) | RefreshRefusal::Unknown(_) => "its row is gone".to_owned(),
        RefreshRefusal::StoreUnavailable(error) => format!("the table could not be read again: {error}"),
        RefreshRefusal::ShuttingDown => "tbtokend is shutting down".to_owned(),
    }
}

#[cfg(test)]
mod tests;
