//! Which customer is tried next: each server in its turn, as its gate and the ledger allow. Nothing here waits.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use super::super::credentials::{Answer, Ask, Charge, Leave, Ledger, Reason, Verdict};
use super::super::deferral::Deferral;
use super::super::event::Event;
use super::super::plan::{Attempt, Plan};
use super::Gates;
use super::checking::TokenCheck;
use crate::model::{AccountKey, BaseUrl, CustomerId, Failure, Fingerprint, Secret, ServerKey, TokenAnswer};
use crate::thingsboard::gate::{Breaker, Gate, Ticket};

/// All customers that wait for a turn in this pass.
#[derive(Debug)]
pub(super) struct Queues {
    servers: Vec<Queue>,
    /// The place of each server.
    places: BTreeMap<ServerKey, usize>,
    /// The server whose turn it is: each gets one login before any gets the next.
    turn: usize,
    /// Credentials that several rows hold, with the refresh token that the first login brought.
    shared: HashMap<Fingerprint, Option<Secret>>,
    /// Accounts for which an operator's leave was used.
    used_leaves: HashSet<AccountKey>,
    /// The ledger cannot be written: no password is sent any more.
    is_without_ledger: bool,
}

/// The customers of one server.
#[derive(Debug)]
struct Queue {
    key: ServerKey,
    base: BaseUrl,
    /// Customers with a refresh token, each with its place in the order of urgency.
    refreshes: VecDeque<(usize, Attempt)>,
    /// Customers that need their password.
    logins: VecDeque<(usize, Attempt)>,
    /// Those of them whose account has an open charge: they go alone, after the others.
    charged: VecDeque<(usize, Attempt)>,
    /// Customers that wait for a password of their account.
    behind: Vec<(usize, Attempt)>,
    /// Customers whose password has to wait for another pass.
    put_off: Vec<(Attempt, Reason)>,
    /// No password can be sent before one of the server is answered, or a probe.
    is_blocked: bool,
    probe: Probing,
    /// Tokens to be checked, and the customer whose token is.
    checks: VecDeque<TokenCheck>,
    checking: Option<CustomerId>,
    /// What was seen of the server when it gave trouble.
    trouble: Option<Failure>,
}

/// Whether the server is probed in this pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probing {
    /// Not yet.
    Idle,
    /// As soon as it may be.
    Wanted,
    /// It is under way.
    UnderWay,
    /// It has ended.
    Done(Verdict),
}

/// Something to be sent.
#[derive(Debug)]
pub(super) enum Start {
    /// A refresh token.
    Refresh(Request),
    /// A password, once its charge is in the store.
    Login(Request, Charge),
    /// A probe.
    Probe {
        /// The place of the server.
        server: usize,
        /// Its address.
        base: BaseUrl,
    },
}

/// A request to be sent for a customer.
#[derive(Debug)]
pub(super) struct Request {
    /// The place of the server.
    pub(super) server: usize,
    pub(super) ticket: Ticket,
    pub(super) attempt: Attempt,
}

impl Queue {
    fn new(key: ServerKey, base: BaseUrl) -> Self {
        Self {
            key,
            base,
            refreshes: VecDeque::new(),
            logins: VecDeque::new(),
            charged: VecDeque::new(),
            behind: Vec::new(),
            put_off: Vec::new(),
            is_blocked: false,
            probe: Probing::Idle,
            checks: VecDeque::new(),
            checking: None,
            trouble: None,
        }
    }

    fn add(&mut self, order: usize, attempt: Attempt) {
        let to = if attempt.refresh_token.is_some() { &mut self.refreshes } else { &mut self.logins };
        let place = to.partition_point(|(other, _)| *other < order);
        to.insert(place, (order, attempt));
    }

    /// The next customer, and whether it goes alone: the more urgent of those with a refresh token and those without; last
    /// those that go alone.
    fn take(&mut self) -> Option<(usize, Attempt, bool)> {
        let login = self.logins.front().filter(|_| !self.is_blocked).map(|(order, _)| *order);
        let refresh = self.refreshes.front().map(|(order, _)| *order);
        match (refresh, login) {
            (Some(refresh), login) if login.is_none_or(|login| refresh < login) => {
                self.refreshes.pop_front().map(|(order, attempt)| (order, attempt, false))
            }
            (_, Some(_)) => self.logins.pop_front().map(|(order, attempt)| (order, attempt, false)),
            _ if !self.is_blocked => self.charged.pop_front().map(|(order, attempt)| (order, attempt, true)),
            _ => None,
        }
    }

