//! Parked customers in the plan: the daily try, and refresh tokens that go on.

use super::*;

const DAY: i64 = 86_400;

fn may_log_in(plan: &Plan) -> bool {
    plan.attempts[0].may_log_in
}

#[test]
fn p03_what_is_not_counted_is_tried_once_a_day() {
    let mut state = state_with_ledger(vec![row("a", "p", None)]);
    send(&mut state, "a", Outcome::NotCounted);
    fail(&mut state, "a", Failure::AccountDisabled, now());
    assert!(names(&due(&state, after(DAY - 1))).is_empty());
    assert_eq!(next_due(&state, after(1), &policy()), Some(after(DAY)));
    let plan_of_a_day = due(&state, after(DAY));
    assert_eq!((names(&plan_of_a_day), may_log_in(&plan_of_a_day)), (vec!["a"], true));
    // At once for an operator, and when the row changes.
    let named = plan(&state, after(1), &policy(), &[named(&["a"])]);
    assert_eq!((names(&named), may_log_in(&named)), (vec!["a"], true));
    assert_eq!(plan(&state, after(1), &policy(), &[Selection::DueNow]).parked, [id("a")]);
    state.apply(table(vec![row("a", "other", None)], Vec::new()), after(60), 0.5);
    assert!(may_log_in(&due(&state, after(60))));
}

/// Its refresh token is tried as often as any other; its password is not.
#[test]
fn p03_a_parked_customer_goes_on_with_its_refresh_token() {
    for (parks, outcome, may_send_password) in [
        (Failure::AccountDisabled, Outcome::NotCounted, false),
        (Failure::CredentialsRejected, Outcome::Rejected, true),
    ] {
        let mut state = state_with_ledger(vec![row("a", "p", None)]);
        obtained(&mut state, "a", 60, RenewalMethod::Login);
        send(&mut state, "a", outcome);
        fail(&mut state, "a", parks.clone(), after(40));
        let Verdict::Parked { until: Some(until) } = verdict_of(&state, "a", after(40)) else {
            panic!("{parks:?}")
        };
        assert_eq!(next_due(&state, after(41), &policy()), Some(until));
        let plan = due(&state, until);
        assert!(plan.refused.is_empty(), "{parks:?}");
        assert_eq!(refresh_token_of(&plan, "a"), Some("r of a".to_owned()), "{parks:?}");
        // Where the ledger decides, it is asked when the refresh token was of no use.
        assert_eq!(may_log_in(&plan), may_send_password, "{parks:?}");
        assert_eq!(plan.attempts[0].leave, Leave::None);
    }
    // After a day also its password, in case the refresh token is of no use.
    let mut state = state_with_ledger(vec![row("a", "p", None)]);
    obtained(&mut state, "a", 60, RenewalMethod::Login);
    fail(&mut state, "a", Failure::AccountDisabled, after(40));
    assert!(may_log_in(&due(&state, after(40 + DAY))));
}

/// The pass that finds it out leaves nothing over that would begin the next one at once.
#[test]
fn p03_a_parked_customer_whose_refresh_token_is_over_is_due_for_its_daily_try_only() {
    let mut state = state_with_ledger(vec![row("a", "p", None)]);
    obtained(&mut state, "a", 60, RenewalMethod::Login);
    fail(&mut state, "a", Failure::AccountDisabled, after(60));
    assert_eq!(names(&due(&state, after(600))), ["a"]);
    state.apply(Event::RefreshTokenRefused(id("a")), after(601), 0.5);
    assert!(names(&due(&state, after(602))).is_empty());
    assert_eq!(next_due(&state, after(602), &policy()), Some(after(60 + DAY)));
}

/// A verdict that says due and a plan that leaves the customer out would begin one pass after the other.
#[test]
fn p21_a_parked_customer_that_is_due_by_another_clock_is_tried() {
    let mut state = state_with_ledger(vec![row("a", "p", None)]);
    fail(&mut state, "a", Failure::AccountDisabled, now());
    for seconds in [-1, -3_600, -2 * DAY, DAY, 3 * DAY] {
        let plan = due(&state, after(seconds));
        assert_eq!((names(&plan), may_log_in(&plan)), (vec!["a"], true), "{seconds}");
    }
}
