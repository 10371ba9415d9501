//! Tests of the order of requests. No customer is lost.

mod story;

use super::super::super::credentials::{HeldCredentials, Outcome, Settings};
use super::*;
use crate::engine::checks::Check;
use crate::model::{Credentials, Customer, FingerprintKey};
use crate::store::{LedgerRead, Stamp};
use crate::thingsboard::gate::Signal;

/// A customer of this user, with this password.
pub(in super::super) fn attempt(name: &str, username: &str, password: &str) -> Attempt {
    at("https://tb.example", name, username, password)
}

fn at(url: &str, name: &str, username: &str, password: &str) -> Attempt {
    let credentials =
        Credentials { url: url.into(), username: username.to_owned(), password: Secret::new(password) };
    let base = BaseUrl::parse(url).unwrap();
    Attempt {
        account: AccountKey::of(&base, username),
        base,
        credentials: FingerprintKey::new(&[7; FingerprintKey::BYTES]).fingerprint(&credentials),
        customer: Customer {
            id: CustomerId::new(name),
            row_url: url.into(),
            credentials,
            has_token: false,
            expiry: None,
        },
        held: HeldCredentials::default(),
        refresh_token: None,
        may_share: true,
        may_log_in: true,
        leave: Leave::None,
        replaces: None,
    }
}

fn with_refresh_token(attempt: Attempt) -> Attempt {
    let refresh_token = Some(Secret::new(format!("r of {}", attempt.customer.id)));
    Attempt { refresh_token, ..attempt }
}

fn with_leave(leave: Leave, attempt: Attempt) -> Attempt {
    Attempt { leave, ..attempt }
}

/// A pass without waits: a request is under way until the test ends it.
pub(in super::super) struct Stage {
    queues: Queues,
    gates: Gates,
    ledger: Ledger,
    now: Instant,
    /// The facts about customers that were not tried.
    facts: Vec<Event>,
    under_way: Vec<Start>,
    charges: u64,
}

impl Stage {
    /// All servers have answered before, and no account is known.
    pub(in super::super) fn new(attempts: Vec<Attempt>) -> Self {
        let mut ledger = Ledger::new(Settings::of_a_minute());
        let stamp = Stamp { id: 1, number: 1 };
        ledger.take_in(&LedgerRead { stamp, is_whole: true, ..LedgerRead::default() }, Instant::now());
        Self::with(attempts, ledger)
    }

    fn with(mut attempts: Vec<Attempt>, ledger: Ledger) -> Self {
        let all: Vec<_> = attempts.iter().map(|attempt| (attempt.account, attempt.credentials)).collect();
        for attempt in &mut attempts {
            let same = all.iter().filter(|(account, _)| *account == attempt.account);
            let mut held: Vec<Fingerprint> = same.map(|(_, credentials)| *credentials).collect();
            held.sort();
            held.dedup();
            attempt.held = HeldCredentials::new(&held);
        }
        let queues = Queues::new(&mut Plan { attempts, ..Plan::default() });
        let known = || {
            let mut gate = Gate::new(64);
            gate.finish_probe(Signal::Answered);
            gate
        };
        let gates = queues.servers().map(|server| (server.clone(), known())).collect();
        let now = Instant::now();
        Self { queues, gates, ledger, now, facts: Vec::new(), under_way: Vec::new(), charges: 0 }
    }

    /// Returns the next request, if one may be sent.
    pub(in super::super) fn next(&mut self) -> Option<Start> {
        let charges = &mut self.charges;
        let number = || {
            *charges += 1;
            *charges
        };
        self.queues.next(&mut self.gates, &mut self.ledger, number, self.now, &mut self.facts)
    }

    /// Sends the next request, and returns its name.
    fn start(&mut self) -> Option<String> {
        let start = self.next()?;
        self.under_way.push(start);
        self.under_way.last().map(name)
    }

