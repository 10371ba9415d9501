//! Chooses the next request of a pass: one server after the other, as its gate and the ledger allow. Nothing here waits.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use super::super::credentials::{Answer, Charge, Leave, Ledger, LoginQuery, Reason, Verdict};
use super::super::deferral::Deferral;
use super::super::event::Event;
use super::super::plan::{Attempt, Plan};
use super::Gates;
use super::checking::TokenCheck;
use crate::model::{AccountKey, BaseUrl, CustomerId, Failure, Fingerprint, Secret, ServerKey, TokenAnswer};
use crate::thingsboard::gate::{Breaker, Gate, Ticket};

/// The customers of this pass that were not tried yet, by server.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: Vec<Queue>,
    /// The place of each server in `queues`.
    places: BTreeMap<ServerKey, usize>,
    /// The place of the server that comes next. Each server gets one login before any gets its second.
    turn: usize,
    /// Credentials that several rows hold, with the refresh token from their first login.
    shared: HashMap<Fingerprint, Option<Secret>>,
    /// Accounts whose operator's leave is used up.
    used_leaves: HashSet<AccountKey>,
    /// Whether the ledger cannot be written. Then no password is sent.
    is_without_ledger: bool,
}

/// The customers of one server.
#[derive(Debug)]
struct Queue {
    key: ServerKey,
    base: BaseUrl,
    /// Customers with a refresh token, each with its place in the order of urgency.
    refreshes: VecDeque<(usize, Attempt)>,
    /// Customers without a refresh token.
    logins: VecDeque<(usize, Attempt)>,
    /// Customers without a refresh token whose account has an open charge. Each goes alone, after the others.
    charged_logins: VecDeque<(usize, Attempt)>,
    /// Customers that wait for the answer to another password of their account.
    waiting_for_account: Vec<(usize, Attempt)>,
    /// Customers whose password waits for another pass.
    deferred: Vec<(Attempt, Reason)>,
    /// Whether the next password waits for the answer to another one, or to a probe.
    is_blocked: bool,
    probe: ProbeState,
    /// Tokens to be checked.
    checks: VecDeque<TokenCheck>,
    /// The customer whose token is being checked.
    checking: Option<CustomerId>,
    /// The last failure because of the server.
    trouble: Option<Failure>,
}

/// The probe of a server in this pass; at most one, unless it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProbeState {
    /// None is needed yet.
    Idle,
    /// It begins as soon as possible.
    Wanted,
    /// It is under way.
    UnderWay,
    /// It has ended.
    Done(Verdict),
}

/// The next request.
#[derive(Debug)]
pub(super) enum Start {
    /// A refresh token.
    Refresh(Request),
    /// A password, which is sent once its charge is in the store.
    Login(Request, Charge),
    /// A probe of the server at this place.
    Probe { server: usize, base: BaseUrl },
}

