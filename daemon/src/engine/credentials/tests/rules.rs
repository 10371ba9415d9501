//! Each rule by itself.

use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::super::{
    Answer, Charge, HeldCredentials, LONGEST_REQUEST, Leave, Ledger, LoginQuery, Outcome, Reason, Step,
    Verdict,
};
use super::daemon::{Daemon, Store, day};
use crate::model::{AccountKey, BaseUrl, Failure, FailureKind, Fingerprint, ServerKey};
use crate::store::{LedgerRead, LedgerWrite};

/// One daemon, its store, and the time.
struct Scene {
    daemon: Daemon,
    store: Store,
    now: Instant,
    number: u64,
}

fn server(url: &str) -> ServerKey {
    BaseUrl::parse(url).unwrap().server_key()
}

const URL: &str = "https://tb.example";

fn charges(ledger: &Ledger, query: &LoginQuery<'_>) -> u8 {
    ledger.charges_of(&query.account, query.server, query.username)
}

impl Scene {
    fn new() -> Self {
        let mut scene =
            Self { daemon: Daemon::new("a"), store: Store::new(1), now: Instant::now(), number: 0 };
        assert_eq!(scene.poll(), Step::First);
        scene
    }

    fn poll(&mut self) -> Step {
        let read = self.store.read(self.daemon.ledger.stamp());
        self.daemon.ledger.take_in(&read, self.now)
    }

    fn write(&mut self) -> Vec<u64> {
        let write = self.daemon.ledger.next_write(day(), true).unwrap();
        let written = self.store.write(&write);
        self.daemon.ledger.written(written, self.now)
    }

    fn ask<T>(
        &self,
        username: &str,
        password: u128,
        leave: Leave,
        then: impl FnOnce(&Ledger, &LoginQuery<'_>) -> T,
    ) -> T {
        let base = BaseUrl::parse(URL).unwrap();
        let (server, held) = (base.server_key(), HeldCredentials::default());
        let credentials = Fingerprint::numbered(password);
        let account = AccountKey::of(&base, username);
        then(
            &self.daemon.ledger,
            &LoginQuery { account, server: &server, username, credentials, held: &held, leave },
        )
    }

    fn answer(&self, username: &str, password: u128) -> Answer {
        self.ask(username, password, Leave::None, |ledger, query| ledger.may_send(query, self.now))
    }

    /// Charges; what came of it is settled by [`settle`](Self::settle).
    fn charge(&mut self, username: &str, password: u128) -> Charge {
        self.number += 1;
        let base = BaseUrl::parse(URL).unwrap();
        let (server, held) = (base.server_key(), HeldCredentials::default());
        let query = LoginQuery {
            account: AccountKey::of(&base, username),
            server: &server,
            username,
            credentials: Fingerprint::numbered(password),
            held: &held,
            leave: Leave::None,
        };
        self.daemon.ledger.charge(&query, self.number, self.now)
    }

    fn settle(&mut self, charge: Charge, outcome: Outcome) {
        self.daemon.ledger.settle(charge, outcome.failure().as_ref(), self.now);
    }

    fn send(&mut self, username: &str, password: u128, outcome: Outcome) {
        let charge = self.charge(username, password);
        assert!(self.write().is_empty());
        self.settle(charge, outcome);
        self.write();
    }

    fn probe(&mut self, verdict: Verdict) {
        self.daemon.ledger.probed(&server(URL), verdict, self.now);
    }

    fn restart(&mut self) {
        self.daemon = Daemon::new("b");
        assert_eq!(self.poll(), Step::First);
    }
}

#[test]
fn p02_the_budget_is_three_and_time_never_refills_it() {
    let mut scene = Scene::new();
    for password in 1..=3 {
        scene.send("ops", password, Outcome::Rejected);
    }
    scene.now += Duration::from_secs(86_400 * 400);
    let exhausted = Answer::Never(Failure::AttemptsExhausted { charges: 3 });
    assert_eq!(scene.answer("ops", 4), exhausted);
    assert_eq!(scene.answer(" OPS", 4), exhausted, "another spelling is the same account");
    assert_eq!(scene.answer("lab", 4), Answer::Send, "another account is not");
    scene.restart();
    assert_eq!(scene.answer("ops", 4), exhausted);
    let forced = scene.ask("ops", 4, Leave::Forced, |ledger, query| ledger.may_send(query, scene.now));
    assert_eq!(forced, Answer::Send);
}

#[test]
fn p02_rejected_stays_rejected_over_restarts_and_edits() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Rejected);
    let rejected = Answer::Never(Failure::RejectedBefore { kind: FailureKind::CredentialsRejected });
    assert_eq!(scene.answer("ops", 1), rejected);
    scene.send("ops", 2, Outcome::Accepted);
    assert_eq!(scene.answer("ops", 1), rejected, "the row is edited to 2 and back to 1");
    scene.restart();
    assert_eq!(scene.answer("ops", 1), rejected);
}

