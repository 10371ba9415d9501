//! Tests of manual refreshes and their answers.

use chrono::TimeDelta;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::engine::credentials::Settings;
use crate::engine::deferral::Deferral;
use crate::engine::policy::Policy;
use crate::model::{Failure, Lifetime};

type Answers = oneshot::Receiver<Result<Outcomes, RefreshRefusal>>;

fn id(text: &str) -> CustomerId {
    CustomerId::new(text)
}

fn state() -> State {
    State::new(Policy::of_a_minute(), 0, Settings::of_a_minute())
}

fn ids(names: &[&str], leave: Leave, even_parked: bool) -> Selection {
    Selection::Ids { ids: names.iter().map(|name| id(name)).collect(), leave, even_parked }
}

fn named(names: &[&str]) -> Selection {
    ids(names, Leave::Requested, true)
}

fn forced(names: &[&str]) -> Selection {
    ids(names, Leave::Forced, true)
}

fn carried_over(name: &str) -> Event {
    Event::CarriedOver { id: id(name), is_leave_used: false }
}

fn ask(requests: &mut Requests, selection: Selection) -> Answers {
    let (reply, answers) = oneshot::channel();
    requests.add(RefreshRequest { selection, wait: true, reply: Some(reply) });
    answers
}

fn failed(name: &str) -> Event {
    Event::Failed { id: id(name), failure: Failure::ServerError { status: 503, retry_after: None } }
}

fn names(mut answers: Answers) -> Vec<String> {
    let details = answers.try_recv().unwrap().unwrap();
    details.into_iter().map(|(id, _)| id.to_string()).collect()
}

