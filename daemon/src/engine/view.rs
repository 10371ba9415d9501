//! What clients are shown: state in, the protocol's words out. Pure.

mod row;
mod sentence;
mod words;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto as proto;

use self::row::{Row, Urls};
use super::handle::{NotRefreshed, Outcome, Refreshed};
use super::history::{Kept, Notice, NoticeKind};
use super::plan::{Policy, Trigger};
use super::state::{Entry, Host, PassCounts, State};
use crate::model::{CustomerId, HostKey, TokenStatus};
use crate::text::printable;

/// What the scheduler knows besides the [`State`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// Whether it starts passes by itself.
    pub running: bool,
    /// Whether a pass is under way.
    pub refreshing: bool,
    /// The next look at the table.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last pass that ended.
    pub last_run: Option<LastRun>,
}

/// A pass that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// What began it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// What it came to.
    pub counts: PassCounts,
}

/// What does not change while the process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Which store it uses.
    pub store: String,
}

/// Everything that a client may be shown, as of one moment. Readers share it; nobody locks anything.
#[derive(Debug, Clone)]
pub struct Snapshot {
    cron: proto::Cron,
    daemon: proto::Daemon,
    tokens: proto::Tokens,
    /// In the order of their ids.
    rows: Vec<Arc<Row>>,
    /// In the order of their names.
    hosts: Vec<Arc<HostRow>>,
    removed: Arc<VecDeque<(u64, CustomerId)>>,
    removed_floor: u64,
    history: Kept,
}

/// A server as it is shown.
#[derive(Debug)]
struct HostRow {
    revision: u64,
    host: proto::Host,
}

impl Snapshot {
    /// What can be shown of `state`. Rows that are the same as in `before` are shared with it.
    pub fn new(
        state: &State,
        cycle: &Loop,
        identity: &Identity,
        policy: &Policy,
        before: Option<&Self>,
        now: DateTime<Utc>,
    ) -> Self {
        let rows = rows(state, policy, before, now);
        let (removed, removed_floor) = state.removed();
        let removed = match before {
            Some(before) if before.removed.back() == removed.back() => Arc::clone(&before.removed),
            _ => Arc::new(removed.clone()),
        };
        Self {
            cron: cron(cycle, policy),
            daemon: daemon(state, identity),
            tokens: proto::Tokens {
                success: state.read_error().is_none(),
                error: state.read_error().map(|error| format!("{error}. {}", error.remedy())),
                as_of: state.table_read_at(),
                customers: None,
                removed: Vec::new(),
                complete: false,
                summary: summary(&rows),
            },
            rows,
            hosts: host_rows(state, before),
            removed,
            removed_floor,
            history: state.history().share(),
        }
    }

    /// The loop.
    pub fn cron(&self) -> &proto::Cron {
        &self.cron
    }

    /// The daemon.
    pub fn daemon(&self) -> &proto::Daemon {
        &self.daemon
    }

    /// The counts over all customers.
    pub fn summary(&self) -> proto::Summary {
        self.tokens.summary
    }

    /// How many customers there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no customer.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether that customer is in the table.
    pub fn contains(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: &str) -> Option<&Row> {
        let found = self.rows.binary_search_by(|row| row.id().cmp(id)).ok()?;
        self.rows.get(found).map(AsRef::as_ref)
    }

    /// The answer to `status`.
    ///
    /// # Errors
    /// A customer that was asked for is not there.
    pub fn status(
        &self,
        query: &proto::StatusQuery,
        now: DateTime<Utc>,
    ) -> Result<proto::StatusReply, proto::Refusal> {
        let mut status = self.status_without_customers(query)?;
        let since = self.since(query);
        let changed = |row: &&Row| since.is_none_or(|since| row.revision > since.0);
        let rows: Vec<&Row> = match &query.customers {
            proto::Rows::None => return Ok(status),
            proto::Rows::All => self.rows.iter().map(AsRef::as_ref).collect(),
            proto::Rows::Only(ids) => ids.iter().filter_map(|id| self.find(id)).collect(),
        };
        status.tokens.customers = Some(rows.into_iter().filter(changed).map(|row| row.at(now)).collect());
        Ok(status)
    }

    /// The answer to `status` before any customer is in it: an empty list, if customers were asked for.
    ///
    /// # Errors
    /// A customer that was asked for is not there.
    pub fn status_without_customers(
        &self,
        query: &proto::StatusQuery,
    ) -> Result<proto::StatusReply, proto::Refusal> {
        let mut tokens = self.tokens.clone();
        let since = self.since(query);
        tokens.complete = query.since.is_some() && since.is_none();
        if let Some(since) = since {
            let removed = self.removed.iter().filter(|(revision, _)| *revision > since.0);
            tokens.removed = removed.map(|(_, id)| id.to_string()).collect();
        }
        if let proto::Rows::Only(ids) = &query.customers
            && let Some(missing) = ids.iter().find(|id| !self.contains(id))
        {
            return Err(unknown(&[missing.as_str()]));
        }
        tokens.customers = (query.customers != proto::Rows::None).then(Vec::new);
        let hosts = self.hosts(&query.customers, since);
        Ok(proto::StatusReply { cron: self.cron.clone(), tokens, hosts, daemon: self.daemon.clone() })
    }