    /// Sends all requests that may be sent.
    fn start_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.start()).collect()
    }

    fn take(&mut self, what: &str) -> Start {
        let place = self.under_way.iter().position(|start| name(start) == what).unwrap();
        self.under_way.remove(place)
    }

    /// Ends a password or a refresh token with this outcome.
    fn end(&mut self, what: &str, outcome: Outcome, refresh_token: Option<&str>) {
        match self.take(what) {
            Start::Login(request, charge) => self.login_ended(request, charge, outcome, refresh_token),
            Start::Refresh(request) => self.refresh_ended(request, outcome == Outcome::Accepted),
            Start::Probe { .. } => panic!("{what}"),
        }
    }

    fn login_ended(
        &mut self,
        Request { server, ticket, attempt }: Request,
        charge: Charge,
        outcome: Outcome,
        refresh_token: Option<&str>,
    ) {
        let key = self.queues.key(server).unwrap().clone();
        self.ledger.settle(charge, outcome.failure().as_ref(), self.now);
        self.queues.password_settled(server, &attempt, refresh_token.map(Secret::new).as_ref());
        let signal = match outcome {
            Outcome::Accepted | Outcome::Rejected | Outcome::RejectedUnchecked | Outcome::NotCounted => {
                Signal::Answered
            }
            Outcome::Unanswered | Outcome::NotSent => Signal::Unanswered,
        };
        self.gates.get_mut(&key).unwrap().leave(ticket, signal);
        if signal == Signal::Unanswered {
            self.queues.set_trouble(server, Some(&Failure::ServerError { status: 502, retry_after: None }));
        }
    }

    /// Ends a refresh token. If it was rejected, the password is next.
    fn refresh_ended(&mut self, Request { server, ticket, attempt }: Request, has_worked: bool) {
        let key = self.queues.key(server).unwrap().clone();
        self.gates.get_mut(&key).unwrap().leave(ticket, Signal::Answered);
        if !has_worked {
            self.queues.retry_with_password(server, attempt);
        }
    }

    /// The charge was not made, because another daemon has changed the account.
    fn conflict(&mut self, what: &str) {
        let Start::Login(Request { server, attempt, .. }, charge) = self.take(what) else { panic!("{what}") };
        let key = self.queues.key(server).unwrap().clone();
        // What `Ledger::written` and `Ledger::cancel` do together.
        self.ledger.give_back(charge);
        self.gates.get_mut(&key).unwrap().cancel();
        self.queues.requeue_uncharged(server, attempt);
    }

    fn probe_ended(&mut self, what: &str, verdict: Verdict) {
        let Start::Probe { server, .. } = self.take(what) else { panic!("{what}") };
        self.probed(server, verdict);
    }

    fn probed(&mut self, server: usize, verdict: Verdict) {
        let key = self.queues.key(server).unwrap().clone();
        self.ledger.probed(&key, verdict, self.now);
        let failure =
            (verdict != Verdict::Good).then_some(Failure::ServerError { status: 502, retry_after: None });
        self.queues.probe_ended(server, verdict, failure.as_ref());
        let signal = match verdict {
            Verdict::Good => Signal::Answered,
            Verdict::Bad => Signal::Unanswered,
            Verdict::None => Signal::ForeignAnswer,
        };
        self.gates.get_mut(&key).unwrap().finish_probe(signal);
    }

    /// Ends the pass. Returns all facts about customers that were not tried.
    fn drain(&mut self, goes_on: bool) -> Vec<String> {
        let facts = self.queues.drain_untried(&self.gates, goes_on);
        self.facts.extend(facts);
        std::mem::take(&mut self.facts).iter().map(describe).collect()
    }

    fn gate(&mut self) -> &mut Gate {
        self.gates.values_mut().next().unwrap()
    }
}

fn name(start: &Start) -> String {
    match start {
        Start::Refresh(request) => format!("refresh {}", request.attempt.customer.id),
        Start::Login(request, _) => format!("login {}", request.attempt.customer.id),
        Start::Probe { base, .. } => format!("probe {}", base.server_key()),
    }
}