#[test]
fn p02_one_password_of_an_account_is_in_flight_at_a_time_right_or_not() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Accepted);
    let charge = scene.charge("ops", 1);
    scene.write();
    assert_eq!(scene.answer("ops", 1), Answer::Wait(Reason::AccountBusy));
    assert_eq!(scene.answer("OPS", 2), Answer::Wait(Reason::AccountBusy));
    assert_eq!(scene.answer("lab", 1), Answer::Send, "others are not held up");
    scene.settle(charge, Outcome::Accepted);
    assert_eq!(scene.answer("ops", 1), Answer::Send);
}

/// Two rows share credentials, and the login of one has the last charge: it may be accepted, so the other waits for it.
#[test]
fn p02_a_budget_that_a_password_in_flight_uses_up_is_not_exhausted_yet() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Rejected);
    scene.send("ops", 2, Outcome::Rejected);
    let charge = scene.charge("ops", 3);
    scene.write();
    assert_eq!(scene.answer("ops", 3), Answer::Wait(Reason::AccountBusy));
    scene.settle(charge, Outcome::Unanswered);
    assert_eq!(scene.answer("ops", 3), Answer::Never(Failure::AttemptsExhausted { charges: 3 }));
}

/// Another daemon's charge counts as in flight for as long as a login may last, from when this one first saw it.
#[test]
fn p02_another_daemons_charge_is_in_flight() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    other.ledger.take_in(&scene.store.read(None), scene.now);
    scene.charge("ops", 1);
    scene.write();
    scene.now += Duration::from_secs(300);
    other.ledger.take_in(&scene.store.read(other.ledger.stamp()), scene.now);
    std::mem::swap(&mut scene.daemon, &mut other);
    assert_eq!(scene.answer("ops", 2), Answer::Wait(Reason::AccountBusy));
    scene.now += LONGEST_REQUEST - Duration::from_secs(1);
    assert_eq!(scene.answer("ops", 2), Answer::Wait(Reason::AccountBusy), "its time-out may be the longest");
    scene.now += Duration::from_secs(1);
    assert_eq!(scene.answer("ops", 2), Answer::Send, "it is a charge like any other now");
}

#[test]
fn p02_two_daemons_that_charge_at_once_send_once() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    other.ledger.take_in(&scene.store.read(None), scene.now);
    let first = scene.charge("ops", 1);
    std::mem::swap(&mut scene.daemon, &mut other);
    let second = scene.charge("ops", 1);
    assert!(scene.write().is_empty(), "this one was first");
    std::mem::swap(&mut scene.daemon, &mut other);
    assert_eq!(scene.write(), [first.number]);
    assert_eq!(scene.answer("ops", 1), Answer::Wait(Reason::AccountBusy));
    assert_ne!(first.number, second.number);
}

