//! A poll of the table: rows that come, go and say something else, and the records beside them.

use super::super::customers::REMEMBERED_REMOVALS;
use super::*;

/// Nothing read yet.
fn state() -> State {
    State::new(Policy::of_a_minute(), 100, Settings::of_a_minute())
}

fn read(state: &mut State, customers: &[(&str, &str)]) {
    let customers = customers.iter().map(|(id, username)| Customer {
        id: CustomerId::new(*id),
        credentials: Credentials {
            url: "https://tb.example".into(),
            username: (*username).to_owned(),
            password: Secret::new("p"),
        },
        row_url: "https://tb.example".into(),
        has_token: false,
        expiry: None,
    });
    let table = Table {
        customers: customers.collect(),
        ineligible: Vec::new(),
        problems: Vec::new(),
        records: Vec::new(),
        key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
        records_lost: None,
    };
    state.apply(Event::TableRead(table), DateTime::UNIX_EPOCH, 0.5);
}

/// Ids with their users, and whose customer has changed since the revision.
fn picture(state: &State, since: u64) -> (Vec<(&str, &str)>, Vec<&str>) {
    let users =
        state.customers().iter().map(|(id, customer)| (id.as_str(), &*customer.row.credentials.username));
    let changed = state.customers().iter().filter(|(_, customer)| customer.revision > since);
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
    assert!(state.customers().is_empty());
    assert_eq!(state.removed().0.len(), 5);
}

/// A client with an older revision sees the change.
#[test]
fn one_row_that_changes_changes_one_customer() {
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
    let records = state.take_unrecorded(Records::All, 1000);
    assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert!(records[0].failure.as_ref().unwrap().permanent);
}

fn give_refresh_token(state: &mut State, name: &str) {
    state.customers.edit(&id(name), second(0)).unwrap().refresh_token = Some(Secret::new("r"));
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
    Failure::ServerError { status: 503, retry_after: None }
}

/// A record of a customer with these credentials that has failed like this.
fn record(failure: Failure, username: &str, at: i64) -> Record {
    let mut state = state();
    read(&mut state, &[("a", username)]);
    failing(&mut state, "a", failure, at);
    state.take_unrecorded(Records::All, 1000).remove(0)
}

fn read_with(state: &mut State, customers: &[(&str, &str)], change: impl FnOnce(&mut Table), at: i64) {
    let mut other = self::state();
    read(&mut other, customers);
    let customers = other.customers().values().map(|customer| customer.row.clone()).collect();
    let key = FingerprintKey::new(&[7; FingerprintKey::BYTES]);
    let mut table = Table {
        customers,
        ineligible: Vec::new(),
        problems: Vec::new(),
        records: Vec::new(),
        key,
        records_lost: None,
    };
    change(&mut table);
    state.apply(Event::TableRead(table), second(at), 0.5);
}

#[test]
fn what_another_daemon_has_written_is_shown_and_not_written_again() {
    let mut state = state();
    let rows = [("a", "u"), ("b", "u2")];
    read(&mut state, &rows);
    let before = state.revision();
    read_with(&mut state, &rows, |table| table.records = vec![record(refused(), "u", 5)], 9);
    assert_eq!(picture(&state, before).1, ["a"]);
    assert!(failure(&state, "a").permanent && !state.has_unrecorded(Records::All));
    assert_eq!(state.table_read_at, Some(second(9)));
    // Of two records the later one counts, and at the same time ours.
    let written = |state: &mut State, name: &str, at: i64| {
        failing(state, name, strained(), at);
        state.take_unrecorded(Records::All, 1000);
        state.apply(Event::Recorded, second(at), 0.5);
    };
    for (at, is_theirs) in [(9, false), (10, false), (11, true)] {
        written(&mut state, "b", 10);
        let theirs = Record { id: CustomerId::new("b"), ..record(refused(), "u2", at) };
        read_with(&mut state, &rows, |table| table.records = vec![theirs], 12);
        assert_eq!(failure(&state, "b").permanent, is_theirs, "written at {at}");
        assert!(!state.has_unrecorded(Records::All));
    }
}

/// The ledger refuses them in both daemons; this is for what is shown.
#[test]
fn p02_a_restart_and_another_daemon_know_which_customers_are_parked() {
    let mut restarted = state();
    read_with(&mut restarted, &[("a", "u")], |table| table.records = vec![record(refused(), "u", 5)], 9);
    let verdict = restarted.customer(&id("a")).unwrap().verdict(second(9_999), &Policy::of_a_minute());
    assert_eq!(verdict, Verdict::Parked { until: None });
    // A record of other credentials says nothing of these.
    let mut changed = state();
    read_with(&mut changed, &[("a", "other")], |table| table.records = vec![record(refused(), "u", 5)], 9);
    assert!(customer(&changed, "a").record().failure.is_none());
    assert!(changed.has_unrecorded(Records::All));
}

#[test]
fn p03_other_credentials_free_the_parked_and_are_said_and_written() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u2")]);
    failing(&mut state, "a", refused(), 1);
    failing(&mut state, "b", strained(), 1);
    state.take_unrecorded(Records::All, 1000);
    state.history.take_unlogged().for_each(drop);
    let before = state.revision();
    read_with(&mut state, &[("a", "v"), ("b", "v2")], |_| {}, 60);
    let reported: Vec<_> = state.history.take_unlogged().map(|n| (n.kind, n.customer.clone())).collect();
    assert_eq!(reported, [(NoticeKind::Unparked, Some(CustomerId::new("a")))], "b was not parked");
    let records = state.take_unrecorded(Records::All, 1000);
    assert!(records.iter().all(|record| record.failure.is_none() && record.updated_at == second(60)));
    assert_eq!((records.len(), picture(&state, before).1), (2, vec!["a", "b"]));
}