fn describe(fact: &Event) -> String {
    match fact {
        Event::Failed { id, failure } => format!("{id} failed: {:?}", failure.kind()),
        Event::Deferred { id, why: Deferral::Password(reason) } => format!("{id} waits: {reason:?}"),
        Event::Deferred { id, why: Deferral::Server(failure) } => {
            format!("{id} waits for {:?}", failure.kind())
        }
        Event::Deferred { id, why } => format!("{id} waits: {why:?}"),
        Event::CheckAbandoned(id) => format!("{id} is not checked"),
        Event::CarriedOver { id, is_leave_used: false } => format!("{id} is carried over"),
        Event::CarriedOver { id, is_leave_used: true } => format!("{id} is carried over without leave"),
        other => panic!("{other:?}"),
    }
}

/// Returns the refresh token that another row shared with this request.
fn token_of(stage: &Stage, what: &str) -> String {
    let start = stage.under_way.iter().find(|start| name(start) == what).unwrap();
    let Start::Refresh(request) = start else { panic!("{what}") };
    request.attempt.refresh_token.as_ref().unwrap().expose().to_owned()
}

const PROBE: &str = "probe https://tb.example";

#[test]
fn p12_each_server_gets_one_login_before_any_gets_its_second() {
    let of = [0, 0, 0, 1, 1, 2];
    let attempts = of.iter().zip(0..).map(|(server, n)| {
        at(&format!("https://tb{server}.example"), &format!("{n}"), &format!("user {n}"), "p")
    });
    let mut stage = Stage::new(attempts.collect());
    assert_eq!(stage.queues.key(1).map(ServerKey::as_str), Some("https://tb1.example"));
    let order: Vec<String> = stage.start_all();
    assert_eq!(order, ["login 0", "login 3", "login 5", "login 1", "login 4", "login 2"]);
}

#[test]
fn a_server_that_answers_gets_the_most_urgent_first() {
    let mut stage = Stage::new(vec![
        attempt("a", "a", "p"),
        with_refresh_token(attempt("b", "b", "p")),
        attempt("c", "c", "p"),
        with_refresh_token(attempt("d", "d", "p")),
    ]);
    assert_eq!(stage.start_all(), ["login a", "refresh b", "login c", "refresh d"]);
}

#[test]
fn p02_one_password_of_an_account_is_in_flight() {
    let rows = || vec![attempt("a", "u", "x"), attempt("b", " U ", "y"), attempt("c", "other", "x")];
    let mut stage = Stage::new(rows());
    assert_eq!(stage.start_all(), ["login a", "login c"]);
    stage.end("login a", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), ["login b"], "accepted or not, one after the other");
    // Another server of the same host is the same account.
    let mut stage = Stage::new(vec![attempt("a", "u", "x"), at("https://tb.example:8443", "b", "u", "x")]);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), ["login b"]);
}

/// One password login for all rows that hold the same credentials.
#[test]
fn p02_rows_with_the_same_credentials_renew_with_the_refresh_token_of_the_first_login() {
    let rows = || ["a", "b", "c"].map(|name| attempt(name, "u", "p"));
    let other = attempt("other", "u", "another");
    let mut stage = Stage::new(rows().into_iter().chain([other]).collect());
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Accepted, Some("shared"));
    assert_eq!(stage.start_all(), ["refresh b", "refresh c", "login other"]);
    assert_eq!(
        (token_of(&stage, "refresh b"), token_of(&stage, "refresh c")),
        ("shared".into(), "shared".into())
    );
    // If it is rejected, the password is next, but once for all rows.
    stage.end("refresh b", Outcome::Rejected, None);
    assert_eq!(stage.start_all(), Vec::<String>::new(), "one password of the account");
    stage.end("login other", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), ["login b"]);
    stage.end("refresh c", Outcome::Rejected, None);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    stage.end("login b", Outcome::Accepted, Some("second"));
    assert_eq!(stage.start_all(), ["refresh c"]);
    assert_eq!(token_of(&stage, "refresh c"), "second");
    // A server that gives none: one after the other.
    let mut stage = Stage::new(rows().into());
    for name in ["login a", "login b", "login c"] {
        assert_eq!(stage.start_all(), [name]);
        stage.end(name, Outcome::Accepted, None);
    }
}

