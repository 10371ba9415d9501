//! Carries out a plan: charges and logs in, saves in batches, reports facts. The plan decides which customers are renewed, and
//! the ledger decides whether a password may be sent.

mod charging;
mod checking;
mod queues;
mod saving;
mod sending;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::charging::{Charged, LedgerCall, Writing};
use self::checking::{Fetching, end_of_checks};
use self::queues::{Queues, Request, Start};
use self::saving::Saving;
use self::sending::{Ended, EndedAttempt, Requests, probe, refresh, signal};
use super::checks::Check;
use super::counters::Operation;
pub use super::credentials::LONGEST_REQUEST;
use super::credentials::{Ledger, Verdict};
use super::deferral::Deferral;
use super::event::{Event, RenewalMethod};
use super::plan::Plan;
use crate::clock::Clock;
use crate::model::{CustomerId, Failure, Grant, Lifetime, Renewal, ServerKey, Skew};
use crate::store::{Store, StoreError};
use crate::thingsboard::gate::{Gate, Signal, Ticket};
use crate::thingsboard::{Logins, Probe, RefreshError};

/// The longest pass: customers that become due meanwhile wait for its end. Together with a poll it stays below the half minute
/// that a token of one minute leaves.
const LONGEST: Duration = Duration::from_secs(22);

/// How long a pass begins new logins, so that it ends in time with this time limit of a request.
pub fn budget(request_timeout: Duration) -> Duration {
    LONGEST.saturating_sub(request_timeout).max(LONGEST - LONGEST_REQUEST)
}

/// How long logins in flight may take after the order to stop; then the pass abandons them.
const GRACE: Duration = Duration::from_millis(2500);

/// The limits of logins.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most logins in flight.
    pub in_flight: usize,
    /// The most logins in flight to one server.
    pub per_server: u32,
    /// How long a pass begins new ones: see [`budget`].
    pub budget: Duration,
    /// How long after its charge a password may still be in flight.
    pub request_timeout: Duration,
}

/// The tools of a pass.
#[derive(Debug)]
pub struct Tools<S, L> {
    /// Where tokens go.
    pub store: Arc<S>,
    /// Where tokens come from.
    pub logins: Arc<L>,
    /// For the expiry of a token that arrives.
    pub clock: Clock,
    /// The longest life to declare for a token.
    pub lifetime: Lifetime,
    /// The limits of logins.
    pub limits: Limits,
    /// Whether paused servers and servers that are down are tried again; not if the pass continues the one before.
    pub is_new_wake: bool,
    /// For the numbers of charges.
    pub seed: u64,
    /// The order to begin nothing new.
    pub stop: CancellationToken,
    /// The order to wait for no check.
    pub abandon_checks: CancellationToken,
    /// When no check is waited for without an order.
    pub checks_until: Instant,
}

/// The gates of all servers; they live from pass to pass.
pub type Gates = BTreeMap<ServerKey, Gate>;

/// Carries `plan` out, reports every fact to `events`, and gives gates and ledger back.
pub async fn run<S: Store, L: Logins>(
    tools: Tools<S, L>,
    events: mpsc::Sender<Event>,
    mut plan: Plan,
    mut gates: Gates,
    ledger: Ledger,
) -> (Gates, Ledger) {
    let queues = Queues::new(&mut plan);
    let checks = std::mem::take(&mut plan.checks);
    for server in queues.servers() {
        let gate = gates.entry(server.clone()).or_insert_with(|| Gate::new(tools.limits.per_server));
        gate.set_maximum(tools.limits.per_server);
        if tools.is_new_wake {
            gate.wake();
        }
    }
    let moved: Vec<Event> = queues.servers().filter_map(|server| moved(server, &gates)).collect();
    let mut pass = Pass {
        tools: &tools,
        events,
        queues,
        in_flight: BTreeMap::new(),
        charging: Vec::new(),
        being_charged: 0,
        checking: 0,
        obtained: plan.saves.into(),
        store_error: None,
        has_ledger_failed: false,
        checks_ledger: plan.checks_ledger,
        gates,
        ledger,
        rng: StdRng::seed_from_u64(tools.seed),
        ends_at: Instant::now() + tools.limits.budget,
    };
    let refused = plan.refused.into_iter().map(|(id, failure)| Event::Failed { id, failure });
    let conflicting =
        plan.conflicting.into_iter().map(|id| Event::Deferred { id, why: Deferral::DifferentPasswords });
    for event in moved.into_iter().chain(refused).chain(conflicting) {
        pass.report(event).await;
    }
    pass.carry_out(checks).await;
    (pass.gates, pass.ledger)
}