/// Our own write does not hide what another daemon wrote just before.
#[test]
fn p02_what_another_daemon_wrote_before_our_write_is_read() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    other.ledger.take_in(&scene.store.read(None), scene.now);
    scene.send("ops", 1, Outcome::Rejected);
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.send("lab", 1, Outcome::Rejected);
    assert_eq!(scene.poll(), Step::Next);
    assert_eq!(scene.ask("ops", 2, Leave::None, charges), 1);
}

/// After a loss, the daemon that writes back first may have sent already when the other one does.
#[test]
fn p02_a_write_back_leaves_another_daemons_charge_in_flight() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    scene.send("ops", 1, Outcome::Accepted);
    other.ledger.take_in(&scene.store.read(None), scene.now);
    scene.store = Store::new(2);
    for _ in 0..2 {
        scene.poll();
        scene.write();
    }
    let charge = scene.charge("ops", 2);
    scene.write();
    std::mem::swap(&mut scene.daemon, &mut other);
    assert_eq!(scene.poll(), Step::Replaced);
    scene.write();
    assert_eq!(scene.answer("ops", 3), Answer::Wait(Reason::AccountBusy));
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.settle(charge, Outcome::Accepted);
    scene.write();
    scene.write();
    assert_eq!(scene.ask("ops", 2, Leave::None, charges), 0, "its outcome still clears it");
}

/// A proxy that lets ten logins a second through refuses all others of a pass at once: that is one trouble, not many.
#[test]
fn p02_passwords_that_lose_their_answers_together_are_one_trouble() {
    let mut scene = Scene::new();
    let charges: Vec<_> = (1..=9).map(|user| scene.charge(&format!("user{user}"), 1)).collect();
    scene.write();
    for charge in charges {
        scene.settle(charge, Outcome::Unanswered);
    }
    assert_eq!(scene.answer("ops", 1), Answer::Wait(Reason::Doubt { wait: Duration::from_secs(60) }));
    scene.now += Duration::from_secs(60);
    scene.probe(Verdict::Good);
    scene.send("ops", 1, Outcome::Unanswered);
    assert_eq!(scene.answer("lab", 1), Answer::Wait(Reason::Doubt { wait: Duration::from_secs(120) }));
}

#[test]
fn p02_a_server_in_doubt_takes_one_password_after_a_good_probe_and_a_back_off() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Unanswered);
    let wait = |seconds| Answer::Wait(Reason::Doubt { wait: Duration::from_secs(seconds) });
    assert_eq!(scene.answer("lab", 1), wait(60));
    scene.now += Duration::from_secs(60);
    assert_eq!(scene.answer("lab", 1), Answer::Wait(Reason::Probe));
    scene.probe(Verdict::Bad);
    assert_eq!(scene.answer("lab", 1), Answer::Wait(Reason::ServerDown));
    scene.probe(Verdict::Good);
    assert_eq!(scene.answer("lab", 1), Answer::Send);
    scene.now += Duration::from_secs(6);
    assert_eq!(scene.answer("lab", 1), Answer::Wait(Reason::Probe), "it was good six seconds ago");
    scene.probe(Verdict::Good);
    let charge = scene.charge("lab", 1);
    assert_eq!(scene.answer("new", 1), Answer::Wait(Reason::ServerBusy), "one at a time");
    scene.settle(charge, Outcome::Unanswered);
    assert_eq!(scene.answer("new", 1), wait(120), "and ever later");
    scene.now += Duration::from_secs(120);
    scene.probe(Verdict::Good);
    scene.send("new", 1, Outcome::Rejected);
    assert_eq!(scene.answer("third", 1), Answer::Send, "any answer of ThingsBoard ends the doubt");
}

