//! The ledger as the state owns it: what is said of it, which servers it puts in doubt, and which customers it unparks.

use std::time::Instant;

use super::super::super::credentials::{
    Answer, HeldCredentials, Leave, LoginQuery, Outcome, Reason, Settings,
};
use super::*;
use crate::model::AccountKey;
use crate::store::{AccountRow, LedgerPlace, LedgerRead, Stamp};

/// The store's ledger with this id and number was read.
pub(super) fn read(ledger: i64, number: i64, accounts: Vec<AccountRow>) -> Event {
    let stamp = Stamp { id: ledger, number };
    let read = LedgerRead { stamp, is_whole: true, accounts, ..LedgerRead::default() };
    Event::LedgerRead { read, seen: Instant::now() }
}

/// A pass sends the row's password, and this comes of it.
pub(super) fn send(state: &mut State, name: &str, leave: Leave, outcome: Outcome) {
    let mut ledger = state.lend_ledger();
    let account = customer(state, name).account.unwrap();
    let held = state.held_credentials(&[account].into()).remove(&account).unwrap();
    let query: LoginQuery<'_> = customer(state, name).login_query(&held, leave).unwrap();
    let number = u64::from(ledger.charges_of(&account, query.server, query.username));
    let charge = ledger.charge(&query, number, Instant::now());
    ledger.settle(charge, outcome.failure().as_ref(), Instant::now());
    state.return_ledger(ledger);
}

/// Whether a user without any record has to wait for a probe of the server.
fn is_in_doubt(state: &State, url: &str) -> bool {
    let account = AccountKey::of(&BaseUrl::parse(url).unwrap(), "stranger");
    let (held, credentials) = (HeldCredentials::default(), customer(state, "a").credentials);
    let (server, leave) = (&server(url), Leave::None);
    let query = LoginQuery { account, server, username: "stranger", credentials, held: &held, leave };
    match state.ledger().may_send(&query, Instant::now()) {
        Answer::Send => false,
        Answer::Wait(Reason::Probe) => true,
        other => panic!("{other:?}"),
    }
}

/// A row with the account of the row named first.
fn like(name: &str, other: &str, password: &str) -> Customer {
    let username = row(other).credentials.username;
    let credentials = Credentials { username, password: Secret::new(password), ..row(other).credentials };
    Customer { credentials, ..row(name) }
}

fn messages(state: &mut State, of: NoticeKind) -> Vec<String> {
    let notices = state.history.take_unlogged();
    notices.filter(|notice| notice.kind == of).map(|notice| notice.message.clone()).collect()
}

#[test]
fn a_ledger_that_was_replaced_is_told_each_time() {
    let mut state = state(vec![row("a")]);
    let mut warnings = |events: Vec<Event>| {
        apply(&mut state, 0, events);
        messages(&mut state, NoticeKind::Warning)
    };
    assert!(
        warnings(vec![read(1, 5, Vec::new()), read(1, 5, Vec::new()), read(1, 6, Vec::new())]).is_empty()
    );
    let lower = warnings(vec![read(1, 4, Vec::new())]);
    assert!(lower.len() == 1 && lower[0].contains("tbtokend_account"), "{lower:?}");
    assert_eq!(warnings(vec![read(2, 9, Vec::new())]), lower, "another one");
    assert_eq!(warnings(vec![Event::LedgerReplaced]), lower, "found by a pass");
    assert!(warnings(vec![read(2, 9, Vec::new())]).is_empty());
}

