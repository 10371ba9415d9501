//! What each change does to an account.

use super::*;
use crate::model::BaseUrl;

fn credentials(number: u128) -> Fingerprint {
    Fingerprint::numbered(number)
}

fn send(username: &str, number: u128) -> Send {
    let (server, credentials) = (server("https://tb.example"), credentials(number));
    Send { server, username: username.into(), credentials, held: HeldCredentials::default(), turn: 0 }
}

fn server(url: &str) -> ServerKey {
    BaseUrl::parse(url).unwrap().server_key()
}

fn charges_against(account: &Account, username: &str) -> u8 {
    account.charges_against(&server("https://tb.example"), username)
}

fn charge(account: &mut Account, number: u64, send: &Send) {
    let charge = InFlight { number, daemon: "daemon".into() };
    account.apply(&Change::Charge { charge, send: send.clone() });
}

fn settle(account: &mut Account, number: u64, send: &Send, outcome: Outcome) {
    let kind = FailureKind::CredentialsRejected;
    account.apply(&Change::Settle { number, send: send.clone(), outcome, kind });
}

/// Sends once, with this outcome.
fn try_once(account: &mut Account, send: &Send, outcome: Outcome) {
    charge(account, 1, send);
    settle(account, 1, send, outcome);
}

#[test]
fn p02_a_charge_stays_unless_the_password_was_right_or_not_looked_at() {
    let cases = [
        (Outcome::Accepted, 0),
        (Outcome::NotSent, 0),
        (Outcome::NotCounted, 0),
        (Outcome::RejectedUnchecked, 0),
        (Outcome::Rejected, 1),
        (Outcome::Unanswered, 1),
    ];
    for (outcome, charges) in cases {
        let mut account = Account::default();
        let send = send("ops", 1);
        charge(&mut account, 7, &send);
        assert_eq!((charges_against(&account, "ops"), account.in_flight.is_some()), (1, true));
        settle(&mut account, 7, &send, outcome);
        assert_eq!(charges_against(&account, "ops"), charges, "{outcome:?}");
        assert!(account.in_flight.is_none(), "{outcome:?}");
        assert_eq!(account.is_accepted(&credentials(1)), outcome == Outcome::Accepted);
        let is_rejected = matches!(outcome, Outcome::Rejected | Outcome::RejectedUnchecked);
        assert_eq!(account.rejection(&credentials(1)).is_some(), is_rejected);
    }
}

/// The answer to an earlier send comes after the next charge of the same credentials, whose own answer is lost.
#[test]
fn p02_a_lost_answer_takes_no_late_rejection_back() {
    let (mut account, send) = (Account::default(), send("ops", 1));
    charge(&mut account, 1, &send);
    charge(&mut account, 2, &send);
    settle(&mut account, 1, &send, Outcome::Rejected);
    settle(&mut account, 2, &send, Outcome::Unanswered);
    assert!(account.rejection(&credentials(1)).is_some());
}

/// Two daemons write back; what one of them saw rejected later counts, and what one of them saw accepted later, too.
#[test]
fn p02_of_two_write_backs_the_later_answer_counts() {
    let (mut stale, send) = (Account::default(), send("ops", 1));
    try_once(&mut stale, &send, Outcome::Accepted);
    let mut fresh = stale.clone();
    try_once(&mut fresh, &send, Outcome::Rejected);
    stale.merge(&fresh);
    assert!(stale.rejection(&credentials(1)).is_some() && !stale.is_accepted(&credentials(1)));
    let rejected = fresh.clone();
    let forced = Send { turn: fresh.turn, ..send };
    try_once(&mut fresh, &forced, Outcome::Accepted);
    let accepted = fresh.clone();
    fresh.merge(&rejected);
    assert!(fresh.rejection(&credentials(1)).is_none() && fresh.is_accepted(&credentials(1)));
    let mut behind = rejected;
    behind.merge(&accepted);
    assert!(behind.rejection(&credentials(1)).is_none() && behind.is_accepted(&credentials(1)));
}

/// Another daemon has charged since: its charge is not ours to clear.
#[test]
fn p02_a_late_outcome_clears_no_other_charge() {
    for outcome in [Outcome::Accepted, Outcome::NotSent, Outcome::NotCounted, Outcome::Unanswered] {
        let (mut account, send) = (Account::default(), send("ops", 1));
        charge(&mut account, 1, &send);
        charge(&mut account, 2, &send);
        let before = account.clone();
        settle(&mut account, 1, &send, outcome);
        assert_eq!(account, before, "{outcome:?}");
        settle(&mut account, 1, &send, Outcome::Rejected);
        assert!(account.rejection(&credentials(1)).is_some(), "that it was rejected counts all the same");
        assert_eq!(account.charges(), 2);
    }
}