    /// Accounts with fewer charges come first.
    fn add_charged(&mut self, order: usize, attempt: Attempt, ledger: &Ledger) {
        let rank = |order: usize, attempt: &Attempt| {
            let username = &attempt.customer.credentials.username;
            (ledger.charges_of(&attempt.account, &self.key, username), order)
        };
        let own = rank(order, &attempt);
        let place = self.charged.partition_point(|(order, other)| rank(*order, other) <= own);
        self.charged.insert(place, (order, attempt));
    }

    /// Passwords that had to wait are considered again.
    fn unblock(&mut self, may_come_up: impl Fn(&Attempt) -> bool) {
        self.is_blocked = false;
        let (again, behind) =
            std::mem::take(&mut self.behind).into_iter().partition(|(_, attempt)| may_come_up(attempt));
        self.behind = behind;
        for (order, attempt) in again {
            self.add(order, attempt);
        }
    }

    /// Whether a customer waits for its turn.
    fn has_customers(&self) -> bool {
        [&self.refreshes, &self.logins, &self.charged].iter().any(|queue| !queue.is_empty())
            || !self.behind.is_empty()
    }

    fn take_all(&mut self) -> Vec<(Attempt, Option<Reason>)> {
        let waiting = std::mem::take(&mut self.behind).into_iter();
        let waiting = waiting.map(|(_, attempt)| (attempt, Some(Reason::AccountBusy)));
        let put_off =
            std::mem::take(&mut self.put_off).into_iter().map(|(attempt, why)| (attempt, Some(why)));
        let queues = [&mut self.refreshes, &mut self.logins, &mut self.charged];
        let queued = queues.into_iter().flat_map(std::mem::take).map(|(_, attempt)| (attempt, None));
        put_off.chain(waiting).chain(queued).collect()
    }
}

impl Queues {
    /// Each server comes where its most urgent customer does.
    pub(super) fn new(plan: &mut Plan) -> Self {
        let mut servers: Vec<Queue> = Vec::new();
        let mut places: BTreeMap<ServerKey, usize> = BTreeMap::new();
        let mut place = |servers: &mut Vec<Queue>, key: &ServerKey, base: &BaseUrl| {
            *places.entry(key.clone()).or_insert_with(|| {
                servers.push(Queue::new(key.clone(), base.clone()));
                servers.len() - 1
            })
        };
        let mut rows: HashMap<Fingerprint, usize> = HashMap::new();
        for (order, attempt) in std::mem::take(&mut plan.attempts).into_iter().enumerate() {
            if attempt.refresh_token.is_none() {
                *rows.entry(attempt.credentials).or_default() += 1;
            }
            let at = place(&mut servers, &attempt.base.server_key(), &attempt.base);
            if let Some(server) = servers.get_mut(at) {
                let queue =
                    if attempt.refresh_token.is_some() { &mut server.refreshes } else { &mut server.logins };
                queue.push_back((order, attempt));
            }
        }
        for check in &plan.checks {
            place(&mut servers, &check.base.server_key(), &check.base);
        }
        for (key, base) in std::mem::take(&mut plan.probes) {
            let at = place(&mut servers, &key, &base);
            if let Some(server) = servers.get_mut(at) {
                server.probe = Probing::Wanted;
            }
        }
        let shared = rows.into_iter().filter(|(_, rows)| *rows > 1).map(|(known, _)| (known, None)).collect();
        Self { servers, places, turn: 0, shared, used_leaves: HashSet::new(), is_without_ledger: false }
    }

    /// The servers.
    pub(super) fn servers(&self) -> impl Iterator<Item = &ServerKey> {
        self.servers.iter().map(|server| &server.key)
    }

    /// The server at this place.
    pub(super) fn key(&self, server: usize) -> Option<&ServerKey> {
        self.servers.get(server).map(|server| &server.key)
    }

    /// No password can be charged any more.
    pub(super) fn ledger_failed(&mut self) {
        self.is_without_ledger = true;
        self.servers.iter_mut().for_each(|server| server.is_blocked = false);
    }

    /// What can be sent next, if anything can now. Customers that turn out not to be tried at all are told to `facts`.
    pub(super) fn next(
        &mut self,
        gates: &mut Gates,
        ledger: &mut Ledger,
        mut number: impl FnMut() -> u64,
        now: Instant,
        facts: &mut Vec<Event>,
    ) -> Option<Start> {
        for _ in 0..self.servers.len() {
            let server = self.turn % self.servers.len();
            self.turn = server + 1;
            let gate = self.servers.get(server).and_then(|queue| gates.get_mut(&queue.key));
            if let Some(start) =
                gate.and_then(|gate| self.next_of(server, gate, ledger, &mut number, now, facts))
            {
                return Some(start);
            }
        }
        None
    }

