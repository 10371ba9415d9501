//! Parked customers: tried once a day where ThingsBoard counts nothing, and with refresh tokens as others are.

use super::*;

const DAY: i64 = 86_400;

fn verdict_at(state: &State, name: &str, second: i64) -> Verdict {
    customer(state, name).verdict(after(second), &state.policy)
}

const DAILY_KINDS: [Failure; 4] = [
    Failure::AccountDisabled,
    Failure::PasswordExpired,
    Failure::PasswordViolatesPolicy,
    Failure::SecondFactorRequired,
];

#[test]
fn p03_what_thingsboard_does_not_count_is_tried_once_a_day() {
    for failure in DAILY_KINDS {
        let mut state = state(vec![row("a")]);
        for day in 0..3 {
            let begin = day * DAY;
            apply(&mut state, begin, [failed("a", failure.clone())]);
            let parked = Verdict::Parked { until: Some(after(begin + DAY)) };
            assert_eq!(verdict_at(&state, "a", begin), parked, "{failure:?}");
            assert_eq!(verdict_at(&state, "a", begin + DAY - 1), parked, "{failure:?}");
            assert_eq!(verdict_at(&state, "a", begin + DAY), Verdict::Due, "{failure:?}");
        }
        // The log says when.
        let notices = state.history.share();
        let last = notices.iter().last().unwrap();
        let next_at = last.failure.as_ref().unwrap().next_at;
        assert_eq!((last.kind, next_at), (NoticeKind::Parked, Some(after(3 * DAY))));
    }
    for failure in [
        Failure::CredentialsRejected,
        Failure::AccountLocked,
        Failure::AttemptsExhausted { charges: 3 },
        Failure::InsecureUrl,
        Failure::TokenTooLong { length: 2, capacity: 1 },
    ] {
        let mut state = state(vec![row("a")]);
        apply(&mut state, 0, [failed("a", failure.clone())]);
        assert_eq!(verdict_at(&state, "a", 365 * DAY), Verdict::Parked { until: None }, "{failure:?}");
    }
}

#[test]
fn p03_a_parked_customer_with_a_good_token_is_not_tried() {
    let mut state = state(vec![ending("a", 3 * DAY)]);
    apply(&mut state, 0, [failed("a", Failure::AccountDisabled)]);
    assert!(matches!(verdict_at(&state, "a", 2 * DAY), Verdict::Parked { .. }));
    assert_eq!(verdict_at(&state, "a", 3 * DAY), Verdict::Due);
}

/// A wait of more than a day was calculated by another clock.
#[test]
fn p21_a_parked_customer_is_tried_after_a_clock_step() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [failed("a", Failure::AccountDisabled)]);
    assert_eq!(verdict_at(&state, "a", -1), Verdict::Due);
    // One that was seen is taken into account.
    apply(&mut state, 0, [Event::ClockStepped(TimeDelta::hours(1))]);
    assert_eq!(verdict_at(&state, "a", -3_600), Verdict::Parked { until: Some(after(DAY - 3_600)) });
}

/// Refresh tokens are free: an account that gets no password any more lives on them.
#[test]
fn p03_a_parked_customer_with_a_refresh_token_goes_on_with_ordinary_back_off() {
    let mut kinds = DAILY_KINDS.to_vec();
    kinds.extend([
        Failure::CredentialsRejected,
        Failure::AccountLocked,
        Failure::AttemptsExhausted { charges: 3 },
    ]);
    for parks in kinds {
        let mut state = state(vec![row("a")]);
        apply(&mut state, 0, [obtained("a", 60, RenewalMethod::Login), saved("a", 60)]);
        apply(&mut state, 100, [failed("a", parks.clone())]);
        let kind = failure(&state, "a").kind;
        let sends = u32::from(!matches!(parks, Failure::AttemptsExhausted { .. }));
        let mut at = 100;
        for (n, trouble) in (sends..).zip([None, Some(strained()), Some(silent()), Some(strained())]) {
            let trouble = trouble.map(|trouble| failed("a", trouble));
            apply(&mut state, at, trouble);
            let note = failure(&state, "a");
            assert_eq!((note.kind, note.permanent, note.consecutive), (kind, true, n), "{parks:?}");
            let Verdict::Parked { until: Some(until) } = verdict_at(&state, "a", at) else { panic!("{n}") };
            assert_eq!(Some(until), note.next_attempt_at);
            let wait = (until - after(at)).num_seconds();
            assert!((60..=480).contains(&wait), "{parks:?}: {wait} s after failure {n}");
            assert_eq!(verdict_at(&state, "a", at + wait), Verdict::Due);
            at += wait;
        }
        // It works: the customer is as any other.
        apply(&mut state, at, [obtained("a", 60, RenewalMethod::RefreshToken), Event::Superseded(id("a"))]);
        assert!(customer(&state, "a").record().failure.is_none());
    }
    // A row that must be changed first has no use for it.
    let mut state = state(vec![row("a")]);
    apply(
        &mut state,
        0,
        [obtained("a", 60, RenewalMethod::Login), saved("a", 60), failed("a", Failure::InsecureUrl)],
    );
    assert_eq!(verdict_at(&state, "a", DAY), Verdict::Parked { until: None });
}

/// Its refresh token was refused, or is gone with the process that held it: what is left is the daily try.
#[test]
fn p03_a_parked_customer_whose_refresh_token_is_over_waits_as_those_without() {
    for (parks, until) in
        [(Failure::AccountDisabled, Some(after(100 + DAY))), (Failure::CredentialsRejected, None)]
    {
        let mut state = state(vec![row("a")]);
        apply(&mut state, 0, [obtained("a", 60, RenewalMethod::Login), saved("a", 60)]);
        apply(&mut state, 100, [failed("a", parks.clone())]);
        let Verdict::Parked { until: Some(next) } = verdict_at(&state, "a", 100) else { panic!("{parks:?}") };
        assert!(next < after(1_000));
        let records = state.take_unrecorded(Records::All, 10);
        apply(&mut state, 1_000, [Event::RefreshTokenRefused(id("a"))]);
        let mut restarted = self::state(vec![]);
        apply(&mut restarted, 1_000, [Event::TableRead(table(vec![row("a")], records))]);
        for state in [&state, &restarted] {
            assert_eq!(verdict_at(state, "a", 1_001), Verdict::Parked { until }, "{parks:?}");
        }
    }
}

#[test]
fn p03_a_daily_try_that_was_not_answered_is_made_again_a_day_later() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [failed("a", Failure::AccountDisabled)]);
    apply(&mut state, DAY, [failed("a", silent())]);
    assert_eq!(failure(&state, "a").kind, FailureKind::AccountDisabled);
    assert_eq!(verdict_at(&state, "a", DAY + 1), Verdict::Parked { until: Some(after(2 * DAY)) });
    assert_eq!(verdict_at(&state, "a", 2 * DAY), Verdict::Due);
    // Another permanent failure is the new reason.
    apply(&mut state, 2 * DAY, [failed("a", Failure::CredentialsRejected)]);
    assert_eq!(failure(&state, "a").kind, FailureKind::CredentialsRejected);
}
