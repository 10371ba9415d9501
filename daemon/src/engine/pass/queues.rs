//! Who is asked next: each server in its turn, as its gate and the customer's account allow. Nothing here waits.

use std::collections::{BTreeMap, VecDeque};

use super::super::accounts::{Account, Permission};
use super::super::event::Event;
use super::super::plan::Attempt;
use super::Gates;
use crate::model::{CustomerId, Failure, HostKey};
use crate::thingsboard::gate::{Gate, Ticket};

/// Everyone who waits for a turn in this pass.
#[derive(Debug)]
pub(super) struct Queues {
    hosts: Vec<Queue>,
    /// The host whose turn it is: everyone gets one login before anyone gets the next.
    turn: usize,
    accounts: Vec<Account>,
    /// Who waits for the outcome of another one with the same account, and at which host.
    behind: BTreeMap<usize, (usize, Vec<Attempt>)>,
}

/// The customers of one server.
#[derive(Debug)]
struct Queue {
    key: HostKey,
    attempts: VecDeque<Attempt>,
    /// What was seen of the server when it gave trouble.
    trouble: Option<Failure>,
}

/// A request to be sent.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) host: usize,
    pub(super) ticket: Ticket,
    pub(super) attempt: Attempt,
}

impl Queues {
    /// Each host comes where its most urgent customer does.
    pub(super) fn new(attempts: Vec<Attempt>, accounts: Vec<Account>) -> Self {
        let mut hosts: Vec<Queue> = Vec::new();
        let mut index: BTreeMap<HostKey, usize> = BTreeMap::new();
        for attempt in attempts {
            let key = attempt.base.host_key();
            let at = *index.entry(key.clone()).or_insert_with(|| {
                hosts.push(Queue { key, attempts: VecDeque::new(), trouble: None });
                hosts.len() - 1
            });
            if let Some(host) = hosts.get_mut(at) {
                host.attempts.push_back(attempt);
            }
        }
        Self { hosts, turn: 0, accounts, behind: BTreeMap::new() }
    }

