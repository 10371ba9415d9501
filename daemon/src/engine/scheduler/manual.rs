//! Manual refreshes: which wait for the next pass, which for the one under way, and what each is answered. A refresh that one
//! pass did not get done goes on in the next, with the customers that are left, and is answered when all have been tried.

use std::collections::{HashMap, HashSet};

use super::super::credentials::Leave;
use super::super::event::Event;
use super::super::handle::RefreshRequest;
use super::super::outcome::{NotRefreshed, Outcome, Refreshed};
use super::super::plan::{Plan, Selection};
use super::super::state::State;
use crate::model::{CustomerId, FailureKind, may_be_counted};

/// The manual refreshes that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// For the next pass.
    waiting: Vec<Pending>,
    /// For the pass under way.
    served: Vec<Pending>,
    /// What became of each customer in the pass under way.
    outcomes: HashMap<CustomerId, Outcome>,
    /// Customers that the pass under way has left over for the next, and whether another row of the account has used what the
    /// operator allowed.
    left_over: HashMap<CustomerId, bool>,
}

/// A request, and what earlier passes have done of it.
#[derive(Debug)]
struct Pending {
    request: RefreshRequest,
    /// What its earlier passes came to; none before its first one.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    /// Customers that are still to be tried.
    rest: HashSet<CustomerId>,
    /// Those of them for which the operator's leave is used up: it was for one send of their account.
    without_leave: HashSet<CustomerId>,
    /// What became of the others.
    done: Refreshed,
}

impl Pending {
    /// The customers that the next pass must serve.
    fn selections(&self) -> Vec<Selection> {
        let Some(begun) = &self.begun else { return vec![self.request.selection.clone()] };
        let (leave, even_parked) = match &self.request.selection {
            Selection::Ids { leave, even_parked, .. } => (*leave, *even_parked),
            Selection::Due | Selection::DueNow | Selection::All => (Leave::Asked, false),
        };
        let ids = &begun.rest - &begun.without_leave;
        let with_leave = Selection::Ids { ids, leave, even_parked };
        let ids = begun.without_leave.clone();
        let without = Selection::Ids { ids, leave: Leave::None, even_parked: false };
        vec![with_leave, without]
    }

    /// The customers that it is about; none if it is about all that the pass was about.
    fn ids(&self) -> Option<&HashSet<CustomerId>> {
        match (&self.begun, &self.request.selection) {
            (Some(begun), _) => Some(&begun.rest),
            (None, Selection::Ids { ids, .. }) => Some(ids),
            (None, Selection::Due | Selection::DueNow | Selection::All) => None,
        }
    }

