//! What the store has, does not have yet, and cannot have at the moment.

use super::*;

#[test]
fn p07_a_token_that_cannot_be_saved_is_kept_until_its_end() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [obtained("a", 3_600, RenewalMethod::Login), save_failed("a"), save_failed("a")]);
    let note = failure(&state, "a");
    assert_eq!((note.kind, note.permanent, note.consecutive), (FailureKind::Database, false, 2));
    assert_eq!(note.next_attempt_at, None, "it waits for the store, not for a time");
    // Another password is no other row: the token may still be written.
    let mut other_password = row("a");
    other_password.credentials.password = Secret::new("changed");
    apply(&mut state, 60, [read(vec![other_password])]);
    assert!(customer(&state, "a").unsaved.is_some());
    state.advance(after(3_600) - TimeDelta::milliseconds(1));
    assert!(customer(&state, "a").unsaved.is_some());
    state.advance(after(3_600));
    assert!(customer(&state, "a").unsaved.is_none(), "a token that has ended is dropped");
}

#[test]
fn p06_a_token_that_waits_is_dropped_with_the_url_or_the_user_that_it_is_for() {
    let (mut other_user, mut other_url) = (row("a"), row("a"));
    other_user.credentials.username = "another".to_owned();
    other_url.row_url = format!("{URL}/").into();
    for changed in [other_user, other_url] {
        let mut state = state(vec![row("a")]);
        apply(
            &mut state,
            0,
            [obtained("a", 3_600, RenewalMethod::Login), save_failed("a"), read(vec![changed])],
        );
        assert!(customer(&state, "a").unsaved.is_none());
    }
    // A failed customer has no unsaved token, unless the store failed.
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [obtained("a", 3_600, RenewalMethod::Login), failed("a", strained())]);
    assert!(customer(&state, "a").unsaved.is_none());
}

#[test]
fn a_saved_token_is_known_without_another_poll() {
    let mut state = state(vec![row("a"), row("b")]);
    apply(&mut state, 0, [failed("a", strained()), failed("a", strained())]);
    assert!(take_notices(&mut state).len() == 2 && !unrecorded(&mut state).is_empty());
    let before = state.revision();
    apply(&mut state, 60, [Event::PassStarted { trigger: Trigger::Schedule, attempts: 1 }]);
    apply(&mut state, 61, [Event::Attempting(id("a"))]);
    assert!(customer(&state, "a").attempting);
    apply(&mut state, 62, [obtained("a", 3_600, RenewalMethod::Login)]);
    let waits = customer(&state, "a");
    assert_eq!(
        (waits.status, waits.obtained),
        (TokenStatus::Missing, Some((RenewalMethod::Login, Duration::from_millis(120))))
    );
    assert!(waits.attempting && waits.refresh_token.is_some());
    apply(&mut state, 63, [saved("a", 3_600)]);
    let a = customer(&state, "a");
    assert_eq!((a.status, a.row.expiry), (TokenStatus::Valid, Some(after(3_600))));
    assert!(a.row.has_token && !a.attempting && a.unsaved.is_none() && a.obtained.is_none());
    let record = a.record();
    assert_eq!((record.renewals, record.last_success_at, record.updated_at), (1, Some(after(63)), after(63)));
    assert!(record.failure.is_none());
    apply(&mut state, 64, [Event::PassFinished]);
    assert_eq!(state.pass, PassCounts { total: 1, updated: 1, errors: 0 });
    assert_eq!(changed_since(&state, before), ["a"]);
    assert_eq!(unrecorded(&mut state), [("a".to_owned(), None)]);
    let kinds =
        [NoticeKind::PassStarted, NoticeKind::Recovered, NoticeKind::Renewed, NoticeKind::PassFinished];
    let names = ["", "a", "a", ""];
    let expected: Vec<_> = kinds.into_iter().zip(names).collect();
    assert_eq!(take_notices(&mut state), notices(&expected));
    // Once is enough.
    apply(&mut state, 65, [saved("a", 3_600), saved("unknown", 3_600)]);
    assert_eq!((state.pass.updated, take_notices(&mut state)), (1, Vec::new()));
}