    fn next_of(
        &mut self,
        server: usize,
        gate: &mut Gate,
        ledger: &mut Ledger,
        number: &mut impl FnMut() -> u64,
        now: Instant,
        facts: &mut Vec<Event>,
    ) -> Option<Start> {
        let queue = self.servers.get_mut(server)?;
        let is_needed = gate.needs_probe() && queue.probe == Probing::Idle && queue.has_customers();
        if is_needed || queue.probe == Probing::Wanted {
            queue.probe = Probing::UnderWay;
            return Some(Start::Probe { server, base: queue.base.clone() });
        }
        while gate.has_room() {
            let queue = self.servers.get_mut(server)?;
            let (order, mut attempt, goes_alone) = queue.take()?;
            if attempt.refresh_token.is_none()
                && attempt.may_share
                && let Some(Some(token)) = self.shared.get(&attempt.credentials)
            {
                attempt.refresh_token = Some(token.clone());
            }
            if attempt.refresh_token.is_some() {
                let ticket = gate.enter()?;
                return Some(Start::Refresh(Request { server, ticket, attempt }));
            }
            if !attempt.may_log_in {
                // A parked customer whose refresh token is over stays as it is.
                facts.push(Event::Deferred { id: attempt.customer.id, why: Deferral::CutShort });
                continue;
            }
            let leave = if self.used_leaves.contains(&attempt.account) { Leave::None } else { attempt.leave };
            let queue = self.servers.get_mut(server)?;
            let key = queue.key.clone();
            let ask = Ask {
                account: attempt.account,
                server: &key,
                username: &attempt.customer.credentials.username,
                credentials: attempt.credentials,
                held: &attempt.held,
                leave,
            };
            let comes_later = !goes_alone && ledger.charges_of(&ask.account, &key, ask.username) > 0;
            let answer =
                if self.is_without_ledger { Answer::Wait(Reason::Store) } else { ledger.may_send(&ask, now) };
            match answer {
                Answer::Never(failure) => facts.push(Event::Failed { id: attempt.customer.id, failure }),
                Answer::Wait(Reason::AccountBusy) => queue.behind.push((order, attempt)),
                Answer::Send | Answer::Wait(Reason::ServerBusy | Reason::Probe) if comes_later => {
                    queue.add_charged(order, attempt, ledger);
                }
                Answer::Send => {
                    let ticket = gate.enter()?;
                    let charge = ledger.charge(&ask, number(), now);
                    attempt.leave = leave;
                    if leave != Leave::None {
                        self.used_leaves.insert(attempt.account);
                    }
                    return Some(Start::Login(Request { server, ticket, attempt }, charge));
                }
                Answer::Wait(Reason::ServerBusy) => queue.block(order, attempt),
                Answer::Wait(Reason::Probe) => match queue.probe {
                    Probing::Idle | Probing::Done(Verdict::Good) => {
                        queue.block(order, attempt);
                        queue.probe = Probing::UnderWay;
                        return Some(Start::Probe { server, base: queue.base.clone() });
                    }
                    Probing::Wanted | Probing::UnderWay => queue.block(order, attempt),
                    Probing::Done(Verdict::Bad) => queue.put_off.push((attempt, Reason::ServerDown)),
                    Probing::Done(Verdict::None) => queue.put_off.push((attempt, Reason::NoVerdict)),
                },
                Answer::Wait(reason) => queue.put_off.push((attempt, reason)),
            }
        }
        None
    }

    /// The next token to be checked, of a server for which no renewal waits.
    pub(super) fn next_check(&mut self, gates: &mut Gates) -> Option<(usize, TokenCheck)> {
        self.servers.iter_mut().enumerate().find_map(|(server, queue)| {
            if queue.checking.is_some() || queue.checks.is_empty() || queue.has_customers() {
                return None;
            }
            let gate = gates.get_mut(&queue.key).filter(|gate| gate.breaker() == Breaker::Closed)?;
            gate.enter()?;
            let check = queue.checks.pop_front()?;
            queue.checking = Some(check.id().clone());
            Some((server, check))
        })
    }

    /// A token is to be checked.
    pub(super) fn add_check(&mut self, check: TokenCheck) {
        let place = self.places.get(&check.base().server_key());
        if let Some(queue) = place.and_then(|place| self.servers.get_mut(*place)) {
            queue.checks.push_back(check);
        }
    }

