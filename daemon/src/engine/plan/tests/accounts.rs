//! Rows that share an account: what the ledger refuses one of them, and refresh tokens that one has for the others.

use super::*;

/// A row of the user `ops`.
fn of_ops(name: &str, password: &str) -> Customer {
    let row = row(name, password, None);
    Customer { credentials: Credentials { username: "ops".to_owned(), ..row.credentials }, ..row }
}

fn refused(plan: &Plan) -> Vec<(&str, FailureKind)> {
    plan.refused.iter().map(|(id, failure)| (id.as_str(), failure.kind())).collect()
}

fn leave_of(plan: &Plan, name: &str) -> Leave {
    plan.attempts.iter().find(|attempt| attempt.customer.id == id(name)).unwrap().leave
}

/// The open charges of the account of a row.
fn charges_of(state: &State, name: &str) -> u8 {
    let customer = state.customer(&id(name)).unwrap();
    state.ledger().charges_of(&customer.account.unwrap(), customer.server.as_ref().unwrap(), "ops")
}

#[test]
fn p02_rows_with_the_same_account_know_all_credentials_that_rows_hold_for_it() {
    let mut spelled = of_ops("c", "same");
    spelled.credentials.url = "https://TB.example:443/".into();
    let mut other_port = of_ops("d", "same");
    other_port.credentials.url = "https://tb.example:8443".into();
    let mut other_case = of_ops("e", "same");
    other_case.credentials.username = " OPS ".to_owned();
    let rows =
        vec![of_ops("a", "same"), of_ops("b", "other"), spelled, other_port, other_case, row("f", "f", None)];
    let state = state(rows);
    let plan = due(&state, now());
    let first = &plan.attempts[0];
    let is_same: Vec<bool> = plan.attempts.iter().map(|attempt| attempt.account == first.account).collect();
    assert_eq!(is_same, [true, true, true, true, true, false]);
    assert_eq!(plan.attempts[2].credentials, first.credentials, "a spelling of one server");
    for name in ["b", "d", "e"] {
        let credentials = state.customer(&id(name)).unwrap().credentials;
        assert!(credentials != first.credentials && first.held.contains(&credentials), "{name}");
    }
    assert_eq!(plan.attempts[5].held, HeldCredentials::default());
}

#[test]
fn p02_a_row_that_holds_rejected_credentials_is_not_tried_whichever_row_was() {
    let mut state = state_with_ledger(vec![of_ops("first", "wrong")]);
    send(&mut state, "first", Outcome::Rejected);
    fail(&mut state, "first", Failure::CredentialsRejected, now());
    // The rejected row leaves the table, and another one comes with the same credentials.
    let rows = || vec![of_ops("second", "wrong"), of_ops("third", "other")];
    state.apply(table(rows(), Vec::new()), after(60), 0.5);
    let plan_of_second = due(&state, after(60));
    assert_eq!(refused(&plan_of_second), [("second", FailureKind::CredentialsRejected)]);
    assert_eq!(names(&plan_of_second), ["third"], "another password");
    let (_, failure) = plan_of_second.refused.into_iter().next().unwrap();
    fail(&mut state, "second", failure, after(61));
    let note = state.customer(&id("second")).unwrap().record().failure.clone().unwrap();
    assert_eq!((note.kind, note.consecutive, note.permanent), (FailureKind::CredentialsRejected, 0, true));
    // It is parked, and naming it is no leave to send them again; force is.
    let plan_of = |selection: Selection| plan(&state, after(62), &policy(), &[selection]);
    for selection in [named(&["second"]), Selection::DueNow, Selection::All, rest(&["second"])] {
        let plan = plan_of(selection.clone());
        assert_eq!((refused(&plan), plan.parked.clone()), (Vec::new(), vec![id("second")]), "{selection:?}");
        assert!(!names(&plan).contains(&"second"));
    }
    assert_eq!(leave_of(&plan_of(forced(&["second"])), "second"), Leave::Forced);
    // The first comes back: still rejected.
    state.apply(table(vec![of_ops("first", "wrong")], Vec::new()), after(120), 0.5);
    assert_eq!(refused(&due(&state, after(120))), [("first", FailureKind::CredentialsRejected)]);
}

/// ThingsBoard counts nothing then, but it will not say anything else tomorrow.
#[test]
fn p02_credentials_that_thingsboard_refuses_unchecked_are_not_sent_again_until_the_row_changes() {
    let mut state = state_with_ledger(vec![of_ops("a", "odd")]);
    let failure = Failure::AuthenticationFailed;
    send(&mut state, "a", Outcome::of(Some(&failure)));
    fail(&mut state, "a", failure, now());
    for seconds in [60, 86_400, 30 * 86_400] {
        // Each poll reads the ledger, which lets parked customers go that it would allow.
        state.apply(ledger_read(), after(seconds), 0.5);
        assert!(names(&due(&state, after(seconds))).is_empty(), "{seconds}");
        let Verdict::Parked { until: None } = verdict_of(&state, "a", after(seconds)) else {
            panic!("{seconds}")
        };
    }
    assert_eq!(charges_of(&state, "a"), 0);
    state.apply(table(vec![of_ops("a", "other")], Vec::new()), after(60), 0.5);
    assert_eq!(names(&due(&state, after(60))), ["a"]);
}