#[test]
fn a_token_that_is_not_wanted_any_more_ends_what_was_wrong() {
    let mut state = state(vec![row("a"), row("b")]);
    apply(
        &mut state,
        0,
        [obtained("a", 3_600, RenewalMethod::Login), save_failed("a"), failed("b", strained())],
    );
    unrecorded(&mut state);
    apply(
        &mut state,
        10,
        [Event::Attempting(id("a")), Event::Superseded(id("a")), Event::Superseded(id("b"))],
    );
    let a = customer(&state, "a");
    assert!(a.record().failure.is_none() && a.unsaved.is_none() && !a.attempting);
    assert_eq!(a.record().updated_at, after(11));
    assert!(customer(&state, "b").record().failure.is_none());
    let expected = ["a", "b"].map(|name| (name.to_owned(), None));
    assert_eq!(unrecorded(&mut state), expected);
    assert_eq!(take_notices(&mut state).last(), Some(&(NoticeKind::Warning, "b".to_owned())));
}

/// The record of the success is still on its way when the table is read.
#[test]
fn p02_an_old_refusal_that_is_read_does_not_undo_a_success() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [failed("a", Failure::CredentialsRejected)]);
    let in_the_store = state.take_unrecorded(Records::All, 1000);
    apply(&mut state, 1, [Event::Recorded, obtained("a", 3_600, RenewalMethod::Login), saved("a", 3_600)]);
    apply(&mut state, 4, [Event::TableRead(table(vec![ending("a", 3_600)], in_the_store))]);
    assert!(customer(&state, "a").record().failure.is_none());
    assert_eq!(unrecorded(&mut state), [("a".to_owned(), None)]);
}

#[test]
fn a_store_that_refused_tokens_is_back_when_it_takes_one_or_none_waits() {
    let refusing = || {
        let mut state = state(vec![row("a")]);
        apply(&mut state, 0, [obtained("a", 3_600, RenewalMethod::Login), save_failed("a")]);
        take_notices(&mut state);
        state
    };
    let mut other_url = row("a");
    other_url.row_url = "https://another.example".into();
    for (what, event, is_back) in [
        ("one is saved", saved("a", 3_600), true),
        ("one is not wanted any more", Event::Superseded(id("a")), true),
        ("the row is gone", read(vec![]), true),
        ("the row wants another", read(vec![other_url]), true),
        ("it waits", read(vec![row("a")]), false),
        ("it waits, and records are taken", Event::Recorded, false),
    ] {
        let mut state = refusing();
        apply(&mut state, 10, [event]);
        assert_eq!(state.store_error().is_none(), is_back, "{what}");
        let says_so = take_notices(&mut state).iter().any(|(kind, _)| *kind == NoticeKind::StoreBack);
        assert_eq!(says_so, is_back, "{what}");
    }
}