/// As after a week without the daemon, or when the password was changed in ThingsBoard and in the rows.
#[test]
fn p02_rows_whose_refresh_tokens_are_all_rejected_share_one_login_too() {
    let rows = ["a", "b", "c"].map(|name| with_refresh_token(attempt(name, "u", "p")));
    let mut stage = Stage::new(rows.into());
    assert_eq!(stage.start_all(), ["refresh a", "refresh b", "refresh c"]);
    for name in ["refresh a", "refresh b", "refresh c"] {
        stage.end(name, Outcome::Rejected, None);
    }
    let logins = stage.start_all();
    assert_eq!(logins.len(), 1, "{logins:?}");
    stage.end(&logins[0], Outcome::Accepted, Some("shared"));
    let refreshes = stage.start_all();
    assert_eq!(refreshes.len(), 2);
    assert!(refreshes.iter().all(|what| token_of(&stage, what) == "shared"), "{refreshes:?}");
}

#[test]
fn p02_a_password_that_was_rejected_for_one_row_is_not_sent_for_another() {
    let mut stage = Stage::new(vec![attempt("a", "u", "x"), attempt("b", "u", "x"), attempt("c", "u", "y")]);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Rejected, None);
    assert_eq!(stage.start_all(), ["login c"]);
    assert_eq!(stage.drain(true), ["b failed: CredentialsRejected"]);
}

#[test]
fn p02_an_account_with_an_open_charge_goes_alone_after_the_others() {
    let rows = || ["a", "b", "c", "d"].map(|name| attempt(name, name, "p"));
    let mut stage = Stage::new(rows().into());
    charge(&mut stage.ledger, &rows()[0], 1);
    charge(&mut stage.ledger, &rows()[2], 1);
    assert_eq!(stage.start_all(), ["login b", "login d"]);
    stage.end("login b", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), Vec::<String>::new(), "d is in flight");
    stage.end("login d", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), ["login c"]);
    // Refresh tokens go on meanwhile.
    let mut stage = Stage::new(vec![attempt("a", "a", "p"), with_refresh_token(attempt("b", "b", "p"))]);
    charge(&mut stage.ledger, &rows()[0], 1);
    assert_eq!(stage.start_all(), ["refresh b", "login a"]);
    stage.end("refresh b", Outcome::Rejected, None);
    assert_eq!(stage.start_all(), Vec::<String>::new(), "its password has to wait");
    stage.end("login a", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), ["login b"]);
}

/// Leaves the password of another account of the server unanswered.
fn leave_in_doubt(ledger: &mut Ledger, attempt: &Attempt) {
    let (server, account) = (attempt.base.server_key(), AccountKey::of(&attempt.base, "silent"));
    let (held, now) = (HeldCredentials::default(), Instant::now());
    let (credentials, leave) = (attempt.credentials, Leave::None);
    let query = LoginQuery { account, server: &server, username: "silent", credentials, held: &held, leave };
    let charge = ledger.charge(&query, u64::MAX, now);
    ledger.settle(charge, Outcome::Unanswered.failure().as_ref(), now);
}

