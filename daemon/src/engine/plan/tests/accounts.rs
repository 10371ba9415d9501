//! One password for one account: refused for one row it is refused for all, in doubt for one it waits for all.

use super::*;

/// What the first attempt of a plan may do with its password.
fn permission(plan: &Plan) -> Permission {
    plan.accounts[plan.attempts[0].account].may_ask()
}

#[test]
fn p02_rows_with_the_same_credentials_share_an_account_and_others_do_not() {
    let mut spelled = row("c", "same", None);
    spelled.credentials.url = "https://TB.example:443/".to_owned();
    let state = state(vec![row("a", "same", None), row("b", "same", None), spelled, row("d", "other", None)]);
    let plan = due(&state, now());
    let accounts: Vec<usize> = plan.attempts.iter().map(|attempt| attempt.account).collect();
    assert_eq!(accounts, [0, 0, 0, 1]);
    assert_eq!(permission(&plan), Permission::Go);
}

#[test]
fn p02_a_row_that_says_what_was_refused_is_not_tried_whoever_was_refused() {
    let mut state = state(vec![row("first", "wrong", None)]);
    fail(&mut state, "first", Failure::CredentialsRejected, now());
    // The refused row leaves the table, and another one comes with the same.
    state.apply(table(vec![row("second", "wrong", None)], Vec::new()), after(60), 0.5);
    let plan_of_second = due(&state, after(60));
    let Permission::Never(failure) = permission(&plan_of_second) else { panic!("it would be tried") };
    assert!(failure.to_string().contains("for customer first"), "{failure}");
    fail(&mut state, "second", failure, after(61));
    let note = state.entry(&id("second")).unwrap().record.failure.clone().unwrap();
    assert_eq!((note.kind, note.consecutive, note.permanent), (FailureKind::CredentialsRejected, 0, true));
    // Naming it is leave to try, for all who have it.
    let named = plan(&state, after(62), &policy(), &[Selection::Named([id("second")].into())]);
    assert_eq!(permission(&named), Permission::Go);
    // The first comes back: still refused.
    state.apply(table(vec![row("first", "wrong", None)], Vec::new()), after(120), 0.5);
    assert_eq!(verdict_of(&state, "first", after(120)), Verdict::Parked);
}

#[test]
fn p02_a_password_that_is_accepted_frees_all_who_have_it() {
    let mut state = state(vec![row("a", "same", None), row("b", "same", None), row("c", "other", None)]);
    for name in ["a", "b", "c"] {
        fail(&mut state, name, Failure::AccountDisabled, now());
    }
    obtained(&mut state, "a", 900, Via::Login);
    assert_eq!(verdict_of(&state, "b", after(1)), Verdict::Due);
    assert_eq!(verdict_of(&state, "c", after(1)), Verdict::Parked);
    assert!(
        state.take_unrecorded(1000).iter().any(|record| record.id == id("b") && record.failure.is_none())
    );
}

#[test]
fn p02_a_restart_and_another_daemon_know_who_is_parked_whatever_the_clocks_say() {
    let mut first = state(vec![row("a", "wrong", None)]);
    fail(&mut first, "a", Failure::CredentialsRejected, now());
    let records = first.take_unrecorded(1000);
    // The other one has failed to ask later, by its clock, and has not written that yet.
    let mut second = state(vec![row("a", "wrong", None)]);
    fail(&mut second, "a", Failure::ServerError { status: 503 }, after(300));
    second.apply(table(vec![row("a", "wrong", None)], records.clone()), after(301), 0.5);
    assert_eq!(verdict_of(&second, "a", after(9_999)), Verdict::Parked);
    // What the second had written does not free the first.
    let transient = Record {
        failure: records[0]
            .failure
            .clone()
            .map(|note| Box::new(FailureNote { permanent: false, kind: FailureKind::Timeout, ..*note })),
        updated_at: after(300),
        ..records[0].clone()
    };
    first.apply(Event::Recorded, after(1), 0.5);
    first.apply(Event::Reading, after(2), 0.5);
    first.apply(table(vec![row("a", "wrong", None)], vec![transient]), after(301), 0.5);
    assert_eq!(verdict_of(&first, "a", after(9_999)), Verdict::Parked);
    assert!(first.has_unrecorded(), "and the store is told again");
}

#[test]
fn p02_who_is_named_and_cannot_be_asked_stays_parked() {
    let mut state = state(vec![row("a", "wrong", None)]);
    fail(&mut state, "a", Failure::CredentialsRejected, now());
    fail(&mut state, "a", Failure::ServerError { status: 503 }, after(60));
    assert_eq!(verdict_of(&state, "a", after(9_999)), Verdict::Parked);
}