#[test]
fn p02_an_exhausted_budget_refuses_every_row_of_the_account() {
    let mut state = state_with_ledger(vec![of_ops("a", "x"), of_ops("b", "y"), row("c", "x", None)]);
    for charges in 1..=3 {
        assert!(refused(&due(&state, now())).is_empty());
        send(&mut state, "a", Outcome::Unanswered);
        assert_eq!(charges_of(&state, "b"), charges);
    }
    let exhausted = FailureKind::AttemptsExhausted;
    assert_eq!(refused(&due(&state, now())), [("a", exhausted), ("b", exhausted)]);
    assert_eq!(names(&due(&state, now())), ["c"]);
    let plan_of = |selection: Selection| plan(&state, now(), &policy(), &[selection]);
    assert_eq!(refused(&plan_of(named(&["b"]))), [("b", exhausted)], "naming it is no new budget");
    assert_eq!(names(&plan_of(forced(&["b"]))), ["b"]);
    // A larger budget is one.
    let larger = Policy { wrong_password_budget: 4, ..policy() };
    state.set_policy(larger, now());
    assert!(refused(&due(&state, now())).is_empty());
}

#[test]
fn p02_the_last_charge_is_kept_for_accepted_credentials() {
    let mut state = state_with_ledger(vec![of_ops("a", "right"), of_ops("b", "unknown")]);
    send(&mut state, "a", Outcome::Accepted);
    for _ in 0..2 {
        send(&mut state, "b", Outcome::Unanswered);
    }
    let plan = due(&state, now());
    assert_eq!((names(&plan), refused(&plan)), (vec!["a"], vec![("b", FailureKind::AttemptsExhausted)]));
    // No row holds them any more.
    state.apply(table(vec![of_ops("b", "unknown")], Vec::new()), after(60), 0.5);
    assert_eq!(names(&due(&state, after(60))), ["b"]);
}

#[test]
fn p02_a_ledger_that_waits_to_be_written_is_written_though_no_customer_is_due() {
    let mut state = state_with_ledger(vec![row("a", "a", Some(3_600))]);
    assert!(due(&state, now()).is_empty());
    send(&mut state, "a", Outcome::Unanswered);
    let plan = due(&state, now());
    assert_eq!((plan.writes_ledger, plan.size(), plan.is_empty()), (true, 0, false));
}

/// The operator must say which password is meant.
#[test]
fn p02_named_rows_that_hold_different_passwords_for_one_account_are_conflicting() {
    let rows = || vec![of_ops("a", "x"), of_ops("b", "y"), of_ops("c", "x"), row("d", "d", None)];
    let state = state_with_ledger(rows());
    let conflicting = |selections: &[Selection]| {
        let plan = plan(&state, now(), &policy(), selections);
        let conflicting: Vec<&str> = plan.conflicting.iter().map(CustomerId::as_str).collect();
        assert!(conflicting.iter().all(|name| !names(&plan).contains(name)));
        assert!(!plan.is_empty());
        conflicting.join(" ")
    };
    assert_eq!(conflicting(&[named(&["a", "b", "d"])]), "a b");
    assert_eq!(conflicting(&[forced(&["a", "b", "c"])]), "a b c", "force does not say which");
    assert_eq!(conflicting(&[named(&["a"]), named(&["b"])]), "a b", "in one pass");
    assert_eq!(conflicting(&[named(&["a", "b"]), Selection::Due]), "a b");
    for fine in [named(&["b"]), named(&["a", "c", "d"]), Selection::DueNow, Selection::All, Selection::Due] {
        assert_eq!(conflicting(std::slice::from_ref(&fine)), "", "{fine:?}");
    }
    assert_eq!(conflicting(&[named(&["a"]), Selection::Due]), "", "b was not named");
    // A row that needs no password has none that could be meant.
    let mut state = state_with_ledger(rows());
    obtained(&mut state, "a", 60, RenewalMethod::Login);
    let plan = plan(&state, after(40), &policy(), &[named(&["a", "b", "c"])]);
    assert_eq!((names(&plan).len(), plan.conflicting.len()), (3, 0), "c has that of a");
}