struct Pass<'a, S, L> {
    tools: &'a Tools<S, L>,
    events: mpsc::Sender<Event>,
    queues: Queues,
    /// The customers with a request in flight: since when, and whether it sends a password.
    in_flight: BTreeMap<CustomerId, (Instant, RenewalMethod)>,
    /// Passwords whose charge is not in the store yet.
    charging: Vec<Charged>,
    /// How many passwords wait for the write of the ledger under way.
    being_charged: usize,
    /// How many tokens are being checked.
    checking: usize,
    /// Tokens that wait to be saved.
    obtained: VecDeque<Renewal>,
    /// Why the store cannot be written; then no new request begins.
    store_error: Option<StoreError>,
    /// The ledger could not be written: then no password is sent.
    has_ledger_failed: bool,
    /// Whether to write the ledger without a change, to see that it is still there.
    checks_ledger: bool,
    gates: Gates,
    ledger: Ledger,
    rng: StdRng,
    /// From then on no new request begins.
    ends_at: Instant,
}

/// The limit and the circuit breaker of a server, as a fact.
fn moved(server: &ServerKey, gates: &Gates) -> Option<Event> {
    let gate = gates.get(server)?;
    Some(Event::GateMoved { server: server.clone(), limit: gate.limit(), breaker: gate.breaker() })
}

impl<'a, S: Store, L: Logins> Pass<'a, S, L> {
    async fn carry_out(&mut self, checks: Vec<Check>) {
        let tools = self.tools;
        let mut fetching: Option<Fetching<'a>> = self.fetch_tokens(checks);
        let mut requests: Requests<'a> = FuturesUnordered::new();
        let mut checking: Requests<'a> = FuturesUnordered::new();
        let mut saving: Option<Saving<'a>> = None;
        let mut writing: Option<Writing<'a>> = None;
        let mut give_up: Option<Instant> = None;
        // Tokens of earlier passes go first: a store that takes them takes others too.
        let mut may_renew = self.obtained.is_empty();
        loop {
            let may_begin = may_renew && give_up.is_none() && self.store_error.is_none();
            if may_begin && Instant::now() < self.ends_at {
                self.begin(&mut requests, &mut checking).await;
            }
            if writing.is_none() {
                writing = self.call_ledger(give_up.is_some());
            }
            if saving.is_none() && self.store_error.is_none() && !self.obtained.is_empty() {
                saving = Some(self.save());
            }
            let is_idle = requests.is_empty() && checking.is_empty() && fetching.is_none();
            if is_idle && saving.is_none() && writing.is_none() {
                break;
            }
            tokio::select! {
                // In this order, so that a run follows from its seed alone.
                biased;
                () = tools.stop.cancelled(), if give_up.is_none() => {
                    give_up = Some(Instant::now() + GRACE);
                }
                () = end_of_checks(tools), if !checking.is_empty() => {
                    checking.clear();
                    self.abandon_checks().await;
                }
                () = sleep_until_some(give_up), if !requests.is_empty() => {
                    // An answer that has arrived counts.
                    while let Some(Some(ended)) = requests.next().now_or_never() {
                        self.ended(ended).await;
                    }
                    requests.clear();
                    self.give_up().await;
                }
                call = finish(&mut writing) => {
                    writing = None;
                    self.being_charged = 0;
                    match call {
                        LedgerCall::Wrote(charged, result) => {
                            self.ledger_written(charged, result, give_up.is_some(), &mut requests).await;
                        }
                        LedgerCall::Read(result) => self.ledger_read(result).await,
                    }
                }
                (batch, result) = finish(&mut saving) => {
                    saving = None;
                    self.saved(&batch, result).await;
                    may_renew = true;
                }
                Some(ended) = requests.next() => self.ended(ended).await,
                Some(ended) = checking.next() => self.ended(ended).await,
                (checks, tokens) = finish(&mut fetching) => {
                    fetching = None;
                    self.tokens_fetched(checks, tokens);
                }
            }
        }
        self.defer_the_rest(give_up.is_some()).await;
    }