fn timeout() -> Failure {
    Failure::Timeout { after: std::time::Duration::from_secs(10) }
}

fn account_at(state: &State, at: DateTime<Utc>, selection: Selection) -> Permission {
    plan(state, at, &policy(), &[selection]).accounts[0].may_ask()
}

#[test]
fn p02_a_password_that_may_be_wrong_and_counted_waits_for_all_rows_that_have_it() {
    let rows = || vec![row("a", "doubtful", None), row("b", "doubtful", None), row("c", "other", None)];
    let mut state = state(rows());
    fail(&mut state, "a", timeout(), now());
    let Verdict::Wait { until } = verdict_of(&state, "a", after(1)) else { panic!() };
    let soon = after(1);
    assert_eq!(names(&due(&state, soon)), ["b", "c"]);
    let Permission::NotNow(failure) = account_at(&state, soon, Selection::Due) else { panic!("sent for b") };
    assert!(failure.to_string().contains("customer a"), "{failure}");
    assert_eq!(due(&state, soon).accounts[1].may_ask(), Permission::Go, "c has another password");
    // Its server is back, as it seems from others: that is no answer to the password.
    let host = state.entry(&id("a")).unwrap().host.clone().unwrap();
    state.apply(Event::HostBack(host), after(2), 0.5);
    state.apply(Event::PassFinished, after(2), 0.5);
    assert!(matches!(account_at(&state, after(3), Selection::Due), Permission::NotNow(_)));
    // Operators may ask; and the wait has an end.
    assert_eq!(account_at(&state, soon, Selection::DueNow), Permission::Go);
    assert_eq!(account_at(&state, soon, Selection::Named([id("b")].into())), Permission::Go);
    assert_eq!(account_at(&state, until, Selection::Due), Permission::Go);
    // A right password is right also when the server is late.
    obtained(&mut state, "b", 60, Via::Login);
    state.apply(table(rows(), Vec::new()), after(61), 0.5);
    state.apply(Event::RefreshTokenRefused(id("b")), after(61), 0.5);
    fail(&mut state, "a", timeout(), after(61));
    assert_eq!(names(&due(&state, after(62))), ["b", "c"]);
    assert_eq!(account_at(&state, after(62), Selection::Due), Permission::Go);
}

#[test]
fn a_server_that_is_back_is_asked_at_once_for_those_whose_password_is_not_in_doubt() {
    let mut state = state(vec![row("new", "a", None), row("proven", "b", None), row("unreached", "c", None)]);
    obtained(&mut state, "proven", 60, Via::Login);
    let later = after(100);
    fail(&mut state, "new", timeout(), later);
    fail(&mut state, "proven", timeout(), later);
    fail(&mut state, "unreached", Failure::Unreachable { why: "refused".to_owned() }, later);
    assert!(due(&state, after(101)).is_empty());
    let host = state.entry(&id("new")).unwrap().host.clone().unwrap();
    state.apply(Event::HostBack(host), after(101), 0.5);
    state.apply(Event::PassFinished, after(101), 0.5);
    assert_eq!(names(&due(&state, after(101))), ["unreached", "proven"]);
}

#[test]
fn p02_what_was_only_known_here_is_written_once_records_are_possible() {
    let read = |key: u8, records_lost: Option<&str>| {
        Event::TableRead(Table {
            customers: vec![row("a", "wrong", None)],
            problems: Vec::new(),
            records: Vec::new(),
            key: FingerprintKey::new(&[key; FingerprintKey::BYTES]),
            records_lost: records_lost.map(ToOwned::to_owned),
        })
    };
    let mut state = State::new(policy(), 0);
    state.apply(read(1, Some("no permission")), now(), 0.5);
    fail(&mut state, "a", Failure::CredentialsRejected, now());
    // As a store without records does: it takes them and keeps nothing.
    assert_eq!(state.take_unrecorded(1000).len(), 1);
    state.apply(Event::Recorded, now(), 0.5);
    state.apply(Event::Reading, after(60), 0.5);
    state.apply(read(2, None), after(60), 0.5);
    let records = state.take_unrecorded(1000);
    let mut restarted = State::new(policy(), 0);
    restarted.apply(read(2, None), after(120), 0.5);
    let customers = vec![row("a", "wrong", None)];
    let key = FingerprintKey::new(&[2; FingerprintKey::BYTES]);
    let table = Table { customers, problems: Vec::new(), records, key, records_lost: None };
    restarted.apply(Event::TableRead(table), after(120), 0.5);
    assert_eq!(verdict_of(&restarted, "a", after(121)), Verdict::Parked);
}

