//! Plans a pass: which customers are due, wait or are parked, and why. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::checks::{Check, checks};
use super::credentials::{HeldCredentials, Leave};
use super::policy::Policy;
use super::state::{CustomerState, DAILY, State, Verdict};
use crate::model::{
    AccountKey, BaseUrl, Customer, CustomerId, Failure, Fingerprint, Renewal, Secret, ServerKey,
};
use crate::thingsboard::gate::Breaker;

/// The customers that a pass is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Customers that are due and not waiting: a scheduled pass.
    Due,
    /// Customers that are due or waiting: a manual refresh without names.
    DueNow,
    /// All customers that are not parked.
    All,
    /// These customers, even if their tokens are valid: an operator named them, or an earlier pass left them over.
    Ids {
        /// The customers.
        ids: HashSet<CustomerId>,
        /// What the operator allows for one send of each account.
        leave: Leave,
        /// Whether parked customers are tried too: those that an operator named.
        even_parked: bool,
    },
}

/// The work of a pass.
#[derive(Debug, Default)]
pub struct Plan {
    /// The renewals to try, the most urgent first.
    pub attempts: Vec<Attempt>,
    /// Tokens of earlier passes that are not saved yet.
    pub saves: Vec<Renewal>,
    /// Customers that fail without being tried.
    pub refused: Vec<(CustomerId, Failure)>,
    /// Parked customers that a manual refresh does not try.
    pub parked: Vec<CustomerId>,
    /// Customers that were named together with others that hold another password for the same account.
    pub conflicting: Vec<CustomerId>,
    /// Names that are not in the table.
    pub unknown: Vec<CustomerId>,
    /// Tokens to check where no renewal waits.
    pub checks: Vec<Check>,
    /// Servers to probe.
    pub probes: BTreeMap<ServerKey, BaseUrl>,
    /// Whether customers wait for them, and not only checks.
    pub is_awaited: bool,
    /// Whether the ledger has changes to write.
    pub writes_ledger: bool,
    /// Whether to check that the store's ledger is still the same.
    pub checks_ledger: bool,
}