#[test]
fn a_ledger_in_a_file_is_told_once() {
    let mut state = state(vec![row("a")]);
    let in_place = |place: &LedgerPlace| {
        let stamp = Stamp { id: 1, number: 1 };
        let read = LedgerRead { stamp, is_whole: true, place: place.clone(), ..LedgerRead::default() };
        Event::LedgerRead { read, seen: Instant::now() }
    };
    let (path, why) = ("/var/lib/tbtokend/accounts.db".to_owned(), "there is no table".to_owned());
    let file = LedgerPlace::File { path, why };
    assert_eq!(state.ledger_place, None);
    let mut warnings = |place: &LedgerPlace| {
        apply(&mut state, 0, [in_place(place), in_place(place)]);
        assert_eq!(state.ledger_place.as_ref(), Some(place));
        messages(&mut state, NoticeKind::Warning)
    };
    let reported = warnings(&file);
    assert!(
        reported.len() == 1
            && reported[0].contains("accounts.db")
            && reported[0].contains("there is no table")
    );
    assert!(reported[0].contains("tbtokend schema"), "what to do: {reported:?}");
    assert!(warnings(&LedgerPlace::Database).is_empty());
    assert_eq!(warnings(&file), reported, "it is a file again");
    apply(&mut state, 0, [Event::LedgerReplaced]);
    let reported = messages(&mut state, NoticeKind::Warning);
    assert!(
        reported.len() == 1 && reported[0].contains("accounts.db") && !reported[0].contains("table"),
        "{reported:?}"
    );
}

#[test]
fn p02_a_charge_that_a_dead_daemon_left_in_flight_puts_its_server_in_doubt() {
    let account = |state: &State, name: &str| customer(state, name).account.unwrap();
    let far = Credentials { url: "https://far.example".into(), ..row("far").credentials };
    let rows = || vec![row("a"), Customer { credentials: far.clone(), ..row("far") }];
    let doubtful = |account: AccountKey, reads: Vec<i64>| {
        let charge = |number| AccountRow {
            key: account,
            charges: 1,
            in_flight: Some("00000000000000ff another".to_owned()),
            details: String::new(),
            seen_at: now(),
            version: number,
        };
        let mut state = state(rows());
        for number in reads {
            let accounts = if number == 0 { Vec::new() } else { vec![charge(number)] };
            apply(&mut state, 0, [read(1, number, accounts)]);
        }
        [URL, "https://far.example"].map(|url| is_in_doubt(&state, url))
    };
    let known = state(rows());
    assert_eq!(doubtful(account(&known, "a"), vec![1]), [true, false]);
    assert_eq!(doubtful(account(&known, "far"), vec![1]), [false, true]);
    assert_eq!(doubtful(account(&known, "a"), vec![0, 1]), [false, false], "its daemon lives");
    let unknown = AccountKey::from_bytes(&[9; AccountKey::BYTES]).unwrap();
    assert_eq!(doubtful(unknown, vec![1]), [false, false], "no row names it");
}

#[test]
fn p02_an_acceptance_unparks_the_other_rows_of_the_account() {
    let mut state = state(vec![row("a"), like("b", "a", "right"), like("c", "a", "wrong"), row("d")]);
    apply(&mut state, 0, [read(1, 1, Vec::new())]);
    for name in ["a", "c", "d"] {
        send(&mut state, name, Leave::None, Outcome::Rejected);
    }
    apply(&mut state, 1, ["a", "b", "c", "d"].map(|name| failed(name, Failure::CredentialsRejected)));
    apply(&mut state, 5, [Event::PassFinished, read(1, 1, Vec::new())]);
    let parked = |state: &State| {
        let parked = ["a", "b", "c", "d"].map(|name| customer(state, name).record().failure.is_some());
        parked.map(u8::from)
    };
    assert_eq!(parked(&state), [1, 1, 1, 1], "their credentials stay rejected");
    take_notices(&mut state);
    unrecorded(&mut state);
    // An operator sends those of a once more.
    send(&mut state, "a", Leave::Forced, Outcome::Accepted);
    apply(&mut state, 10, [obtained("a", 3_600, RenewalMethod::Login), saved("a", 3_600)]);
    let before = state.revision();
    apply(&mut state, 12, [Event::PassFinished]);
    assert_eq!((parked(&state), changed_since(&state, before)), ([0, 0, 1, 1], vec!["b"]));
    assert!(take_notices(&mut state).contains(&(NoticeKind::Unparked, "b".to_owned())));
    let expected = ["a", "b"].map(|name| (name.to_owned(), None));
    assert_eq!(unrecorded(&mut state), expected, "after a restart too");
    assert_eq!(customer(&state, "b").record().updated_at, after(12));
}

