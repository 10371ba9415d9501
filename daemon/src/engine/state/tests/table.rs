//! A look at the table: rows that come, go and say something else, and the records beside them.

use super::super::adopting::{Preference, preference};
use super::super::table::REMEMBERED_REMOVALS;
use super::*;

/// Nothing read yet.
fn state() -> State {
    State::new(super::state(Vec::new()).policy, 100)
}

fn read(state: &mut State, customers: &[(&str, &str)]) {
    let customers = customers.iter().map(|(id, username)| Customer {
        id: CustomerId::new(*id),
        credentials: Credentials {
            url: "https://tb.example".to_owned(),
            username: (*username).to_owned(),
            password: Secret::new("p"),
        },
        row_url: "https://tb.example".to_owned(),
        has_token: false,
        expiry: None,
    });
    let table = Table {
        customers: customers.collect(),
        problems: Vec::new(),
        records: Vec::new(),
        key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
        records_lost: None,
    };
    state.apply(Event::TableRead(table), DateTime::UNIX_EPOCH, 0.5);
}

/// Ids with their users, and whose entry has changed since the revision.
fn picture(state: &State, since: u64) -> (Vec<(&str, &str)>, Vec<&str>) {
    let users = state.entries().map(|(id, entry)| (id.as_str(), &*entry.customer.credentials.username));
    let changed = state.entries().filter(|(_, entry)| entry.revision > since);
    (users.collect(), changed.map(|(id, _)| id.as_str()).collect())
}

#[test]
fn rows_come_change_go_and_come_back_in_any_order() {
    let mut state = state();
    read(&mut state, &[("b", "u"), ("a", "u"), ("c", "u")]);
    assert_eq!(picture(&state, 0), (vec![("a", "u"), ("b", "u"), ("c", "u")], vec!["a", "b", "c"]));
    let before = state.revision();
    read(&mut state, &[("c", "u"), ("a", "u"), ("b", "u")]);
    assert_eq!(state.revision(), before, "nothing is new");

    read(&mut state, &[("d", "u"), ("c", "v")]);
    assert_eq!(picture(&state, before), (vec![("c", "v"), ("d", "u")], vec!["c", "d"]));
    let gone: Vec<_> = state.removed().0.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(gone, ["a", "b"]);

    let before = state.revision();
    read(&mut state, &[("a", "u"), ("c", "v"), ("d", "u")]);
    assert_eq!(picture(&state, before), (vec![("a", "u"), ("c", "v"), ("d", "u")], vec!["a"]));
    read(&mut state, &[]);
    assert!(state.is_empty());
    assert_eq!(state.removed().0.len(), 5);
}

/// A client that asks for what is new since then is told of it.
#[test]
fn one_row_that_says_something_else_is_news() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u")]);
    let before = state.revision();
    read(&mut state, &[("a", "u"), ("b", "v")]);
    assert_eq!((state.revision(), picture(&state, before).1), (before + 1, vec!["b"]));
}

#[test]
fn a_record_that_was_not_written_outlives_its_row() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u")]);
    let failure = Failure::CredentialsRejected;
    state.apply(Event::Failed { id: CustomerId::new("a"), failure }, DateTime::UNIX_EPOCH, 0.5);
    read(&mut state, &[("b", "u")]);
    let records = state.take_unrecorded(1000);
    assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert!(records[0].failure.as_ref().unwrap().permanent);
}

fn failing(state: &mut State, name: &str, failure: Failure, at: i64) {
    state.apply(Event::Failed { id: CustomerId::new(name), failure }, second(at), 0.5);
}

fn second(at: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(at)
}

fn refused() -> Failure {
    Failure::CredentialsRejected
}

fn strained() -> Failure {
    Failure::ServerError { status: 503 }
}

/// A record of a customer with these credentials who has failed like this.
fn record(failure: Failure, username: &str, at: i64) -> Record {
    let mut state = state();
    read(&mut state, &[("a", username)]);
    failing(&mut state, "a", failure, at);
    state.take_unrecorded(1000).remove(0)
}

