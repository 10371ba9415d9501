//! Carries a plan out: logs in, saves in batches, reports what happens. It decides nothing about who is due.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::event::{Event, Via};
use super::plan::{Attempt, Plan};
use crate::clock::Clock;
use crate::model::{CustomerId, Failure, Grant, HostKey, Lifetime, Renewal};
use crate::store::{Saved, Store, StoreError};
use crate::thingsboard::gate::{Change, Gate, Signal, Ticket};
use crate::thingsboard::{Logins, NotRenewed};

/// The most tokens that one call of the store is given.
const BATCH: usize = 100;

/// How long logins in flight may take after the order to stop; then they are given up.
const GRACE: Duration = Duration::from_millis(2500);

/// How many logins may be in flight.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub in_flight: usize,
    /// To one server.
    pub per_host: u32,
}

/// What a pass works with.
#[derive(Debug)]
pub struct Tools<S, L> {
    /// Where tokens go.
    pub store: Arc<S>,
    /// Where they come from.
    pub logins: Arc<L>,
    /// For the expiry of a token that arrives.
    pub clock: Clock,
    /// Which expiry is written.
    pub lifetime: Lifetime,
    /// How many logins at a time.
    pub limits: Limits,
    /// The order to begin nothing new.
    pub stop: CancellationToken,
}

/// The gates of all servers; they live from pass to pass.
pub type Gates = BTreeMap<HostKey, Gate>;

/// Carries `plan` out, reports every fact to `events`, and gives the gates back.
pub async fn run<S: Store, L: Logins>(
    tools: Tools<S, L>,
    events: mpsc::Sender<Event>,
    plan: Plan,
    mut gates: Gates,
) -> Gates {
    let hosts = hosts(plan.attempts, &mut gates, tools.limits.per_host);
    let obtained = plan.saves.into();
    let mut pass = Pass { tools: &tools, events, hosts, turn: 0, obtained, store_error: None, gates };
    for (id, failure) in plan.refused {
        pass.report(Event::Failed { id, failure }).await;
    }
    pass.carry_out().await;
    pass.gates
}

/// The customers of one server that wait for their turn.
struct Host {
    key: HostKey,
    queue: VecDeque<Attempt>,
    /// What was seen of the server when it gave trouble.
    trouble: Option<Failure>,
}

struct Pass<'a, S, L> {
    tools: &'a Tools<S, L>,
    events: mpsc::Sender<Event>,
    hosts: Vec<Host>,
    /// The host whose turn it is: everyone gets one login before anyone gets the next.
    turn: usize,
    /// Tokens that wait to be saved.
    obtained: VecDeque<Renewal>,
    /// Why the store cannot be written, once that is seen: then nobody new is asked for a token.
    store_error: Option<StoreError>,
    gates: Gates,
}

fn hosts(attempts: Vec<Attempt>, gates: &mut Gates, per_host: u32) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    let mut index: BTreeMap<HostKey, usize> = BTreeMap::new();
    for attempt in attempts {
        let key = attempt.base.host_key();
        let at = *index.entry(key.clone()).or_insert_with(|| {
            hosts.push(Host { key, queue: VecDeque::new(), trouble: None });
            hosts.len() - 1
        });
        if let Some(host) = hosts.get_mut(at) {
            host.queue.push_back(attempt);
        }
    }
    for host in &hosts {
        let gate = gates.entry(host.key.clone()).or_insert_with(|| Gate::new(per_host));
        gate.allow(per_host);
        gate.wake();
    }
    hosts
}

/// A login in flight, and what came of it.
struct Login {
    host: usize,
    ticket: Ticket,
    attempt: Attempt,
    via: Via,
    latency: Duration,
    result: Result<Grant, Failure>,
}

type Saving<'a> =
    Pin<Box<dyn Future<Output = (Arc<Vec<Renewal>>, Result<Vec<Saved>, StoreError>)> + Send + 'a>>;

impl<'a, S: Store, L: Logins> Pass<'a, S, L> {
    async fn carry_out(&mut self) {
        let tools = self.tools;
        let mut logins = FuturesUnordered::new();
        let mut saving: Option<Saving<'a>> = None;
        let mut give_up: Option<Instant> = None;
        // Tokens of earlier passes go first: that they can be saved shows that others can.
        let mut may_ask = self.obtained.is_empty();
        loop {
            if may_ask && give_up.is_none() && self.store_error.is_none() {
                while logins.len() < tools.limits.in_flight {
                    let Some((host, ticket, attempt)) = self.next_attempt() else { break };
                    self.report(Event::Attempting(attempt.customer.id.clone())).await;
                    logins.push(log_in(&*tools.logins, host, ticket, attempt));
                }
            }
            if saving.is_none() && self.store_error.is_none() && !self.obtained.is_empty() {
                saving = Some(self.save());
            }
            if logins.is_empty() && saving.is_none() {
                break;
            }
            tokio::select! {
                // In this order, so that a run follows from its seed alone.
                biased;
                () = tools.stop.cancelled(), if give_up.is_none() => {
                    give_up = Some(Instant::now() + GRACE);
                }
                () = at(give_up), if !logins.is_empty() => logins.clear(),
                (batch, result) = finish(&mut saving) => {
                    saving = None;
                    self.saved(&batch, result).await;
                    may_ask = true;
                }
                Some(login) = logins.next() => self.ended(login).await,
            }
        }
        self.defer_the_rest().await;
    }