    /// Begins all requests that may begin now. Passwords wait for their charge.
    async fn begin(&mut self, requests: &mut Requests<'a>, checking: &mut Requests<'a>) {
        let logins = &*self.tools.logins;
        while self.has_place() {
            let mut facts = Vec::new();
            let (rng, now) = (&mut self.rng, Instant::now().into_std());
            let start = self.queues.next(&mut self.gates, &mut self.ledger, || rng.random(), now, &mut facts);
            for fact in facts {
                self.report(fact).await;
            }
            match start {
                None if !self.may_check() => break,
                None => match self.queues.next_check(&mut self.gates) {
                    None => break,
                    Some((server, check)) => {
                        self.checking += 1;
                        checking.push(Box::pin(checking::check(logins, server, check)));
                    }
                },
                Some(Start::Probe { server, base }) => requests.push(Box::pin(probe(logins, server, base))),
                Some(Start::Refresh(request)) => {
                    let id = request.attempt.customer.id.clone();
                    self.in_flight.insert(id.clone(), (Instant::now(), RenewalMethod::RefreshToken));
                    self.report(Event::Attempting(id)).await;
                    requests.push(Box::pin(refresh(logins, request)));
                }
                Some(Start::Login(request, charge)) => {
                    self.report(Event::Attempting(request.attempt.customer.id.clone())).await;
                    self.charging.push(Charged { request, charge, at: self.both_clocks() });
                }
            }
        }
    }

    fn has_place(&self) -> bool {
        let logins = self.in_flight.len() + self.charging.len() + self.being_charged;
        logins + self.checking < self.tools.limits.in_flight
    }