#[test]
fn a_refusal_that_was_taken_back_does_not_return_from_the_store_before_that_is_written() {
    let mut state = state(vec![row("gone", "p", None), row("a", "p", None)]);
    fail(&mut state, "gone", Failure::CredentialsRejected, now());
    let refused = state.take_unrecorded(1000);
    state.apply(Event::Recorded, now(), 0.5);
    state.apply(Event::Reading, after(60), 0.5);
    state.apply(table(vec![row("a", "p", None)], refused.clone()), after(60), 0.5);
    let fingerprint = state.fingerprint(&row("a", "p", None).credentials).unwrap();
    assert!(state.refusal(&fingerprint).is_some());
    obtained(&mut state, "a", 900, Via::Login);
    assert!(state.refusal(&fingerprint).is_none());
    // Waiting to be written, being written, and written while the table was being read.
    let returns = |state: &mut State| {
        state.apply(table(vec![row("a", "p", None)], refused.clone()), after(61), 0.5);
        state.refusal(&fingerprint).is_some()
    };
    assert!(!returns(&mut state));
    let records = state.take_unrecorded(1000);
    assert!(records.iter().any(|record| record.id == id("gone") && record.failure.is_none()));
    assert!(!returns(&mut state));
    state.apply(Event::Reading, after(62), 0.5);
    state.apply(Event::Recorded, after(62), 0.5);
    assert!(!returns(&mut state));
}

/// Naming a row is leave for its account alone, and for that one whoever comes first in the plan.
#[test]
fn p02_naming_a_row_is_leave_for_its_own_account_alone() {
    let mut state = state(vec![row("a", "same", None), row("b", "same", None), row("c", "other", None)]);
    for name in ["a", "b", "c"] {
        fail(&mut state, name, Failure::CredentialsRejected, now());
    }
    let selections = [Selection::Rest([].into()), Selection::Named([id("b")].into()), Selection::DueNow];
    let plan_of_b = plan(&state, after(1), &policy(), &selections);
    assert_eq!((names(&plan_of_b), permission(&plan_of_b)), (vec!["b"], Permission::Go));
    // A new row with the other one's password is not meant.
    let rows = vec![row("a", "same", None), row("b", "same", None), row("new", "other", None)];
    state.apply(table(rows, Vec::new()), after(2), 0.5);
    let plan = plan(&state, after(2), &policy(), &[Selection::Due, Selection::Named([id("b")].into())]);
    let of = |name: &str| plan.attempts.iter().find(|attempt| attempt.customer.id == id(name)).unwrap();
    assert_eq!(plan.accounts[of("b").account].may_ask(), Permission::Go);
    assert!(matches!(plan.accounts[of("new").account].may_ask(), Permission::Never(_)));
}

/// Asking for all overrides the wait of a password in doubt, not a refusal.
#[test]
fn p02_asking_for_all_is_no_leave_for_what_was_refused() {
    let rows = || vec![row("a", "wrong", None), row("b", "wrong", None)];
    let mut state = state(vec![row("a", "wrong", None)]);
    fail(&mut state, "a", Failure::CredentialsRejected, now());
    state.apply(table(rows(), Vec::new()), after(60), 0.5);
    for selection in [Selection::DueNow, Selection::All] {
        let plan = plan(&state, after(60), &policy(), &[selection]);
        assert_eq!(names(&plan), ["b"]);
        assert!(matches!(permission(&plan), Permission::Never(_)));
    }
    // The schedule in the same pass does not take an operator's leave away.
    let mut doubtful = self::state(rows());
    fail(&mut doubtful, "a", timeout(), now());
    let both = [Selection::Due, Selection::DueNow];
    assert_eq!(permission(&plan(&doubtful, after(1), &policy(), &both)), Permission::Go);
    // Nor does it end with the pass that did not get to everyone.
    let rest = |name| [Selection::Rest([id(name)].into())];
    let of = |name| permission(&plan(&doubtful, after(1), &policy(), &rest(name)));
    assert_eq!(of("b"), Permission::Go);
    let other = [Selection::Due, Selection::Rest([id("c")].into())];
    assert!(matches!(permission(&plan(&doubtful, after(1), &policy(), &other)), Permission::NotNow(_)));
}
