//! Tests of the changes by each fact, except those beside the parts of the state.

mod checking;
mod clock;
mod customers;
mod ineligible;
mod ledger;
mod parked;
mod store;
mod table;
mod waiting;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use proptest::prelude::{prop_assert_eq, proptest};

use super::super::credentials::Settings;
use super::super::deferral::Deferral;
use super::super::event::RenewalMethod;
use super::super::policy::Trigger;
use super::*;
use crate::model::{
    BaseUrl, Credentials, Customer, FailureKind, FailureNote, Lifetime, Renewal, Secret, ServerKey, Skew,
    Token,
};
use crate::store::Table;
use crate::thingsboard::gate::Breaker;

const URL: &str = "https://tb.example";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000, 0).unwrap()
}

fn after(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

fn id(text: &str) -> CustomerId {
    CustomerId::new(text)
}

fn row(name: &str) -> Customer {
    Customer {
        id: id(name),
        credentials: Credentials {
            url: URL.into(),
            username: format!("user of {name}"),
            password: Secret::new("right"),
        },
        row_url: URL.into(),
        has_token: false,
        expiry: None,
    }
}

/// The row with a token that ends then.
fn ending(name: &str, ends_in: i64) -> Customer {
    Customer { has_token: true, expiry: Some(after(ends_in)), ..row(name) }
}

fn key(byte: u8) -> FingerprintKey {
    FingerprintKey::new(&[byte; FingerprintKey::BYTES])
}

fn table(customers: Vec<Customer>, records: Vec<Record>) -> Table {
    Table {
        customers,
        ineligible: Vec::new(),
        problems: Vec::new(),
        records,
        key: key(7),
        records_lost: None,
    }
}

fn state(customers: Vec<Customer>) -> State {
    let mut state = State::new(Policy::of_a_minute(), 100, Settings::of_a_minute());
    state.apply(Event::TableRead(table(customers, Vec::new())), now(), 0.5);
    state
}

/// Applies events, one a second from that second on.
fn apply(state: &mut State, second: i64, events: impl IntoIterator<Item = Event>) {
    for (n, event) in (0..).zip(events) {
        state.apply(event, after(second + n), 0.5);
    }
}

fn read(customers: Vec<Customer>) -> Event {
    Event::TableRead(table(customers, Vec::new()))
}

fn failed(name: &str, failure: Failure) -> Event {
    Event::Failed { id: id(name), failure }
}

/// Fails so often, the first time at once and then each time that it is tried by itself. Says when it failed last.
fn fail_by_itself(
    state: &mut State,
    name: &str,
    failures: impl IntoIterator<Item = Failure>,
) -> DateTime<Utc> {
    let mut last = now();
    for failure in failures {
        let note = customer(state, name).record().failure.as_ref();
        last = note.map_or(last, |note| note.next_attempt_at.unwrap_or(last));
        state.apply(failed(name, failure), last, 0.5);
    }
    last
}

fn strained() -> Failure {
    Failure::ServerError { status: 503, retry_after: None }
}

fn silent() -> Failure {
    Failure::Timeout { after: Duration::from_secs(10) }
}

/// A token of this life, which came at the time `now`.
fn obtained(name: &str, life: i64, method: RenewalMethod) -> Event {
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":0,"exp":{life}}}"#));
    let token = Token::parse(&format!("a.{claims}.c")).unwrap();
    Event::Obtained {
        renewal: Box::new(Renewal::new(&row(name), token, now(), Lifetime::Jwt)),
        refresh_token: Some(Secret::new("refresh")),
        method,
        latency: Duration::from_millis(120),
        skew: Skew::measure(now(), now(), TimeDelta::zero()),
    }
}

/// That token is in the table.
fn saved(name: &str, life: i64) -> Event {
    Event::Saved { id: id(name), expiry: after(life) }
}

fn away() -> StoreError {
    StoreError::Gone { place: "customers.db".to_owned() }
}

fn save_failed(name: &str) -> Event {
    Event::SaveFailed { ids: vec![id(name)], error: away() }
}

fn customer<'a>(state: &'a State, name: &str) -> &'a CustomerState {
    state.customer(&id(name)).unwrap()
}