#[test]
fn p02_what_an_operator_allows_goes_to_the_rows_that_were_asked_for() {
    let state = state_with_ledger(vec![row("a", "a", None), row("b", "b", None)]);
    let leaves = |selections: &[Selection]| {
        let plan = plan(&state, now(), &policy(), selections);
        ["a", "b"].map(|name| leave_of(&plan, name))
    };
    use Leave::{Forced, None as Nothing, Requested};
    assert_eq!(leaves(&[Selection::Due]), [Nothing, Nothing]);
    assert_eq!(leaves(&[Selection::Due, named(&["b"])]), [Nothing, Requested]);
    assert_eq!(leaves(&[forced(&["b"]), Selection::Due]), [Nothing, Forced]);
    assert_eq!(leaves(&[named(&["b"]), forced(&["b"]), Selection::Due]), [Nothing, Forced]);
    assert_eq!(leaves(&[Selection::DueNow, forced(&["a"])]), [Forced, Requested]);
    assert_eq!(leaves(&[Selection::All]), [Requested, Requested]);
    // It does not end with the pass that did not get to all.
    assert_eq!(leaves(&[Selection::Due, rest(&["a"])]), [Requested, Nothing]);
}

/// One password login serves all rows with the same credentials.
#[test]
fn rows_with_the_same_credentials_share_refresh_tokens() {
    let mut spelled = of_ops("spelled", "p");
    spelled.credentials.url = "https://TB.example/".into();
    let mut other_user = of_ops("user", "p");
    other_user.credentials.username = "Ops".to_owned();
    let rows = vec![of_ops("has", "p"), of_ops("needs", "p"), of_ops("other", "q"), spelled, other_user];
    let mut state = state_with_ledger(rows);
    obtained(&mut state, "has", 3_600, RenewalMethod::Login);
    let plan_at = |state: &State| due(state, after(10));
    let plan = plan_at(&state);
    assert_eq!(names(&plan), ["needs", "other", "spelled", "user"]);
    let tokens = ["needs", "other", "spelled", "user"].map(|name| refresh_token_of(&plan, name));
    let shared = || Some("r of has".to_owned());
    assert_eq!(tokens, [shared(), None, shared(), None]);
    // Its own is better.
    obtained(&mut state, "needs", 60, RenewalMethod::RefreshToken);
    assert_eq!(refresh_token_of(&due(&state, after(40)), "needs"), Some("r of needs".to_owned()));
    // What the ledger refuses is the password alone.
    for _ in 0..3 {
        send(&mut state, "other", Outcome::Unanswered);
    }
    let plan = plan_at(&state);
    assert_eq!(
        (names(&plan), refused(&plan)),
        (
            vec!["spelled"],
            vec![("other", FailureKind::AttemptsExhausted), ("user", FailureKind::AttemptsExhausted)]
        )
    );
    // One that does not get through is no use to others either.
    for name in ["has", "needs"] {
        fail(
            &mut state,
            name,
            Failure::UnexpectedResponse(crate::model::UnexpectedAnswer::NotJson),
            after(11),
        );
    }
    assert_eq!(names(&plan_at(&state)), Vec::<&str>::new());
}

/// Its proxy lets only the login through.
#[test]
fn a_row_that_gets_nothing_by_a_shared_refresh_token_tries_its_password() {
    let rows = vec![of_ops("has", "p"), of_ops("needs", "p")];
    let mut state = state_with_ledger(rows);
    obtained(&mut state, "has", 3_600, RenewalMethod::Login);
    state.apply(Event::Saved { id: id("has"), expiry: after(900) }, now(), 0.5);
    assert!(refresh_token_of(&due(&state, after(10)), "needs").is_some());
    let odd = Failure::UnexpectedResponse(crate::model::UnexpectedAnswer::Status { status: 404 });
    fail(&mut state, "needs", odd, after(11));
    let plan = due(&state, after(100));
    assert_eq!(names(&plan), ["needs"]);
    assert_eq!(refresh_token_of(&plan, "needs"), None);
    assert!(!plan.attempts[0].may_share, "nor does it take one that the pass brings");
}

#[test]
fn p02_a_row_whose_refresh_token_may_be_refused_knows_what_other_rows_hold() {
    let mut state = state_with_ledger(vec![of_ops("a", "right"), of_ops("b", "unknown")]);
    send(&mut state, "a", Outcome::Accepted);
    obtained(&mut state, "b", 60, RenewalMethod::Login);
    state.apply(Event::Saved { id: id("b"), expiry: after(60) }, now(), 0.5);
    obtained(&mut state, "a", 9_000, RenewalMethod::Login);
    state.apply(Event::Saved { id: id("a"), expiry: after(9_000) }, now(), 0.5);
    let plan = due(&state, after(40));
    assert_eq!(names(&plan), ["b"]);
    assert!(plan.attempts[0].held.contains(&state.customer(&id("a")).unwrap().credentials));
}