#[test]
fn p02_the_last_charge_needs_ten_minutes_of_good_probes_without_gap() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Rejected);
    assert_eq!(scene.answer("ops", 2), Answer::Send);
    scene.send("ops", 2, Outcome::Rejected);
    assert_eq!(scene.answer("ops", 3), Answer::Wait(Reason::Probe));
    for minute in 0..10 {
        scene.probe(Verdict::Good);
        let wait = Duration::from_secs(600 - 60 * minute);
        assert_eq!(scene.answer("ops", 3), Answer::Wait(Reason::LastCharge { wait }));
        scene.now += Duration::from_secs(60);
    }
    let before = scene.daemon.ledger.settings.clone();
    scene.probe(Verdict::Good);
    assert_eq!(scene.answer("ops", 3), Answer::Send);
    scene.now += Duration::from_secs(151);
    scene.probe(Verdict::Good);
    let wait = Duration::from_secs(600);
    assert_eq!(scene.answer("ops", 3), Answer::Wait(Reason::LastCharge { wait }), "no probe came in between");
    let asked = scene.ask("ops", 3, Leave::Requested, |ledger, query| ledger.may_send(query, scene.now));
    assert_eq!((asked, before.budget), (Answer::Send, 3), "an operator does not wait");
}

#[test]
fn p02_the_last_charge_is_kept_for_credentials_that_a_row_holds_and_that_were_accepted() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Accepted);
    scene.send("ops", 2, Outcome::Rejected);
    scene.send("ops", 3, Outcome::Rejected);
    let held = HeldCredentials::new(&[1, 4].map(Fingerprint::numbered));
    let kept = scene
        .ask("ops", 4, Leave::None, |ledger, query| ledger.refusal(&LoginQuery { held: &held, ..*query }));
    assert_eq!(kept, Some(Failure::AttemptsExhausted { charges: 2 }));
    let own = scene
        .ask("ops", 1, Leave::None, |ledger, query| ledger.refusal(&LoginQuery { held: &held, ..*query }));
    assert_eq!(own, None);
    assert_eq!(
        scene.ask("ops", 4, Leave::None, |ledger, query| ledger.refusal(query)),
        None,
        "no row holds 1"
    );
}

#[test]
fn p02_an_account_with_a_charge_goes_alone_on_its_server() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Rejected);
    let charge = scene.charge("lab", 1);
    assert_eq!(scene.answer("ops", 2), Answer::Wait(Reason::ServerBusy));
    scene.settle(charge, Outcome::Accepted);
    let alone = scene.charge("ops", 2);
    assert_eq!(scene.answer("new", 1), Answer::Wait(Reason::ServerBusy));
    scene.settle(alone, Outcome::Accepted);
    assert_eq!(scene.answer("new", 1), Answer::Send);
}

#[test]
fn p02_without_a_verdict_a_server_gets_one_password_in_half_an_hour() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Unanswered);
    scene.now += Duration::from_secs(600);
    scene.probe(Verdict::None);
    scene.send("lab", 1, Outcome::Unanswered);
    scene.now += Duration::from_secs(1_799);
    scene.probe(Verdict::None);
    assert_eq!(scene.answer("new", 1), Answer::Wait(Reason::NoVerdict));
    scene.now += Duration::from_secs(1);
    scene.probe(Verdict::None);
    assert_eq!(scene.answer("new", 1), Answer::Send);
}

#[test]
fn p02_what_a_dead_daemon_left_in_flight_is_a_charge_and_puts_its_server_in_doubt() {
    let mut scene = Scene::new();
    scene.charge("ops", 1);
    scene.write();
    scene.restart();
    let found = scene.daemon.ledger.take_found_in_flight();
    assert_eq!(found.len(), 1);
    scene.daemon.ledger.doubt(&server(URL), scene.now);
    assert_eq!(scene.answer("ops", 1), Answer::Wait(Reason::AccountBusy));
    assert_eq!(scene.answer("lab", 1), Answer::Wait(Reason::Probe));
    scene.now += LONGEST_REQUEST;
    scene.probe(Verdict::Good);
    assert_eq!(scene.answer("ops", 1), Answer::Send, "the second of three");
}