#[test]
fn the_loss_of_the_store_is_told_once_and_so_is_its_return() {
    use NoticeKind::{StoreBack, StoreLost};
    let unreadable = || Event::TableUnreadable(away());
    let unwritable = || Event::RecordsFailed { records: Vec::new(), error: away() };
    let unwritable_ledger = || Event::LedgerFailed(away());
    let cases: [(&str, Vec<Event>, &[NoticeKind], bool); 9] = [
        (
            "reads",
            vec![unreadable(), unreadable(), read(vec![]), read(vec![])],
            &[StoreLost, StoreBack],
            true,
        ),
        ("writes", vec![unwritable(), unwritable(), Event::Recorded], &[StoreLost, StoreBack], true),
        ("a save", vec![unwritable(), saved("x", 3_600), Event::Recorded], &[StoreLost, StoreBack], true),
        ("reads only", vec![unwritable(), unreadable(), read(vec![])], &[StoreLost], false),
        ("writes only", vec![unreadable(), unwritable(), Event::Recorded], &[StoreLost], false),
        (
            "the ledger",
            vec![
                unwritable_ledger(),
                unwritable_ledger(),
                read(vec![]),
                Event::Recorded,
                Event::LedgerWritten,
            ],
            &[StoreLost, StoreBack],
            true,
        ),
        ("the ledger only", vec![unwritable_ledger(), read(vec![]), Event::Recorded], &[StoreLost], false),
        (
            "the ledger, read again",
            vec![unwritable_ledger(), ledger::read(1, 1, Vec::new())],
            &[StoreLost, StoreBack],
            true,
        ),
        (
            "both",
            vec![unreadable(), unwritable(), Event::Recorded, read(vec![])],
            &[StoreLost, StoreBack],
            true,
        ),
    ];
    for (what, events, kinds, ok) in cases {
        let mut state = state(vec![]);
        apply(&mut state, 0, events);
        let expected: Vec<_> = kinds.iter().map(|kind| (*kind, "")).collect();
        assert_eq!(take_notices(&mut state), notices(&expected), "{what}");
        assert_eq!(state.store_error().is_none(), ok, "{what}");
    }
    let mut state = state(vec![]);
    apply(&mut state, 5, [unreadable()]);
    assert_eq!(
        (state.error_of(Operation::Read), state.table_read_at),
        (Some(&away()), Some(now())),
        "it was read once"
    );
    let message = state.history.share().iter().last().unwrap().message.clone();
    assert!(message.starts_with("customers.db is gone. ") && message.len() > 30, "{message}");
}

#[test]
fn records_that_could_not_be_written_wait_again_also_of_former_customers() {
    let mut state = state(vec![row("stays"), row("leaves")]);
    apply(&mut state, 0, [failed("stays", strained()), failed("leaves", strained())]);
    assert!(state.has_unrecorded(Records::All));
    let records = state.take_unrecorded(Records::All, 1000);
    assert_eq!((records.len(), state.has_unrecorded(Records::All)), (2, false));
    apply(&mut state, 10, [read(vec![row("stays")]), Event::RecordsFailed { records, error: away() }]);
    let failing = |name: &str| (name.to_owned(), Some(FailureKind::ServerError));
    assert!(state.has_unrecorded(Records::All));
    assert_eq!(unrecorded(&mut state), [failing("stays"), failing("leaves")]);
    apply(&mut state, 20, [Event::Recorded]);
    assert!(!state.has_unrecorded(Records::All));
    // Only the record of a former customer waits: this is enough for a write.
    let orphan = Record { id: id("gone"), ..customer(&state, "stays").record().clone() };
    apply(&mut state, 30, [Event::RecordsFailed { records: vec![orphan], error: away() }]);
    assert!(state.has_unrecorded(Records::All));
}