/// Charges an account with unanswered passwords. The server is not in doubt after it.
fn charge(ledger: &mut Ledger, attempt: &Attempt, charges: usize) {
    let server = attempt.base.server_key();
    let of = |username: &str, account| (username.to_owned(), account);
    let neighbour = of("neighbour", AccountKey::of(&attempt.base, "neighbour"));
    let own = of(&attempt.customer.credentials.username, attempt.account);
    let now = Instant::now();
    let sends = std::iter::repeat_n((own, Outcome::Unanswered), charges);
    for ((username, account), outcome) in sends.chain([(neighbour, Outcome::Accepted)]) {
        let query = LoginQuery {
            account,
            server: &server,
            username: &username,
            credentials: attempt.credentials,
            held: &attempt.held,
            leave: Leave::None,
        };
        let charge = ledger.charge(&query, u64::MAX, now);
        ledger.settle(charge, outcome.failure().as_ref(), now);
    }
}

#[test]
fn p02_of_accounts_with_open_charges_those_with_fewer_come_first() {
    let rows = ["two", "one", "none"].map(|name| attempt(name, name, "p"));
    let mut stage = Stage::new(rows.to_vec());
    charge(&mut stage.ledger, &rows[0], 2);
    charge(&mut stage.ledger, &rows[1], 1);
    // The last charge needs ten minutes of good probes.
    let mut started = Vec::new();
    for _ in 0..2 {
        let key = rows[0].base.server_key();
        stage.ledger.probed(&key, Verdict::Good, stage.now);
        stage.now += std::time::Duration::from_secs(100);
    }
    while let Some(what) = stage.start() {
        started.push(what.clone());
        if what == PROBE {
            stage.probe_ended(PROBE, Verdict::Good);
        } else {
            stage.end(&what, Outcome::Accepted, None);
        }
    }
    assert_eq!(started, ["login none", "login one", PROBE]);
    let waits = stage.drain(true);
    assert!(waits.len() == 1 && waits[0].starts_with("two waits: LastCharge"), "{waits:?}");
}

#[test]
fn p02_a_server_in_doubt_gets_one_password_after_a_good_probe() {
    let rows = || ["a", "b", "c"].map(|name| attempt(name, name, "p"));
    let in_doubt = |verdict: Verdict| {
        let mut stage = Stage::new(rows().into());
        let key = rows()[0].base.server_key();
        stage.ledger.doubt(&key, stage.now);
        assert_eq!(stage.start_all(), [PROBE]);
        stage.probe_ended(PROBE, verdict);
        stage
    };
    let mut stage = in_doubt(Verdict::Good);
    assert_eq!(stage.start_all(), ["login a"], "one at a time");
    stage.end("login a", Outcome::Rejected, None);
    assert_eq!(stage.start_all(), ["login b", "login c"], "the doubt is over");
    // Not answered: the next one waits for its back-off.
    let mut stage = in_doubt(Verdict::Good);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Unanswered, None);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    let doubt = |name: &str| format!("{name} waits: Doubt {{ wait: 60s }}");
    assert_eq!(stage.drain(true), [doubt("b"), doubt("c")]);
    let mut stage = in_doubt(Verdict::Bad);
    assert_eq!(stage.start_all(), Vec::<String>::new(), "and it is probed once");
    assert_eq!(stage.drain(true), ["a", "b", "c"].map(|name| format!("{name} waits: ServerDown")));
    // Something other than ThingsBoard answers: one password in half an hour finds out.
    let mut stage = in_doubt(Verdict::None);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::NotCounted, None);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    assert_eq!(stage.drain(true), ["b", "c"].map(|name| format!("{name} waits: NoVerdict")));
}

#[test]
fn p02_refresh_tokens_do_not_wait_for_a_server_in_doubt() {
    let mut stage = Stage::new(vec![attempt("a", "a", "p"), with_refresh_token(attempt("b", "b", "p"))]);
    let key = stage.queues.key(0).unwrap().clone();
    stage.ledger.doubt(&key, stage.now);
    assert_eq!(stage.start_all(), [PROBE, "refresh b"]);
}

