//! Which customers are due, which wait, which are parked, and why. Pure: rows, records and the time go in, a plan comes out.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::checks::{Check, checks};
use super::credentials::{Held, Leave, Refusal};
use super::policy::Policy;
use super::state::{DAILY, Entry, State, Verdict};
use crate::model::{
    AccountKey, BaseUrl, Customer, CustomerId, Failure, Fingerprint, HostKey, Renewal, Secret,
};
use crate::thingsboard::gate::Breaker;

/// Which customers a pass is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Customers that are due and need not wait: what the schedule does.
    Due,
    /// Customers that are due, waiting ones included: a manual refresh without names.
    DueNow,
    /// All customers that are not parked.
    All,
    /// Exactly these, even if they are valid: an operator named them, or an earlier pass left them over.
    Ids {
        /// The customers.
        ids: HashSet<CustomerId>,
        /// What the operator allows for one send of each account.
        leave: Leave,
        /// Whether parked ones are tried, too: those that an operator named.
        even_parked: bool,
    },
}

/// What a pass is to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// The customers to renew, the most urgent first.
    pub attempts: Vec<Attempt>,
    /// Tokens of earlier passes that are still to be saved.
    pub saves: Vec<Renewal>,
    /// Customers that fail without being tried.
    pub refused: Vec<(CustomerId, Failure)>,
    /// Parked customers that a manual refresh leaves alone.
    pub parked: Vec<CustomerId>,
    /// Customers that were named together with others that hold another password for the same account.
    pub conflicting: Vec<CustomerId>,
    /// Names that are not in the table.
    pub unknown: Vec<CustomerId>,
    /// Tokens to be checked where no renewal waits.
    pub checks: Vec<Check>,
    /// Servers to be probed, because customers wait for them.
    pub probes: BTreeMap<HostKey, BaseUrl>,
    /// Whether the ledger is to be written though no password is sent.
    pub writes_ledger: bool,
    /// Whether it is to be seen that the store's ledger is still the same.
    pub checks_ledger: bool,
}

/// One renewal to be tried.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The customer.
    pub customer: Customer,
    /// Its server.
    pub base: BaseUrl,
    /// Its account.
    pub account: AccountKey,
    /// The fingerprint of server, user and password.
    pub credentials: Fingerprint,
    /// All credentials that rows hold for the account.
    pub held: Held,
    /// What to try before the password.
    pub refresh_token: Option<Secret>,
    /// Whether it may use a refresh token that the login of another row brings: see [`Entry::may_refresh`].
    pub may_share: bool,
    /// Whether the password may be tried, if the ledger allows it: not for a parked customer that lives on refresh tokens.
    pub may_log_in: bool,
    /// What an operator allows.
    pub leave: Leave,
    /// The expiry in its row, if the new one may be earlier: see [`Entry::replaceable`].
    pub replaces: Option<DateTime<Utc>>,
}

impl Selection {
    fn picks(&self, id: &CustomerId, verdict: Verdict) -> bool {
        let is_parked = matches!(verdict, Verdict::Parked { .. });
        match self {
            Self::Ids { ids, even_parked, .. } => ids.contains(id) && (*even_parked || !is_parked),
            Self::All => !is_parked,
            Self::DueNow => matches!(verdict, Verdict::Due | Verdict::Wait { .. }),
            Self::Due => verdict == Verdict::Due,
        }
    }

    /// What an operator allows for the customer.
    fn leave(&self, id: &CustomerId) -> Leave {
        match self {
            Self::DueNow | Self::All => Leave::Asked,
            Self::Ids { ids, leave, .. } if ids.contains(id) => *leave,
            Self::Due | Self::Ids { .. } => Leave::None,
        }
    }

    /// The customers that an operator named.
    pub fn named(&self) -> Option<&HashSet<CustomerId>> {
        match self {
            Self::Ids { ids, even_parked: true, .. } => Some(ids),
            _ => None,
        }
    }

    /// Whether an operator named the customer.
    pub fn names(&self, id: &CustomerId) -> bool {
        self.named().is_some_and(|ids| ids.contains(id))
    }

    /// Whether it is told that the customer is parked and was left alone.
    fn reports_parked(&self, id: &CustomerId) -> bool {
        match self {
            Self::Due => false,
            Self::DueNow | Self::All => true,
            Self::Ids { ids, .. } => ids.contains(id),
        }
    }
}