#[test]
fn p02_a_budget_that_was_cleared_unparks_and_a_ledger_that_is_not_known_does_not() {
    let exhausted = || failed("a", Failure::AttemptsExhausted { charges: 3 });
    let is_parked = |state: &State| customer(state, "a").record().failure.is_some();
    let mut state = state(vec![row("a"), like("b", "a", "other")]);
    apply(&mut state, 0, [exhausted(), Event::PassFinished]);
    assert!(is_parked(&state), "the ledger was not read yet");
    apply(&mut state, 2, [read(1, 1, Vec::new())]);
    assert!(is_parked(&state), "it knows nothing of the account");
    for _ in 0..3 {
        send(&mut state, "a", Leave::None, Outcome::Unanswered);
    }
    apply(&mut state, 3, [Event::PassFinished]);
    assert!(is_parked(&state));
    // Another budget is one that was cleared, too.
    let policy = Policy { wrong_password_budget: 4, ..Policy::of_a_minute() };
    state.set_policy(policy, after(4));
    let ledger = state.lend_ledger();
    apply(&mut state, 4, [Event::PassFinished]);
    assert!(is_parked(&state), "a pass has it");
    state.return_ledger(ledger);
    apply(&mut state, 5, [Event::PassFinished]);
    assert!(!is_parked(&state));
    state.set_policy(Policy::of_a_minute(), after(6));
    apply(&mut state, 6, [exhausted(), Event::PassFinished]);
    assert!(is_parked(&state));
    send(&mut state, "b", Leave::Forced, Outcome::Accepted);
    apply(&mut state, 7, [Event::PassFinished]);
    assert!(!is_parked(&state));
}

/// Only what the ledger knows of an account can end what it did not allow.
#[test]
fn what_parks_for_another_reason_is_not_unparked_by_the_ledger() {
    let mut state = state(vec![row("a"), like("b", "a", "right")]);
    apply(&mut state, 0, [read(1, 1, Vec::new()), failed("b", Failure::AccountDisabled)]);
    send(&mut state, "a", Leave::None, Outcome::Accepted);
    apply(&mut state, 5, [Event::PassFinished]);
    assert_eq!(failure(&state, "b").kind, FailureKind::AccountDisabled);
}

/// The configuration is read again while a pass has the ledger.
#[test]
fn p02_a_budget_that_changes_during_a_pass_holds_after_it() {
    let mut state = state(vec![row("a")]);
    let ledger = state.lend_ledger();
    let interval = TimeDelta::minutes(5);
    state.set_policy(Policy { wrong_password_budget: 1, interval, ..Policy::of_a_minute() }, after(1));
    state.return_ledger(ledger);
    let settings = &state.ledger().settings;
    assert_eq!((settings.budget, settings.interval), (1, Duration::from_secs(300)));
}

/// The record of the rejection was written, and the process was killed before the ledger was.
#[test]
fn p19_a_rejection_that_only_the_record_has_is_not_sent_again() {
    let mut before = state(vec![row("a")]);
    apply(&mut before, 0, [failed("a", Failure::CredentialsRejected)]);
    let record = customer(&before, "a").record().clone();
    let mut after = State::new(Policy::of_a_minute(), 100, Settings::of_a_minute());
    let account = customer(&before, "a").account.unwrap();
    let left_in_flight = AccountRow {
        key: account,
        charges: 1,
        in_flight: Some("0000000000000007 killed".to_owned()),
        details: "{}".to_owned(),
        seen_at: now(),
        version: 1,
    };
    let ledger = read(1, 1, vec![left_in_flight]);
    apply(&mut after, 1, [Event::TableRead(table(vec![row("a")], vec![record])), ledger]);
    assert_eq!(failure(&after, "a").kind, FailureKind::CredentialsRejected, "it stays parked");
    let held = HeldCredentials::default();
    let query = customer(&after, "a").login_query(&held, Leave::None).unwrap();
    assert_eq!(
        after.ledger().refusal(&query),
        Some(Failure::RejectedBefore { kind: FailureKind::CredentialsRejected }),
        "and its password is not sent for any row"
    );
    assert!(after.ledger().is_unwritten());
}