    /// One of those whom the answer to `status` for everyone lists, and the place to go on from: the first from `place`
    /// on. Whoever takes them one by one needs no copy of all of them.
    pub fn listed(
        &self,
        query: &proto::StatusQuery,
        place: usize,
        now: DateTime<Utc>,
    ) -> Option<(proto::Customer, usize)> {
        let since = self.since(query);
        let changed = |row: &Arc<Row>| since.is_none_or(|since| row.revision > since.0);
        let rest = self.rows.get(place..)?;
        let skipped = rest.iter().position(changed)?;
        rest.get(skipped).map(|row| (row.at(now), place + skipped + 1))
    }

    /// The revision that the client has. One of another process, or one so old that removals were forgotten, means
    /// nothing to us.
    fn since(&self, query: &proto::StatusQuery) -> Option<proto::Revision> {
        query.since.filter(|since| (self.removed_floor..=self.daemon.revision.0).contains(&since.0))
    }

    /// The servers of the customers asked for, as far as they have changed.
    fn hosts(&self, asked: &proto::Rows, since: Option<proto::Revision>) -> Option<Vec<proto::Host>> {
        let names = match asked {
            proto::Rows::None => return None,
            proto::Rows::All => None,
            proto::Rows::Only(ids) => {
                let urls = ids.iter().filter_map(|id| self.find(id)).map(Row::url);
                Some(urls.filter_map(proto::host_of).collect::<HashSet<String>>())
            }
        };
        let changed = self.hosts.iter().filter(|row| since.is_none_or(|since| row.revision > since.0));
        let wanted = changed.filter(|row| names.as_ref().is_none_or(|names| names.contains(&row.host.host)));
        Some(wanted.map(|row| row.host.clone()).collect())
    }

    /// The answer to `events`.
    pub fn events(&self, since: Option<proto::Seq>, limit: usize) -> proto::EventsReply {
        let shown = self.history.iter().filter_map(|notice| words::event(notice));
        let events: Vec<proto::Event> = match since {
            Some(since) => shown.filter(|event| event.seq > since).take(limit).collect(),
            None => {
                let mut newest: Vec<_> =
                    self.history.iter().rev().filter_map(|notice| words::event(notice)).take(limit).collect();
                newest.reverse();
                newest
            }
        };
        let last = self.history.iter().next_back().map(|notice| proto::Seq(notice.seq));
        let next = events.last().map(|event| event.seq).or(last).or(since).unwrap_or_default();
        proto::EventsReply { events, next }
    }
}

fn rows(state: &State, policy: &Policy, before: Option<&Snapshot>, now: DateTime<Utc>) -> Vec<Arc<Row>> {
    let mut before = before.map(|before| before.rows.iter().peekable());
    let mut shared = |id: &CustomerId, revision: u64| {
        let before = before.as_mut()?;
        while before.next_if(|row| row.id() < id.as_str()).is_some() {}
        before.next_if(|row| row.id() == id.as_str() && row.revision == revision).cloned()
    };
    let mut urls = Urls::default();
    let row = |(id, entry): (&CustomerId, &Entry)| {
        shared(id, entry.revision).unwrap_or_else(|| Arc::new(Row::new(id, entry, policy, now, &mut urls)))
    };
    state.entries().map(row).collect()
}

fn host_rows(state: &State, before: Option<&Snapshot>) -> Vec<Arc<HostRow>> {
    let mut before = before.map(|before| before.hosts.iter().peekable());
    let mut shared = |name: &str, revision: u64| {
        let before = before.as_mut()?;
        while before.next_if(|row| row.host.host.as_str() < name).is_some() {}
        before.next_if(|row| row.host.host == name && row.revision == revision).cloned()
    };
    let row = |(key, host): (&HostKey, &Host)| {
        shared(key.as_str(), host.revision).unwrap_or_else(|| {
            let host_shown = proto::Host {
                host: key.to_string(),
                skew_ms: host.skew.map(|skew| skew.ahead.num_milliseconds()),
                limit: host.limit,
                state: words::host_state(host.gate),
            };
            Arc::new(HostRow { revision: host.revision, host: host_shown })
        })
    };
    state.hosts().iter().map(row).collect()
}