fn failure<'a>(state: &'a State, name: &str) -> &'a FailureNote {
    customer(state, name).record().failure.as_deref().unwrap()
}

/// The notices since the last call, each with its customer.
fn take_notices(state: &mut State) -> Vec<(NoticeKind, String)> {
    let name = |notice: &Notice| notice.customer.as_ref().map_or(String::new(), ToString::to_string);
    state.history.take_unlogged().map(|notice| (notice.kind, name(notice))).collect()
}

fn notices(kinds: &[(NoticeKind, &str)]) -> Vec<(NoticeKind, String)> {
    kinds.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect()
}

fn unrecorded(state: &mut State) -> Vec<(String, Option<FailureKind>)> {
    let failing = |record: Record| (record.id.to_string(), record.failure.map(|failure| failure.kind));
    state.take_unrecorded(Records::All, 1000).into_iter().map(failing).collect()
}

/// The customers with a newer revision.
fn changed_since(state: &State, revision: u64) -> Vec<&str> {
    let changed = state.customers().values().filter(|customer| customer.revision > revision);
    changed.map(|customer| customer.row.id.as_str()).collect()
}

#[test]
fn renewals_are_counted_by_what_they_needed() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [obtained("a", 60, RenewalMethod::Login), saved("a", 60)]);
    for second in [2, 3] {
        apply(&mut state, second, [obtained("a", 60, RenewalMethod::RefreshToken), saved("a", 60)]);
    }
    assert_eq!(
        [RenewalMethod::Login, RenewalMethod::RefreshToken]
            .map(|method| state.counters().renewals_by(method)),
        [1, 2]
    );
    apply(&mut state, 4, [Event::RefreshTokenRefused(id("a"))]);
    assert!(customer(&state, "a").refresh_token.is_none());
}

#[test]
fn a_pass_that_is_cut_short_leaves_no_customer_refreshing() {
    let mut state = state(vec![row("a"), row("b"), row("c")]);
    apply(&mut state, 0, [Event::Attempting(id("a")), Event::Attempting(id("b"))]);
    apply(&mut state, 2, [failed("b", strained())]);
    assert!(!customer(&state, "b").attempting);
    let before = state.revision();
    apply(&mut state, 3, [Event::PassFinished]);
    assert!(!customer(&state, "a").attempting);
    assert_eq!(changed_since(&state, before), ["a"]);
    assert!(
        take_notices(&mut state).iter().all(|(kind, _)| *kind != NoticeKind::PassFinished),
        "it tried no customer"
    );
    apply(&mut state, 4, [Event::PassStarted { trigger: Trigger::Start, attempts: 0 }, Event::PassFinished]);
    assert_eq!((state.pass, take_notices(&mut state)), (PassCounts::default(), Vec::new()));
    apply(
        &mut state,
        6,
        [Event::PassStarted { trigger: Trigger::Start, attempts: 2 }, failed("a", strained())],
    );
    apply(&mut state, 8, [failed("b", strained()), Event::PassFinished]);
    assert_eq!(state.pass, PassCounts { total: 2, updated: 0, errors: 2 });
    let messages: Vec<_> = state.history.share().iter().map(|notice| notice.message.clone()).collect();
    assert!(messages.contains(&"renewing 2 customers".to_owned()), "{messages:?}");
    assert_eq!(messages.last().unwrap(), "0 of 2 renewed, 2 failed");
    apply(&mut state, 10, [Event::PassStarted { trigger: Trigger::Start, attempts: 1 }]);
    assert_eq!(state.history.share().iter().last().unwrap().message, "renewing 1 customer");
}

#[test]
fn a_customer_that_is_left_out_without_a_reason_is_not_being_renewed() {
    let mut state = state(vec![row("a")]);
    apply(
        &mut state,
        0,
        [Event::Attempting(id("a")), Event::Deferred { id: id("a"), why: Deferral::CutShort }],
    );
    assert!(!customer(&state, "a").attempting);
}