/// Plans a pass that serves all these selections.
pub fn plan(state: &State, now: DateTime<Utc>, policy: &Policy, selections: &[Selection]) -> Plan {
    let mut planner = Planner { state, now, policy, selections, plan: Plan::default() };
    let mut picked = Vec::new();
    for (id, entry) in state.entries() {
        let verdict = entry.verdict(now, policy);
        match (&entry.unsaved, selections.iter().any(|selection| selection.picks(id, verdict))) {
            (Some(_), false) if verdict != Verdict::Save => {}
            // Whatever was asked for: no login is spent on a token that is here.
            (Some(renewal), _) => {
                let renewal = Renewal { replaces: entry.replaceable(), ..Renewal::clone(renewal) };
                planner.plan.saves.push(renewal);
            }
            (None, true) => picked.push(entry),
            (None, false) if matches!(verdict, Verdict::Parked { .. }) => planner.leave_parked(id),
            (None, false) => {}
        }
        planner.plan_probe(entry, verdict);
    }
    planner.add_all(&picked);
    let mut plan = planner.plan;
    let named = selections.iter().filter_map(Selection::named).flatten();
    plan.unknown = named.filter(|id| state.entry(id).is_none()).cloned().collect();
    plan.writes_ledger = state.ledger().is_unwritten();
    // No operator waits for the answer of a check.
    if selections == [Selection::Due] {
        plan.checks = checks(state, now, policy, &plan.probes);
    }
    // The token that ends first. Last those that fail and have no token to lose: the sick must not hold up the others.
    plan.attempts.sort_by_cached_key(|attempt| {
        let entry = state.entry(&attempt.customer.id);
        let fails = entry.is_some_and(|entry| entry.record().failure.is_some());
        let ends_at = entry.and_then(Entry::ends_at);
        let has_ended = !attempt.customer.has_token || ends_at.is_none_or(|end| end < now);
        (fails && has_ended, ends_at)
    });
    plan
}