/// Who wins, of two daemons that have each learned something.
#[test]
fn p02_a_refusal_of_the_present_credentials_counts_whatever_the_clocks_say() {
    let present = record(refused(), "now", 50).failure.unwrap().fingerprint;
    let fine = |at: i64, success: Option<i64>| Record {
        failure: None,
        last_success_at: success.map(second),
        ..record(strained(), "now", at)
    };
    let (early, late) = (10, 90);
    let (ours, both, theirs) = (Preference::Ours, Preference::OursForBoth, Preference::Theirs);
    let cases = [
        ("we both were refused", record(refused(), "now", early), record(refused(), "now", late), ours),
        (
            "ours is of older credentials",
            record(refused(), "old", early),
            record(refused(), "now", late),
            theirs,
        ),
        (
            "theirs is of older credentials",
            record(refused(), "now", late),
            record(refused(), "old", early),
            ours,
        ),
        ("they were refused", record(strained(), "now", late), record(refused(), "now", early), theirs),
        ("they were, long ago", record(strained(), "now", late), record(refused(), "old", early), ours),
        ("they could not ask", record(refused(), "now", early), record(strained(), "now", late), both),
        ("they had a token before", record(refused(), "now", 50), fine(late, Some(50)), both),
        ("they have had a token since", record(refused(), "now", 50), fine(late, Some(51)), theirs),
        ("they are later", record(strained(), "now", early), record(strained(), "now", late), theirs),
        ("we are later", record(strained(), "now", late), record(strained(), "now", early), ours),
        ("nobody is later", record(strained(), "now", early), record(strained(), "now", early), ours),
    ];
    for (what, our, their, expected) in cases {
        assert_eq!(preference(&our, &their, || present.clone()), expected, "{what}");
    }
}

fn read_with(state: &mut State, customers: &[(&str, &str)], change: impl FnOnce(&mut Table), at: i64) {
    let mut other = self::state();
    read(&mut other, customers);
    let customers = other.entries().map(|(_, entry)| entry.customer.clone()).collect();
    let key = FingerprintKey::new(&[7; FingerprintKey::BYTES]);
    let mut table = Table { customers, problems: Vec::new(), records: Vec::new(), key, records_lost: None };
    change(&mut table);
    state.apply(Event::TableRead(table), second(at), 0.5);
}

#[test]
fn what_another_daemon_has_written_is_shown_and_not_written_again() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u2")]);
    let before = state.revision();
    read_with(
        &mut state,
        &[("a", "u"), ("b", "u2")],
        |table| table.records = vec![record(refused(), "u", 5)],
        9,
    );
    assert_eq!(picture(&state, before).1, ["a"]);
    assert!(state.entry(&CustomerId::new("a")).unwrap().record.failure.as_ref().unwrap().permanent);
    assert!(!state.has_unrecorded());
    assert_eq!(state.table_read_at(), Some(second(9)));
    // Theirs counts over what we were about to write.
    failing(&mut state, "b", strained(), 10);
    let theirs = Record { id: CustomerId::new("b"), ..record(refused(), "u2", 5) };
    read_with(&mut state, &[("a", "u"), ("b", "u2")], |table| table.records = vec![theirs], 11);
    assert!(!state.has_unrecorded());
    // What we were told counts over what they were not, and is written again, as of now.
    state.apply(Event::Reading, second(12), 0.5);
    read_with(&mut state, &[("a", "u")], |table| table.records = vec![record(strained(), "u", 13)], 14);
    let records = state.take_unrecorded(1000);
    assert_eq!(records.iter().map(|record| record.updated_at).collect::<Vec<_>>(), [second(14)]);
}

#[test]
fn p03_other_credentials_free_the_parked_and_are_said_and_written() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u2")]);
    failing(&mut state, "a", refused(), 1);
    failing(&mut state, "b", strained(), 1);
    state.take_unrecorded(1000);
    state.history_mut().take_unlogged().for_each(drop);
    let before = state.revision();
    read_with(&mut state, &[("a", "v"), ("b", "v2")], |_| {}, 60);
    let told: Vec<_> = state.history_mut().take_unlogged().map(|n| (n.kind, n.customer.clone())).collect();
    assert_eq!(told, [(NoticeKind::Unparked, Some(CustomerId::new("a")))], "b was not parked");
    let records = state.take_unrecorded(1000);
    assert!(records.iter().all(|record| record.failure.is_none() && record.updated_at == second(60)));
    assert_eq!((records.len(), picture(&state, before).1), (2, vec!["a", "b"]));
}

/// Somebody mends one row and forgets the other: that one waited for its server all the while.
#[test]
fn p02_who_still_says_what_was_refused_is_parked_when_the_refused_row_is_mended() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u"), ("c", "v")]);
    failing(&mut state, "b", strained(), 1);
    failing(&mut state, "a", refused(), 2);
    state.take_unrecorded(1000);
    read_with(&mut state, &[("a", "mended"), ("b", "u"), ("c", "v")], |_| {}, 60);
    let failure = |name: &str| state.entry(&CustomerId::new(name)).unwrap().record.failure.as_ref();
    let b = failure("b").unwrap();
    assert!(b.permanent && b.message.contains("for customer a"), "{}", b.message);
    assert!(failure("a").is_none() && failure("c").is_none());
    let ids = state.take_unrecorded(1000).into_iter().map(|record| record.id.to_string());
    assert_eq!(ids.collect::<Vec<_>>(), ["a", "b"], "after a restart too");
    // It is mended as well.
    read_with(&mut state, &[("a", "mended"), ("b", "mended"), ("c", "v")], |_| {}, 120);
    assert!(state.entries().all(|(_, entry)| entry.record.failure.is_none()));
}

