//! Chooses the tokens to check: whether ThingsBoard still accepts them before their end. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::policy::Policy;
use super::state::{CustomerState, Server, State, Verdict};
use crate::model::{BaseUrl, CustomerId, ServerKey, VerifyTokens};
use crate::thingsboard::gate::Breaker;

/// One token to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whose.
    pub id: CustomerId,
    /// Its server, the only one that may see the token.
    pub base: BaseUrl,
    /// `tb_url` of the row, to the letter: another token, written for another URL, is not meant.
    pub row_url: Arc<str>,
    /// `tb_username`, likewise.
    pub username: String,
}

/// The tokens to be checked now. If tokens of a server are in question, these. Otherwise a sample: the token with the
/// oldest proof, and a dead one; or all tokens with a proof older than the configured age. The tokens of a server with an
/// open breaker are checked only if a probe closes it, because it may have a new signing key then. So it is added to the
/// `probes`, even if no customer waits for it.
pub fn checks(
    state: &State,
    now: DateTime<Utc>,
    policy: &Policy,
    probes: &mut BTreeMap<ServerKey, BaseUrl>,
) -> Vec<Check> {
    let mut of_server: BTreeMap<&ServerKey, Vec<&CustomerState>> = BTreeMap::new();
    for customer in state.customers().values().filter(|customer| customer.is_checkable(now, policy)) {
        if let Some(server) = &customer.server
            && !(customer.is_dead() && customer.verdict(now, policy) == Verdict::Due)
        {
            of_server.entry(server).or_default().push(customer);
        }
    }
    let chosen = of_server.into_iter().filter_map(|(key, customers)| {
        let server = state.servers().get(key)?;
        let is_down = server.breaker != Breaker::Closed;
        let may_begin = match is_down {
            true => probes.contains_key(key) || server.checks.may_probe(now, policy.interval),
            false => server.checks.may_begin(now, policy.interval),
        };
        if !may_begin {
            return None;
        }
        let chosen = choose(server, customers, now, policy).into_iter();
        let chosen: Vec<Check> = chosen.filter_map(|customer| check(customer, policy)).collect();
        if let Some(check) = chosen.first().filter(|_| is_down) {
            probes.entry(key.clone()).or_insert_with(|| check.base.clone());
        }
        Some(chosen)
    });
    chosen.flatten().collect()
}

fn choose<'a>(
    server: &Server,
    mut customers: Vec<&'a CustomerState>,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Vec<&'a CustomerState> {
    let looked_at = |customer: &&CustomerState| customer.checked.map(|(at, _)| at);
    if let Some(since) = server.checks.suspect_since() {
        let mut in_question: Vec<_> =
            customers.iter().copied().filter(|customer| customer.is_in_question_since(since)).collect();
        if !in_question.is_empty() {
            // An unclear answer ends the round, so those that had one come last.
            in_question.sort_by_key(looked_at);
            return in_question;
        }
    }
    match policy.verify_tokens {
        VerifyTokens::Off => Vec::new(),
        VerifyTokens::Sample => {
            // A dead token does not show a new signing key, and works again only after a restart.
            let (dead, others): (Vec<_>, Vec<_>) =
                customers.into_iter().partition(|customer| customer.is_dead());
            let first =
                |customer: &&CustomerState| (!customer.is_in_question_again(now), looked_at(customer));
            let sample = others.into_iter().min_by_key(first);
            sample.into_iter().chain(dead.into_iter().min_by_key(looked_at)).collect()
        }
        VerifyTokens::Every(age) => {
            // No more in a poll than it takes to come round in time.
            let polls = (age.num_milliseconds() / policy.interval.num_milliseconds().max(1)).max(1);
            let most = customers.len().div_ceil(usize::try_from(polls).unwrap_or(usize::MAX));
            customers.retain(|customer| customer.is_unchecked_since(now - age));
            customers.sort_by_key(looked_at);
            customers.truncate(most);
            customers
        }
    }
}

fn check(customer: &CustomerState, policy: &Policy) -> Option<Check> {
    let row = &customer.row;
    let base = BaseUrl::parse(&row.credentials.url).ok()?;
    (base.is_https() || !policy.require_https).then(|| Check {
        id: row.id.clone(),
        base,
        row_url: row.row_url.clone(),
        username: row.credentials.username.clone(),
    })
}

#[cfg(test)]
mod tests;
