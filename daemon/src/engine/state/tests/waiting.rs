//! Who waits for its server until it is back, and passwords that were sent too often to hurry with them.

use super::super::super::accounts::Permission;
use super::super::super::plan::{Selection, plan};
use super::*;

fn elsewhere() -> Credentials {
    Credentials { url: "https://far.example".to_owned(), ..row("far").credentials }
}

#[test]
fn a_server_that_is_back_lets_nobody_wait_who_waited_for_it() {
    let (near, far) = (row("near"), Customer { credentials: elsewhere(), ..row("far") });
    let mut state = state(vec![near, far, row("strained"), row("bad"), row("fine")]);
    let unreachable = || Failure::Unreachable { why: "no connection".to_owned() };
    apply(&mut state, 0, [failed("near", unreachable()), failed("far", unreachable())]);
    apply(&mut state, 2, [failed("strained", strained()), failed("bad", Failure::CredentialsRejected)]);
    let before = state.revision();
    apply(&mut state, 9, [Event::HostBack(host(URL)), Event::PassFinished]);
    assert_eq!(changed_since(&state, before), ["near"]);
    let waits = |state: &State, name| failure(state, name).next_attempt_at.is_some();
    let waiting = ["near", "far", "strained"].map(|name| waits(&state, name));
    assert_eq!(waiting, [false, true, true]);
    // A password that may have been counted as wrong has its time; one that has worked does not need it.
    apply(&mut state, 10, [failed("near", silent()), Event::HostBack(host(URL)), Event::PassFinished]);
    assert!(waits(&state, "near"));
    apply(
        &mut state,
        12,
        [
            obtained("near", 60, Via::Login),
            failed("near", silent()),
            Event::HostBack(host(URL)),
            Event::PassFinished,
        ],
    );
    assert!(!waits(&state, "near"));
}

/// The pass goes on after that, and its end is what ends waits.
#[test]
fn who_failed_after_its_server_was_back_waits() {
    let mut state = state(vec![row("before"), row("after")]);
    let unreachable = || Failure::Unreachable { why: "no connection".to_owned() };
    apply(&mut state, 0, [failed("before", unreachable()), Event::HostBack(host(URL))]);
    apply(&mut state, 2, [failed("after", unreachable())]);
    unrecorded(&mut state);
    apply(&mut state, 3, [Event::PassFinished]);
    let waits = ["before", "after"].map(|name| failure(&state, name).next_attempt_at.is_some());
    assert_eq!(waits, [false, true]);
    let freed = ("before".to_owned(), Some(FailureKind::Unreachable));
    assert_eq!(unrecorded(&mut state), [freed], "it does not wait after a restart either");
    assert_eq!(entry(&state, "before").record.updated_at, after(3));
    // Once.
    apply(&mut state, 4, [failed("before", unreachable()), Event::PassFinished]);
    assert!(failure(&state, "before").next_attempt_at.is_some());
}

/// How long it waits after each failure in a row, its token ending in five minutes.
fn waits(mut state: State, failures: &[Failure]) -> Vec<i64> {
    let mut at = 0;
    let wait = |failure: &Failure| {
        apply(&mut state, at, [failed("a", failure.clone())]);
        let until = super::failure(&state, "a").next_attempt_at.unwrap();
        let wait = (until - after(at)).num_seconds();
        at += wait;
        wait
    };
    failures.iter().map(wait).collect()
}

#[test]
fn p02_a_password_is_sent_three_times_to_save_a_token_and_then_waits_as_if_there_were_none() {
    assert_eq!(
        waits(state(vec![ending("a", 300)]), &[silent(), silent(), silent(), silent()]),
        [60, 80, 240, 480]
    );
    // Nothing can be counted where nobody listens, and a third of what is left is always tried.
    let refused = Failure::Unreachable { why: "refused".to_owned() };
    let many = vec![refused; 6];
    assert_eq!(waits(state(vec![ending("a", 300)]), &many), [60, 80, 53, 35, 24, 16]);
    // Neither where a refresh token is sent.
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [obtained("a", 300, Via::Login), saved("a", 300)]);
    assert_eq!(waits(state, &[silent(), silent(), silent(), silent()])[..4], [60, 80, 53, 35]);
}

/// The server was down, the machine was started anew, and the first answer of all is late.
#[test]
fn one_time_out_after_other_failures_is_the_first() {
    let refused = Failure::Unreachable { why: "refused".to_owned() };
    let failures = [vec![refused; 5], vec![silent(), silent(), silent()]].concat();
    assert_eq!(waits(state(vec![ending("a", 300)]), &failures)[5..], [16, 10, 240]);
    // After a restart the row alone says how often that was.
    let mut before = state(vec![ending("a", 300)]);
    apply(&mut before, 0, [silent(), silent(), silent()].map(|failure| failed("a", failure)));
    let records = before.take_unrecorded(10);
    let mut again = state(vec![]);
    apply(&mut again, 10, [Event::TableRead(table(vec![ending("a", 300)], records)), failed("a", silent())]);
    assert_eq!(failure(&again, "a").next_attempt_at, Some(after(11 + 480)));
}