#[test]
fn another_spelling_of_the_url_is_no_other_account() {
    let mut state = state();
    let spelled = |url: &str| {
        let url = url.to_owned();
        move |table: &mut Table| table.customers[0].credentials.url = url
    };
    read_with(&mut state, &[("a", "u")], spelled("https://tb.example"), 0);
    let a = CustomerId::new("a");
    state.entries.get_mut(&a).unwrap().refresh_token = Some(Secret::new("r"));
    let keeps = |state: &State| state.entry(&a).unwrap().refresh_token.is_some();
    read_with(&mut state, &[("a", "u")], spelled("https://TB.example:443/"), 60);
    assert!(keeps(&state) && state.entry(&a).unwrap().known == Known::Found);
    read_with(&mut state, &[("a", "u")], spelled("https://tb.example/other"), 120);
    assert!(!keeps(&state) && state.entry(&a).unwrap().known == Known::New);
}

/// It needs no password as long as its refresh tokens last, which a new password of the account ends.
#[test]
fn p02_who_lives_on_refresh_tokens_meets_the_refusal_when_it_needs_the_password() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u")]);
    let b = CustomerId::new("b");
    state.entries.get_mut(&b).unwrap().refresh_token = Some(Secret::new("r"));
    failing(&mut state, "a", refused(), 2);
    read(&mut state, &[("a", "mended"), ("b", "u")]);
    read(&mut state, &[("a", "mended"), ("b", "u")]);
    let entry = state.entry(&b).unwrap();
    assert!(entry.record.failure.is_none());
    let u = state.fingerprint(&entry.customer.credentials).unwrap();
    assert_eq!(state.refusal(&u).unwrap().0.as_str(), "a");
    // Until nobody says it any more.
    read(&mut state, &[("a", "mended"), ("b", "mended")]);
    assert!(state.refusal(&u).is_none());
}

/// Its clock is ahead of ours: the wait is as long as it was meant.
#[test]
fn p21_what_another_clock_has_noted_waits_from_now_on() {
    for (noted, at) in [(9, 9), (14, 14), (15, 9), (1_200, 9)] {
        let mut state = state();
        read(&mut state, &[("a", "u")]);
        let record = record(strained(), "u", noted);
        read_with(&mut state, &[("a", "u")], |table| table.records = vec![record], 9);
        let note = state.entry(&CustomerId::new("a")).unwrap().record.failure.clone().unwrap();
        assert_eq!((note.at, note.next_attempt_at), (second(at), Some(second(at + 60))), "noted at {noted}");
    }
}

/// It was told itself, and nothing about that is new.
#[test]
fn p02_who_was_refused_itself_stays_as_it_is_when_another_row_is_mended() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u")]);
    failing(&mut state, "a", refused(), 1);
    failing(&mut state, "b", refused(), 2);
    state.take_unrecorded(1000);
    state.history_mut().take_unlogged().for_each(drop);
    read_with(&mut state, &[("a", "mended"), ("b", "u")], |_| {}, 60);
    let note = state.entry(&CustomerId::new("b")).unwrap().record.failure.as_ref().unwrap();
    assert!(note.permanent && (note.at, note.consecutive) == (second(2), 1), "{note:?}");
    let told: Vec<_> = state.history_mut().take_unlogged().map(|n| (n.kind, n.customer.clone())).collect();
    assert_eq!(told, [(NoticeKind::Unparked, Some(CustomerId::new("a")))]);
}

/// What a record says of earlier tokens is of the credentials of then, and nobody saw whether they were changed while the
/// row was away.
#[test]
fn p02_nothing_speaks_for_the_credentials_of_a_row_that_came_back() {
    let known = |state: &State, name: &str| state.entry(&CustomerId::new(name)).unwrap().known;
    let mut state = state();
    read(&mut state, &[("a", "u")]);
    assert_eq!(known(&state, "a"), Known::Found);
    read(&mut state, &[("b", "u")]);
    read(&mut state, &[("a", "u"), ("b", "u")]);
    assert_eq!((known(&state, "a"), known(&state, "b")), (Known::New, Known::New));
}