#[test]
fn p02_a_ledger_that_was_lost_is_written_back_before_any_password() {
    for restored in [false, true] {
        let mut scene = Scene::new();
        let earlier = scene.store.clone();
        for password in 1..=2 {
            scene.send("ops", password, Outcome::Rejected);
        }
        scene.store = if restored { earlier } else { Store::new(2) };
        let charge = scene.charge("lab", 1);
        assert_eq!(scene.write(), [charge.number], "the charge was not made");
        assert_eq!(scene.answer("lab", 1), Answer::Wait(Reason::Store));
        assert_eq!(scene.poll(), Step::Replaced);
        assert_eq!(scene.answer("lab", 1), Answer::Wait(Reason::Store));
        scene.write();
        scene.daemon.ledger.cancel(&server(URL));
        assert_eq!(scene.answer("lab", 1), Answer::Send);
        assert_eq!(scene.store.stamp.id, if restored { 1_000_001 } else { 2 }, "other daemons see it too");
        scene.restart();
        assert_eq!(scene.ask("ops", 3, Leave::None, charges), 2);
    }
}

/// It is not known whether the write was done; either way the password was not sent.
#[test]
fn p02_a_write_without_an_answer_costs_no_charge_for_long() {
    for was_done in [false, true] {
        let mut scene = Scene::new();
        let charge = scene.charge("ops", 1);
        let write = scene.daemon.ledger.next_write(day(), false).unwrap();
        if was_done {
            scene.store.write(&write);
        }
        assert_eq!(scene.daemon.ledger.write_failed(), [charge.number]);
        scene.daemon.ledger.cancel(&server(URL));
        scene.poll();
        scene.write();
        scene.restart();
        assert_eq!(scene.ask("ops", 1, Leave::None, charges), 0, "done: {was_done}");
        assert_eq!(scene.answer("ops", 1), Answer::Send);
    }
}

/// A password whose charge is not in the store must not be sent, though others of the same moment are.
#[test]
fn p02_a_charge_that_did_not_fit_into_a_write_is_not_in_it() {
    let mut scene = Scene::new();
    let base = BaseUrl::parse(URL).unwrap();
    let users: Vec<String> =
        (0..LedgerWrite::MOST_ACCOUNTS + 50).map(|number| format!("user{number}")).collect();
    for user in &users {
        scene.charge(user, 1);
    }
    let write = scene.daemon.ledger.next_write(day(), false).unwrap();
    let written = |user: &String| write.accounts.iter().any(|row| row.key == AccountKey::of(&base, user));
    let waits = |user: &String| scene.daemon.ledger.is_in_write(&AccountKey::of(&base, user));
    assert_eq!(users.iter().filter(|user| waits(user)).count(), LedgerWrite::MOST_ACCOUNTS);
    assert!(users.iter().all(|user| written(user) == waits(user)));
}

/// The key of the fingerprints was replaced while the ledger stayed.
#[test]
fn p02_credentials_that_may_be_rejected_ones_of_another_key_are_an_operators() {
    let mut scene = Scene::new();
    scene.send("u", 1, Outcome::Rejected);
    // The mark of the key stands in the first bytes.
    let under_other_key = |password: u128| (1 << 120) + password;
    let undecidable = Answer::Never(Failure::RejectionUnknown { kind: FailureKind::CredentialsRejected });
    assert_eq!(scene.answer("u", under_other_key(1)), undecidable);
    assert_eq!(scene.answer("u", under_other_key(2)), undecidable, "it may be the one");
    assert_ne!(scene.answer("U", under_other_key(2)), undecidable, "another user was not rejected");
    let forced = |scene: &Scene| {
        scene.ask("u", under_other_key(1), Leave::Forced, |ledger, query| ledger.may_send(query, scene.now))
    };
    assert_eq!(forced(&scene), Answer::Send, "the operator has decided");
    scene.send("u", under_other_key(1), Outcome::Accepted);
    assert_eq!(scene.answer("u", under_other_key(1)), Answer::Send, "they are right");
    assert_eq!(scene.answer("u", under_other_key(2)), undecidable, "others may still be the rejected ones");
}