fn summary(rows: &[Arc<Row>]) -> proto::Summary {
    let mut summary = proto::Summary { total: rows.len(), ..proto::Summary::default() };
    for row in rows {
        match row.token_status {
            proto::TokenStatus::Valid => summary.valid += 1,
            proto::TokenStatus::ExpiringSoon => summary.expiring_soon += 1,
            proto::TokenStatus::Expired => summary.expired += 1,
            proto::TokenStatus::Missing | proto::TokenStatus::Unknown => summary.missing += 1,
        }
        match row.state {
            proto::Phase::Parked => summary.parked += 1,
            proto::Phase::Retrying => summary.retrying += 1,
            _ => {}
        }
    }
    summary
}

fn cron(cycle: &Loop, policy: &Policy) -> proto::Cron {
    let interval_seconds = u64::try_from((policy.interval.num_milliseconds() + 999) / 1000).unwrap_or(0);
    let every = match interval_seconds {
        60 => "every minute".to_owned(),
        1 => "every second".to_owned(),
        seconds => format!("every {seconds} seconds"),
    };
    proto::Cron {
        running: cycle.running,
        description: format!("ThingsBoard Token Refresh (runs {every})"),
        interval_seconds,
        refreshing: cycle.refreshing,
        next_run_at: cycle.next_run_at,
        last_run: cycle.last_run.map(|run| proto::LastRun {
            reason: words::trigger(run.trigger),
            started_at: run.started_at,
            finished_at: run.finished_at,
            duration_ms: milliseconds(run.finished_at - run.started_at),
            total: run.counts.total,
            updated: run.counts.updated,
            errors: run.counts.errors,
        }),
    }
}

fn milliseconds(length: TimeDelta) -> u64 {
    u64::try_from(length.num_milliseconds()).unwrap_or(0)
}

fn daemon(state: &State, identity: &Identity) -> proto::Daemon {
    let (renewals_by_login, renewals_by_refresh_token) = state.renewals_by();
    proto::Daemon {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: proto::PROTOCOL_VERSION,
        pid: identity.pid,
        started_at: identity.started_at,
        revision: proto::Revision(state.revision()),
        store: identity.store.clone(),
        store_ok: state.store_error().is_none(),
        store_error: state.store_error().map(|error| format!("{error}. {}", error.remedy())),
        renewals_by_login,
        renewals_by_refresh_token,
    }
}

/// The answer to a manual refresh that took place.
pub fn refreshed(details: Refreshed) -> proto::RefreshReply {
    let details: Vec<proto::Outcome> = details.into_iter().map(words::outcome).collect();
    let count = |status| details.iter().filter(|outcome| outcome.status == status).count();
    let updated = count(proto::OutcomeStatus::Success);
    let errors = count(proto::OutcomeStatus::Error);
    let total = details.len();
    let message = match total {
        0 => "nobody is due".to_owned(),
        _ => format!("{updated} renewed, {errors} failed, {} left alone", total - updated - errors),
    };
    let result = proto::RefreshResult { success: errors == 0, updated, errors, total, details };
    proto::RefreshReply { message, result: Some(result) }
}

/// The answer to a manual refresh that did not take place.
pub fn not_refreshed(why: NotRefreshed) -> proto::Refusal {
    match why {
        NotRefreshed::Unknown(ids) => unknown(&ids.iter().map(CustomerId::as_str).collect::<Vec<_>>()),
        NotRefreshed::StoreUnavailable(error) => {
            proto::Refusal { code: proto::ErrorCode::StoreUnavailable, error }
        }
        NotRefreshed::ShuttingDown => shutting_down(),
    }
}

/// The refusal of anything that comes too late.
pub fn shutting_down() -> proto::Refusal {
    proto::Refusal { code: proto::ErrorCode::ShuttingDown, error: "tbtokend is shutting down".to_owned() }
}

/// The refusal of names that are not in the table.
pub fn unknown(ids: &[&str]) -> proto::Refusal {
    let named = ids.iter().map(|id| printable(id)).collect::<Vec<_>>().join(", ");
    proto::Refusal {
        code: proto::ErrorCode::UnknownCustomer,
        error: format!("no such customer: {named} (a row without user, password or URL does not count)"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};
    use tbtoken_proto as proto;

    use crate::model::BaseUrl;

    proptest! {
        #[test]
        fn clients_find_the_host_of_a_customer_under_the_name_that_the_daemon_gives_it(
            url in " ?(https?|HTTP|Https)://([a-zA-Z][a-zA-Z0-9-]{0,8}\\.){0,2}[a-zA-Z][a-zA-Z0-9]{0,8}(:(80|443|8080|0?[0-9]{1,5})?)?(/[a-z]{0,5}){0,2} ?",
        ) {
            let named = BaseUrl::parse(&url).ok().map(|base| base.host_key().to_string());
            if named.is_some() {
                prop_assert_eq!(proto::host_of(&crate::text::url(url.trim())), named);
            }
        }
    }
}