#[test]
fn a_customer_that_is_left_out_is_told_once() {
    let mut state = state(vec![row("a"), row("b")]);
    let deferred = |why: &Deferral| Event::Deferred { id: id("a"), why: why.clone() };
    let (silent, strained_server) = (Deferral::Server(silent()), Deferral::Server(strained()));
    let why = |state: &State| customer(state, "a").deferred.as_deref().cloned();
    apply(&mut state, 0, [Event::Attempting(id("a")), deferred(&silent)]);
    assert_eq!((customer(&state, "a").attempting, why(&state)), (false, Some(silent.clone())));
    let before = state.revision();
    apply(
        &mut state,
        2,
        [deferred(&silent), deferred(&silent), Event::CarriedOver { id: id("b"), is_leave_used: false }],
    );
    assert_eq!(state.revision(), before, "nothing has changed");
    apply(&mut state, 5, [deferred(&strained_server)]);
    assert_eq!(changed_since(&state, before), ["a"]);
    apply(&mut state, 6, [Event::CarriedOver { id: id("a"), is_leave_used: false }]);
    assert_eq!(why(&state), None);
    for end in [Event::Attempting(id("a")), failed("a", strained()), saved("a", 60)] {
        apply(&mut state, 7, [deferred(&silent), end]);
        assert_eq!(why(&state), None);
    }
}

fn server(url: &str) -> ServerKey {
    BaseUrl::parse(url).unwrap().server_key()
}

#[test]
fn the_gate_of_a_server_changes_the_revision_only_when_it_moves() {
    let mut state = state(vec![row("a")]);
    let moved = |limit, breaker| Event::GateMoved { server: server(URL), limit, breaker };
    let before = state.revision();
    apply(&mut state, 0, [moved(4, Breaker::Closed)]);
    assert_eq!(state.revision(), before, "so it stood before");
    apply(&mut state, 1, [moved(2, Breaker::Closed), moved(2, Breaker::Open)]);
    assert_eq!(state.revision(), before + 2);
    let gates: Vec<_> =
        state.servers().values().map(|server| (server.limit, server.breaker, server.revision)).collect();
    assert_eq!(gates, [(2, Breaker::Open, before + 2)]);
}

#[test]
fn a_rate_limit_that_names_a_time_is_heeded_within_reason() {
    // What was asked for, and the wait after a first failure, which would be a minute.
    let limited = |asked| Failure::RateLimited { retry_after: asked };
    for (asked, wait) in
        [(None, 60), (Some(10), 60), (Some(300), 300), (Some(1_800), 1_800), (Some(u64::MAX), 1_800)]
    {
        let mut state = state(vec![row("a")]);
        apply(&mut state, 0, [failed("a", limited(asked.map(Duration::from_secs)))]);
        assert_eq!(failure(&state, "a").next_attempt_at, Some(after(wait)), "{asked:?}");
    }
}

#[test]
fn a_token_that_still_lives_shortens_the_wait() {
    // Without a token its expiry means nothing.
    let no_token = Customer { has_token: false, ..ending("none", 90) };
    let mut state = state(vec![ending("lives", 90), ending("ended", -90), no_token]);
    for (name, wait) in [("lives", 30), ("ended", 60), ("none", 60)] {
        apply(&mut state, 0, [failed(name, strained())]);
        assert_eq!(failure(&state, name).next_attempt_at, Some(after(wait)), "{name}");
    }
}

#[test]
fn the_same_trouble_again_is_worth_ever_fewer_lines() {
    let mut state = state(vec![row("a")]);
    let others = [silent(), Failure::AccountDisabled, Failure::AccountDisabled];
    let last = fail_by_itself(&mut state, "a", (0..9).map(|_| strained()).chain(others));
    let quiet: Vec<bool> = state.history.share().iter().map(|notice| notice.quiet).collect();
    let (loud, quiet_again) = (false, true);
    let same = [loud, loud, quiet_again, loud, quiet_again, quiet_again, quiet_again, loud, quiet_again];
    assert_eq!(quiet[..9], same, "the 1st, 2nd, 4th, 8th");
    assert_eq!(quiet[9..], [loud; 3], "another failure, and whatever parks");
    let detail = state.history.share().iter().last().unwrap().failure.clone().unwrap();
    assert_eq!((detail.attempt, detail.next_at, detail.url.as_str()), (12, Some(last + DAILY), URL));
}