/// The table `tbtokend_key` was lost or restored while the two others stayed.
#[test]
fn p02_with_another_key_the_rejected_stay_parked_until_an_operator_decides() {
    let mut before = state(vec![row("a"), row("b"), row("c")]);
    apply(&mut before, 0, [read(1, 0, Vec::new())]);
    // Of the second only the ledger knows it, of the third neither.
    for name in ["a", "b"] {
        send(&mut before, name, Leave::None, Outcome::Rejected);
    }
    apply(&mut before, 0, [failed("a", Failure::CredentialsRejected)]);
    let record = customer(&before, "a").record().clone();
    let write = before.lend_ledger().next_write(now(), true).unwrap();
    let accounts = write.accounts.into_iter().map(|account| AccountRow { version: 1, ..account }).collect();

    let mut state = State::new(Policy::of_a_minute(), 100, Settings::of_a_minute());
    let table = Table { key: key(8), ..table(vec![row("a"), row("b"), row("c")], vec![record]) };
    apply(&mut state, 1, [Event::TableRead(table), read(1, 1, accounts)]);
    assert!(failure(&state, "a").permanent, "it stays parked");
    assert!(failure(&state, "a").message.contains("it is unknown whether"), "{:?}", failure(&state, "a"));
    let refusal = |state: &State, name| {
        state
            .ledger()
            .refusal(&customer(state, name).login_query(&HeldCredentials::default(), Leave::None).unwrap())
    };
    let undecidable = Some(Failure::RejectionUnknown { kind: FailureKind::CredentialsRejected });
    assert_eq!(["a", "b", "c"].map(|name| refusal(&state, name)), [undecidable.clone(), undecidable, None]);
    let mismatch = |state: &State| state.key_mismatch();
    assert!(mismatch(&state).unwrap().contains("the passwords of 2 customers"), "{:?}", mismatch(&state));
    assert_eq!(messages(&mut state, NoticeKind::Warning).len(), 1);

    // The operator decides, and each password is wrong, as it was before.
    for (name, left) in [("a", true), ("b", false)] {
        send(&mut state, name, Leave::Forced, Outcome::Rejected);
        apply(&mut state, 2, [failed(name, Failure::CredentialsRejected), Event::PassFinished]);
        assert_eq!(mismatch(&state).is_some(), left);
        assert_eq!(
            refusal(&state, name),
            Some(Failure::RejectedBefore { kind: FailureKind::CredentialsRejected })
        );
        assert!(failure(&state, name).permanent);
    }
    assert_eq!(messages(&mut state, NoticeKind::Warning), [""; 0], "once is enough");
}

/// The DBA makes the tables while the daemon runs, and with them comes another key.
#[test]
fn p02_a_key_that_changes_while_the_credentials_are_known_hides_no_rejection() {
    let mut state = state(vec![row("a"), row("b")]);
    apply(&mut state, 0, [read(1, 0, Vec::new())]);
    send(&mut state, "a", Leave::None, Outcome::Rejected);
    send(&mut state, "b", Leave::None, Outcome::Accepted);
    apply(
        &mut state,
        1,
        [Event::TableRead(Table { key: key(8), ..table(vec![row("a"), row("b")], Vec::new()) })],
    );
    let refusal = |name| {
        state
            .ledger()
            .refusal(&customer(&state, name).login_query(&HeldCredentials::default(), Leave::None).unwrap())
    };
    assert_eq!(refusal("a"), Some(Failure::RejectedBefore { kind: FailureKind::CredentialsRejected }));
    assert_eq!(refusal("b"), None);
    assert_eq!(state.key_mismatch(), None);
    assert!(state.ledger().is_unwritten(), "the store learns the new fingerprints");
}