/// One renewal to try.
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
    pub held: HeldCredentials,
    /// What to try before the password.
    pub refresh_token: Option<Secret>,
    /// Whether it may use the refresh token from another row's login: see [`CustomerState::may_refresh`].
    pub may_share: bool,
    /// Whether the password may be tried, if the ledger allows it: not for a parked customer that lives on refresh tokens.
    pub may_log_in: bool,
    /// What an operator allows.
    pub leave: Leave,
    /// The expiry in its row, if the new one may be earlier: see [`CustomerState::replaceable`].
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
            Self::DueNow | Self::All => Leave::Requested,
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

    /// Whether the result mentions that the customer is parked and was not tried.
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
    for (id, customer) in state.customers() {
        let verdict = customer.verdict(now, policy);
        match (&customer.unsaved, selections.iter().any(|selection| selection.picks(id, verdict))) {
            (Some(_), false) if verdict != Verdict::Save => {}
            // No request needs a login for a token that is only to be saved.
            (Some(renewal), _) => {
                let renewal = Renewal { replaces: customer.replaceable(), ..Renewal::clone(renewal) };
                planner.plan.saves.push(renewal);
            }
            (None, true) => picked.push(customer),
            (None, false) if matches!(verdict, Verdict::Parked { .. }) => planner.leave_parked(id),
            (None, false) => {}
        }
        planner.plan_probe(customer, verdict);
    }
    planner.add_all(&picked);
    let mut plan = planner.plan;
    let named = selections.iter().filter_map(Selection::named).flatten();
    plan.unknown = named.filter(|id| state.customer(id).is_none()).cloned().collect();
    plan.writes_ledger = state.ledger().is_unwritten();
    plan.is_awaited = !plan.probes.is_empty();
    // No operator waits for the answer of a check.
    if selections == [Selection::Due] {
        plan.checks = checks(state, now, policy, &mut plan.probes);
    }
    // The token that ends first leads. Failing customers without a valid token come last, so that they do not delay the others.
    plan.attempts.sort_by_cached_key(|attempt| {
        let customer = state.customer(&attempt.customer.id);
        let fails = customer.is_some_and(|customer| customer.record().failure.is_some());
        let ends_at = customer.and_then(CustomerState::ends_at);
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

    /// Plans a probe of a server that is down while a customer needs it, even if none is tried. A server of an account with one
    /// charge left is probed too, to see that it answers for ten minutes. Other probes are begun when a password needs them.
    fn plan_probe(&mut self, customer: &CustomerState, verdict: Verdict) {
        if !matches!(verdict, Verdict::Due | Verdict::Wait { .. }) {
            return;
        }
        let Some(server) = customer.server.as_ref().filter(|server| !self.plan.probes.contains_key(*server))
        else {
            return;
        };
        let breaker = self.state.servers().get(server).map(|server| server.breaker);
        let is_down = matches!(breaker, Some(Breaker::Open | Breaker::HalfOpen));
        let held = HeldCredentials::default();
        let has_last_charge = || {
            customer.usable_refresh_token().is_none()
                && customer
                    .login_query(&held, Leave::None)
                    .is_some_and(|query| self.state.ledger().has_last_charge(&query))
        };
        if (is_down || has_last_charge())
            && let Ok(base) = BaseUrl::parse(&customer.row.credentials.url)
        {
            self.plan.probes.insert(server.clone(), base);
        }
    }

    /// Adds the customers that were picked.
    fn add_all(&mut self, picked: &[&'a CustomerState]) {
        // Rows with a refresh token count too: if it is rejected, their password is next.
        let held =
            self.state.held_credentials(&picked.iter().filter_map(|customer| customer.account).collect());
        let may_share =
            |customer: &&&CustomerState| customer.usable_refresh_token().is_none() && customer.may_refresh();
        let shared = self.shared_refresh_tokens(
            picked.iter().filter(may_share).map(|customer| customer.credentials).collect(),
        );
        let refresh_token_of = |customer: &'a CustomerState| {
            let shared = || shared.get(&customer.credentials).copied().filter(|_| customer.may_refresh());
            customer.usable_refresh_token().or_else(shared)
        };
        let without_token = picked.iter().copied().filter(|customer| refresh_token_of(customer).is_none());
        let conflicting = self.conflicting(without_token);
        for customer in picked {
            let held = customer.account.and_then(|account| held.get(&account)).cloned().unwrap_or_default();
            let refresh_token = refresh_token_of(customer);
            if conflicting.contains(&customer.row.id) {
                self.plan.conflicting.push(customer.row.id.clone());
            } else {
                self.add(customer, held, refresh_token.cloned());
            }
        }
    }

    /// Finds the refresh tokens of other rows with the same credentials.
    fn shared_refresh_tokens(&self, wanted: HashSet<Fingerprint>) -> HashMap<Fingerprint, &'a Secret> {
        if wanted.is_empty() {
            return HashMap::new();
        }
        let state: &'a State = self.state;
        let shared = state.customers().values().filter(|customer| wanted.contains(&customer.credentials));
        shared.filter_map(|customer| Some((customer.credentials, customer.usable_refresh_token()?))).collect()
    }

    /// Of the named rows, finds those that hold different passwords for one account: the operator must choose one.
    fn conflicting(&self, without_token: impl Iterator<Item = &'a CustomerState>) -> HashSet<CustomerId> {
        let mut named: HashMap<AccountKey, Vec<&CustomerState>> = HashMap::new();
        for customer in without_token {
            if let Some(account) = customer.account.filter(|_| self.is_named(customer)) {
                named.entry(account).or_default().push(customer);
            }
        }
        let differ = |customers: &&Vec<&CustomerState>| {
            customers.iter().map(|customer| customer.credentials).collect::<HashSet<_>>().len() > 1
        };
        named.values().filter(differ).flatten().map(|customer| customer.row.id.clone()).collect()
    }

    /// Whether an operator named the customer.
    fn is_named(&self, customer: &CustomerState) -> bool {
        self.selections.iter().any(|selection| selection.names(&customer.row.id))
    }

    fn add(&mut self, customer: &CustomerState, held: HeldCredentials, refresh_token: Option<Secret>) {
        let row = &customer.row;
        let base = match BaseUrl::parse(&row.credentials.url) {
            Ok(base) if base.is_https() || !self.policy.require_https => base,
            refused => {
                let failure = refused.map_or_else(Failure::BadUrl, |_| Failure::InsecureUrl);
                return self.plan.refused.push((row.id.clone(), failure));
            }
        };
        let Some(account) = customer.account else { return };
        let leave = self.selections.iter().map(|selection| selection.leave(&row.id)).max();
        let leave = leave.unwrap_or_default();
        let may_log_in = self.is_named(customer) || self.may_log_in(customer);
        if refresh_token.is_none() && !may_log_in {
            // Its refresh token was rejected, or was lost at a restart.
            return self.leave_parked(&row.id);
        }
        if refresh_token.is_none()
            && leave != Leave::Forced
            && let Some(failure) =
                customer.login_query(&held, leave).and_then(|query| self.state.ledger().refusal(&query))
        {
            return self.refuse(customer, failure);
        }
        self.plan.attempts.push(Attempt {
            customer: row.clone(),
            base,
            account,
            credentials: customer.credentials,
            held,
            refresh_token,
            may_share: customer.may_refresh(),
            may_log_in,
            leave,
            replaces: customer.replaceable(),
        });
    }

    /// Whether the password may be sent without an operator, if the ledger allows it. A customer that is parked for a failure
    /// that ThingsBoard does not count gets one attempt a day. Without a refresh token it is due for nothing else.
    fn may_log_in(&self, customer: &CustomerState) -> bool {
        customer.record().failure.as_deref().filter(|_| customer.refresh_token.is_some()).is_none_or(
            |failure| {
                !failure.permanent || !failure.kind.is_tried_daily() || (self.now - failure.at).abs() >= DAILY
            },
        )
    }

    /// The ledger forbids the password. A customer that is already parked for it only appears in the result.
    fn refuse(&mut self, customer: &CustomerState, failure: Failure) {
        let is_known = |known: &&crate::model::FailureNote| known.permanent && known.kind == failure.kind();
        if customer.record().failure.as_deref().filter(is_known).is_some() {
            self.plan.parked.push(customer.row.id.clone());
        } else {
            self.plan.refused.push((customer.row.id.clone(), failure));
        }
    }
}

impl Plan {
    /// The number of customers in it.
    pub fn size(&self) -> usize {
        self.attempts.len() + self.saves.len() + self.refused.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.only_checks() && self.checks.is_empty()
    }

    /// Whether it does nothing but check tokens, which is not shown as a pass.
    pub fn only_checks(&self) -> bool {
        self.size() == 0
            && !self.is_awaited
            && self.conflicting.is_empty()
            && !self.writes_ledger
            && !self.checks_ledger
    }
}

/// Returns the earliest time after `now` at which a customer becomes due or may be tried again. Customers that were due at
/// `now` or have a token to save do not count: the schedule tries them. A token that was saved after `now`, late in its
/// life, is due at once.
pub fn next_due(state: &State, now: DateTime<Utc>, policy: &Policy) -> Option<DateTime<Utc>> {
    let later = |customer: &CustomerState| match customer.verdict(now, policy) {
        Verdict::Due if customer.token_seen_at > now => Some(now),
        verdict => verdict.until().filter(|until| *until > now),
    };
    state.customers().values().filter_map(later).min()
}

#[cfg(test)]
mod tests;
