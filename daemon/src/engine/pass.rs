//! Carries a plan out: logs in, saves in batches, reports what happens. It decides nothing about who is due.

mod queues;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::queues::{Queues, Start};
use super::event::{Event, Via};
use super::plan::{Attempt, Plan};
use crate::clock::Clock;
use crate::model::{CustomerId, Failure, Grant, HostKey, Lifetime, Renewal, Skew};
use crate::store::{Saved, Store, StoreError};
use crate::thingsboard::gate::{Gate, Signal, Ticket};
use crate::thingsboard::{Logins, NotRenewed};

/// The most tokens that one call of the store is given.
const BATCH: usize = 100;

/// How long a pass may last: whoever becomes due meanwhile waits for its end. With some time to look at the table that stays
/// below the half minute that a token of a minute leaves.
const LONGEST: Duration = Duration::from_secs(22);

/// The longest wait for an answer with which a pass keeps to that.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(20);

/// How long a pass begins new logins, when an answer is waited for so long.
pub fn budget(request_timeout: Duration) -> Duration {
    LONGEST.saturating_sub(request_timeout).max(LONGEST - LONGEST_REQUEST)
}

/// How long logins in flight may take after the order to stop; then they are given up.
const GRACE: Duration = Duration::from_millis(2500);

/// How many logins may be in flight.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub in_flight: usize,
    /// To one server.
    pub per_host: u32,
    /// How long a pass begins new ones: see [`budget`].
    pub budget: Duration,
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
    /// Whether servers that rest or were given up are asked again; not when the pass only goes on with the one before.
    pub is_new_wake: bool,
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
    let queues = Queues::new(plan.attempts, plan.accounts);
    for host in queues.hosts() {
        let gate = gates.entry(host.clone()).or_insert_with(|| Gate::new(tools.limits.per_host));
        gate.allow(tools.limits.per_host);
        if tools.is_new_wake {
            gate.wake();
        }
    }
    let moved: Vec<Event> = queues.hosts().filter_map(|host| moved(host, &gates)).collect();
    let mut pass = Pass {
        tools: &tools,
        events,
        queues,
        in_flight: BTreeMap::new(),
        obtained: plan.saves.into(),
        store_error: None,
        gates,
        ends_at: Instant::now() + tools.limits.budget,
    };
    for event in moved {
        pass.report(event).await;
    }
    for (id, failure) in plan.refused {
        pass.report(Event::Failed { id, failure }).await;
    }
    pass.carry_out().await;
    pass.gates
}

struct Pass<'a, S, L> {
    tools: &'a Tools<S, L>,
    events: mpsc::Sender<Event>,
    queues: Queues,
    /// Who is asked for now: since when, and whether with the password.
    in_flight: BTreeMap<CustomerId, (Instant, Via)>,
    /// Tokens that wait to be saved.
    obtained: VecDeque<Renewal>,
    /// Why the store cannot be written, once that is seen: then nobody new is asked for a token.
    store_error: Option<StoreError>,
    gates: Gates,
    /// From then on nobody new is asked for a token.
    ends_at: Instant,
}

/// How the gate of a server stands, as a fact.
fn moved(host: &HostKey, gates: &Gates) -> Option<Event> {
    let gate = gates.get(host)?;
    Some(Event::GateMoved { host: host.clone(), limit: gate.limit(), gate: gate.state() })
}

