//! A backward clock step.

use super::super::super::plan::{Selection, plan};
use super::*;

const HOUR: i64 = 3_600;

fn step_back(seconds: i64) -> Event {
    Event::ClockStepped(TimeDelta::seconds(seconds))
}

fn verdict_at(state: &State, name: &str, second: i64) -> Verdict {
    customer(state, name).verdict(after(second), &state.policy)
}

/// A row that was renewed before the clock step, as the table holds it.
fn renewed(life: i64) -> State {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [obtained("a", life, RenewalMethod::Login), saved("a", life)]);
    state
}

#[test]
fn p21_a_token_that_its_row_declares_to_end_too_late_is_renewed_and_may_end_earlier() {
    let mut state = renewed(7 * 24 * HOUR);
    assert!(matches!(verdict_at(&state, "a", 10), Verdict::Rest { .. }));
    apply(&mut state, 10 - HOUR, [step_back(HOUR)]);
    let ours = customer(&state, "a");
    assert_eq!((ours.ends_at(), ours.status), (Some(after((7 * 24 - 1) * HOUR)), TokenStatus::Valid));
    assert_eq!(verdict_at(&state, "a", 10 - HOUR), Verdict::Due);
    assert_eq!(take_notices(&mut state).last().unwrap().0, NoticeKind::ClockSetBack);
    let plan = plan(&state, after(10 - HOUR), &state.policy, &[Selection::Due]);
    let replaces = plan.attempts[0].replaces;
    assert_eq!(replaces, Some(after(7 * 24 * HOUR)));
    // It replaces what it knows, and nothing that another program has written meanwhile.
    let mut renewal = match obtained("a", 60, RenewalMethod::Login) {
        Event::Obtained { renewal, .. } => renewal,
        other => panic!("{other:?}"),
    };
    renewal.replaces = replaces;
    assert!(renewal.may_replace(after(7 * 24 * HOUR)) && !renewal.may_replace(after(7 * 24 * HOUR + 1)));
}

#[test]
fn p21_a_step_within_the_window_only_brings_the_renewal_forward() {
    let mut state = renewed(HOUR);
    apply(&mut state, 0, [step_back(200)]);
    let until = after(HOUR - 200 - 300) + TimeDelta::milliseconds(1);
    assert_eq!(verdict_at(&state, "a", 10), Verdict::Rest { until });
    // Steps add up.
    apply(&mut state, 0, [step_back(101)]);
    assert_eq!(verdict_at(&state, "a", 10), Verdict::Due);
}

#[test]
fn p21_a_short_token_dies_when_it_does_and_not_when_its_row_says() {
    let mut state = renewed(60);
    apply(&mut state, -20, [step_back(40)]);
    assert_eq!(customer(&state, "a").status, TokenStatus::Valid, "it lives for 20 s");
    assert_eq!(state.advance(after(-20)), Some(after(-10) + TimeDelta::milliseconds(1)));
    state.advance(after(21));
    assert_eq!(customer(&state, "a").status, TokenStatus::Expired, "its row says 39 s more");
}

/// Another program writes by the clock after the step; a column that has only minutes changes nothing.
#[test]
fn p21_what_is_known_of_a_row_ends_with_its_next_token() {
    for (seconds, is_misdated) in [(HOUR, true), (HOUR + 59, true), (HOUR + 61, false), (900, false)] {
        let mut state = renewed(HOUR);
        apply(&mut state, -HOUR, [step_back(HOUR), read(vec![ending("a", seconds)])]);
        assert_eq!(customer(&state, "a").replaceable().is_some(), is_misdated, "{seconds}");
    }
    let mut state = renewed(HOUR);
    apply(
        &mut state,
        -HOUR,
        [step_back(HOUR), obtained("a", HOUR, RenewalMethod::RefreshToken), saved("a", 0)],
    );
    assert_eq!(
        (customer(&state, "a").ends_at(), customer(&state, "a").replaceable()),
        (Some(after(0)), None)
    );
}