/// A request for a customer.
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
            charged_logins: VecDeque::new(),
            waiting_for_account: Vec::new(),
            deferred: Vec::new(),
            is_blocked: false,
            probe: ProbeState::Idle,
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

    /// Takes the next customer, and whether it goes alone. The most urgent comes first, with or without a refresh token.
    /// Customers that go alone come last.
    fn take_next(&mut self) -> Option<(usize, Attempt, bool)> {
        let login = self.logins.front().filter(|_| !self.is_blocked).map(|(order, _)| *order);
        let refresh = self.refreshes.front().map(|(order, _)| *order);
        match (refresh, login) {
            (Some(refresh), login) if login.is_none_or(|login| refresh < login) => {
                self.refreshes.pop_front().map(|(order, attempt)| (order, attempt, false))
            }
            (_, Some(_)) => self.logins.pop_front().map(|(order, attempt)| (order, attempt, false)),
            _ if !self.is_blocked => {
                self.charged_logins.pop_front().map(|(order, attempt)| (order, attempt, true))
            }
            _ => None,
        }
    }

    /// Adds a customer that goes alone. Accounts with fewer charges come first.
    fn add_charged(&mut self, order: usize, attempt: Attempt, ledger: &Ledger) {
        let rank = |order: usize, attempt: &Attempt| {
            let username = &attempt.customer.credentials.username;
            (ledger.charges_of(&attempt.account, &self.key, username), order)
        };
        let own = rank(order, &attempt);
        let place = self.charged_logins.partition_point(|(order, other)| rank(*order, other) <= own);
        self.charged_logins.insert(place, (order, attempt));
    }

    /// Lets passwords be tried again, also those of customers that wait for an account and `may_come_up`.
    fn unblock(&mut self, may_come_up: impl Fn(&Attempt) -> bool) {
        self.is_blocked = false;
        let (again, waiting_for_account) = std::mem::take(&mut self.waiting_for_account)
            .into_iter()
            .partition(|(_, attempt)| may_come_up(attempt));
        self.waiting_for_account = waiting_for_account;
        for (order, attempt) in again {
            self.add(order, attempt);
        }
    }

    /// Whether a customer was not tried yet.
    fn has_customers(&self) -> bool {
        [&self.refreshes, &self.logins, &self.charged_logins].iter().any(|queue| !queue.is_empty())
            || !self.waiting_for_account.is_empty()
    }

    fn take_all(&mut self) -> Vec<(Attempt, Option<Reason>)> {
        let waiting = std::mem::take(&mut self.waiting_for_account).into_iter();
        let waiting = waiting.map(|(_, attempt)| (attempt, Some(Reason::AccountBusy)));
        let deferred =
            std::mem::take(&mut self.deferred).into_iter().map(|(attempt, why)| (attempt, Some(why)));
        let queues = [&mut self.refreshes, &mut self.logins, &mut self.charged_logins];
        let queued = queues.into_iter().flat_map(std::mem::take).map(|(_, attempt)| (attempt, None));
        deferred.chain(waiting).chain(queued).collect()
    }
}

impl Queues {
    /// Takes the customers of a plan. The servers come in the order of their most urgent customers.
    pub(super) fn new(plan: &mut Plan) -> Self {
        let mut queues = Self::default();
        let mut rows: HashMap<Fingerprint, usize> = HashMap::new();
        for (order, attempt) in std::mem::take(&mut plan.attempts).into_iter().enumerate() {
            if attempt.refresh_token.is_none() {
                *rows.entry(attempt.credentials).or_default() += 1;
            }
            queues.queue_of(&attempt.base).add(order, attempt);
        }
        for check in &plan.checks {
            queues.queue_of(&check.base);
        }
        for base in std::mem::take(&mut plan.probes).values() {
            queues.queue_of(base).probe = ProbeState::Wanted;
        }
        let shared = rows.into_iter().filter(|(_, rows)| *rows > 1);
        queues.shared = shared.map(|(credentials, _)| (credentials, None)).collect();
        queues
    }

    /// The queue of a server, a new one if it has none.
    fn queue_of(&mut self, base: &BaseUrl) -> &mut Queue {
        let key = base.server_key();
        let place = *self.places.entry(key.clone()).or_insert(self.queues.len());
        if place == self.queues.len() {
            self.queues.push(Queue::new(key, base.clone()));
        }
        &mut self.queues[place]
    }

    /// The servers.
    pub(super) fn servers(&self) -> impl Iterator<Item = &ServerKey> {
        self.queues.iter().map(|server| &server.key)
    }

    /// The key of the server at this place.
    pub(super) fn key(&self, server: usize) -> Option<&ServerKey> {
        self.queues.get(server).map(|server| &server.key)
    }

    /// The ledger cannot be written any more: no further password is charged.
    pub(super) fn ledger_failed(&mut self) {
        self.is_without_ledger = true;
        self.queues.iter_mut().for_each(|server| server.is_blocked = false);
    }

    /// Returns the next request, if one may be sent now. Adds to `facts` the customers that cannot be tried at all.
    pub(super) fn next(
        &mut self,
        gates: &mut Gates,
        ledger: &mut Ledger,
        mut number: impl FnMut() -> u64,
        now: Instant,
        facts: &mut Vec<Event>,
    ) -> Option<Start> {
        for _ in 0..self.queues.len() {
            let server = self.turn % self.queues.len();
            self.turn = server + 1;
            let gate = self.queues.get(server).and_then(|queue| gates.get_mut(&queue.key));
            if let Some(start) =
                gate.and_then(|gate| self.next_of_server(server, gate, ledger, &mut number, now, facts))
            {
                return Some(start);
            }
        }
        None
    }