    /// The servers.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &HostKey> {
        self.hosts.iter().map(|host| &host.key)
    }

    /// The server at this place.
    pub(super) fn host(&self, host: usize) -> Option<&HostKey> {
        self.hosts.get(host).map(|host| &host.key)
    }

    /// The next request, if one may be sent now. Who turns out not to be asked at all is told to `facts`.
    pub(super) fn next(&mut self, gates: &mut Gates, facts: &mut Vec<Event>) -> Option<Start> {
        for _ in 0..self.hosts.len() {
            let host = self.turn % self.hosts.len();
            self.turn = host + 1;
            let gate = self.hosts.get(host).and_then(|queue| gates.get_mut(&queue.key));
            if let Some(start) = gate.and_then(|gate| self.next_of(host, gate, facts)) {
                return Some(start);
            }
        }
        None
    }

    fn next_of(&mut self, host: usize, gate: &mut Gate, facts: &mut Vec<Event>) -> Option<Start> {
        while gate.has_room() {
            let attempt = self.take(host, gate.is_cautious())?;
            if let Some(fact) = self.account_says(&attempt) {
                facts.push(fact);
                continue;
            }
            if attempt.refresh_token.is_none() {
                let account = self.accounts.get_mut(attempt.account)?;
                if account.may_ask() == Permission::Wait {
                    self.behind.entry(attempt.account).or_insert((host, Vec::new())).1.push(attempt);
                    continue;
                }
                account.asking();
            }
            let ticket = gate.enter()?;
            return Some(Start { host, ticket, attempt });
        }
        None
    }

    /// The most urgent of a server's customers; for a server that may not answer, whom it is safest to ask.
    fn take(&mut self, host: usize, cautious: bool) -> Option<Attempt> {
        let attempts = &mut self.hosts.get_mut(host)?.attempts;
        if !cautious {
            return attempts.pop_front();
        }
        let (best, _) = attempts.iter().enumerate().min_by_key(|(_, attempt)| attempt.proof)?;
        attempts.remove(best)
    }

    /// This one's refresh token is of no use: the password is next, in its turn.
    pub(super) fn again_with_password(&mut self, host: usize, mut attempt: Attempt) {
        attempt.refresh_token = None;
        if let Some(host) = self.hosts.get_mut(host) {
            host.attempts.push_front(attempt);
        }
    }

    /// What came of a password: those who waited for it may come up now.
    pub(super) fn answered(&mut self, account: usize, id: &CustomerId, failure: Option<&Failure>) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.answered(id, failure);
        }
        let Some((host, attempts)) = self.behind.remove(&account) else { return };
        if let Some(host) = self.hosts.get_mut(host) {
            attempts.into_iter().rev().for_each(|attempt| host.attempts.push_front(attempt));
        }
    }

    /// A server gave trouble.
    pub(super) fn trouble(&mut self, host: usize, failure: Option<&Failure>) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.trouble = failure.cloned();
        }
    }

    /// The pass is over: who has not been asked. With `goes_on`, those whose server could have been asked are the next
    /// pass's, at once.
    pub(super) fn drain(&mut self, gates: &Gates, goes_on: bool) -> Vec<Event> {
        for (host, attempts) in std::mem::take(&mut self.behind).into_values() {
            if let Some(host) = self.hosts.get_mut(host) {
                host.attempts.extend(attempts);
            }
        }
        let mut facts = Vec::new();
        for host in std::mem::take(&mut self.hosts) {
            let is_shut = gates.get(&host.key).is_none_or(Gate::is_shut);
            for attempt in host.attempts {
                facts.push(match self.account_says(&attempt) {
                    Some(fact) => fact,
                    None if goes_on && !is_shut => Event::LeftOver(attempt.customer.id),
                    None => Event::Deferred { id: attempt.customer.id, why: host.trouble.clone() },
                });
            }
        }
        facts
    }

    /// What one that needs its password is told, because of what another one with the same account was told.
    fn account_says(&self, attempt: &Attempt) -> Option<Event> {
        let account = self.accounts.get(attempt.account).filter(|_| attempt.refresh_token.is_none())?;
        let id = attempt.customer.id.clone();
        match account.may_ask() {
            Permission::Go | Permission::Wait => None,
            Permission::Never(failure) => Some(Event::Failed { id, failure }),
            Permission::NotNow(failure) => Some(Event::Deferred { id, why: Some(failure) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::Proof;
    use super::*;
    use crate::model::{BaseUrl, Credentials, Customer, Secret};
    use crate::thingsboard::gate::Signal;

    /// Customers of one server in the order of their urgency, each with an account of its own.
    fn queues(proofs: &[Proof]) -> Queues {
        let attempt = |(account, proof): (usize, &Proof)| {
            let credentials = Credentials {
                url: "https://tb.example".to_owned(),
                username: format!("user{account}"),
                password: Secret::new("password"),
            };
            Attempt {
                base: BaseUrl::parse(&credentials.url).unwrap(),
                customer: Customer {
                    id: CustomerId::new(format!("{account} {proof:?}")),
                    row_url: credentials.url.clone(),
                    credentials,
                    has_token: false,
                    expiry: None,
                },
                refresh_token: (*proof == Proof::RefreshToken).then(|| Secret::new("refresh")),
                replaces: None,
                proof: *proof,
                account,
            }
        };
        let attempts = proofs.iter().enumerate().map(attempt).collect();
        Queues::new(attempts, vec![Account::default(); proofs.len()])
    }

    /// The server's gate after it did not answer three times, at its next wake.
    fn broken(queues: &Queues) -> Gates {
        let mut gate = Gate::new(64);
        let tickets: Vec<Ticket> = std::iter::from_fn(|| gate.enter()).collect();
        for ticket in tickets {
            gate.leave(ticket, Signal::Dead);
        }
        gate.wake();
        queues.hosts().map(|host| (host.clone(), gate.clone())).collect()
    }

    fn next(queues: &mut Queues, gates: &mut Gates) -> Option<String> {
        queues.next(gates, &mut Vec::new()).map(|start| start.attempt.customer.id.to_string())
    }

    /// Only one of a dead server's customers is asked for in a wake. A password that may be wrong could be counted, and
    /// nobody would hear of it.
    #[test]
    fn p02_a_dead_server_is_probed_with_the_safest_of_its_customers() {
        use Proof::{None as Nothing, Once, Proven, RefreshToken};
        let cases: [(&[Proof], &str); 5] = [
            (&[Nothing, Once, Proven, RefreshToken], "3 RefreshToken"),
            (&[Nothing, Once, Proven, Proven], "2 Proven"),
            (&[Nothing, Nothing, Once], "2 Once"),
            (&[Once, RefreshToken, RefreshToken], "1 RefreshToken"),
            (&[Nothing, Nothing], "0 None"),
        ];
        for (proofs, probe) in cases {
            let mut queues = queues(proofs);
            let mut gates = broken(&queues);
            assert_eq!(next(&mut queues, &mut gates).as_deref(), Some(probe), "{proofs:?}");
            assert_eq!(next(&mut queues, &mut gates), None, "one probe");
            let left: Vec<String> = queues
                .drain(&gates, true)
                .into_iter()
                .map(|fact| match fact {
                    Event::Deferred { id, .. } | Event::LeftOver(id) => id.to_string(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(left.len(), proofs.len() - 1);
            assert!(!left.contains(&probe.to_owned()));
        }
    }

    #[test]
    fn a_server_that_answers_is_asked_for_the_most_urgent_first() {
        let mut queues = queues(&[Proof::None, Proof::RefreshToken, Proof::Once]);
        let mut gates: Gates = queues.hosts().map(|host| (host.clone(), Gate::new(64))).collect();
        let order: Vec<String> = std::iter::from_fn(|| next(&mut queues, &mut gates)).collect();
        assert_eq!(order, ["0 None", "1 RefreshToken", "2 Once"]);
    }

    fn started(queues: &mut Queues, gates: &mut Gates) -> Start {
        queues.next(gates, &mut Vec::new()).unwrap()
    }

    fn open(queues: &Queues, most: u32) -> Gates {
        queues.hosts().map(|host| (host.clone(), Gate::new(most))).collect()
    }

    /// Customers of one account.
    fn sharing(count: usize) -> Queues {
        let mut queues = queues(&vec![Proof::None; count]);
        queues.hosts[0].attempts.iter_mut().for_each(|attempt| attempt.account = 0);
        queues
    }

    fn names_of(facts: Vec<Event>) -> Vec<String> {
        let name = |fact| match fact {
            Event::Failed { id, failure } => format!("{id} failed {:?}", failure.kind()),
            Event::Deferred { id, why } => format!("{id} deferred {:?}", why.map(|why| why.kind())),
            Event::LeftOver(id) => format!("{id} left over"),
            other => panic!("{other:?}"),
        };
        facts.into_iter().map(name).collect()
    }

    #[test]
    fn p12_every_server_gets_one_before_any_gets_the_next() {
        let mut queues = queues(&[Proof::None; 6]);
        let attempts = std::mem::take(&mut queues.hosts[0].attempts);
        // Three customers of the first server, two of the second, one of the third.
        let of = [0, 0, 0, 1, 1, 2];
        let moved = attempts.into_iter().zip(of).map(|(mut attempt, host)| {
            attempt.base = BaseUrl::parse(&format!("https://tb{host}.example")).unwrap();
            attempt
        });
        let mut queues = Queues::new(moved.collect(), vec![Account::default(); 6]);
        assert_eq!(queues.host(1).map(HostKey::as_str), Some("https://tb1.example"));
        let mut gates = open(&queues, 64);
        let order: Vec<usize> =
            std::iter::from_fn(|| queues.next(&mut gates, &mut Vec::new()).map(|start| start.host)).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 0]);
    }

    #[test]
    fn p02_who_shares_an_account_waits_for_the_first_and_comes_up_in_order() {
        let mut queues = sharing(3);
        let mut gates = open(&queues, 64);
        let first = started(&mut queues, &mut gates);
        assert_eq!(next(&mut queues, &mut gates), None, "the others wait");
        queues.answered(0, &first.attempt.customer.id, None);
        let order: Vec<String> = std::iter::from_fn(|| next(&mut queues, &mut gates)).collect();
        assert_eq!(order, ["1 None", "2 None"]);

        let refused = (Failure::AccountDisabled, "failed AccountDisabled");
        let unclear = (Failure::ServerError { status: 503 }, "deferred Some(ServerError)");
        for (failure, fact) in [refused, unclear] {
            let mut queues = sharing(3);
            let mut gates = open(&queues, 64);
            let first = started(&mut queues, &mut gates);
            let _ = next(&mut queues, &mut gates);
            queues.answered(0, &first.attempt.customer.id, Some(&failure));
            let mut facts = Vec::new();
            assert!(queues.next(&mut gates, &mut facts).is_none());
            assert_eq!(names_of(facts), [format!("1 None {fact}"), format!("2 None {fact}")]);
        }
    }

    #[test]
    fn a_refresh_token_waits_for_nobody_and_the_password_comes_in_its_turn() {
        let mut queues = queues(&[Proof::RefreshToken, Proof::None]);
        let mut gates = open(&queues, 1);
        let start = started(&mut queues, &mut gates);
        assert!(start.attempt.refresh_token.is_some());
        let gate = gates.values_mut().next().unwrap();
        gate.leave(start.ticket, Signal::Well);
        queues.again_with_password(start.host, start.attempt);
        let again = started(&mut queues, &mut gates);
        assert_eq!(
            (again.attempt.customer.id.as_str(), again.attempt.refresh_token),
            ("0 RefreshToken", None)
        );
    }

    #[test]
    fn who_was_not_asked_is_told_why_or_goes_on_in_the_next_pass() {
        let silent = Failure::Timeout { after: std::time::Duration::from_secs(10) };
        for (shut, goes_on, fact) in [
            (false, true, "left over"),
            (false, false, "deferred Some(Timeout)"),
            (true, true, "deferred Some(Timeout)"),
            (true, false, "deferred Some(Timeout)"),
        ] {
            let mut queues = sharing(3);
            let mut gates = open(&queues, 64);
            let first = started(&mut queues, &mut gates);
            let _ = next(&mut queues, &mut gates);
            queues.trouble(first.host, Some(&silent));
            if shut {
                let gate = gates.values_mut().next().unwrap();
                gate.leave(first.ticket, Signal::Dead);
                for _ in 0..2 {
                    let ticket = gate.enter().unwrap();
                    gate.leave(ticket, Signal::Dead);
                }
                assert!(gate.is_shut());
            }
            let facts = names_of(queues.drain(&gates, goes_on));
            assert_eq!(facts, [format!("1 None {fact}"), format!("2 None {fact}")], "{shut} {goes_on}");
        }
        // A server whose gate nobody knows cannot be asked.
        let facts = sharing(1).drain(&Gates::default(), true);
        assert_eq!(names_of(facts), ["0 None deferred None"]);
    }
}