#[test]
fn a_refresh_token_is_kept_for_another_password_but_not_for_another_server_or_user() {
    let kept = |change: &dyn Fn(&mut Credentials)| {
        let mut state = state();
        let spelled = |table: &mut Table| table.customers[0].credentials.url = "https://tb.example".into();
        read_with(&mut state, &[("a", "u")], spelled, 0);
        give_refresh_token(&mut state, "a");
        read_with(&mut state, &[("a", "u")], |table| change(&mut table.customers[0].credentials), 60);
        customer(&state, "a").refresh_token.is_some()
    };
    assert!(kept(&|credentials| credentials.url = "https://TB.example:443/".into()), "a spelling");
    assert!(kept(&|credentials| credentials.password = Secret::new("other")));
    assert!(!kept(&|credentials| credentials.url = "https://tb.example/other".into()));
    assert!(!kept(&|credentials| credentials.url = "https://tb.example:8443".into()));
    assert!(!kept(&|credentials| credentials.username = "U".to_owned()), "by default it is another user");
}

/// Its clock is ahead of ours: the wait is as long as it was meant.
#[test]
fn p21_what_another_clock_has_noted_waits_from_now_on() {
    for (noted, at) in [(9, 9), (14, 14), (15, 9), (1_200, 9)] {
        let mut state = state();
        read(&mut state, &[("a", "u")]);
        let record = record(strained(), "u", noted);
        read_with(&mut state, &[("a", "u")], |table| table.records = vec![record], 9);
        let note = state.customer(&CustomerId::new("a")).unwrap().record().failure.clone().unwrap();
        assert_eq!((note.at, note.next_attempt_at), (second(at), Some(second(at + 60))), "noted at {noted}");
    }
}

#[test]
fn p02_a_parked_customer_stays_as_it_is_when_another_row_is_corrected() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u")]);
    failing(&mut state, "a", refused(), 1);
    failing(&mut state, "b", refused(), 2);
    state.take_unrecorded(Records::All, 1000);
    state.history.take_unlogged().for_each(drop);
    read_with(&mut state, &[("a", "corrected"), ("b", "u")], |_| {}, 60);
    let note = failure(&state, "b");
    assert!(note.permanent && (note.at, note.consecutive) == (second(2), 1), "{note:?}");
    let reported: Vec<_> = state.history.take_unlogged().map(|n| (n.kind, n.customer.clone())).collect();
    assert_eq!(reported, [(NoticeKind::Unparked, Some(CustomerId::new("a")))]);
}

/// The other daemon has only the password, and got no answer. This one does not need it.
#[test]
fn a_customer_with_a_refresh_token_does_not_wait_for_an_answer_to_a_password() {
    let unanswered = || Failure::Timeout { after: Duration::from_secs(10) };
    for (failure, waits) in [(unanswered(), false), (strained(), true), (refused(), true)] {
        let mut state = state();
        read(&mut state, &[("a", "u")]);
        let record = record(failure, "u", 5);
        give_refresh_token(&mut state, "a");
        read_with(&mut state, &[("a", "u")], |table| table.records = vec![record], 9);
        assert_eq!(state.customer(&CustomerId::new("a")).unwrap().record().failure.is_some(), waits);
    }
}

#[test]
fn p02_another_key_changes_the_fingerprints_and_unparks_no_customer() {
    let mut state = state();
    read(&mut state, &[("a", "u"), ("b", "u")]);
    failing(&mut state, "a", refused(), 1);
    state.take_unrecorded(Records::All, 1000);
    state.apply(Event::Recorded, second(1), 0.5);
    state.history.take_unlogged().for_each(drop);
    let other = || FingerprintKey::new(&[9; FingerprintKey::BYTES]);
    state.apply(Event::Reading, second(60), 0.5);
    read_with(&mut state, &[("a", "u"), ("b", "u")], |table| table.key = other(), 60);
    let a = customer(&state, "a");
    assert_eq!(a.credentials, other().fingerprint(&a.row.credentials));
    assert_eq!(
        (a.credentials, failure(&state, "a").fingerprint),
        (customer(&state, "b").credentials, a.credentials)
    );
    assert!(state.history.take_unlogged().all(|notice| notice.kind != NoticeKind::Unparked));
    // What was only known here is in the store now, for a restart to find.
    let records = state.take_unrecorded(Records::All, 1000);
    assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["a"]);
    let mut restarted = self::state();
    let with_records = |table: &mut Table| (table.key, table.records) = (other(), records);
    read_with(&mut restarted, &[("a", "u")], with_records, 120);
    assert!(failure(&restarted, "a").permanent);
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
        let said = state.history.take_unlogged().map(|notice| notice.message.clone());
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
fn removed_customers_are_remembered_for_clients_up_to_a_bound() {
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
    let status = |state: &State| state.customer(&CustomerId::new("a")).unwrap().status;
    assert_eq!(status(&state), TokenStatus::Valid);
    read_with(&mut state, &[("a", "u")], soon, 900);
    assert_eq!(status(&state), TokenStatus::ExpiringSoon);
    read_with(&mut state, &[("a", "u")], |_| {}, 901);
    assert_eq!(status(&state), TokenStatus::Missing);
}