#[test]
fn p02_a_server_that_is_down_gets_nothing_before_a_good_probe() {
    let rows = || vec![attempt("a", "a", "p"), with_refresh_token(attempt("b", "b", "p"))];
    let down = |rows: Vec<Attempt>| {
        let mut stage = Stage::new(rows);
        let gate = stage.gate();
        let tickets: Vec<Ticket> = std::iter::from_fn(|| gate.enter()).collect();
        tickets.into_iter().for_each(|ticket| gate.leave(ticket, Signal::Unanswered));
        gate.wake();
        assert!(gate.needs_probe());
        stage
    };
    let mut stage = down(rows());
    assert_eq!(stage.start_all(), [PROBE]);
    stage.probe_ended(PROBE, Verdict::Good);
    assert_eq!(stage.start_all(), ["login a", "refresh b"]);
    let mut stage = down(rows());
    assert_eq!(stage.start_all(), [PROBE]);
    stage.probe_ended(PROBE, Verdict::Bad);
    assert_eq!(stage.start_all(), Vec::<String>::new(), "one probe in a pass");
    assert_eq!(stage.drain(true), ["b waits for ServerError", "a waits for ServerError"]);
    // One request finds out what answers there.
    let mut stage = down(rows());
    assert_eq!(stage.start_all(), [PROBE]);
    stage.probe_ended(PROBE, Verdict::None);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Accepted, None);
    assert_eq!(stage.start_all(), ["refresh b"]);
}

#[test]
fn a_server_whose_customers_all_wait_is_probed_as_planned() {
    let base = BaseUrl::parse("https://tb.example").unwrap();
    let probes = [(base.server_key(), base)].into();
    let mut stage = Stage::new(Vec::new());
    stage.queues = Queues::new(&mut Plan { probes, ..Plan::default() });
    stage.gates = stage.queues.servers().map(|server| (server.clone(), Gate::new(64))).collect();
    assert_eq!(stage.start_all(), [PROBE]);
    stage.probe_ended(PROBE, Verdict::Bad);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    assert_eq!(stage.drain(true), Vec::<String>::new());
}

#[test]
fn p35_of_a_server_that_stays_down_no_token_is_checked_for_an_interval() {
    let Attempt { customer, base, .. } = attempt("a", "a", "p");
    let (row_url, username) = (customer.row_url, customer.credentials.username);
    let check = Check { id: customer.id, base: base.clone(), row_url, username };
    for (signal, facts) in [(Signal::Unanswered, vec!["a is not checked"]), (Signal::Answered, vec![])] {
        let mut stage = Stage::new(Vec::new());
        stage.queues = Queues::new(&mut Plan { checks: vec![check.clone()], ..Plan::default() });
        let mut gate = Gate::new(64);
        let ticket = gate.enter().unwrap();
        gate.leave(ticket, signal);
        stage.gates = [(base.server_key(), gate)].into();
        stage.queues.add_check(TokenCheck { check: check.clone(), token: Secret::new("t") });
        assert_eq!(stage.drain(true), facts);
    }
}

#[test]
fn p02_without_the_ledger_no_password_is_sent_and_refresh_tokens_are() {
    let mut stage = Stage::new(vec![
        attempt("a", "a", "p"),
        attempt("b", "b", "p"),
        with_refresh_token(attempt("c", "c", "p")),
    ]);
    assert_eq!(stage.start().as_deref(), Some("login a"));
    stage.queues.ledger_failed();
    stage.conflict("login a");
    assert_eq!(stage.start_all(), ["refresh c"]);
    assert_eq!(stage.drain(true), ["a waits: Store", "b waits: Store"]);
    // A ledger that was never read allows none either.
    let unread = Ledger::new(Settings::of_a_minute());
    let mut stage = Stage::with(vec![attempt("a", "a", "p")], unread);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    assert_eq!(stage.drain(true), ["a waits: Store"]);
}

