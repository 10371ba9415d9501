//! Customers that wait for their server until it answers again.

use super::*;

fn elsewhere() -> Credentials {
    Credentials { url: "https://far.example".into(), ..row("far").credentials }
}

#[test]
fn a_server_that_is_back_ends_the_waits_for_it() {
    let (near, far) = (row("near"), Customer { credentials: elsewhere(), ..row("far") });
    let mut state = state(vec![near, far, row("strained"), row("bad"), row("fine")]);
    let unreachable = || Failure::Unreachable { why: "no connection".to_owned() };
    apply(&mut state, 0, [failed("near", unreachable()), failed("far", unreachable())]);
    apply(&mut state, 2, [failed("strained", strained()), failed("bad", Failure::CredentialsRejected)]);
    let before = state.revision();
    apply(&mut state, 9, [Event::ServerRecovered(server(URL)), Event::PassFinished]);
    assert_eq!(changed_since(&state, before), ["near"]);
    let waits = |state: &State, name| failure(state, name).next_attempt_at.is_some();
    let waiting = ["near", "far", "strained"].map(|name| waits(&state, name));
    assert_eq!(waiting, [false, true, true]);
    // A password that was left unanswered has its time; a refresh token does not need it.
    apply(
        &mut state,
        10,
        [failed("near", silent()), Event::ServerRecovered(server(URL)), Event::PassFinished],
    );
    assert!(waits(&state, "near"));
    apply(
        &mut state,
        12,
        [
            obtained("near", 60, RenewalMethod::Login),
            failed("near", silent()),
            Event::ServerRecovered(server(URL)),
            Event::PassFinished,
        ],
    );
    assert!(!waits(&state, "near"));
}

/// The pass goes on after that, and its end is what ends waits.
#[test]
fn a_customer_that_failed_after_its_server_was_back_waits() {
    let mut state = state(vec![row("before"), row("after")]);
    let unreachable = || Failure::Unreachable { why: "no connection".to_owned() };
    apply(&mut state, 0, [failed("before", unreachable()), Event::ServerRecovered(server(URL))]);
    apply(&mut state, 2, [failed("after", unreachable())]);
    unrecorded(&mut state);
    apply(&mut state, 3, [Event::PassFinished]);
    let waits = ["before", "after"].map(|name| failure(&state, name).next_attempt_at.is_some());
    assert_eq!(waits, [false, true]);
    let freed = ("before".to_owned(), Some(FailureKind::Unreachable));
    assert_eq!(unrecorded(&mut state), [freed], "it does not wait after a restart either");
    assert_eq!(customer(&state, "before").record().updated_at, after(3));
    // Once.
    apply(&mut state, 4, [failed("before", unreachable()), Event::PassFinished]);
    assert!(failure(&state, "before").next_attempt_at.is_some());
}

/// How long it waits after each failure in a row, its token ending in five minutes.
fn waits(mut state: State, failures: &[Failure]) -> Vec<i64> {
    let wait = |failure: &Failure| {
        let at = fail_by_itself(&mut state, "a", [failure.clone()]);
        let until = super::failure(&state, "a").next_attempt_at.unwrap();
        ((until - at).num_milliseconds() + 500) / 1000
    };
    failures.iter().map(wait).collect()
}

#[test]
fn a_third_of_what_is_left_of_a_token_is_always_tried() {
    let refused = Failure::Unreachable { why: "refused".to_owned() };
    for failure in [refused, silent(), strained()] {
        let many = vec![failure; 6];
        assert_eq!(waits(state(vec![ending("a", 299)]), &many), [60, 80, 53, 35, 24, 16]);
        assert_eq!(waits(state(vec![row("a")]), &many), [60, 120, 240, 480, 960, 1_800]);
    }
}

#[test]
fn how_often_a_customer_failed_is_known_after_a_restart() {
    let mut before = state(vec![row("a")]);
    fail_by_itself(&mut before, "a", [silent(), silent(), silent()]);
    let records = before.take_unrecorded(Records::All, 10);
    let mut again = state(vec![]);
    apply(&mut again, 420, [Event::TableRead(table(vec![row("a")], records)), failed("a", silent())]);
    assert_eq!(failure(&again, "a").next_attempt_at, Some(after(421 + 480)));
}

/// A server that answers now and then, or a daemon that is started again and again.
#[test]
fn p02_a_server_that_is_back_shortens_the_wait_to_as_many_intervals_as_the_customer_failed() {
    let odd = Failure::UnexpectedResponse(crate::model::UnexpectedAnswer::NotJson);
    for trouble in [silent(), strained(), odd] {
        let mut state = state(vec![row("a")]);
        let last = fail_by_itself(&mut state, "a", (0..5).map(|_| trouble.clone()));
        let back = || [Event::ServerRecovered(server(URL)), Event::PassFinished];
        let next = Some(last + TimeDelta::minutes(5));
        let seconds = (last - now()).num_seconds();
        apply(&mut state, seconds + 10, back());
        assert_eq!(failure(&state, "a").next_attempt_at, next, "not after sixteen minutes");
        apply(&mut state, seconds + 400, back());
        assert_eq!(failure(&state, "a").next_attempt_at, next);
    }
}

/// An operator's attempt before the time counts for nothing in the wait, so it does not lengthen what is left of it.
#[test]
fn an_early_attempt_of_an_operator_does_not_delay_the_return_with_the_server() {
    for trouble in [silent(), strained()] {
        let mut alone = state(vec![row("a")]);
        let last = fail_by_itself(&mut alone, "a", (0..4).map(|_| trouble.clone()));
        let mut state = state(vec![row("a")]);
        fail_by_itself(&mut state, "a", (0..4).map(|_| trouble.clone()));
        state.apply(failed("a", trouble), last + TimeDelta::minutes(3), 0.5);
        for state in [&mut alone, &mut state] {
            let back = [Event::ServerRecovered(server(URL)), Event::PassFinished];
            apply(state, (last - now()).num_seconds() + 200, back);
            let next = failure(state, "a").next_attempt_at;
            assert_eq!(next, Some(last + TimeDelta::minutes(4)));
        }
    }
}

/// A wait that is over, or one that a parked customer or the server itself asked for, is not touched.
#[test]
fn a_server_that_is_back_ends_only_the_waits_for_it() {
    let limited = Failure::RateLimited { retry_after: Some(Duration::from_secs(900)) };
    let mut state = state(vec![row("limited"), row("parked"), row("unsaved")]);
    apply(&mut state, 0, [failed("limited", limited), failed("parked", Failure::AccountDisabled)]);
    apply(&mut state, 2, [obtained("unsaved", 3_600, RenewalMethod::Login), save_failed("unsaved")]);
    // Since when the server answers is a change once.
    apply(&mut state, 3, [Event::ServerRecovered(server(URL))]);
    let (before, notes) = (state.revision(), ["limited", "parked", "unsaved"]);
    let notes = notes.map(|name| failure(&state, name).clone());
    apply(&mut state, 9, [Event::ServerRecovered(server(URL)), Event::PassFinished]);
    assert_eq!(state.revision(), before);
    for (note, name) in notes.iter().zip(["limited", "parked", "unsaved"]) {
        assert_eq!(failure(&state, name), note, "{name}");
    }
}