    /// The next customer whose server has room, each server in its turn.
    fn next_attempt(&mut self) -> Option<(usize, Ticket, Attempt)> {
        for _ in 0..self.hosts.len() {
            let index = self.turn % self.hosts.len();
            self.turn = index + 1;
            let Some(host) = self.hosts.get_mut(index).filter(|host| !host.queue.is_empty()) else {
                continue;
            };
            let Some(gate) = self.gates.get_mut(&host.key) else { continue };
            if let Some(ticket) = gate.enter()
                && let Some(attempt) = host.queue.pop_front()
            {
                return Some((index, ticket, attempt));
            }
        }
        None
    }

    async fn ended(&mut self, login: Login) {
        let Login { host, ticket, attempt, via, latency, result } = login;
        self.tell_the_gate(host, ticket, result.as_ref().err()).await;
        match result {
            Ok(Grant { token, refresh_token }) => {
                let now = self.tools.clock.now();
                let skew = token.issued_at() - now;
                let renewal = Renewal::new(&attempt.customer, token, now, self.tools.lifetime);
                self.obtained.push_back(renewal.clone());
                let renewal = Box::new(renewal);
                self.report(Event::Obtained { renewal, refresh_token, via, latency, skew }).await;
            }
            Err(failure) => self.report(Event::Failed { id: attempt.customer.id, failure }).await,
        }
    }

    async fn tell_the_gate(&mut self, host: usize, ticket: Ticket, failure: Option<&Failure>) {
        let Some(host) = self.hosts.get_mut(host) else { return };
        let Some(gate) = self.gates.get_mut(&host.key) else { return };
        let signal = signal(failure);
        let change = gate.leave(ticket, signal);
        if signal != Signal::Well {
            host.trouble = failure.cloned();
        }
        if change == Change::Mended {
            let key = host.key.clone();
            self.report(Event::HostBack(key)).await;
        }
    }

    fn save(&mut self) -> Saving<'a> {
        let batch: Vec<Renewal> = self.obtained.drain(..self.obtained.len().min(BATCH)).collect();
        let batch = Arc::new(batch);
        let store = Arc::clone(&self.tools.store);
        Box::pin(async move {
            let result = store.save(Arc::clone(&batch)).await;
            (batch, result)
        })
    }

    async fn saved(&mut self, batch: &[Renewal], result: Result<Vec<Saved>, StoreError>) {
        match result {
            Ok(outcomes) => {
                for (renewal, outcome) in batch.iter().zip(outcomes) {
                    self.report(outcome_event(renewal, outcome)).await;
                }
            }
            Err(error) => {
                let ids = batch.iter().map(|renewal| renewal.id.clone()).collect();
                self.store_error = Some(error.clone());
                self.report(Event::SaveFailed { ids, error }).await;
            }
        }
    }

    /// What was planned and not done stays for the next pass, and so do tokens that could not be saved: the state
    /// holds them.
    async fn defer_the_rest(&mut self) {
        if let Some(error) = self.store_error.clone() {
            let ids: Vec<CustomerId> = self.obtained.drain(..).map(|renewal| renewal.id).collect();
            if !ids.is_empty() {
                self.report(Event::SaveFailed { ids, error }).await;
            }
        }
        for host in std::mem::take(&mut self.hosts) {
            for attempt in host.queue {
                let why = host.trouble.clone();
                self.report(Event::Deferred { id: attempt.customer.id, why }).await;
            }
        }
    }

    async fn report(&self, event: Event) {
        // The scheduler is gone only when the process ends at once.
        let _ = self.events.send(event).await;
    }
}

async fn log_in<L: Logins>(logins: &L, host: usize, ticket: Ticket, attempt: Attempt) -> Login {
    let began = Instant::now();
    let (via, result) = obtain(logins, &attempt).await;
    Login { host, ticket, attempt, via, latency: began.elapsed(), result }
}

/// With the refresh token if there is one, and with the password if there is none or the server does not take it.
async fn obtain<L: Logins>(logins: &L, attempt: &Attempt) -> (Via, Result<Grant, Failure>) {
    if let Some(refresh_token) = &attempt.refresh_token {
        match logins.renew(&attempt.base, refresh_token).await {
            Ok(grant) => return (Via::RefreshToken, Ok(grant)),
            Err(NotRenewed::Failed(failure)) => return (Via::RefreshToken, Err(failure)),
            Err(NotRenewed::Refused) => {}
        }
    }
    (Via::Login, logins.login(&attempt.base, &attempt.customer.credentials).await)
}

/// What the outcome of a login says about the server.
fn signal(failure: Option<&Failure>) -> Signal {
    match failure {
        Some(Failure::Unreachable { .. } | Failure::Timeout { .. }) => Signal::Dead,
        Some(Failure::RateLimited { .. } | Failure::ServerError { .. }) => Signal::Strained,
        _ => Signal::Well,
    }
}

fn outcome_event(renewal: &Renewal, outcome: Saved) -> Event {
    let id = renewal.id.clone();
    match outcome {
        Saved::Written => Event::Saved(id),
        Saved::Superseded => Event::Superseded(id),
        Saved::Refused => {
            let why = "a constraint or a trigger of the table refuses it for this row".to_owned();
            Event::Failed { id, failure: Failure::Database { why } }
        }
        Saved::TooLong { capacity } => {
            let length = renewal.token.jwt().expose().chars().count();
            Event::Failed { id, failure: Failure::TokenTooLong { length, capacity } }
        }
    }
}

/// Waits for the save under way, if there is one.
async fn finish(saving: &mut Option<Saving<'_>>) -> (Arc<Vec<Renewal>>, Result<Vec<Saved>, StoreError>) {
    match saving {
        Some(saving) => saving.await,
        None => std::future::pending().await,
    }
}

/// Waits until then, if there is a then.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
