//! Who is due, who waits, who is parked, and why. Pure: rows, records and the time go in, a plan comes out.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::Account;
use super::backoff::Backoff;
use super::state::{Entry, Known, State};
use crate::model::{
    BaseUrl, Customer, CustomerId, Failure, FailureKind, FailureNote, Fingerprint, Lifetime, Renewal, Secret,
    TokenStatus,
};

/// What began a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The daemon or its loop was started.
    Start,
    /// The interval came round.
    Schedule,
    /// A token or a retry could not wait for the interval.
    Early,
    /// An operator asked for it.
    Manual,
}

/// Whom a pass is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Whoever is due and need not wait: what the schedule does.
    Due,
    /// Whoever is due, waiting ones included: a manual refresh without names.
    DueNow,
    /// Everyone who is not parked.
    All,
    /// Exactly these, even if valid or parked.
    Named(HashSet<CustomerId>),
    /// Those of these who are not parked: whom an earlier pass left over.
    Rest(HashSet<CustomerId>),
}

/// The settings that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How often the table is looked at.
    pub interval: TimeDelta,
    /// A token that ends within this is renewed.
    pub window: TimeDelta,
    /// Which expiry is written.
    pub lifetime: Lifetime,
    /// Whether `http` is refused.
    pub require_https: bool,
}

impl Policy {
    /// What most unit tests reckon with.
    #[cfg(test)]
    pub(crate) fn of_a_minute() -> Self {
        Self {
            interval: TimeDelta::minutes(1),
            window: TimeDelta::minutes(5),
            lifetime: Lifetime::Jwt,
            require_https: false,
        }
    }

    /// The back-off after transient failures.
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.interval)
    }
}

/// How a customer stands with regard to the next pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its token needs nothing until then.
    Rest {
        /// Just after the beginning of its window.
        until: DateTime<Utc>,
    },
    /// To be renewed.
    Due,
    /// To be renewed, but not before its next attempt.
    Wait {
        /// The next attempt.
        until: DateTime<Utc>,
    },
    /// Not tried by itself.
    Parked,
    /// Its token is here and needs only to be saved.
    Save,
}

/// What a pass shall do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Whom to renew, the most urgent first.
    pub attempts: Vec<Attempt>,
    /// The accounts that they log in to.
    pub accounts: Vec<Account>,
    /// Tokens of earlier passes that are still to be saved.
    pub saves: Vec<Renewal>,
    /// Who fails without being tried.
    pub refused: Vec<(CustomerId, Failure)>,
    /// Parked customers that a manual refresh leaves alone.
    pub parked: Vec<CustomerId>,
    /// Names that are not in the table.
    pub unknown: Vec<CustomerId>,
}

/// One renewal to be tried.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Who.
    pub customer: Customer,
    /// Where.
    pub base: BaseUrl,
    /// What to try before the password; it was obtained with exactly these credentials.
    pub refresh_token: Option<Secret>,
    /// The expiry in its row, if the new one may be earlier: see [`Entry::replaceable`].
    pub replaces: Option<DateTime<Utc>>,
    /// What speaks for its credentials.
    pub proof: Proof,
    /// Its place in [`Plan::accounts`]: those with the same URL, user and password share one.
    pub account: usize,
}

/// What speaks for a customer's credentials. A server that does not answer gets a probe from whom it is safest to ask:
/// the best is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// No password need be sent.
    RefreshToken,
    /// They have brought a token since the daemon started.
    Proven,
    /// The row has had a token from the server before the daemon started, and no failure came after it. They have not been
    /// changed since the start.
    Once,
    /// Nothing.
    None,
}

impl Proof {
    fn of(entry: &Entry) -> Self {
        let record = &entry.record;
        match (entry.usable_refresh_token(), entry.known) {
            (Some(_), _) => Self::RefreshToken,
            (None, Known::Proven) => Self::Proven,
            (None, Known::Found) if record.last_success_at.is_some() && record.failure.is_none() => {
                Self::Once
            }
            (None, Known::Found | Known::New) => Self::None,
        }
    }
}