    /// The client may have gone, or had its answer; what was done is done all the same.
    fn answer(mut self, answer: Result<Refreshed, NotRefreshed>) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Result<Refreshed, NotRefreshed>) {
        if let Some(reply) = self.request.reply.take() {
            let _ = reply.send(answer);
        }
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
    /// Adds one for the next pass. Requests whose clients do not wait are put together: however many of them come while a
    /// pass is under way, there is one of each kind.
    pub(super) fn wait(&mut self, request: RefreshRequest) {
        if request.is_unattended() {
            let known = self.waiting.iter_mut().filter(|known| known.request.is_unattended());
            for known in known.filter(|known| known.begun.is_none()) {
                match (&mut known.request.selection, &request.selection) {
                    (
                        Selection::Ids { ids: known, leave: known_leave, .. },
                        Selection::Ids { ids, leave, .. },
                    ) if known_leave == leave => {
                        known.extend(ids.iter().cloned());
                        return;
                    }
                    (known, asked) if known == asked => return,
                    _ => {}
                }
            }
        }
        self.waiting.push(Pending { request, begun: None });
    }

    /// Whether a request waits for the next pass.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next pass begins with a poll.
    pub(super) fn begin(&mut self) {
        self.served = std::mem::take(&mut self.waiting);
        self.outcomes.clear();
        self.left_over.clear();
    }

    /// The customers that the pass must serve.
    pub(super) fn selections(&self) -> Vec<Selection> {
        let selections = self.served.iter().flat_map(Pending::selections);
        selections
            .filter(|selection| !matches!(selection, Selection::Ids { ids, .. } if ids.is_empty()))
            .collect()
    }

    /// The plan is made: refuses requests that name what is no customer, accepts those that wait for no more than that, and
    /// notes which customers are left alone.
    pub(super) fn planned(&mut self, plan: &Plan, state: &State) {
        let names_unknown = |pending: &Pending| {
            pending.begun.is_none() && plan.unknown.iter().any(|id| pending.request.selection.names(id))
        };
        let (refused, served) = std::mem::take(&mut self.served).into_iter().partition(names_unknown);
        self.served = served;
        for pending in refused {
            let named = pending.request.selection.named().into_iter().flatten();
            let mut unknown: Vec<_> = named.filter(|id| state.entry(id).is_none()).cloned().collect();
            unknown.sort();
            let why = |id: &CustomerId| Some((id.clone(), state.ineligible.why(id.as_str())?));
            let ineligible: Vec<_> = unknown.iter().filter_map(why).collect();
            pending.answer(Err(match ineligible.is_empty() {
                false => NotRefreshed::Ineligible(ineligible),
                true => NotRefreshed::Unknown(unknown),
            }));
        }
        for pending in self.served.iter_mut().filter(|pending| !pending.request.wait) {
            pending.tell(Ok(Vec::new()));
        }
        for id in &plan.parked {
            let failure = state.entry(id).and_then(|entry| entry.record().failure.as_deref());
            let why = failure.map_or("", |failure| &failure.message);
            let is_named = self.served.iter().any(|pending| pending.request.selection.names(id));
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
            Event::LeftOver { id, is_leave_used } => {
                self.left_over.insert(id.clone(), *is_leave_used);
            }
            _ => {}
        }
    }

    /// The pass is over: answers the requests that it has served. Those of whose customers it left some over wait on.
    pub(super) fn answer(&mut self, state: &State) {
        let outcomes = std::mem::take(&mut self.outcomes);
        let left_over = std::mem::take(&mut self.left_over);
        let mut unfinished = Vec::new();
        for mut pending in std::mem::take(&mut self.served) {
            let is_about = |id: &&CustomerId| pending.ids().is_none_or(|ids| ids.contains(*id));
            let rest: HashSet<_> = left_over.keys().filter(is_about).cloned().collect();
            let mut done = details(&pending, &outcomes, &rest);
            for (id, outcome) in done.iter_mut().filter(|(id, _)| pending.request.selection.names(id)) {
                if let Outcome::Failed(kind, message) = outcome {
                    message.push_str(&counted(state, id, *kind).unwrap_or_default());
                }
            }
            let begun = pending.begun.take();
            let had_none =
                |id: &CustomerId| begun.as_ref().is_some_and(|begun| begun.without_leave.contains(id));
            let has_none = |id: &&CustomerId| left_over.get(*id) == Some(&true) || had_none(id);
            let without_leave = rest.iter().filter(has_none).cloned().collect();
            done.extend(begun.into_iter().flat_map(|begun| begun.done));
            if rest.is_empty() {
                pending.answer(Ok(sorted(done)));
            } else {
                pending.begun = Some(Begun { rest, without_leave, done });
                unfinished.push(pending);
            }
        }
        // Before the requests that have come meanwhile.
        self.waiting.splice(0..0, unfinished);
    }

    /// Refuses the requests that the pass should have served.
    pub(super) fn refuse(&mut self, why: &NotRefreshed) {
        for pending in self.served.drain(..) {
            pending.refuse(why);
        }
    }

    /// Refuses the requests that wait for the next pass: there will be none.
    pub(super) fn refuse_waiting(&mut self) {
        for pending in self.waiting.drain(..) {
            pending.refuse(&NotRefreshed::ShuttingDown);
        }
    }
}

/// What a request is answered of this pass: what became of the customers that it is about, but for those that are left over.
fn details(
    pending: &Pending,
    outcomes: &HashMap<CustomerId, Outcome>,
    rest: &HashSet<CustomerId>,
) -> Refreshed {
    match pending.ids() {
        Some(ids) => {
            let outcome = |id| outcomes.get(id).cloned().unwrap_or_else(cut_short);
            ids.iter().filter(|id| !rest.contains(*id)).map(|id| (id.clone(), outcome(id))).collect()
        }
        None => outcomes.iter().map(|(id, outcome)| (id.clone(), outcome.clone())).collect(),
    }
}

/// How many passwords ThingsBoard may have counted, for an operator who may force another one; none if the failure says so.
fn counted(state: &State, id: &CustomerId, kind: FailureKind) -> Option<String> {
    let entry = state.entry(id).filter(|_| kind != FailureKind::AttemptsExhausted)?;
    let username = &entry.customer.credentials.username;
    let charges = state.ledger().charges_of(&entry.account?, entry.server.as_ref()?, username);
    (charges > 0).then(|| format!("; {}", may_be_counted(charges)))
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
        NotRefreshed::Ineligible(_) | NotRefreshed::Unknown(_) => "its row is gone".to_owned(),
        NotRefreshed::StoreUnavailable(error) => format!("the table could not be read again: {error}"),
        NotRefreshed::ShuttingDown => "tbtokend is shutting down".to_owned(),
    }
}

#[cfg(test)]
mod tests;