/// Its expiry was calculated before the clock step, and written after it.
#[test]
fn p21_a_token_that_was_on_its_way_during_a_clock_step_has_its_true_end() {
    let ends_at = |events: Vec<Event>| {
        let mut state = state(vec![row("a")]);
        // A second for each event, from when it is an hour earlier on.
        let first = -HOUR + 1 - i64::try_from(events.len()).unwrap();
        apply(&mut state, first, events);
        (customer(&state, "a").ends_at(), customer(&state, "a").replaceable())
    };
    let of_before = (Some(after(0)), Some(after(HOUR)));
    // It came before the step, and after it.
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [obtained("a", HOUR, RenewalMethod::Login)]);
    apply(&mut state, -HOUR, [step_back(HOUR)]);
    assert_eq!(customer(&state, "a").unsaved.as_ref().unwrap().expiry, after(0), "a later pass saves it so");
    apply(&mut state, -HOUR, [saved("a", HOUR)]);
    assert_eq!((customer(&state, "a").ends_at(), customer(&state, "a").replaceable()), of_before);
    let (end, replaceable) =
        ends_at(vec![step_back(HOUR), obtained("a", HOUR, RenewalMethod::Login), saved("a", HOUR)]);
    assert_eq!((end, replaceable), (Some(after(-1)), Some(after(HOUR))));
}

/// It waited for the database during the clock step.
#[test]
fn p21_a_token_that_waits_replaces_what_its_row_declares_too_late() {
    let mut state = renewed(7 * 24 * HOUR);
    apply(&mut state, 0, [obtained("a", 900, RenewalMethod::RefreshToken), save_failed("a")]);
    apply(&mut state, 10 - HOUR, [step_back(HOUR)]);
    let plan = plan(&state, after(10 - HOUR), &state.policy, &[Selection::Due]);
    let saves: Vec<_> = plan.saves.iter().map(|renewal| (renewal.expiry, renewal.replaces)).collect();
    assert_eq!(saves, [(after(900 - HOUR), Some(after(7 * 24 * HOUR)))]);
}

/// A row that cannot be written gets no login every minute.
#[test]
fn p21_a_row_that_could_not_be_replaced_is_believed() {
    let mut state = renewed(7 * 24 * HOUR);
    apply(&mut state, -HOUR, [step_back(HOUR)]);
    // Planned before the step: that it was in vain says nothing.
    apply(&mut state, -HOUR, [obtained("a", 900, RenewalMethod::RefreshToken), Event::Superseded(id("a"))]);
    assert_eq!(verdict_at(&state, "a", -HOUR), Verdict::Due);
    let mut obtained = obtained("a", 900, RenewalMethod::RefreshToken);
    if let Event::Obtained { renewal, .. } = &mut obtained {
        renewal.replaces = customer(&state, "a").replaceable();
    }
    apply(&mut state, -HOUR, [obtained, Event::Superseded(id("a"))]);
    assert!(matches!(verdict_at(&state, "a", -HOUR), Verdict::Rest { .. }));
}

#[test]
fn p21_an_expiry_with_a_fraction_is_not_ours_and_stays() {
    let theirs = Customer { expiry: Some(after(HOUR) + TimeDelta::milliseconds(3)), ..ending("a", HOUR) };
    let mut state = state(vec![theirs, ending("b", HOUR)]);
    apply(&mut state, -HOUR, [step_back(HOUR)]);
    let replaceable = ["a", "b"].map(|name| customer(&state, name).replaceable().is_some());
    assert_eq!(replaceable, [false, true]);
    assert!(matches!(verdict_at(&state, "a", -HOUR), Verdict::Rest { .. }));
}

#[test]
fn p21_a_customer_that_failed_after_its_server_was_back_waits_also_after_a_clock_step() {
    let mut state = state(vec![row("a")]);
    let unreachable = Failure::Unreachable { why: "no connection".to_owned() };
    let server = customer(&state, "a").server.clone().unwrap();
    apply(&mut state, 0, [Event::ServerRecovered(server)]);
    apply(&mut state, -HOUR, [step_back(HOUR)]);
    apply(&mut state, 5 - HOUR, [failed("a", unreachable), Event::PassFinished]);
    assert!(failure(&state, "a").next_attempt_at.is_some());
}

/// The wait goes on: a clock that is set is no reason to send a password again at once.
#[test]
fn p02_a_clock_step_leaves_the_waits_as_long_as_they_were() {
    let mut state = state(vec![row("a"), row("b")]);
    apply(&mut state, 0, [failed("a", silent()), failed("b", Failure::CredentialsRejected)]);
    unrecorded(&mut state);
    apply(&mut state, 20 - HOUR, [step_back(HOUR)]);
    assert_eq!(verdict_at(&state, "a", 20 - HOUR), Verdict::Wait { until: after(60 - HOUR) });
    assert_eq!((failure(&state, "a").at, failure(&state, "b").at), (after(-HOUR), after(1 - HOUR)));
    assert_eq!(unrecorded(&mut state).len(), 2, "after a restart too");
}