#[test]
fn p02_an_acceptance_clears_its_own_spelling_and_the_account() {
    let mut account = Account::default();
    try_once(&mut account, &send("OPS", 1), Outcome::Rejected);
    try_once(&mut account, &send("ops", 2), Outcome::Rejected);
    assert_eq!(charges_against(&account, "ops"), 2);
    try_once(&mut account, &send("ops", 3), Outcome::Accepted);
    assert_eq!((charges_against(&account, "ops"), charges_against(&account, "OPS")), (0, 1));
}

/// Another port may be another server or the same one, and another spelling another user or the same one.
#[test]
fn p02_an_acceptance_clears_what_it_proves_in_each_case() {
    let mut account = Account::default();
    let at = |url: &str, username: &str, number| Send { server: server(url), ..send(username, number) };
    try_once(&mut account, &at("https://tb.example", " ops", 1), Outcome::Rejected);
    try_once(&mut account, &at("http://tb.example:8080", " ops", 2), Outcome::Unanswered);
    try_once(&mut account, &at("https://tb.example", "ops", 3), Outcome::Accepted);
    let charges = |url: &str, username: &str| account.charges_against(&server(url), username);
    assert_eq!(charges("https://tb.example", " ops"), 2, "if it is the same server and another user");
    assert_eq!(charges("http://tb.example:8080", "ops"), 1, "if it is another server and the same user");
    assert_eq!(charges("https://tb.example", "ops"), 0);
}

#[test]
fn a_rejection_is_forgotten_when_what_worked_after_it_is_rejected() {
    let mut account = Account::default();
    try_once(&mut account, &send("ops", 1), Outcome::Rejected);
    try_once(&mut account, &send("ops", 2), Outcome::Accepted);
    try_once(&mut account, &send("ops", 3), Outcome::Rejected);
    try_once(&mut account, &send("ops", 2), Outcome::Rejected);
    let rejected = |number| account.rejection(&credentials(number)).is_some();
    assert_eq!([1, 2, 3].map(rejected), [false, true, true], "the password was changed after 2 worked");
}

#[test]
fn p02_a_changed_password_forgives_the_rejections_before_it_alone() {
    let mut account = Account::default();
    try_once(&mut account, &send("ops", 1), Outcome::Rejected);
    try_once(&mut account, &send("ops", 2), Outcome::Rejected);
    let rejected = account.rejected.iter().map(|known| (known.credentials, known.turn)).collect();
    // An operator sends it once more: that rejection is a later one.
    try_once(&mut account, &send("ops", 2), Outcome::Rejected);
    try_once(&mut account, &send("ops", 3), Outcome::Rejected);
    account.apply(&Change::PasswordChanged { rejected });
    let rejected = |number| account.rejection(&credentials(number)).is_some();
    assert_eq!([1, 2, 3].map(rejected), [false, true, true]);
}

#[test]
fn the_last_eight_rejections_are_remembered_and_all_that_rows_hold() {
    let mut account = Account::default();
    let held = HeldCredentials::new(&[credentials(1), credentials(99)]);
    for number in 1..=20 {
        let send = Send { held: held.clone(), ..send("ops", number) };
        try_once(&mut account, &send, Outcome::Rejected);
    }
    let known: Vec<u128> =
        (1..=20).filter(|number| account.rejection(&credentials(*number)).is_some()).collect();
    assert_eq!(known, [1, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
}

#[test]
fn p02_of_two_counts_the_larger_holds() {
    let (mut ours, mut stored) = (Account::default(), Account::default());
    try_once(&mut ours, &send("ops", 1), Outcome::Rejected);
    try_once(&mut ours, &send("lab", 2), Outcome::Unanswered);
    for _ in 0..3 {
        try_once(&mut stored, &send("lab", 3), Outcome::Rejected);
    }
    ours.merge(&stored);
    try_once(&mut ours, &send("third", 4), Outcome::Accepted);
    assert_eq!(["ops", "lab"].map(|username| charges_against(&ours, username)), [1, 3]);
    assert!([1, 3].iter().all(|number| ours.rejection(&credentials(*number)).is_some()));
}