    async fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Check { server, id, answer } => self.checked(server, id, answer).await,
            Ended::Attempt(ended) => self.attempt_ended(*ended).await,
            Ended::Probe { server, probe } => self.probed(server, probe).await,
        }
    }

    async fn attempt_ended(&mut self, ended: EndedAttempt) {
        let EndedAttempt { request: Request { server, ticket, attempt }, charge, latency, result } = ended;
        let id = attempt.customer.id.clone();
        self.in_flight.remove(&id);
        let failure = match &result {
            Err(RefreshError::Failed(failure)) => Some(failure),
            Ok(_) | Err(RefreshError::Rejected { .. }) => None,
        };
        let method = if charge.is_some() { RenewalMethod::Login } else { RenewalMethod::RefreshToken };
        self.report(Event::Answered { method, took: latency, failure: failure.map(Failure::kind) }).await;
        if let Some(charge) = charge {
            self.ledger.settle(charge, failure, Instant::now().into_std());
            let refresh_token = result.as_ref().ok().and_then(|grant| grant.refresh_token.as_ref());
            self.queues.password_settled(server, &attempt, refresh_token);
        }
        self.report_to_gate(server, Some(ticket), signal(failure), failure).await;
        match result {
            Ok(Grant { token, refresh_token }) => {
                if method == RenewalMethod::RefreshToken {
                    self.ledger.refresh_worked(&attempt.account, &attempt.customer.credentials.username);
                }
                let now = self.tools.clock.now();
                let took = TimeDelta::from_std(latency).unwrap_or_default();
                let skew = Skew::measure(token.issued_at(), now, took);
                let mut renewal = Renewal::new(&attempt.customer, token, now, self.tools.lifetime);
                renewal.replaces = attempt.replaces;
                self.obtained.push_back(renewal.clone());
                let renewal = Box::new(renewal);
                self.report(Event::Obtained { renewal, refresh_token, method, latency, skew }).await;
            }
            Err(RefreshError::Failed(failure)) => self.report(Event::Failed { id, failure }).await,
            Err(RefreshError::Rejected { is_outdated }) => {
                if is_outdated {
                    self.ledger.refresh_outdated(&attempt.account, &attempt.customer.credentials.username);
                }
                self.queues.retry_with_password(server, attempt);
                self.report(Event::RefreshTokenRefused(id)).await;
            }
        }
    }

    async fn probed(&mut self, server: usize, probe: Probe) {
        let (verdict, signal, failure) = match probe {
            Probe::Good => (Verdict::Good, Signal::Answered, None),
            Probe::Bad(failure) => (Verdict::Bad, Signal::Unanswered, Some(failure)),
            Probe::NoVerdict(failure) => (Verdict::None, Signal::ForeignAnswer, Some(failure)),
        };
        if let Some(key) = self.queues.key(server) {
            self.ledger.probed(key, verdict, Instant::now().into_std());
        }
        self.queues.probe_ended(server, verdict, failure.as_ref());
        self.report_to_gate(server, None, signal, failure.as_ref()).await;
    }

    /// Reports the end of a request to the gate; without a ticket it was a probe.
    async fn report_to_gate(
        &mut self,
        server: usize,
        ticket: Option<Ticket>,
        signal: Signal,
        failure: Option<&Failure>,
    ) {
        let Some(key) = self.queues.key(server).cloned() else { return };
        let Some(gate) = self.gates.get_mut(&key) else { return };
        let before = (gate.limit(), gate.breaker());
        match ticket {
            Some(ticket) => gate.leave(ticket, signal),
            None => gate.finish_probe(signal),
        }
        let has_moved = before != (gate.limit(), gate.breaker());
        let has_recovered = gate.take_recovery();
        if signal != Signal::Answered {
            self.queues.set_trouble(server, failure);
        }
        if let Some(event) = moved(&key, &self.gates).filter(|_| has_moved) {
            self.report(event).await;
        }
        if has_recovered {
            self.report(Event::ServerRecovered(key)).await;
        }
    }

    /// Abandons the requests that are unanswered when the process must end. ThingsBoard may have counted their passwords,
    /// so their charges stay in flight, as after a kill.
    async fn give_up(&mut self) {
        for (id, (since, method)) in std::mem::take(&mut self.in_flight) {
            self.report(match method {
                RenewalMethod::Login => Event::Failed {
                    id,
                    failure: Failure::Timeout {
                        after: Duration::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(0)),
                    },
                },
                RenewalMethod::RefreshToken => Event::Deferred { id, why: Deferral::CutShort },
            })
            .await;
        }
    }

    /// Leaves the rest of the plan to the next pass, and the tokens that could not be saved: the state holds them.
    async fn defer_the_rest(&mut self, stopped: bool) {
        if let Some(error) = self.store_error.clone() {
            let ids: Vec<CustomerId> = self.obtained.drain(..).map(|renewal| renewal.id).collect();
            if !ids.is_empty() {
                self.report(Event::SaveFailed { ids, error }).await;
            }
        }
        let goes_on = !stopped && self.store_error.is_none();
        for fact in self.queues.drain_untried(&self.gates, goes_on) {
            self.report(fact).await;
        }
    }

    /// The machine's own time, which stands still while the machine sleeps, and the time of day.
    fn both_clocks(&self) -> (Instant, DateTime<Utc>) {
        (Instant::now(), self.tools.clock.now())
    }

    /// Wraps a call of the store so that it reports its duration.
    fn timed<T: Send + 'a>(
        &self,
        operation: Operation,
        call: impl Future<Output = T> + Send + 'a,
    ) -> impl Future<Output = T> + Send + 'a {
        let events = self.events.clone();
        async move {
            let began = Instant::now();
            let result = call.await;
            let _ = events.send(Event::StoreCalled { operation, took: began.elapsed() }).await;
            result
        }
    }

    async fn report(&self, event: Event) {
        // The scheduler has ended only if the process ends at once.
        let _ = self.events.send(event).await;
    }
}

/// Waits for the end of a call of the store; forever without one.
async fn finish<T>(call: &mut Option<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> T {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

/// Waits until `instant`; forever without one.
pub(super) async fn sleep_until_some(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_pass_ends_before_a_token_of_a_minute_does_whatever_the_time_out() {
        for seconds in 1..=LONGEST_REQUEST.as_secs() {
            let timeout = Duration::from_secs(seconds);
            assert!(budget(timeout) + timeout <= LONGEST, "{timeout:?}");
            assert!(budget(timeout) >= Duration::from_secs(2), "{timeout:?}");
        }
    }
}