#[test]
fn p02_a_charge_that_was_not_made_lets_the_customer_try_again() {
    let rows = ["a", "b"].map(|name| attempt(name, "u", "p"));
    let mut stage = Stage::new(rows.into());
    assert_eq!(stage.start_all(), ["login a"]);
    stage.conflict("login a");
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Accepted, Some("r"));
    assert_eq!(stage.start_all(), ["refresh b"]);
}

/// The server of the charged row went down meanwhile.
#[test]
fn a_charge_that_was_not_made_does_not_hold_up_the_account_on_another_port() {
    let rows =
        vec![attempt("a", "u", "p"), at("https://tb.example:8443", "b", "u", "p"), attempt("c", "c", "p")];
    let mut stage = Stage::new(rows);
    assert_eq!(stage.start_all(), ["login a", "login c"]);
    stage.gates.get_mut(&BaseUrl::parse("https://tb.example").unwrap().server_key()).unwrap().set_maximum(1);
    stage.conflict("login a");
    assert_eq!(stage.start_all(), ["login b"], "no room for a");
}

#[test]
fn p03_the_password_of_a_parked_customer_is_not_sent_after_its_refresh_token() {
    let parked = Attempt { may_log_in: false, ..with_refresh_token(attempt("a", "a", "p")) };
    let mut stage = Stage::new(vec![parked, attempt("b", "b", "p")]);
    assert_eq!(stage.start_all(), ["refresh a", "login b"]);
    stage.end("refresh a", Outcome::Rejected, None);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    assert_eq!(stage.drain(true), ["a waits: CutShort"]);
}

/// Naming customers grants one send for each account.
#[test]
fn p02_an_operators_leave_is_for_one_send_of_an_account() {
    let rows = ["a", "b"].map(|name| with_leave(Leave::Requested, attempt(name, "u", name)));
    let mut stage = Stage::new(rows.clone().into());
    leave_in_doubt(&mut stage.ledger, &rows[0]);
    assert_eq!(stage.start_all(), [PROBE], "its back-off does not count, but a dead server gets no password");
    stage.probe_ended(PROBE, Verdict::Good);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Unanswered, None);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    assert_eq!(stage.drain(true), ["b waits: Doubt { wait: 120s }"]);
    // With force one more than the budget allows, and no second one.
    let rows = ["a", "b"].map(|name| with_leave(Leave::Forced, attempt(name, "u", name)));
    let mut stage = Stage::new(rows.clone().into());
    charge(&mut stage.ledger, &rows[0], 3);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Unanswered, None);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    assert_eq!(stage.drain(true), ["b failed: AttemptsExhausted"]);
}

/// No byte of the password was sent.
#[test]
fn an_operators_leave_is_not_used_up_by_a_charge_that_was_not_made() {
    let rows = ["a", "b"].map(|name| with_leave(Leave::Forced, attempt(name, "u", name)));
    let mut stage = Stage::new(rows.clone().into());
    charge(&mut stage.ledger, &rows[0], 3);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.conflict("login a");
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Unanswered, None);
    assert_eq!(stage.start_all(), Vec::<String>::new());
    assert_eq!(stage.drain(true), ["b failed: AttemptsExhausted"]);
}

#[test]
fn a_customer_that_was_not_tried_gets_a_reason_or_is_carried_over() {
    let silent = Failure::Timeout { after: std::time::Duration::from_secs(10) };
    for (is_shut, goes_on, fact) in [
        (false, true, "b is carried over"),
        (false, false, "b waits for Timeout"),
        (true, true, "b waits for Timeout"),
        (true, false, "b waits for Timeout"),
    ] {
        let mut stage = Stage::new(vec![attempt("a", "a", "p"), attempt("b", "b", "p")]);
        assert_eq!(stage.start().as_deref(), Some("login a"));
        stage.end("login a", Outcome::NotSent, None);
        stage.queues.set_trouble(0, Some(&silent));
        if is_shut {
            for _ in 0..2 {
                let ticket = stage.gate().enter().unwrap();
                stage.gate().leave(ticket, Signal::Unanswered);
                stage.gate().wake();
            }
            assert!(stage.gate().is_shut());
        }
        assert_eq!(stage.drain(goes_on), [fact], "{is_shut} {goes_on}");
    }
    let mut stage = Stage::new(vec![attempt("a", "a", "p")]);
    assert_eq!(stage.drain(false), ["a waits: CutShort"]);
    // A server without a gate takes no request.
    let mut stage = Stage::new(vec![attempt("a", "a", "p")]);
    stage.gates.clear();
    assert_eq!(stage.drain(true), ["a waits: CutShort"]);
}