/// A request that has ended.
struct Login {
    host: usize,
    ticket: Ticket,
    attempt: Attempt,
    via: Via,
    latency: Duration,
    result: Result<Grant, NotRenewed>,
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
            let may_begin = may_ask && give_up.is_none() && self.store_error.is_none();
            if may_begin && Instant::now() < self.ends_at {
                while logins.len() < tools.limits.in_flight {
                    let Some(start) = self.next_start().await else { break };
                    logins.push(ask(&*tools.logins, start));
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
                () = at(give_up), if !logins.is_empty() => {
                    // An answer that is here counts.
                    while let Some(Some(login)) = logins.next().now_or_never() {
                        self.ended(login).await;
                    }
                    logins.clear();
                    self.give_up().await;
                }
                (batch, result) = finish(&mut saving) => {
                    saving = None;
                    self.saved(&batch, result).await;
                    may_ask = true;
                }
                Some(login) = logins.next() => self.ended(login).await,
            }
        }
        self.leave_the_rest(give_up.is_some()).await;
    }

    /// The next request, if one may be sent now.
    async fn next_start(&mut self) -> Option<Start> {
        let mut facts = Vec::new();
        let start = self.queues.next(&mut self.gates, &mut facts);
        for fact in facts {
            self.report(fact).await;
        }
        let start = start?;
        let id = start.attempt.customer.id.clone();
        self.in_flight.insert(id.clone(), (Instant::now(), via(&start.attempt)));
        self.report(Event::Attempting(id)).await;
        Some(start)
    }

    async fn ended(&mut self, login: Login) {
        let Login { host, ticket, attempt, via, latency, result } = login;
        let id = attempt.customer.id.clone();
        self.in_flight.remove(&id);
        let failure = match &result {
            Err(NotRenewed::Failed(failure)) => Some(failure),
            Ok(_) | Err(NotRenewed::Refused) => None,
        };
        self.tell_the_gate(host, ticket, failure).await;
        if via == Via::Login {
            self.queues.answered(attempt.account, &id, failure);
        }
        match result {
            Ok(Grant { token, refresh_token }) => {
                let now = self.tools.clock.now();
                let took = TimeDelta::from_std(latency).unwrap_or_default();
                let skew = Skew::measure(token.issued_at(), now, took);
                let mut renewal = Renewal::new(&attempt.customer, token, now, self.tools.lifetime);
                renewal.replaces = attempt.replaces;
                self.obtained.push_back(renewal.clone());
                let renewal = Box::new(renewal);
                self.report(Event::Obtained { renewal, refresh_token, via, latency, skew }).await;
            }
            Err(NotRenewed::Failed(failure)) => self.report(Event::Failed { id, failure }).await,
            Err(NotRenewed::Refused) => {
                self.queues.again_with_password(host, attempt);
                self.report(Event::RefreshTokenRefused(id)).await;
            }
        }
    }

    async fn tell_the_gate(&mut self, host: usize, ticket: Ticket, failure: Option<&Failure>) {
        let Some(key) = self.queues.host(host).cloned() else { return };
        let Some(gate) = self.gates.get_mut(&key) else { return };
        let before = (gate.limit(), gate.state());
        let signal = signal(failure);
        gate.leave(ticket, signal);
        let has_moved = before != (gate.limit(), gate.state());
        let is_back = gate.take_news();
        if signal != Signal::Well {
            self.queues.trouble(host, failure);
        }
        if let Some(event) = moved(&key, &self.gates).filter(|_| has_moved) {
            self.report(event).await;
        }
        if is_back {
            self.report(Event::HostBack(key)).await;
        }
    }

    /// Requests that are still unanswered when the process must end. Whether the server has counted a password is not
    /// known: that is recorded, so that the next start does not send it again at once.
    async fn give_up(&mut self) {
        for (id, (since, via)) in std::mem::take(&mut self.in_flight) {
            let event = match via {
                Via::Login => {
                    let after =
                        Duration::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(0));
                    Event::Failed { id, failure: Failure::Timeout { after } }
                }
                Via::RefreshToken => Event::Deferred { id, why: None },
            };
            self.report(event).await;
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
    async fn leave_the_rest(&mut self, stopped: bool) {
        if let Some(error) = self.store_error.clone() {
            let ids: Vec<CustomerId> = self.obtained.drain(..).map(|renewal| renewal.id).collect();
            if !ids.is_empty() {
                self.report(Event::SaveFailed { ids, error }).await;
            }
        }
        let goes_on = !stopped && self.store_error.is_none();
        for fact in self.queues.drain(&self.gates, goes_on) {
            self.report(fact).await;
        }
    }

    async fn report(&self, event: Event) {
        // The scheduler is gone only when the process ends at once.
        let _ = self.events.send(event).await;
    }
}

/// With the refresh token if there is one.
fn via(attempt: &Attempt) -> Via {
    if attempt.refresh_token.is_some() { Via::RefreshToken } else { Via::Login }
}

/// Sends one request and waits for its end.
async fn ask<L: Logins>(logins: &L, Start { host, ticket, attempt }: Start) -> Login {
    let via = via(&attempt);
    let began = Instant::now();
    let result = match &attempt.refresh_token {
        Some(refresh_token) => logins.renew(&attempt.base, refresh_token).await,
        None => {
            let login = logins.login(&attempt.base, &attempt.customer.credentials);
            login.await.map_err(NotRenewed::Failed)
        }
    };
    Login { host, ticket, attempt, via, latency: began.elapsed(), result }
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
        Saved::Written => Event::Saved { id, expiry: renewal.expiry },
        Saved::Superseded => Event::Superseded(id),
        Saved::Refused { number } => {
            let why =
                format!("error {number}: a constraint or a trigger of the table refuses it for this row");
            Event::Failed { id, failure: Failure::Database { why } }
        }
        Saved::NotKept { why } => Event::Failed { id, failure: Failure::Database { why: why.to_owned() } },
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