#[test]
fn p02_a_write_back_that_conflicts_keeps_the_larger_count() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    scene.send("ops", 1, Outcome::Rejected);
    other.ledger.take_in(&scene.store.read(None), scene.now);
    scene.send("ops", 2, Outcome::Rejected);
    // The table is dropped; both see it, then the other one writes back first.
    scene.store = Store::new(2);
    assert_eq!(scene.poll(), Step::Replaced);
    std::mem::swap(&mut scene.daemon, &mut other);
    assert_eq!(scene.poll(), Step::Replaced);
    scene.write();
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.write();
    scene.write();
    assert_eq!(scene.ask("ops", 3, Leave::None, charges), 2);
    assert_eq!(
        scene.answer("ops", 2),
        Answer::Never(Failure::RejectedBefore { kind: FailureKind::CredentialsRejected })
    );
}

#[test]
fn p02_a_write_back_that_conflicts_keeps_our_password_in_flight() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    scene.send("ops", 1, Outcome::Accepted);
    other.ledger.take_in(&scene.store.read(None), scene.now);
    scene.charge("ops", 2);
    scene.write();
    // Our password is under way; the table is dropped.
    scene.store = Store::new(2);
    assert_eq!(scene.poll(), Step::Replaced);
    std::mem::swap(&mut scene.daemon, &mut other);
    assert_eq!(scene.poll(), Step::Replaced);
    scene.write();
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.write();
    scene.write();
    assert_eq!(scene.answer("ops", 3), Answer::Wait(Reason::AccountBusy));
    assert_eq!(scene.ask("ops", 3, Leave::None, charges), 1);
}

#[test]
fn p02_a_charge_given_back_before_it_was_written_hides_no_other_daemons_charge() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    scene.send("ops", 1, Outcome::Rejected);
    other.ledger.take_in(&scene.store.read(None), scene.now);
    // A charge that no write ever held, as after a write that failed: `Pass::return_unwritten_charges`.
    let charge = scene.charge("ops", 2);
    scene.settle(charge, Outcome::NotSent);
    // Meanwhile the other daemon charges and sends.
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.charge("ops", 3);
    assert!(scene.write().is_empty());
    std::mem::swap(&mut scene.daemon, &mut other);
    assert_eq!(scene.poll(), Step::Next);
    assert_eq!(scene.answer("ops", 4), Answer::Wait(Reason::AccountBusy));
}

#[test]
fn p02_a_charge_made_during_a_write_that_conflicts_is_not_written_over_another_daemons() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    scene.send("ops", 1, Outcome::Rejected);
    let first = scene.charge("ops", 2);
    scene.write();
    other.ledger.take_in(&scene.store.read(None), scene.now);
    scene.settle(first, Outcome::Rejected);
    let write = scene.daemon.ledger.next_write(day(), false).unwrap();
    // The write hangs. Another row of the account comes up, asked for by an operator.
    let second = scene.charge("ops", 3);
    // The other daemon has waited for the first charge as long as it must.
    scene.now += LONGEST_REQUEST;
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.charge("ops", 4);
    assert!(scene.write().is_empty());
    std::mem::swap(&mut scene.daemon, &mut other);
    let written = scene.store.write(&write);
    let mut unmade = scene.daemon.ledger.written(written, scene.now);
    let write = scene.daemon.ledger.next_write(day(), false).unwrap();
    let written = scene.store.write(&write);
    unmade.extend(scene.daemon.ledger.written(written, scene.now));
    assert_eq!(unmade, [second.number], "four charges: {}", scene.ask("ops", 5, Leave::None, charges));
}