/// How the customer stands at `now`.
pub fn verdict(entry: &Entry, now: DateTime<Utc>, policy: &Policy) -> Verdict {
    if entry.unsaved.is_some() {
        let refused = entry.record.failure.as_ref().filter(|failure| failure.kind == FailureKind::Database);
        return match refused.and_then(|failure| failure.next_attempt_at) {
            Some(until) if until > now && !is_beyond_all(until, now, policy) => Verdict::Wait { until },
            _ => Verdict::Save,
        };
    }
    let window = entry.window(policy.window);
    let status = TokenStatus::at(now, entry.customer.has_token, entry.ends_at(), window);
    let is_fine = status == TokenStatus::Valid && !entry.is_misdated(policy.window);
    match &entry.record.failure {
        Some(failure) if failure.permanent => Verdict::Parked,
        Some(failure) if !is_fine => match failure.next_attempt_at {
            Some(until) if until > now && !is_beyond_all(until, now, policy) => Verdict::Wait { until },
            _ => Verdict::Due,
        },
        _ => match entry.ends_at() {
            // The token is still valid at the first instant of its window.
            Some(end) if is_fine => Verdict::Rest { until: end - window + TimeDelta::milliseconds(1) },
            _ => Verdict::Due,
        },
    }
}

/// Whether a wait is beyond all back-off: it was reckoned by another clock, and means nothing.
fn is_beyond_all(until: DateTime<Utc>, now: DateTime<Utc>, policy: &Policy) -> bool {
    until - now > policy.backoff().longest()
}

impl Selection {
    fn picks(&self, id: &CustomerId, verdict: Verdict) -> bool {
        match (self, verdict) {
            (Self::Named(ids), _) => ids.contains(id),
            (_, Verdict::Parked) => false,
            (Self::Rest(ids), _) => ids.contains(id),
            (Self::All, _) => true,
            (Self::DueNow, verdict) => matches!(verdict, Verdict::Due | Verdict::Wait { .. }),
            (Self::Due, verdict) => verdict == Verdict::Due,
        }
    }

    /// Whether an operator has named the customer.
    fn names(&self, id: &CustomerId) -> bool {
        matches!(self, Self::Named(ids) if ids.contains(id))
    }

    /// Whether an operator wants the customer to be tried, by name or not.
    fn asks_for(&self, id: &CustomerId) -> bool {
        match self {
            Self::Due => false,
            Self::DueNow | Self::All => true,
            Self::Named(ids) | Self::Rest(ids) => ids.contains(id),
        }
    }
}

/// Plans a pass that serves all these selections.
pub fn plan(state: &State, now: DateTime<Utc>, policy: &Policy, selections: &[Selection]) -> Plan {
    let mut plan = Plan::default();
    let reports_parked = |id: &CustomerId| {
        selections.iter().any(|selection| match selection {
            Selection::Due => false,
            Selection::DueNow | Selection::All | Selection::Named(_) => true,
            Selection::Rest(ids) => ids.contains(id),
        })
    };
    let mut accounts =
        Accounts { state, selections, in_doubt: in_doubt(state, now, policy), known: HashMap::new() };
    for (id, entry) in state.entries() {
        let verdict = verdict(entry, now, policy);
        match (&entry.unsaved, selections.iter().any(|selection| selection.picks(id, verdict))) {
            (Some(_), false) if verdict != Verdict::Save => {}
            // Whatever was asked for: nobody logs in again for a token that is here.
            (Some(renewal), _) => {
                plan.saves.push(Renewal { replaces: entry.replaceable(), ..Renewal::clone(renewal) });
            }
            (None, true) => plan.add(entry, policy, &mut accounts),
            (None, false) if verdict == Verdict::Parked && reports_parked(id) => plan.parked.push(id.clone()),
            (None, false) => {}
        }
    }
    for selection in selections {
        if let Selection::Named(ids) = selection {
            plan.unknown.extend(ids.iter().filter(|id| state.entry(id).is_none()).cloned());
        }
    }
    // Whoever ends first. Those last who fail and have no token to lose: the sick must not hold up the others.
    plan.attempts.sort_by_cached_key(|attempt| {
        let entry = state.entry(&attempt.customer.id);
        let fails = entry.is_some_and(|entry| entry.record.failure.is_some());
        let ends_at = entry.and_then(Entry::ends_at);
        let has_ended = !attempt.customer.has_token || ends_at.is_none_or(|end| end < now);
        (fails && has_ended, ends_at)
    });
    plan
}

