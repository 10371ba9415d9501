//! Manual refreshes: who waits for the next pass, who for the one under way, and what each is told. A refresh that one
//! pass did not get done goes on in the next, with those who are left, and is answered when all of them have been tried.

use std::collections::{HashMap, HashSet};

use super::super::event::Event;
use super::super::handle::{NotRefreshed, Outcome, RefreshRequest, Refreshed};
use super::super::plan::{Plan, Selection};
use super::super::state::State;
use crate::model::{CustomerId, Failure};

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
            (Some(begun), Selection::Named(_)) => Selection::Named(begun.rest.clone()),
            (Some(begun), _) => Selection::Rest(begun.rest.clone()),
        }
    }

    /// Whether it is about this customer, if the pass was.
    fn is_about(&self, id: &CustomerId) -> bool {
        match (&self.begun, &self.request.selection) {
            (Some(begun), _) => begun.rest.contains(id),
            (None, Selection::Named(ids) | Selection::Rest(ids)) => ids.contains(id),
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
                    (Selection::Named(known), Selection::Named(ids)) => {
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
            (None, Selection::Named(ids)) => plan.unknown.iter().any(|id| ids.contains(id)),
            _ => false,
        };
        let (refused, served) = std::mem::take(&mut self.served).into_iter().partition(names_unknown);
        self.served = served;
        for pending in refused {
            let Selection::Named(ids) = &pending.request.selection else { continue };
            let mut unknown: Vec<_> = ids.iter().filter(|id| state.entry(id).is_none()).cloned().collect();
            unknown.sort();
            pending.answer(Err(NotRefreshed::Unknown(unknown)));
        }
        for id in &plan.parked {
            let failure = state.entry(id).and_then(|entry| entry.record.failure.as_ref());
            let why = failure.map_or("", |failure| &failure.message);
            let outcome = Outcome::Skipped(format!("parked: {why}"));
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
                let cut_short = || "not tried: the pass was cut short".to_owned();
                let why = why.as_ref().map_or_else(cut_short, Failure::for_the_untried);
                self.outcomes.insert(id.clone(), Outcome::Skipped(why));
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
        (None, Selection::Named(ids)) => Some(ids),
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
mod tests {
    use chrono::TimeDelta;
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::engine::plan::Policy;
    use crate::model::Lifetime;

    type Answers = oneshot::Receiver<Result<Refreshed, NotRefreshed>>;

    fn id(text: &str) -> CustomerId {
        CustomerId::new(text)
    }

    fn state() -> State {
        let policy = Policy {
            interval: TimeDelta::minutes(1),
            window: TimeDelta::minutes(5),
            lifetime: Lifetime::Jwt,
            require_https: false,
        };
        State::new(policy, 0)
    }

    fn ask(requests: &mut Requests, selection: Selection) -> Answers {
        let (reply, answers) = oneshot::channel();
        requests.wait(RefreshRequest { selection, reply });
        answers
    }

    fn failed(name: &str) -> Event {
        Event::Failed { id: id(name), failure: Failure::ServerError { status: 503 } }
    }

    fn names(mut answers: Answers) -> Vec<String> {
        let details = answers.try_recv().unwrap().unwrap();
        details.into_iter().map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn a_refresh_that_a_pass_did_not_get_done_goes_on_with_those_who_are_left() {
        let mut requests = Requests::default();
        let mut all = ask(&mut requests, Selection::All);
        let mut named = ask(&mut requests, Selection::Named(["b", "c"].map(id).into()));
        let done = ask(&mut requests, Selection::Named(["a"].map(id).into()));
        requests.begin();
        for event in [failed("a"), failed("b"), Event::LeftOver(id("c")), Event::LeftOver(id("d"))] {
            requests.note(&event);
        }
        requests.answer();
        assert_eq!(names(done), ["a"]);
        assert_eq!(all.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(named.try_recv(), Err(TryRecvError::Empty));
        assert!(requests.is_waiting());

        requests.begin();
        let rest: Vec<Selection> = requests.selections();
        assert_eq!(
            rest,
            [Selection::Rest(["c", "d"].map(id).into()), Selection::Named(["c"].map(id).into())],
            "nobody is tried twice for it, and who was named stays named"
        );
        // Someone else is tried in the same pass: that is none of their business.
        for event in [failed("c"), failed("d"), failed("e")] {
            requests.note(&event);
        }
        requests.answer();
        assert_eq!(names(all), ["a", "b", "c", "d"]);
        assert_eq!(names(named), ["b", "c"]);
        assert!(!requests.is_waiting());
    }

    #[test]
    fn p15_requests_for_which_nobody_waits_do_not_pile_up() {
        let mut requests = Requests::default();
        let gone = |selection| RefreshRequest { selection, reply: oneshot::channel().0 };
        for turn in 0..1000 {
            requests.wait(gone(Selection::DueNow));
            requests.wait(gone(Selection::Named([id(&turn.to_string())].into())));
        }
        let waits = ask(&mut requests, Selection::DueNow);
        requests.begin();
        let [Selection::DueNow, Selection::Named(ids), Selection::DueNow] = &requests.selections()[..] else {
            panic!("{:?}", requests.selections());
        };
        assert_eq!(ids.len(), 1000);
        requests.answer();
        assert!(names(waits).is_empty());
    }

    #[test]
    fn a_refresh_that_cannot_go_on_says_what_was_done() {
        let mut requests = Requests::default();
        let mut all = ask(&mut requests, Selection::All);
        requests.begin();
        requests.note(&failed("a"));
        requests.note(&Event::LeftOver(id("b")));
        requests.answer();
        requests.refuse_waiting();
        let details = all.try_recv().unwrap().unwrap();
        assert!(matches!(details[0].1, Outcome::Failed(..)));
        assert_eq!(details[1].1, Outcome::Skipped("not tried: tbtokend is shutting down".to_owned()));
    }

    #[test]
    fn whoever_names_somebody_unknown_is_told_all_the_names_and_nobody_is_tried_for_it() {
        let mut requests = Requests::default();
        let unknown = ask(&mut requests, Selection::Named(["z", "b", "y"].map(id).into()));
        let known = ask(&mut requests, Selection::Named(["k"].map(id).into()));
        let all = ask(&mut requests, Selection::All);
        requests.begin();
        let plan = Plan { unknown: ["z", "b", "y"].map(id).into(), ..Plan::default() };
        requests.planned(&plan, &state());
        assert_eq!(requests.selections().len(), 2);
        let refusal = { unknown }.try_recv().unwrap();
        assert_eq!(refusal, Err(NotRefreshed::Unknown(["b", "y", "z"].map(id).into())), "in order");
        requests.note(&failed("k"));
        requests.answer();
        assert_eq!((names(known), names(all)), (vec!["k".to_owned()], vec!["k".to_owned()]));
    }

    #[test]
    fn each_is_told_what_became_of_its_customers() {
        let (mut requests, mut state) = (Requests::default(), state());
        let row = |name: &str| crate::model::Customer {
            id: id(name),
            credentials: crate::model::Credentials {
                url: "https://tb.example".to_owned(),
                username: "ops".to_owned(),
                password: crate::model::Secret::new(name),
            },
            row_url: "https://tb.example".to_owned(),
            has_token: false,
            expiry: None,
        };
        let customers = ["parked", "saved"].map(row);
        let key = crate::model::FingerprintKey::new(&[7; crate::model::FingerprintKey::BYTES]);
        let table = crate::store::Table {
            customers: customers.to_vec(),
            problems: Vec::new(),
            records: Vec::new(),
            key,
            records_lost: None,
        };
        let now = chrono::DateTime::UNIX_EPOCH;
        state.apply(Event::TableRead(table), now, 0.5);
        state.apply(Event::Failed { id: id("parked"), failure: Failure::AccountLocked }, now, 0.5);
        // {"iat":0,"exp":900}
        let token = crate::model::Token::parse("a.eyJpYXQiOjAsImV4cCI6OTAwfQ.c").unwrap();
        let renewal = crate::model::Renewal::new(&customers[1], token, now, Lifetime::Jwt);
        let expiry = renewal.expiry;
        let obtained = Event::Obtained {
            renewal: Box::new(renewal),
            refresh_token: None,
            via: crate::engine::event::Via::Login,
            latency: std::time::Duration::ZERO,
            skew: crate::model::Skew::measure(now, now, TimeDelta::zero()),
        };
        state.apply(obtained, now, 0.5);

        let mut all = ask(&mut requests, Selection::DueNow);
        requests.begin();
        requests.planned(&Plan { parked: vec![id("parked")], ..Plan::default() }, &state);
        let error = crate::store::StoreError::Gone { place: "customers.db".to_owned() };
        for event in [
            Event::Saved { id: id("saved"), expiry },
            Event::SaveFailed { ids: vec![id("unsaved")], error },
            Event::Superseded(id("superseded")),
            Event::Deferred { id: id("cut"), why: None },
            Event::Deferred { id: id("deferred"), why: Some(Failure::ServerError { status: 502 }) },
        ] {
            requests.note(&event);
        }
        requests.answer();
        let skipped = |words: &str| Outcome::Skipped(words.to_owned());
        let kind = crate::model::FailureKind::Database;
        let unsaved = "the new token could not be saved yet: customers.db is gone".to_owned();
        let expected = [
            ("cut", skipped("not tried: the pass was cut short")),
            (
                "deferred",
                skipped("not asked yet, because of others on the same server: the server answered with an internal error (HTTP 502)"),
            ),
            ("parked", skipped("parked: ThingsBoard has locked the user's account after too many wrong passwords")),
            ("saved", Outcome::Renewed(expiry)),
            ("superseded", skipped("the row was changed meanwhile, or holds a token that lives longer")),
            ("unsaved", Outcome::Failed(kind, unsaved)),
        ]
        .map(|(name, outcome)| (id(name), outcome));
        assert_eq!(all.try_recv().unwrap().unwrap(), expected);

        // The next pass has its own outcomes.
        let next = ask(&mut requests, Selection::All);
        requests.begin();
        requests.note(&failed("other"));
        requests.answer();
        assert_eq!(names(next), ["other"]);
    }

    #[test]
    fn a_pass_that_cannot_begin_refuses_those_whom_it_should_have_served() {
        let mut requests = Requests::default();
        let mut all = ask(&mut requests, Selection::All);
        requests.begin();
        requests.refuse(&NotRefreshed::ShuttingDown);
        assert_eq!(all.try_recv().unwrap(), Err(NotRefreshed::ShuttingDown));
    }

    #[test]
    fn who_is_left_over_counts_only_for_those_who_wait_for_it() {
        let mut requests = Requests::default();
        let mut a = ask(&mut requests, Selection::Named(["a"].map(id).into()));
        let mut b = ask(&mut requests, Selection::Named(["b"].map(id).into()));
        for left in ["a", "b"] {
            requests.begin();
            requests.note(&Event::LeftOver(id(left)));
            requests.note(&failed(if left == "a" { "b" } else { "a" }));
            requests.answer();
            assert_eq!(requests.is_waiting(), left == "a");
        }
        assert!(a.try_recv().is_ok() && b.try_recv().is_ok());
    }

    #[test]
    fn only_unknown_names_are_told_as_unknown() {
        let mut state = state();
        let customer = crate::model::Customer {
            id: id("known"),
            credentials: crate::model::Credentials {
                url: "https://tb.example".to_owned(),
                username: "ops".to_owned(),
                password: crate::model::Secret::new("p"),
            },
            row_url: "https://tb.example".to_owned(),
            has_token: false,
            expiry: None,
        };
        let key = crate::model::FingerprintKey::new(&[7; crate::model::FingerprintKey::BYTES]);
        let table = crate::store::Table {
            customers: vec![customer],
            problems: Vec::new(),
            records: Vec::new(),
            key,
            records_lost: None,
        };
        state.apply(Event::TableRead(table), chrono::DateTime::UNIX_EPOCH, 0.5);
        let mut requests = Requests::default();
        let mut answers = ask(&mut requests, Selection::Named(["known", "typo"].map(id).into()));
        requests.begin();
        requests.planned(&Plan { unknown: [id("typo")].into(), ..Plan::default() }, &state);
        assert_eq!(answers.try_recv().unwrap(), Err(NotRefreshed::Unknown(vec![id("typo")])));
    }

    /// Nobody is told of others, and nobody is forgotten.
    #[test]
    fn requests_for_which_nobody_waits_join_neither_one_that_is_waited_for_nor_one_that_has_begun() {
        let mut requests = Requests::default();
        let named = |name: &str| Selection::Named([id(name)].into());
        let gone = |name| RefreshRequest { selection: named(name), reply: oneshot::channel().0 };
        requests.wait(gone("begun"));
        requests.begin();
        requests.note(&Event::LeftOver(id("begun")));
        let waits = ask(&mut requests, named("a"));
        requests.answer();
        requests.wait(gone("b"));
        requests.wait(gone("c"));
        requests.begin();
        let together = Selection::Named(["b", "c"].map(id).into());
        assert_eq!(requests.selections(), [named("begun"), named("a"), together], "the oldest first");
        requests.note(&failed("a"));
        requests.answer();
        assert_eq!(names(waits), ["a"]);
    }

    #[test]
    fn a_pass_that_could_not_go_on_leaves_nothing_to_the_next() {
        let mut requests = Requests::default();
        let refused = ask(&mut requests, Selection::All);
        requests.begin();
        requests.note(&failed("a"));
        requests.note(&Event::LeftOver(id("b")));
        requests.refuse(&NotRefreshed::ShuttingDown);
        drop(refused);
        let next = ask(&mut requests, Selection::All);
        requests.begin();
        requests.note(&failed("c"));
        requests.answer();
        assert_eq!(names(next), ["c"]);
    }
}