    /// A token was checked. A server whose answer says nothing is asked no more in this pass.
    pub(super) fn checked(&mut self, server: usize, answer: TokenAnswer) {
        if let Some(queue) = self.servers.get_mut(server) {
            queue.checking = None;
            if matches!(answer, TokenAnswer::Unclear | TokenAnswer::NoAnswer) {
                queue.checks.clear();
            }
        }
    }

    /// No token is checked any more. The customers whose tokens were being checked.
    pub(super) fn leave_checks(&mut self, gates: &mut Gates) -> Vec<CustomerId> {
        let left = self.servers.iter_mut().filter_map(|queue| {
            queue.checks.clear();
            let id = queue.checking.take()?;
            if let Some(gate) = gates.get_mut(&queue.key) {
                gate.cancel();
            }
            Some(id)
        });
        left.collect()
    }

    /// The customer's refresh token is of no use: the password is next, in its turn.
    pub(super) fn again_with_password(&mut self, server: usize, mut attempt: Attempt) {
        // What its login brings is for the other rows with the same credentials, whose refresh tokens are over, too.
        let shared = self.shared.entry(attempt.credentials).or_default();
        if *shared == attempt.refresh_token {
            *shared = None;
        }
        attempt.refresh_token = None;
        self.first_again(server, attempt);
    }

    /// What was charged was not sent: the customer's turn comes again.
    pub(super) fn not_charged(&mut self, server: usize, attempt: Attempt) {
        self.free_account(server, attempt.account);
        if attempt.leave != Leave::None {
            self.used_leaves.remove(&attempt.account);
        }
        self.first_again(server, attempt);
    }

    fn first_again(&mut self, server: usize, attempt: Attempt) {
        if let Some(queue) = self.servers.get_mut(server) {
            queue.is_blocked = false;
            queue.logins.push_front((0, attempt));
        }
    }

    /// A password was answered, or not. With what it brought, the others that hold the same credentials are renewed.
    pub(super) fn settled(&mut self, server: usize, attempt: &Attempt, refresh_token: Option<&Secret>) {
        if let (Some(shared), Some(token)) = (self.shared.get_mut(&attempt.credentials), refresh_token) {
            *shared = Some(token.clone());
        }
        self.free_account(server, attempt.account);
    }

    /// No password of the account is on its way any more: customers that waited for it may come up now.
    fn free_account(&mut self, server: usize, account: AccountKey) {
        for (place, queue) in self.servers.iter_mut().enumerate() {
            if place == server || !queue.behind.is_empty() {
                queue.unblock(|other| other.account == account);
            }
        }
    }

    /// A probe has ended.
    pub(super) fn probed(&mut self, server: usize, verdict: Verdict, failure: Option<&Failure>) {
        if let Some(queue) = self.servers.get_mut(server) {
            queue.probe = Probing::Done(verdict);
            queue.is_blocked = false;
            if verdict != Verdict::Good {
                queue.trouble = failure.cloned();
            }
        }
    }

    /// A server gave trouble.
    pub(super) fn trouble(&mut self, server: usize, failure: Option<&Failure>) {
        if let Some(server) = self.servers.get_mut(server) {
            server.trouble = failure.cloned();
        }
    }

    /// The pass is over: the customers that were not tried. With `goes_on`, those whose server could have been asked are the
    /// next pass's, at once.
    pub(super) fn drain(&mut self, gates: &Gates, goes_on: bool) -> Vec<Event> {
        let mut facts = Vec::new();
        for mut server in std::mem::take(&mut self.servers) {
            let is_shut = gates.get(&server.key).is_none_or(Gate::is_shut);
            for (attempt, reason) in server.take_all() {
                let is_leave_used = self.used_leaves.contains(&attempt.account);
                let id: CustomerId = attempt.customer.id;
                facts.push(match (reason, &server.trouble) {
                    (Some(reason), _) => Event::Deferred { id, why: Deferral::Password(reason) },
                    (None, _) if goes_on && !is_shut && !server.is_blocked => {
                        Event::LeftOver { id, is_leave_used }
                    }
                    (None, Some(trouble)) => Event::Deferred { id, why: Deferral::Server(trouble.clone()) },
                    (None, None) if server.is_blocked => {
                        Event::Deferred { id, why: Deferral::Password(Reason::ServerBusy) }
                    }
                    (None, None) => Event::Deferred { id, why: Deferral::CutShort },
                });
            }
        }
        facts
    }
}

impl Queue {
    /// No password of the server can be sent before something is answered.
    fn block(&mut self, order: usize, attempt: Attempt) {
        self.logins.push_front((order, attempt));
        self.is_blocked = true;
    }
}

#[cfg(test)]
pub(super) mod tests;