/// The pass was over before the second row came up.
#[test]
fn p02_a_leave_that_one_row_has_used_is_not_carried_over_for_another() {
    for leave in [Leave::Requested, Leave::Forced] {
        let rows = ["a", "b"].map(|name| with_leave(leave, attempt(name, "u", "same")));
        let other = with_leave(leave, attempt("other", "other", "p"));
        let mut stage = Stage::new(rows.into_iter().chain([other]).collect());
        assert_eq!(stage.start().as_deref(), Some("login a"));
        stage.end("login a", Outcome::Rejected, None);
        assert_eq!(
            stage.drain(true),
            ["b is carried over without leave", "other is carried over"],
            "{leave:?}"
        );
    }
}

/// Its proxy lets logins through, but not refresh tokens.
#[test]
fn a_row_whose_refresh_tokens_never_work_uses_none_of_another_row() {
    let rows = ["a", "b", "c"].map(|name| attempt(name, "u", "same"));
    let [a, b, c] = rows;
    let mut stage = Stage::new(vec![a, Attempt { may_share: false, ..b }, c]);
    assert_eq!(stage.start_all(), ["login a"]);
    stage.end("login a", Outcome::Accepted, Some("r"));
    assert_eq!(stage.start_all(), ["login b", "refresh c"]);
}

/// Two servers behind one proxy.
#[test]
fn p02_servers_that_differ_in_their_path_have_a_doubt_a_probe_and_a_breaker_each() {
    let rows = ["a", "b"].map(|name| at(&format!("https://tb.example/{name}"), name, name, "p"));
    let keys = rows.each_ref().map(|row| row.base.server_key());
    let mut stage = Stage::new(rows.clone().into());
    stage.ledger.doubt(&keys[1], stage.now);
    assert_eq!(stage.start_all(), ["login a", "probe https://tb.example/b"]);
    let Some(Start::Probe { base, .. }) = stage.under_way.last() else { panic!() };
    assert_eq!(base.endpoint("x").path(), "/b/x");
    stage.probe_ended("probe https://tb.example/b", Verdict::Good);
    assert_eq!(stage.start_all(), ["login b"]);
    let mut stage = Stage::new(rows.into());
    let gate = stage.gates.get_mut(&keys[1]).unwrap();
    let tickets: Vec<Ticket> = std::iter::from_fn(|| gate.enter()).collect();
    tickets.into_iter().for_each(|ticket| gate.leave(ticket, Signal::Unanswered));
    assert!(gate.is_shut());
    assert_eq!(stage.start_all(), ["login a", "probe https://tb.example/b"]);
}

/// The next poll probes it for customers that wait.
#[test]
fn a_server_that_went_down_in_the_pass_is_probed_if_a_customer_is_left() {
    let rows = ["a", "b"].map(|name| attempt(name, name, "p"));
    for (rows, started) in [(&rows[..1], &[][..]), (&rows[..], &[PROBE][..])] {
        let mut stage = Stage::new(rows.to_vec());
        // It has never answered.
        *stage.gate() = Gate::new(64);
        assert_eq!(stage.start_all(), ["login a"]);
        stage.end("login a", Outcome::Unanswered, None);
        assert_eq!(stage.start_all(), started);
    }
}