#[test]
fn a_refresh_continues_with_the_customers_that_a_pass_carried_over() {
    let mut requests = Requests::default();
    let mut all = ask(&mut requests, Selection::All);
    let mut of_two = ask(&mut requests, named(&["b", "c"]));
    let done = ask(&mut requests, named(&["a"]));
    requests.begin();
    for event in [failed("a"), failed("b"), carried_over("c"), carried_over("d")] {
        requests.note(&event);
    }
    requests.answer(&state());
    assert_eq!(names(done), ["a"]);
    assert_eq!(all.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(of_two.try_recv(), Err(TryRecvError::Empty));
    assert!(requests.is_waiting());

    requests.begin();
    let rest: Vec<Selection> = requests.selections();
    assert_eq!(
        rest,
        [ids(&["c", "d"], Leave::Requested, false), named(&["c"])],
        "no customer is tried twice for it, and one that was named stays named"
    );
    // Customer e is tried in the same pass and belongs to neither request.
    for event in [failed("c"), failed("d"), failed("e")] {
        requests.note(&event);
    }
    requests.answer(&state());
    assert_eq!(names(all), ["a", "b", "c", "d"]);
    assert_eq!(names(of_two), ["b", "c"]);
    assert!(!requests.is_waiting());
}

#[test]
fn p15_requests_without_a_waiting_client_do_not_pile_up() {
    let mut requests = Requests::default();
    let gone = |selection| RefreshRequest { selection, wait: false, reply: Some(oneshot::channel().0) };
    for turn in 0..1000 {
        requests.add(gone(Selection::DueNow));
        requests.add(gone(named(&[&turn.to_string()])));
    }
    let waits = ask(&mut requests, Selection::DueNow);
    requests.begin();
    let [Selection::DueNow, Selection::Ids { ids, .. }, Selection::DueNow] = &requests.selections()[..]
    else {
        panic!("{:?}", requests.selections());
    };
    assert_eq!(ids.len(), 1000);
    requests.answer(&state());
    assert!(names(waits).is_empty());
}

#[test]
fn a_refresh_that_cannot_continue_is_answered_with_the_outcomes_so_far() {
    let mut requests = Requests::default();
    let mut all = ask(&mut requests, Selection::All);
    requests.begin();
    requests.note(&failed("a"));
    requests.note(&carried_over("b"));
    requests.answer(&state());
    requests.refuse_waiting();
    let details = all.try_recv().unwrap().unwrap();
    assert!(matches!(details[0].1, Outcome::Failed(..)));
    assert_eq!(details[1].1, Outcome::Skipped("not tried: tbtokend is shutting down".to_owned()));
}

#[test]
fn a_request_with_unknown_names_is_answered_with_all_of_them_and_no_customer_is_tried_for_it() {
    let mut requests = Requests::default();
    let unknown = ask(&mut requests, named(&["z", "b", "y"]));
    let known = ask(&mut requests, named(&["k"]));
    let all = ask(&mut requests, Selection::All);
    requests.begin();
    let plan = Plan { unknown: ["z", "b", "y"].map(id).into(), ..Plan::default() };
    requests.plan_made(&plan, &state());
    assert_eq!(requests.selections().len(), 2);
    let refusal = { unknown }.try_recv().unwrap();
    assert_eq!(refusal, Err(RefreshRefusal::Unknown(["b", "y", "z"].map(id).into())), "in order");
    requests.note(&failed("k"));
    requests.answer(&state());
    assert_eq!((names(known), names(all)), (vec!["k".to_owned()], vec!["k".to_owned()]));
}

#[test]
fn each_request_is_answered_with_the_outcomes_of_its_customers() {
    let (mut requests, mut state) = (Requests::default(), state());
    let row = |name: &str| crate::model::Customer {
        id: id(name),
        credentials: crate::model::Credentials {
            url: "https://tb.example".into(),
            username: "ops".to_owned(),
            password: crate::model::Secret::new(name),
        },
        row_url: "https://tb.example".into(),
        has_token: false,
        expiry: None,
    };
    let customers = ["parked", "saved"].map(row);
    let key = crate::model::FingerprintKey::new(&[7; crate::model::FingerprintKey::BYTES]);
    let table = crate::store::Table {
        customers: customers.to_vec(),
        ineligible: Vec::new(),
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
        method: crate::engine::event::RenewalMethod::Login,
        latency: std::time::Duration::ZERO,
        skew: crate::model::Skew::measure(now, now, TimeDelta::zero()),
    };
    state.apply(obtained, now, 0.5);

    let mut all = ask(&mut requests, Selection::DueNow);
    requests.begin();
    requests.plan_made(&Plan { parked: vec![id("parked")], ..Plan::default() }, &state);
    let error = crate::store::StoreError::Gone { place: "customers.db".to_owned() };
    for event in [
        Event::Saved { id: id("saved"), expiry },
        Event::SaveFailed { ids: vec![id("unsaved")], error },
        Event::Superseded(id("superseded")),
        Event::Deferred { id: id("cut"), why: Deferral::CutShort },
        Event::Deferred {
            id: id("deferred"),
            why: Deferral::Server(Failure::ServerError { status: 502, retry_after: None }),
        },
    ] {
        requests.note(&event);
    }
    requests.answer(&state);
    let skipped = |words: &str| Outcome::Skipped(words.to_owned());
    let kind = FailureKind::Database;
    let unsaved = "the new token could not be saved yet: customers.db is gone".to_owned();
    let expected = [
        ("cut", skipped("not renewed: the pass was cut short")),
        (
            "deferred",
            skipped("waiting for its server: the server answered with an internal error (HTTP 502)"),
        ),
        (
            "parked",
            skipped("parked: ThingsBoard has locked the user's account after too many wrong passwords"),
        ),
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
    requests.answer(&state);
    assert_eq!(names(next), ["other"]);
}

/// The operator's leave is for one send of an account. Other rows of the account are carried over without it.
#[test]
fn p02_a_leave_that_was_used_is_not_granted_again_by_the_next_pass() {
    for (asked, leave) in [(forced(&["a", "b", "c"]), Leave::Forced), (Selection::All, Leave::Requested)] {
        let even_parked = leave == Leave::Forced;
        let mut requests = Requests::default();
        let answers = ask(&mut requests, asked);
        requests.begin();
        requests.note(&failed("a"));
        requests.note(&Event::CarriedOver { id: id("b"), is_leave_used: true });
        requests.note(&carried_over("c"));
        requests.answer(&state());
        requests.begin();
        assert_eq!(
            requests.selections(),
            [ids(&["c"], leave, even_parked), ids(&["b"], Leave::None, false)],
            "a parked row has nothing left that was allowed"
        );
        // The pass after it does not grant it either.
        requests.note(&failed("c"));
        requests.note(&carried_over("b"));
        requests.answer(&state());
        requests.begin();
        assert_eq!(requests.selections(), [ids(&["b"], Leave::None, false)]);
        requests.note(&failed("b"));
        requests.answer(&state());
        assert_eq!(names(answers), ["a", "b", "c"]);
    }
}

/// A refresh with force is for the names that it was given with, and for no others.
#[test]
fn p02_force_is_not_lent_to_a_request_without_it() {
    let mut requests = Requests::default();
    let gone = |selection| RefreshRequest { selection, wait: false, reply: Some(oneshot::channel().0) };
    for selection in [named(&["a"]), forced(&["b"]), named(&["c"]), forced(&["d"])] {
        requests.add(gone(selection));
    }
    requests.begin();
    let with_force = forced(&["b", "d"]);
    assert_eq!(requests.selections(), [named(&["a", "c"]), with_force]);
    // Customers that are carried over keep it.
    for left in ["b", "c"] {
        requests.note(&carried_over(left));
    }
    requests.answer(&state());
    requests.begin();
    let with_force = forced(&["b"]);
    assert_eq!(requests.selections(), [named(&["c"]), with_force]);
}

#[test]
fn p03_a_parked_customer_that_was_named_says_what_sends_its_password_again() {
    let mut state = state();
    let row = |name: &str| crate::model::Customer {
        id: id(name),
        credentials: crate::model::Credentials {
            url: "https://tb.example".into(),
            username: name.to_owned(),
            password: crate::model::Secret::new("p"),
        },
        row_url: "https://tb.example".into(),
        has_token: false,
        expiry: None,
    };
    let key = crate::model::FingerprintKey::new(&[7; crate::model::FingerprintKey::BYTES]);
    let table = crate::store::Table {
        customers: ["disabled", "rejected"].map(row).into(),
        ineligible: Vec::new(),
        problems: Vec::new(),
        records: Vec::new(),
        key,
        records_lost: None,
    };
    let now = chrono::DateTime::UNIX_EPOCH;
    state.apply(Event::TableRead(table), now, 0.5);
    for (name, failure) in
        [("disabled", Failure::AccountDisabled), ("rejected", Failure::CredentialsRejected)]
    {
        state.apply(Event::Failed { id: id(name), failure }, now, 0.5);
    }
    let ends_with_hint = |selection: Selection| {
        let mut requests = Requests::default();
        let mut answers = ask(&mut requests, selection);
        requests.begin();
        let parked = ["disabled", "rejected"].map(id).into();
        requests.plan_made(&Plan { parked, ..Plan::default() }, &state);
        requests.answer(&state);
        let details = answers.try_recv().unwrap().unwrap();
        details
            .into_iter()
            .map(|(_, outcome)| match outcome {
                Outcome::Skipped(words) => words.ends_with("; only --force sends its password again"),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(ends_with_hint(named(&["disabled", "rejected"])), [false, true]);
    assert_eq!(ends_with_hint(Selection::DueNow), [false, false]);
}

#[test]
fn a_pass_that_cannot_begin_refuses_the_requests_that_it_should_have_served() {
    let mut requests = Requests::default();
    let mut all = ask(&mut requests, Selection::All);
    requests.begin();
    requests.refuse(&RefreshRefusal::ShuttingDown);
    assert_eq!(all.try_recv().unwrap(), Err(RefreshRefusal::ShuttingDown));
}

#[test]
fn a_request_continues_only_for_its_own_customers() {
    let mut requests = Requests::default();
    let mut a = ask(&mut requests, named(&["a"]));
    let mut b = ask(&mut requests, named(&["b"]));
    for left in ["a", "b"] {
        requests.begin();
        requests.note(&carried_over(left));
        requests.note(&failed(if left == "a" { "b" } else { "a" }));
        requests.answer(&state());
        assert_eq!(requests.is_waiting(), left == "a");
    }
    assert!(a.try_recv().is_ok() && b.try_recv().is_ok());
}

#[test]
fn only_unknown_names_are_reported_as_unknown() {
    let mut state = state();
    let customer = crate::model::Customer {
        id: id("known"),
        credentials: crate::model::Credentials {
            url: "https://tb.example".into(),
            username: "ops".to_owned(),
            password: crate::model::Secret::new("p"),
        },
        row_url: "https://tb.example".into(),
        has_token: false,
        expiry: None,
    };
    let key = crate::model::FingerprintKey::new(&[7; crate::model::FingerprintKey::BYTES]);
    let table = crate::store::Table {
        customers: vec![customer],
        ineligible: Vec::new(),
        problems: Vec::new(),
        records: Vec::new(),
        key,
        records_lost: None,
    };
    state.apply(Event::TableRead(table), chrono::DateTime::UNIX_EPOCH, 0.5);
    let mut requests = Requests::default();
    let mut answers = ask(&mut requests, named(&["known", "typo"]));
    requests.begin();
    requests.plan_made(&Plan { unknown: [id("typo")].into(), ..Plan::default() }, &state);
    assert_eq!(answers.try_recv().unwrap(), Err(RefreshRefusal::Unknown(vec![id("typo")])));
}

#[test]
fn a_row_that_cannot_be_renewed_is_named_with_its_reason_before_a_name_that_is_unknown() {
    use crate::model::{FingerprintKey, Ineligibility, IneligibleRow};
    let why = Ineligibility::Blank([false, true, false]);
    let table = crate::store::Table {
        customers: Vec::new(),
        ineligible: vec![IneligibleRow { id: id("acme"), why, has_token: false, expiry: None }],
        problems: Vec::new(),
        records: Vec::new(),
        key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
        records_lost: None,
    };
    let mut state = state();
    state.apply(Event::TableRead(table), chrono::DateTime::UNIX_EPOCH, 0.5);
    let mut requests = Requests::default();
    let mut answers = ask(&mut requests, named(&["a", "acme"]));
    requests.begin();
    requests.plan_made(&Plan { unknown: ["a", "acme"].map(id).into(), ..Plan::default() }, &state);
    assert_eq!(answers.try_recv().unwrap(), Err(RefreshRefusal::Ineligible(vec![(id("acme"), why)])));
}

#[test]
fn a_request_that_does_not_wait_is_answered_after_the_poll_and_still_carried_out() {
    let mut requests = Requests::default();
    let (reply, mut answers) = oneshot::channel();
    requests.add(RefreshRequest { selection: named(&["new"]), wait: false, reply: Some(reply) });
    requests.begin();
    assert!(answers.try_recv().is_err(), "the table has not been read");
    requests.plan_made(&Plan::default(), &state());
    assert_eq!(answers.try_recv().unwrap(), Ok(Vec::new()));
    requests.note(&carried_over("new"));
    requests.answer(&state());
    assert!(requests.is_waiting(), "it goes on in the next pass");
}

#[test]
fn a_request_without_a_waiting_client_joins_no_request_with_one_and_none_that_has_begun() {
    let mut requests = Requests::default();
    let gone =
        |name| RefreshRequest { selection: named(&[name]), wait: false, reply: Some(oneshot::channel().0) };
    requests.add(gone("begun"));
    requests.begin();
    requests.note(&carried_over("begun"));
    let waits = ask(&mut requests, named(&["a"]));
    requests.answer(&state());
    requests.add(gone("b"));
    requests.add(gone("c"));
    requests.begin();
    let together = named(&["b", "c"]);
    assert_eq!(requests.selections(), [named(&["begun"]), named(&["a"]), together], "the oldest first");
    requests.note(&failed("a"));
    requests.answer(&state());
    assert_eq!(names(waits), ["a"]);
}

#[test]
fn a_pass_that_was_refused_carries_nothing_over() {
    let mut requests = Requests::default();
    let refused = ask(&mut requests, Selection::All);
    requests.begin();
    requests.note(&failed("a"));
    requests.note(&carried_over("b"));
    requests.refuse(&RefreshRefusal::ShuttingDown);
    drop(refused);
    let next = ask(&mut requests, Selection::All);
    requests.begin();
    requests.note(&failed("c"));
    requests.answer(&state());
    assert_eq!(names(next), ["c"]);
}

/// Before an operator forces another send.
#[test]
fn p02_the_outcome_of_a_named_customer_says_how_many_passwords_may_have_been_counted() {
    use crate::engine::credentials::{HeldCredentials, Outcome as Sent};
    let row = |name: &str| crate::model::Customer {
        id: id(name),
        credentials: crate::model::Credentials {
            url: "https://tb.example".into(),
            username: name.to_owned(),
            password: crate::model::Secret::new("p"),
        },
        row_url: "https://tb.example".into(),
        has_token: false,
        expiry: None,
    };
    let (mut state, now) = (state(), chrono::DateTime::UNIX_EPOCH);
    let key = crate::model::FingerprintKey::new(&[7; crate::model::FingerprintKey::BYTES]);
    let table = crate::store::Table {
        customers: ["a", "b"].map(row).into(),
        ineligible: Vec::new(),
        problems: Vec::new(),
        records: Vec::new(),
        key,
        records_lost: None,
    };
    state.apply(Event::TableRead(table), now, 0.5);
    let mut messages = |sends: usize, selection: Selection, failure: Failure| {
        for _ in 0..sends {
            let mut ledger = state.lend_ledger();
            let held = HeldCredentials::default();
            let query = state.customer(&id("a")).unwrap().login_query(&held, Leave::Forced).unwrap();
            let seen = std::time::Instant::now();
            let charge = ledger.charge(&query, 1, seen);
            ledger.settle(charge, Sent::Rejected.failure().as_ref(), seen);
            state.return_ledger(ledger);
        }
        let mut requests = Requests::default();
        let mut answers = ask(&mut requests, selection);
        requests.begin();
        for name in ["a", "b"] {
            requests.note(&Event::Failed { id: id(name), failure: failure.clone() });
        }
        requests.answer(&state);
        let details = answers.try_recv().unwrap().unwrap();
        details
            .into_iter()
            .map(|(_, outcome)| match outcome {
                Outcome::Failed(_, message) => message,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let failure = Failure::CredentialsRejected;
    let plain = failure.to_string();
    let one = "a password that ThingsBoard may have counted as wrong was sent to this account";
    let two = "2 passwords that ThingsBoard may have counted as wrong were sent to this account";
    assert_eq!(messages(0, forced(&["a", "b"]), failure.clone()), [plain.clone(), plain.clone()]);
    assert_eq!(messages(1, named(&["a", "b"]), failure.clone()), [format!("{plain}; {one}"), plain.clone()]);
    assert_eq!(messages(1, forced(&["a", "b"]), failure.clone()), [format!("{plain}; {two}"), plain.clone()]);
    assert_eq!(messages(0, Selection::All, failure), [plain.clone(), plain]);
    let exhausted = Failure::AttemptsExhausted { charges: 2 };
    assert_eq!(messages(0, named(&["a"]), exhausted.clone()), [exhausted.to_string()], "it says so itself");
}