/// The other daemon has only the password, and got no answer. We do not need it.
#[test]
fn who_has_a_refresh_token_does_not_wait_for_an_answer_to_a_password() {
    let unheard = || Failure::Timeout { after: Duration::from_secs(10) };
    for (failure, waits) in [(unheard(), false), (strained(), true), (refused(), true)] {
        let mut state = state();
        read(&mut state, &[("a", "u")]);
        let record = record(failure, "u", 5);
        state.entries.get_mut(&CustomerId::new("a")).unwrap().refresh_token = Some(Secret::new("r"));
        read_with(&mut state, &[("a", "u")], |table| table.records = vec![record], 9);
        assert_eq!(state.entry(&CustomerId::new("a")).unwrap().record.failure.is_some(), waits);
    }
}

#[test]
fn another_key_changes_the_fingerprints_and_frees_nobody() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("gone", "w")]);
    failing(&mut state, "a", refused(), 1);
    failing(&mut state, "gone", refused(), 1);
    read(&mut state, &[("a", "u")]);
    let other = || FingerprintKey::new(&[9; FingerprintKey::BYTES]);
    read_with(&mut state, &[("a", "u"), ("b", "u")], |table| table.key = other(), 60);
    let a = state.entry(&CustomerId::new("a")).unwrap();
    let note = a.record.failure.as_ref().unwrap();
    assert!(note.permanent && note.fingerprint == other().fingerprint(&a.customer.credentials));
    let is_refused = |name: &str| {
        let fingerprint =
            state.fingerprint(&state.entry(&CustomerId::new(name)).unwrap().customer.credentials);
        state.refusal(&fingerprint.unwrap()).is_some()
    };
    assert!(is_refused("a") && is_refused("b"), "b says the same");
    // Whoever was away has fingerprints of a key that is no more: that says nothing about its credentials.
    state.history_mut().take_unlogged().for_each(drop);
    read_with(&mut state, &[("a", "u"), ("gone", "w")], |table| table.key = other(), 61);
    assert!(state.history_mut().take_unlogged().all(|notice| notice.kind != NoticeKind::Unparked));
}

#[test]
fn what_is_wrong_with_a_row_is_said_once_until_it_was_right() {
    let problem = || RowProblem { row: "7".to_owned(), what: "is no date".to_owned() };
    let mut state = state();
    let mut look = |problems: usize, lost: Option<&str>| {
        let change = |table: &mut Table| {
            table.problems = vec![problem(); problems];
            table.records_lost = lost.map(ToOwned::to_owned);
        };
        read_with(&mut state, &[], change, 1);
        let said = state.history_mut().take_unlogged().map(|notice| notice.message.clone());
        said.map(|message| message.chars().take(16).collect()).collect::<Vec<String>>()
    };
    assert_eq!(look(1, None), ["row 7: is no dat"]);
    assert!(look(1, None).is_empty());
    assert!(look(0, None).is_empty());
    assert_eq!(look(1, None), ["row 7: is no dat"]);
    assert_eq!(look(1, Some("no permission")), ["the table tbtoke"]);
    assert!(look(1, Some("no permission")).is_empty());
    assert!(look(1, None).is_empty());
    assert_eq!(look(1, Some("no permission")), ["the table tbtoke"]);
}

#[test]
fn who_left_is_remembered_for_clients_up_to_a_bound() {
    let mut state = state();
    let names: Vec<String> = (0..=REMEMBERED_REMOVALS).map(|n| format!("{n:05}")).collect();
    let rows: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "u")).collect();
    read(&mut state, &rows);
    let (before, floor) = (state.revision(), state.removed().1);
    read(&mut state, &rows[..1]);
    assert_eq!((state.removed().0.len(), state.removed().1), (REMEMBERED_REMOVALS, floor));
    let revisions: Vec<u64> = state.removed().0.iter().map(|(revision, _)| *revision).collect();
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]) && revisions[0] > before);
    read(&mut state, &[]);
    let (removed, floor) = state.removed();
    assert_eq!((removed.len(), floor), (REMEMBERED_REMOVALS, revisions[0]), "the oldest is no longer known");
    assert_eq!(removed.back().unwrap().1.as_str(), "00000");
}

#[test]
fn the_status_of_a_row_is_right_at_the_look() {
    let mut state = state();
    let soon = |table: &mut Table| {
        table.customers[0].has_token = true;
        table.customers[0].expiry = Some(second(1_000));
    };
    read_with(&mut state, &[("a", "u")], soon, 0);
    let status = |state: &State| state.entry(&CustomerId::new("a")).unwrap().status;
    assert_eq!(status(&state), TokenStatus::Valid);
    read_with(&mut state, &[("a", "u")], soon, 900);
    assert_eq!(status(&state), TokenStatus::ExpiringSoon);
    read_with(&mut state, &[("a", "u")], |_| {}, 901);
    assert_eq!(status(&state), TokenStatus::Missing);
}