struct Planner<'a> {
    state: &'a State,
    now: DateTime<Utc>,
    policy: &'a Policy,
    selections: &'a [Selection],
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn leave_parked(&mut self, id: &CustomerId) {
        if self.selections.iter().any(|selection| selection.reports_parked(id)) {
            self.plan.parked.push(id.clone());
        }
    }

    /// A server that is down is probed while some customer needs it, also if none is tried; and so is one of which an account
    /// has its last charge left, so that it is seen to answer for ten minutes. Any other probe is asked for by the password
    /// that it allows.
    fn plan_probe(&mut self, entry: &Entry, verdict: Verdict) {
        if !matches!(verdict, Verdict::Due | Verdict::Wait { .. }) {
            return;
        }
        let Some(host) = entry.host.as_ref().filter(|host| !self.plan.probes.contains_key(*host)) else {
            return;
        };
        let breaker = self.state.hosts().get(host).map(|host| host.breaker);
        let is_down = matches!(breaker, Some(Breaker::Open | Breaker::HalfOpen));
        let held = Held::default();
        let has_last_charge = || {
            entry.usable_refresh_token().is_none()
                && entry.ask(&held, Leave::None).is_some_and(|ask| self.state.ledger().has_last_charge(&ask))
        };
        if (is_down || has_last_charge())
            && let Ok(base) = BaseUrl::parse(&entry.customer.credentials.url)
        {
            self.plan.probes.insert(host.clone(), base);
        }
    }

    /// Adds the customers that were picked.
    fn add_all(&mut self, picked: &[&'a Entry]) {
        // Also of rows with a refresh token: if it is refused, their password is next.
        let held = self.state.held_credentials(&picked.iter().filter_map(|entry| entry.account).collect());
        let may_share = |entry: &&&Entry| entry.usable_refresh_token().is_none() && entry.may_refresh();
        let shared = self
            .shared_refresh_tokens(picked.iter().filter(may_share).map(|entry| entry.credentials).collect());
        let refresh_token_of = |entry: &'a Entry| {
            let shared = || shared.get(&entry.credentials).copied().filter(|_| entry.may_refresh());
            entry.usable_refresh_token().or_else(shared)
        };
        let without_token = picked.iter().copied().filter(|entry| refresh_token_of(entry).is_none());
        let conflicting = self.conflicting(without_token);
        for entry in picked {
            let held = entry.account.and_then(|account| held.get(&account)).cloned().unwrap_or_default();
            let refresh_token = refresh_token_of(entry);
            if conflicting.contains(&entry.customer.id) {
                self.plan.conflicting.push(entry.customer.id.clone());
            } else {
                self.add(entry, held, refresh_token.cloned());
            }
        }
    }

    /// Refresh tokens that other rows with the same credentials hold.
    fn shared_refresh_tokens(&self, wanted: HashSet<Fingerprint>) -> HashMap<Fingerprint, &'a Secret> {
        if wanted.is_empty() {
            return HashMap::new();
        }
        let state: &'a State = self.state;
        let shared = state.entries().filter(|(_, entry)| wanted.contains(&entry.credentials));
        shared.filter_map(|(_, entry)| Some((entry.credentials, entry.usable_refresh_token()?))).collect()
    }

    /// Of the rows that were named together, those that hold different passwords for one account: the operator must say
    /// which is meant.
    fn conflicting(&self, without_token: impl Iterator<Item = &'a Entry>) -> HashSet<CustomerId> {
        let mut named: HashMap<AccountKey, Vec<&Entry>> = HashMap::new();
        for entry in without_token {
            let is_named = self.selections.iter().any(|selection| selection.names(&entry.customer.id));
            if let Some(account) = entry.account.filter(|_| is_named) {
                named.entry(account).or_default().push(entry);
            }
        }
        let differ = |entries: &&Vec<&Entry>| {
            entries
                .iter()
                .any(|entry| entries.first().is_some_and(|first| first.credentials != entry.credentials))
        };
        named.values().filter(differ).flatten().map(|entry| entry.customer.id.clone()).collect()
    }

    fn add(&mut self, entry: &Entry, held: Held, refresh_token: Option<Secret>) {
        let customer = &entry.customer;
        let base = match BaseUrl::parse(&customer.credentials.url) {
            Ok(base) if self.policy.require_https && !base.is_https() => Err(Failure::InsecureUrl),
            Ok(base) => Ok(base),
            Err(why) => Err(Failure::BadUrl(why)),
        };
        let (base, account) = match (base, entry.account) {
            (Ok(base), Some(account)) => (base, account),
            (Err(failure), _) => return self.plan.refused.push((customer.id.clone(), failure)),
            (Ok(_), None) => return,
        };
        let leave = self.selections.iter().map(|selection| selection.leave(&customer.id)).max();
        let leave = leave.unwrap_or_default();
        let is_named = self.selections.iter().any(|selection| selection.names(&customer.id));
        let may_log_in = is_named || self.may_log_in(entry);
        if refresh_token.is_none() && !may_log_in {
            // Its refresh token is over, or was lost at a restart.
            return self.leave_parked(&customer.id);
        }
        if refresh_token.is_none()
            && leave != Leave::Forced
            && let Some(refusal) = entry.ask(&held, leave).and_then(|ask| self.state.ledger().refusal(&ask))
        {
            return self.refuse(entry, refusal);
        }
        self.plan.attempts.push(Attempt {
            customer: customer.clone(),
            base,
            account,
            credentials: entry.credentials,
            held,
            refresh_token,
            may_share: entry.may_refresh(),
            may_log_in,
            leave,
            replaces: entry.replaceable(),
        });
    }

    /// Whether the password may be tried by itself, if the ledger allows it: once a day for a customer that is parked though
    /// ThingsBoard counts nothing. One without a refresh token is due for nothing else.
    fn may_log_in(&self, entry: &Entry) -> bool {
        entry.record().failure.as_deref().filter(|_| entry.refresh_token.is_some()).is_none_or(|failure| {
            !failure.permanent || !failure.kind.is_tried_daily() || (self.now - failure.at).abs() >= DAILY
        })
    }

    /// The ledger forbids the password. A customer that is parked for it already is only told of.
    fn refuse(&mut self, entry: &Entry, refusal: Refusal) {
        let failure = Failure::from(refusal);
        let is_known = |known: &&crate::model::FailureNote| known.permanent && known.kind == failure.kind();
        if entry.record().failure.as_deref().filter(is_known).is_some() {
            self.plan.parked.push(entry.customer.id.clone());
        } else {
            self.plan.refused.push((entry.customer.id.clone(), failure));
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(kind) => Self::RejectedBefore { kind },
            Refusal::Undecidable(kind) => Self::RejectionUnknown { kind },
            Refusal::Exhausted { charges } => Self::AttemptsExhausted { charges },
        }
    }
}

impl Plan {
    /// How many customers it is about.
    pub fn size(&self) -> usize {
        self.attempts.len() + self.saves.len() + self.refused.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.only_checks() && self.checks.is_empty()
    }

    /// Whether there is nothing to do but to check tokens, which is not worth to be shown as a pass.
    pub fn only_checks(&self) -> bool {
        self.size() == 0
            && self.probes.is_empty()
            && self.conflicting.is_empty()
            && !self.writes_ledger
            && !self.checks_ledger
    }
}

/// The earliest time after `now` at which some customer becomes due or may be tried again; none if none ever does by itself.
/// A customer that was due at `now`, or has a token to save, is left to the schedule: it has been tried, or was put off on
/// purpose.
pub fn next_due(state: &State, now: DateTime<Utc>, policy: &Policy) -> Option<DateTime<Utc>> {
    let later = |entry: &Entry| entry.verdict(now, policy).until().filter(|until| *until > now);
    state.entries().filter_map(|(_, entry)| later(entry)).min()
}

#[cfg(test)]
mod tests;