/// A proxy has two ThingsBoards on two ports: the right password of one proves nothing of the other's counter.
#[test]
fn p02_an_acceptance_clears_no_charge_at_another_port() {
    let mut scene = Scene::new();
    let other = BaseUrl::parse("https://tb.example:8443").unwrap().server_key();
    let at_other =
        |ledger: &Ledger, query: &LoginQuery<'_>| charges(ledger, &LoginQuery { server: &other, ..*query });
    let account = AccountKey::of(&BaseUrl::parse(URL).unwrap(), "ops");
    for (username, password) in [("ops", 1), ("OPS", 2), ("ops", 3)] {
        let (credentials, held) = (Fingerprint::numbered(password), HeldCredentials::default());
        let query =
            LoginQuery { account, server: &other, username, credentials, held: &held, leave: Leave::None };
        let charge = scene.daemon.ledger.charge(&query, password.try_into().unwrap(), scene.now);
        scene.write();
        scene.settle(charge, Outcome::Unanswered);
        scene.write();
    }
    assert_eq!(scene.ask("ops", 4, Leave::None, charges), 3, "the two may be one server");
    scene.send("ops", 9, Outcome::Accepted);
    for _ in 0..2 {
        assert_eq!(scene.ask("ops", 4, Leave::None, charges), 0, "what is accepted is not held up for ever");
        assert_eq!(scene.ask("ops", 4, Leave::None, at_other), 3);
        assert_eq!(scene.ask("lab", 4, Leave::None, at_other), 0);
        scene.restart();
    }
}

/// The daemon was stopped, the database has a table now, and other daemons have used it already.
#[test]
fn p02_what_was_left_elsewhere_is_written_before_any_password() {
    let mut file = Scene::new();
    file.send("ops", 1, Outcome::Rejected);
    file.send("lab", 7, Outcome::Accepted);
    file.charge("ops", 2);
    file.write();
    let mut scene = Scene::new();
    scene.send("ops", 3, Outcome::Rejected);
    scene.send("lab", 7, Outcome::Rejected);
    let (mut store, mut other) = (scene.store.clone(), Daemon::new("c"));
    scene.daemon = Daemon::new("b");
    let unmoved_accounts = file.store.accounts.into_values().collect();
    let read = LedgerRead { unmoved_accounts, ..scene.store.read(None) };
    assert_eq!(scene.daemon.ledger.take_in(&read, scene.now), Step::First);
    assert_eq!(scene.daemon.ledger.take_found_in_flight().len(), 1);
    assert_eq!(scene.answer("new", 1), Answer::Wait(Reason::Store));
    // Another daemon is quicker: its rejection stays, and what was left is written over it.
    other.ledger.take_in(&store.read(None), scene.now);
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.send("ops", 5, Outcome::RejectedUnchecked);
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.write();
    assert_eq!(scene.answer("new", 1), Answer::Wait(Reason::Store));
    scene.write();
    assert_eq!(scene.answer("new", 1), Answer::Send);
    scene.restart();
    assert_eq!(scene.ask("ops", 9, Leave::None, charges), 2, "of two counts the larger holds");
    for (username, password) in [("ops", 1), ("ops", 3), ("ops", 5), ("lab", 7)] {
        let rejected = Answer::Never(Failure::RejectedBefore { kind: FailureKind::CredentialsRejected });
        assert_eq!(scene.answer(username, password), rejected, "{username} {password}");
    }
}

/// What is known here from the same file is newer than the file.
#[test]
fn what_was_left_elsewhere_takes_nothing_back_that_this_process_learned() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Rejected);
    let unmoved_accounts: Vec<_> = scene.store.accounts.values().cloned().collect();
    scene.send("ops", 2, Outcome::Accepted);
    scene.store = Store::new(2);
    let read = LedgerRead { unmoved_accounts, ..scene.store.read(None) };
    assert_eq!(scene.daemon.ledger.take_in(&read, scene.now), Step::Replaced);
    scene.write();
    assert_eq!(scene.ask("ops", 3, Leave::None, charges), 0);
    assert_eq!(scene.answer("ops", 2), Answer::Send);
}