impl Plan {
    fn add(&mut self, entry: &Entry, policy: &Policy, accounts: &mut Accounts<'_>) {
        let customer = &entry.customer;
        match BaseUrl::parse(&customer.credentials.url) {
            Err(why) => self.refused.push((customer.id.clone(), Failure::BadUrl(why))),
            Ok(base) if policy.require_https && !base.is_https() => {
                self.refused.push((customer.id.clone(), Failure::InsecureUrl));
            }
            Ok(base) => {
                let account = accounts.of(entry, &mut self.accounts);
                self.attempts.push(Attempt {
                    customer: customer.clone(),
                    base,
                    refresh_token: entry.usable_refresh_token().cloned(),
                    replaces: entry.replaceable(),
                    proof: Proof::of(entry),
                    account,
                });
            }
        }
    }

    /// How many customers it is about.
    pub fn size(&self) -> usize {
        self.attempts.len() + self.saves.len() + self.refused.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }
}

/// Accounts whose password was sent without an answer and is not sent again yet, because it may be wrong, or was sent too
/// often: with whom that was.
type InDoubt<'a> = HashMap<&'a Fingerprint, (&'a CustomerId, &'a FailureNote)>;

fn in_doubt<'a>(state: &'a State, now: DateTime<Utc>, policy: &Policy) -> InDoubt<'a> {
    let waits = |entry: &Entry| matches!(verdict(entry, now, policy), Verdict::Wait { .. });
    let doubts = state.entries().filter_map(|(id, entry)| {
        let note = entry.unheard()?;
        let is_in_doubt = !entry.has_worked() || state.is_held_back(&note.fingerprint);
        (is_in_doubt && waits(entry)).then_some((id, note))
    });
    doubts.map(|(id, note)| (&note.fingerprint, (id, note))).collect()
}

/// The accounts of a plan.
struct Accounts<'a> {
    state: &'a State,
    selections: &'a [Selection],
    in_doubt: InDoubt<'a>,
    known: HashMap<Fingerprint, usize>,
}

impl Accounts<'_> {
    /// The place of the customer's account among `accounts`, where it is put if it is new. Its password may be tried,
    /// unless it was refused before for a row that says the same, or may have been, and waits. Whoever names one of those
    /// who have it now overrides both; asking for all overrides the wait.
    fn of(&mut self, entry: &Entry, accounts: &mut Vec<Account>) -> usize {
        let Some(fingerprint) = self.state.fingerprint(&entry.customer.credentials) else {
            accounts.push(Account::default());
            return accounts.len() - 1;
        };
        let place = *self.known.entry(fingerprint.clone()).or_insert_with(|| {
            let refused = self.state.refusal(&fingerprint);
            let doubt = self.in_doubt.get(&fingerprint);
            accounts.push(match (refused, doubt) {
                (Some((id, note)), _) => Account::refused(Failure::shared(id, note)),
                (None, Some((id, note))) => Account::in_doubt(Failure::shared_doubt(id, note)),
                (None, None) => Account::default(),
            });
            accounts.len() - 1
        });
        let id = &entry.customer.id;
        let is_named = self.selections.iter().any(|selection| selection.names(id));
        let is_asked_for = self.selections.iter().any(|selection| selection.asks_for(id));
        let has_leave = is_asked_for || (entry.has_worked() && !self.state.is_held_back(&fingerprint));
        if let Some(account) = accounts.get_mut(place)
            && (is_named || (account.is_in_doubt() && has_leave))
        {
            *account = Account::default();
        }
        place
    }
}

/// The earliest time after `now` at which someone becomes due or may be tried again; none if nobody ever does by itself.
/// Who was due at `now`, or has a token to save, is left to the schedule: it has been tried, or was put off on purpose.
pub fn next_due(state: &State, now: DateTime<Utc>, policy: &Policy) -> Option<DateTime<Utc>> {
    let later = |entry| match verdict(entry, now, policy) {
        Verdict::Rest { until } | Verdict::Wait { until } => Some(until),
        Verdict::Due | Verdict::Parked | Verdict::Save => None,
    };
    state.entries().filter_map(|(_, entry)| later(entry)).min()
}

#[cfg(test)]
mod tests;