/// The log and `status` name the same time.
#[test]
fn a_customer_tried_by_an_operator_before_it_was_due_is_tried_again_when_it_is() {
    let mut state = state(vec![ending("good", 600), ending("ends", 200)]);
    apply(&mut state, 0, [failed("good", strained()), failed("ends", strained())]);
    let reported: Vec<_> =
        state.history.share().iter().filter_map(|notice| notice.failure.as_ref()?.next_at).collect();
    let due = after(300) + TimeDelta::milliseconds(1);
    assert_eq!(reported, [due, failure(&state, "ends").next_attempt_at.unwrap()]);
    assert!(failure(&state, "good").next_attempt_at.unwrap() < due);
}

/// An attempt of an operator is one more, and changes nothing for those that come by themselves.
#[test]
fn an_early_attempt_of_an_operator_does_not_delay_the_next_one() {
    let refused = || Failure::Unreachable { why: "refused".to_owned() };
    let ended = || state(vec![ending("a", -9_000)]);
    let mut alone = ended();
    fail_by_itself(&mut alone, "a", (0..4).map(|_| refused()));
    let mut state = ended();
    for _ in 0..4 {
        let at = fail_by_itself(&mut state, "a", [refused()]);
        let next = failure(&state, "a").next_attempt_at.unwrap();
        for early in 1..=8 {
            let at = at + (next - at) * early / 10;
            state.apply(failed("a", refused()), at, f64::from(early % 2));
            assert_eq!(failure(&state, "a").next_attempt_at, Some(next), "refreshed {early} times");
        }
    }
    assert_eq!(failure(&state, "a").next_attempt_at, failure(&alone, "a").next_attempt_at);
    assert_eq!(failure(&state, "a").consecutive, 4);
}

/// Before its window a customer has no failure yet; the operator's is not the first of its back-off.
#[test]
fn an_attempt_of_an_operator_before_the_customer_is_due_begins_no_back_off() {
    let mut state = state(vec![ending("a", 330)]);
    apply(&mut state, 0, (0..8).map(|_| failed("a", silent())));
    let due = after(30) + TimeDelta::milliseconds(1);
    assert!(failure(&state, "a").next_attempt_at.unwrap() <= due);
    assert_eq!(customer(&state, "a").verdict(due, &Policy::of_a_minute()), Verdict::Due);
    state.apply(failed("a", silent()), due, 0.5);
    assert_eq!(
        (failure(&state, "a").consecutive, failure(&state, "a").next_attempt_at.unwrap() - due),
        (1, TimeDelta::minutes(1))
    );
    // A wait that the server asks for is heeded in any case.
    let wait = Some(Duration::from_secs(600));
    state.apply(failed("a", Failure::RateLimited { retry_after: wait }), due, 0.5);
    assert_eq!(failure(&state, "a").next_attempt_at, Some(due + TimeDelta::minutes(10)));
    apply(
        &mut state,
        31,
        [obtained("a", 3_600, RenewalMethod::Login), saved("a", 3_600), failed("a", silent())],
    );
    assert_eq!(failure(&state, "a").consecutive, 1, "a success ends what was not counted");
}

#[test]
fn p02_a_parked_customer_that_was_named_says_why_it_could_not_be_asked() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [failed("a", Failure::CredentialsRejected), Event::Attempting(id("a"))]);
    let before = state.revision();
    apply(&mut state, 2, [failed("a", strained())]);
    let a = customer(&state, "a");
    assert!(!a.attempting && a.revision > before);
    assert_eq!(
        (failure(&state, "a").kind, failure(&state, "a").consecutive),
        (FailureKind::CredentialsRejected, 2)
    );
    let kept = state.history.share();
    let last = kept.iter().last().unwrap();
    assert_eq!((last.kind, last.quiet, state.pass.errors), (NoticeKind::Parked, false, 2));
    assert!(
        last.message.contains("HTTP 503") && last.message.contains("it stays parked"),
        "{}",
        last.message
    );
    // With other credentials it is no longer the one that was refused.
    let mut changed = row("a");
    changed.credentials.password = Secret::new("other");
    apply(&mut state, 3, [read(vec![changed]), failed("a", strained())]);
    assert_eq!(failure(&state, "a").kind, FailureKind::ServerError);
    // That the store is away is no answer of the server, but the token is here.
    let mut state = self::state(vec![row("a")]);
    apply(&mut state, 0, [failed("a", Failure::CredentialsRejected), save_failed("a")]);
    assert_eq!(failure(&state, "a").kind, FailureKind::Database);
}