/// How often a password is sent in an hour for these rows, to a server that is silent.
fn sent_in_an_hour(mut state: State) -> usize {
    let mut sent = 0;
    for minute in 0..60 {
        let at = minute * 60;
        state.advance(after(at));
        let plan = plan(&state, after(at), &state.policy, &[Selection::Due]);
        let may_ask = plan.accounts.first().is_some_and(|account| account.may_ask() == Permission::Go);
        if let Some(first) = plan.attempts.first().filter(|_| may_ask) {
            sent += 1;
            let id = first.customer.id.clone();
            state.apply(Event::Failed { id, failure: silent() }, after(at + 10), 0.5);
        }
    }
    sent
}

/// Ten rows with one account are not ten times as many wrong passwords.
#[test]
fn p02_a_password_that_nobody_answers_is_sent_as_often_for_ten_rows_as_for_one() {
    let with = |n: usize| Customer { credentials: row("a").credentials, ..row(&format!("{n}")) };
    assert_eq!(sent_in_an_hour(state(vec![with(0)])), 6);
    assert_eq!(sent_in_an_hour(state((0..10).map(with).collect())), 6);
    let mut proven = state((0..10).map(|n| Customer { ..with(n) }).collect());
    proven.entries.values_mut().for_each(|entry| entry.known = Known::Proven);
    assert!(sent_in_an_hour(proven) <= 8);
}

/// A server that answers now and then, or a daemon that is started again and again.
#[test]
fn p02_a_server_that_is_back_shortens_the_wait_of_a_password_to_as_many_intervals_as_it_failed() {
    let mut state = state(vec![row("a")]);
    state.entries.values_mut().for_each(|entry| entry.known = Known::Proven);
    apply(&mut state, 0, (0..5).map(|_| failed("a", silent())));
    let back = || [Event::HostBack(host(URL)), Event::PassFinished];
    apply(&mut state, 10, back());
    assert_eq!(failure(&state, "a").next_attempt_at, Some(after(4 + 300)), "not after sixteen minutes");
    apply(&mut state, 400, back());
    assert_eq!(failure(&state, "a").next_attempt_at, Some(after(4 + 300)));
}

/// Ten rows with one account are not thirty wrong passwords.
#[test]
fn p02_what_was_sent_three_times_is_held_back_for_all_rows_that_have_it() {
    let with = |name: &str| Customer { credentials: row("a").credentials, ..ending(name, 300) };
    let mut state = state(["a", "b", "c", "d"].map(with).into());
    state.entries.values_mut().for_each(|entry| entry.known = Known::Proven);
    let permission = |state: &State, second: i64, selection: Selection| {
        let plan = plan(state, after(second), &state.policy, &[selection]);
        assert!(plan.attempts.iter().any(|attempt| attempt.customer.id == id("a")));
        plan.accounts[0].may_ask()
    };
    for (second, name) in [(1, "b"), (2, "c")] {
        apply(&mut state, second, [failed(name, silent())]);
        assert_eq!(permission(&state, second, Selection::Due), Permission::Go, "it has worked");
    }
    apply(&mut state, 3, [failed("d", silent())]);
    let until = failure(&state, "d").next_attempt_at.unwrap();
    assert_eq!(until, after(3 + 240), "the third of this password");
    let Permission::NotNow(why) = permission(&state, 4, Selection::Due) else { panic!("a fourth time") };
    assert!(why.to_string().contains("customer"), "{why}");
    assert_eq!(permission(&state, 4, Selection::DueNow), Permission::Go, "an operator may ask");
    assert_eq!(permission(&state, 243, Selection::Due), Permission::Go, "the wait has an end");
    // An answer ends it.
    apply(&mut state, 243, [obtained("a", 900, Via::Login), Event::RefreshTokenRefused(id("a"))]);
    apply(&mut state, 245, [Event::Superseded(id("a")), failed("b", silent())]);
    assert_eq!(permission(&state, 247, Selection::Due), Permission::Go);
}

#[test]
fn how_often_a_password_was_sent_is_forgotten_with_its_last_failure() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [silent(), silent(), silent()].map(|failure| failed("a", failure)));
    let fingerprint = state.fingerprint(&entry(&state, "a").customer.credentials).unwrap();
    assert!(state.is_held_back(&fingerprint));
    apply(&mut state, 10, [read(vec![row("a")])]);
    assert!(state.is_held_back(&fingerprint), "it still fails");
    apply(&mut state, 20, [read(vec![row("b")])]);
    assert!(!state.is_held_back(&fingerprint));
}
