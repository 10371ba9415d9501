//! State → [`Snapshot`]. What did not change is shared with the snapshot before.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto as proto;

use strum::IntoEnumIterator as _;

use super::super::counters::Operation;
use super::super::event::Via;
use super::super::policy::Policy;
use super::super::state::{Entry, Host, State};
use super::row::{Row, Urls};
use super::{HostRow, Identity, Loop, Snapshot, words};
use crate::model::{CustomerId, HostKey};
use crate::store::{LedgerPlace, StoreError};

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
                error: state.read_error().map(StoreError::with_remedy),
                as_of: state.table_read_at(),
                customers: None,
                ineligible: state.former().take(proto::MAX_IN_TROUBLE).map(words::former).collect(),
                removed: Vec::new(),
                matched: None,
                complete: false,
                summary: proto::Summary { ineligible: state.former().len(), ..summary(&rows) },
            },
            rows,
            ineligible: state.ineligible_rows().clone(),
            hosts: host_rows(state, before),
            removed,
            removed_floor,
            history: state.history().share(),
            counters: Arc::clone(state.counters()),
            store_up: Operation::iter()
                .map(|operation| (operation, state.error_of(operation).is_none()))
                .collect(),
            store_class: state.store_error().map(StoreError::class),
            conditions: state.conditions(),
            clock_stepped_at: state.clock_stepped_at(),
            unsaved: state.entries().filter(|(_, entry)| entry.unsaved.is_some()).count(),
        }
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
                state: words::breaker_state(host.breaker),
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
        summary.in_trouble += usize::from(row.in_trouble());
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
        running: cycle.state.runs(),
        stopped_since: cycle.state.stopped_since(),
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
    let renewals_by = |via| state.counters().renewals_by(via);
    proto::Daemon {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: proto::PROTOCOL_VERSION,
        pid: identity.pid,
        started_at: identity.started_at,
        revision: proto::Revision(state.revision()),
        store: identity.store.clone(),
        store_ok: state.store_error().is_none(),
        store_error: state.store_error().map(StoreError::with_remedy),
        ledger: state.ledger_place().and_then(LedgerPlace::outside),
        key_mismatch: state.key_mismatch(),
        config_file: identity.config_file.clone(),
        http: identity.http.clone(),
        renewals_by_login: renewals_by(Via::Login),
        renewals_by_refresh_token: renewals_by(Via::RefreshToken),
    }
}