/// Promise 19: what must survive a restart is written at once, and nothing else is in the way of tokens.
#[test]
fn p19_a_failure_is_written_at_once_from_its_begin_to_its_end_and_a_success_can_wait() {
    let mut state = state(vec![row("a"), row("b"), row("c")]);
    let ids = |records: Vec<Record>| -> Vec<String> {
        records.into_iter().map(|record| record.id.to_string()).collect()
    };
    let failing = |state: &mut State| {
        let is_waiting = state.has_unrecorded(Records::Failing);
        let ids = ids(state.take_unrecorded(Records::Failing, 1000));
        assert_eq!(is_waiting, !ids.is_empty());
        ids
    };
    apply(
        &mut state,
        0,
        [
            obtained("a", 3600, RenewalMethod::Login),
            saved("a", 3600),
            obtained("b", 3600, RenewalMethod::Login),
            saved("b", 3600),
        ],
    );
    assert_eq!(failing(&mut state), Vec::<String>::new());
    assert!(state.has_unrecorded(Records::All));
    apply(&mut state, 1, [failed("b", strained()), failed("c", strained())]);
    assert_eq!(failing(&mut state), ["b", "c"], "the failures, with the success before");
    apply(&mut state, 2, [Event::Recorded, obtained("c", 3600, RenewalMethod::Login), saved("c", 3600)]);
    assert_eq!(failing(&mut state), ["c"], "the failure has ended");
    apply(&mut state, 3, [Event::Recorded, obtained("c", 3600, RenewalMethod::Login), saved("c", 3600)]);
    assert_eq!(failing(&mut state), Vec::<String>::new());
    apply(&mut state, 4, [failed("b", strained())]);
    assert_eq!(ids(state.take_unrecorded(Records::All, 2)), ["a", "b"], "the failure first");
    assert_eq!(ids(state.take_unrecorded(Records::All, 2)), ["c"]);
}

/// What another daemon wrote counts; what we are writing ourselves may be missing from a look that began before.
#[test]
fn p02_what_the_store_says_of_a_record_that_is_on_its_way_is_older() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [failed("a", strained())]);
    // As the store has it: no failure, and newer by the clock of its writer.
    let stale = Record { failure: None, updated_at: after(1_000), ..customer(&state, "a").record().clone() };
    let look = |state: &mut State| {
        apply(state, 10, [Event::TableRead(table(vec![row("a")], vec![stale.clone()]))]);
        customer(state, "a").record().failure.is_some()
    };
    assert!(look(&mut state), "it waits to be written");
    let records = state.take_unrecorded(Records::All, 1000);
    assert!(look(&mut state), "it is being written");
    apply(&mut state, 11, [Event::Reading, Event::Recorded]);
    assert!(look(&mut state), "it was written after the look had begun");
    apply(&mut state, 12, [Event::RecordsFailed { records, error: away() }]);
    assert!(look(&mut state), "it waits again");
    state.take_unrecorded(Records::All, 1000);
    apply(&mut state, 13, [Event::Recorded, Event::Reading]);
    let before = state.revision();
    assert!(!look(&mut state), "the look began after all that");
    assert_eq!(changed_since(&state, before), ["a"]);
}

#[test]
fn a_save_that_fails_is_the_loss_of_the_store() {
    let mut state = state(vec![row("a")]);
    apply(&mut state, 0, [obtained("a", 3_600, RenewalMethod::Login), save_failed("a")]);
    assert_eq!(state.store_error(), Some(&away()));
}

/// What changed outlives a restart, but costs no write of its own.
#[test]
fn changes_are_written_with_the_records_that_are_written_anyway() {
    let mut state = state(vec![ending("a", 100), ending("b", 10_000)]);
    state.take_unrecorded(Records::All, 1_000);
    state.apply(Event::Recorded, now(), 0.5);
    state.advance(after(101));
    let kinds = |record: &Record| record.changes.iter().map(|(_, kind)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(customer(&state, "a").record()), [NoticeKind::Expired]);
    assert!(!state.has_unrecorded(Records::All), "an end alone is not written");
    apply(&mut state, 102, [failed("a", Failure::CredentialsRejected)]);
    let written = state.take_unrecorded(Records::All, 1_000);
    assert_eq!(written.iter().map(kinds).collect::<Vec<_>>(), [[NoticeKind::Expired, NoticeKind::Parked]]);
    assert_eq!(kinds(customer(&state, "b").record()), []);

    let mut next = State::new(Policy::of_a_minute(), 100, Settings::of_a_minute());
    let customers = vec![ending("a", 100), ending("b", 10_000)];
    apply(&mut next, 200, [Event::TableRead(table(customers, written))]);
    assert_eq!(kinds(customer(&next, "a").record()), [NoticeKind::Expired, NoticeKind::Parked]);
}