/// Another daemon's row, which still has the old fingerprints, does not undo the new ones.
#[test]
fn p02_new_fingerprints_outlive_a_row_of_another_daemon() {
    let mut scene = Scene::new();
    let mut other = Daemon::new("b");
    scene.send("ops", 1, Outcome::Rejected);
    other.ledger.take_in(&scene.store.read(None), scene.now);
    let under_new_key = (1 << 120) + 1;
    let new = [(Fingerprint::numbered(1), Fingerprint::numbered(under_new_key))];
    scene.daemon.ledger.rekey(new.into());
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.send("ops", 2, Outcome::NotSent);
    std::mem::swap(&mut scene.daemon, &mut other);
    scene.write();
    scene.write();
    scene.restart();
    let rejected = Answer::Never(Failure::RejectedBefore { kind: FailureKind::CredentialsRejected });
    assert_eq!(scene.answer("ops", under_new_key), rejected);
    assert_eq!(scene.answer("ops", under_new_key + 1), Answer::Send, "another password is not in doubt");
}

/// Only charges of another spelling are open: they are charges like any other.
#[test]
fn p02_an_account_with_charges_of_another_spelling_alone_is_kept_for_a_year() {
    for (days, known) in [(40, 1), (370, 0)] {
        let mut scene = Scene::new();
        scene.send("OPS", 1, Outcome::Rejected);
        scene.send("ops", 2, Outcome::Accepted);
        let later = day() + TimeDelta::days(days);
        scene.daemon.ledger.see([].iter(), later);
        let write = scene.daemon.ledger.next_write(later, true).unwrap();
        assert!(write.forget.is_some());
        let written = scene.store.write(&write);
        scene.daemon.ledger.written(written, scene.now);
        assert_eq!(scene.ask("OPS", 3, Leave::None, charges), known, "after {days} days");
        scene.restart();
        assert_eq!(scene.ask("OPS", 3, Leave::None, charges), known, "after {days} days");
    }
}

/// A person wrote it into the table, or the table is damaged.
#[test]
fn p02_a_count_as_large_as_can_be_is_exhausted() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Unanswered);
    for row in scene.store.accounts.values_mut() {
        (row.charges, row.details) = (u8::MAX, "{}".to_owned());
    }
    scene.restart();
    assert_eq!(scene.answer("ops", 2), Answer::Never(Failure::AttemptsExhausted { charges: u8::MAX }));
    let forced = scene.ask("ops", 2, Leave::Forced, |ledger, query| {
        assert!(!ledger.has_last_charge(query));
        ledger.may_send(query, scene.now + LONGEST_REQUEST)
    });
    assert_eq!(forced, Answer::Send);
    let charge = scene.charge("ops", 2);
    scene.settle(charge, Outcome::Rejected);
    assert_eq!(scene.ask("ops", 2, Leave::None, charges), u8::MAX);
}

/// Passwords wait, and nothing piles up meanwhile.
#[test]
fn p23_a_store_that_refuses_the_ledger_costs_no_memory() {
    let mut scene = Scene::new();
    scene.send("ops", 1, Outcome::Rejected);
    let before = scene.ask("ops", 2, Leave::None, charges);
    for _ in 0..100 {
        let charge = scene.charge("ops", 2);
        scene.daemon.ledger.next_write(day(), false).unwrap();
        assert_eq!(scene.daemon.ledger.write_failed(), [charge.number]);
        scene.daemon.ledger.cancel(&server(URL));
        // A charge of the same pass that no write has held.
        let charge = scene.charge("ops", 2);
        scene.daemon.ledger.give_back(charge);
    }
    assert!(scene.daemon.ledger.pending_changes() < 10, "{} changes", scene.daemon.ledger.pending_changes());
    assert_eq!(scene.ask("ops", 2, Leave::None, charges), before);
}