    fn next_of_server(
        &mut self,
        server: usize,
        gate: &mut Gate,
        ledger: &mut Ledger,
        number: &mut impl FnMut() -> u64,
        now: Instant,
        facts: &mut Vec<Event>,
    ) -> Option<Start> {
        let queue = self.queues.get_mut(server)?;
        let is_needed = gate.needs_probe() && queue.probe == ProbeState::Idle && queue.has_customers();
        if is_needed || queue.probe == ProbeState::Wanted {
            queue.probe = ProbeState::UnderWay;
            return Some(Start::Probe { server, base: queue.base.clone() });
        }
        while gate.has_room() {
            let queue = self.queues.get_mut(server)?;
            let (order, mut attempt, is_alone) = queue.take_next()?;
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
                // A parked customer without a refresh token stays as it is.
                facts.push(Event::Deferred { id: attempt.customer.id, why: Deferral::CutShort });
                continue;
            }
            let leave = if self.used_leaves.contains(&attempt.account) { Leave::None } else { attempt.leave };
            let queue = self.queues.get_mut(server)?;
            let key = queue.key.clone();
            let query = LoginQuery {
                account: attempt.account,
                server: &key,
                username: &attempt.customer.credentials.username,
                credentials: attempt.credentials,
                held: &attempt.held,
                leave,
            };
            let is_later = !is_alone && ledger.charges_of(&query.account, &key, query.username) > 0;
            let answer = if self.is_without_ledger {
                Answer::Wait(Reason::Store)
            } else {
                ledger.may_send(&query, now)
            };
            match answer {
                Answer::Never(failure) => facts.push(Event::Failed { id: attempt.customer.id, failure }),
                Answer::Wait(Reason::AccountBusy) => queue.waiting_for_account.push((order, attempt)),
                Answer::Send | Answer::Wait(Reason::ServerBusy | Reason::Probe) if is_later => {
                    queue.add_charged(order, attempt, ledger);
                }
                Answer::Send => {
                    let ticket = gate.enter()?;
                    let charge = ledger.charge(&query, number(), now);
                    attempt.leave = leave;
                    if leave != Leave::None {
                        self.used_leaves.insert(attempt.account);
                    }
                    return Some(Start::Login(Request { server, ticket, attempt }, charge));
                }
                Answer::Wait(Reason::ServerBusy) => queue.block(order, attempt),
                Answer::Wait(Reason::Probe) => match queue.probe {
                    ProbeState::Idle | ProbeState::Done(Verdict::Good) => {
                        queue.block(order, attempt);
                        queue.probe = ProbeState::UnderWay;
                        return Some(Start::Probe { server, base: queue.base.clone() });
                    }
                    ProbeState::Wanted | ProbeState::UnderWay => queue.block(order, attempt),
                    ProbeState::Done(Verdict::Bad) => queue.deferred.push((attempt, Reason::ServerDown)),
                    ProbeState::Done(Verdict::None) => queue.deferred.push((attempt, Reason::NoVerdict)),
                },
                Answer::Wait(reason) => queue.deferred.push((attempt, reason)),
            }
        }
        None
    }

    /// Returns the next token to be checked, of a server for which no renewal waits.
    pub(super) fn next_check(&mut self, gates: &mut Gates) -> Option<(usize, TokenCheck)> {
        self.queues.iter_mut().enumerate().find_map(|(server, queue)| {
            if queue.checking.is_some() || queue.checks.is_empty() || queue.has_customers() {
                return None;
            }
            let gate = gates.get_mut(&queue.key).filter(|gate| gate.breaker() == Breaker::Closed)?;
            gate.enter()?;
            let check = queue.checks.pop_front()?;
            queue.checking = Some(check.check.id.clone());
            Some((server, check))
        })
    }

    /// Adds a token to be checked.
    pub(super) fn add_check(&mut self, check: TokenCheck) {
        self.queue_of(&check.check.base).checks.push_back(check);
    }

    /// Ends a check. After an unclear answer, no other token of the server is checked in this pass.
    pub(super) fn check_ended(&mut self, server: usize, answer: TokenAnswer) {
        if let Some(queue) = self.queues.get_mut(server) {
            queue.checking = None;
            if matches!(answer, TokenAnswer::Unclear | TokenAnswer::NoAnswer) {
                queue.checks.clear();
            }
        }
    }

    /// Drops all checks. Returns the customers whose tokens were being checked.
    pub(super) fn abandon_checks(&mut self, gates: &mut Gates) -> Vec<CustomerId> {
        let left = self.queues.iter_mut().filter_map(|queue| {
            queue.checks.clear();
            let id = queue.checking.take()?;
            if let Some(gate) = gates.get_mut(&queue.key) {
                gate.cancel();
            }
            Some(id)
        });
        left.collect()
    }

    /// Requeues a customer without its refresh token, which the server rejected: the password is next.
    pub(super) fn retry_with_password(&mut self, server: usize, mut attempt: Attempt) {
        // The refresh tokens of the other rows with these credentials are rejected too, so they use that of its login.
        let shared = self.shared.entry(attempt.credentials).or_default();
        if *shared == attempt.refresh_token {
            *shared = None;
        }
        attempt.refresh_token = None;
        self.requeue_first(server, attempt);
    }

    /// Requeues a customer whose password was not sent, because its charge was not made.
    pub(super) fn requeue_uncharged(&mut self, server: usize, attempt: Attempt) {
        self.free_account(server, attempt.account);
        if attempt.leave != Leave::None {
            self.used_leaves.remove(&attempt.account);
        }
        self.requeue_first(server, attempt);
    }

    fn requeue_first(&mut self, server: usize, attempt: Attempt) {
        if let Some(queue) = self.queues.get_mut(server) {
            queue.is_blocked = false;
            queue.logins.push_front((0, attempt));
        }
    }

    /// A password was answered, or not. With its refresh token, the other rows with the same credentials are renewed.
    pub(super) fn password_settled(
        &mut self,
        server: usize,
        attempt: &Attempt,
        refresh_token: Option<&Secret>,
    ) {
        if let (Some(shared), Some(token)) = (self.shared.get_mut(&attempt.credentials), refresh_token) {
            *shared = Some(token.clone());
        }
        self.free_account(server, attempt.account);
    }

    /// No password of the account is in flight any more: customers that waited for it may come up now.
    fn free_account(&mut self, server: usize, account: AccountKey) {
        for (place, queue) in self.queues.iter_mut().enumerate() {
            if place == server || !queue.waiting_for_account.is_empty() {
                queue.unblock(|other| other.account == account);
            }
        }
    }

    /// Ends a probe.
    pub(super) fn probe_ended(&mut self, server: usize, verdict: Verdict, failure: Option<&Failure>) {
        if let Some(queue) = self.queues.get_mut(server) {
            queue.probe = ProbeState::Done(verdict);
            queue.is_blocked = false;
            if verdict != Verdict::Good {
                queue.trouble = failure.cloned();
            }
        }
    }

    /// Notes a failure because of the server.
    pub(super) fn set_trouble(&mut self, server: usize, failure: Option<&Failure>) {
        if let Some(server) = self.queues.get_mut(server) {
            server.trouble = failure.cloned();
        }
    }

    /// Ends the pass, and returns a fact for each customer that was not tried. With `goes_on` the next pass follows at once, and
    /// gets those whose server takes requests.
    pub(super) fn drain_untried(&mut self, gates: &Gates, goes_on: bool) -> Vec<Event> {
        let mut facts = Vec::new();
        for mut server in std::mem::take(&mut self.queues) {
            let is_shut = gates.get(&server.key).is_none_or(Gate::is_shut);
            let is_down = gates.get(&server.key).is_some_and(|gate| gate.breaker() != Breaker::Closed);
            if let Some(check) = server.checks.pop_front().filter(|_| is_down) {
                // The next probe for its tokens' sake waits for an interval, like a check.
                facts.push(Event::CheckAbandoned(check.check.id));
            }
            for (attempt, reason) in server.take_all() {
                let is_leave_used = self.used_leaves.contains(&attempt.account);
                let id: CustomerId = attempt.customer.id;
                facts.push(match (reason, &server.trouble) {
                    (Some(reason), _) => Event::Deferred { id, why: Deferral::Password(reason) },
                    (None, _) if goes_on && !is_shut && !server.is_blocked => {
                        Event::CarriedOver { id, is_leave_used }
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
    /// Requeues a customer, and blocks passwords until the server answers a password or a probe.
    fn block(&mut self, order: usize, attempt: Attempt) {
        self.logins.push_front((order, attempt));
        self.is_blocked = true;
    }
}

#[cfg(test)]
pub(super) mod tests;