#[test]
fn a_token_that_ends_is_told_once_and_one_that_never_was_is_not() {
    let mut state = state(vec![row("never"), ending("soon", 400)]);
    let a_moment = TimeDelta::milliseconds(1);
    assert_eq!(state.advance(now()), Some(after(100) + a_moment), "the first instant of its window");
    let before = state.revision();
    assert_eq!(state.advance(after(100)), Some(after(100) + a_moment));
    assert_eq!((customer(&state, "soon").status, state.revision()), (TokenStatus::Valid, before));
    assert_eq!(state.advance(after(100) + a_moment), Some(after(400) + a_moment));
    assert_eq!(customer(&state, "soon").status, TokenStatus::ExpiringSoon);
    assert_eq!(changed_since(&state, before), ["soon"]);
    assert_eq!(take_notices(&mut state), []);
    assert_eq!(state.advance(after(400) + a_moment), None);
    assert_eq!(take_notices(&mut state), notices(&[(NoticeKind::Expired, "soon")]));
    state.advance(after(500));
    assert_eq!(take_notices(&mut state), []);
    // A row that is given a token which has ended was never better.
    apply(&mut state, 600, [read(vec![ending("never", 10), ending("soon", 400)])]);
    assert_eq!(customer(&state, "never").status, TokenStatus::Expired);
    assert_eq!(take_notices(&mut state), []);
}

#[test]
fn the_next_change_is_the_earliest_of_all() {
    let mut state = state(vec![ending("a", 1_000), ending("b", 400), ending("c", 2_000), row("d")]);
    assert_eq!(state.advance(now()), Some(after(100) + TimeDelta::milliseconds(1)));
}

#[test]
fn another_policy_changes_all_customers_for_clients() {
    let mut state = state(vec![row("a"), ending("b", 600)]);
    let before = state.revision();
    let policy = Policy { window: TimeDelta::minutes(20), ..state.policy.clone() };
    state.set_policy(policy, after(1));
    assert_eq!(changed_since(&state, before), ["a", "b"]);
    state.advance(now());
    assert_eq!(customer(&state, "b").status, TokenStatus::ExpiringSoon);
}

#[test]
fn the_loop_says_that_it_was_started_and_stopped() {
    let mut state = state(vec![]);
    apply(&mut state, 0, [Event::LoopStarted, Event::LoopStopped]);
    assert_eq!(take_notices(&mut state), notices(&[(NoticeKind::Started, ""), (NoticeKind::Stopped, "")]));
    let seqs: Vec<u64> = state.history.share().iter().map(|notice| notice.seq).collect();
    assert_eq!(seqs, [101, 102], "a restart is recognized by them");
}

proptest! {
    /// Whatever fails how often, a new attempt has its time unless the customer needs a change or waits for the store.
    #[test]
    fn a_customer_that_fails_and_is_not_parked_has_a_next_attempt(times in 1_u32..40, what in 0_usize..5) {
        let failures =
            [strained(), silent(), Failure::AccountDisabled, Failure::CredentialsRejected, Failure::InsecureUrl];
        let mut state = state(vec![row("a")]);
        fail_by_itself(&mut state, "a", (0..times).map(|_| failures[what].clone()));
        let note = failure(&state, "a");
        prop_assert_eq!(note.consecutive, times);
        prop_assert_eq!(note.permanent, what >= 2);
        prop_assert_eq!(note.next_attempt_at.is_none(), what >= 3);
    }
}
