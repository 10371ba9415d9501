//! Makes a [`Snapshot`] of the state. Rows that did not change are shared with the snapshot before.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use strum::IntoEnumIterator as _;
use tbtoken_proto as proto;

use super::super::counters::Operation;
use super::super::event::RenewalMethod;
use super::super::policy::Policy;
use super::super::state::{CustomerState, Server, State};
use super::row::Row;
use super::{Identity, Loop, ServerRow, Snapshot, words};
use crate::model::{CustomerId, ServerKey, Urls};
use crate::store::{LedgerPlace, StoreError};

impl Snapshot {
    /// Makes the snapshot of `state`. Rows that are the same as in `before` are shared with it.
    pub fn new(
        state: &State,
        cycle: &Loop,
        identity: &Identity,
        policy: &Policy,
        before: Option<&Self>,
        now: DateTime<Utc>,
    ) -> Self {
        let rows = rows(state, policy, before, now);
        let read_error = state.error_of(Operation::Read);
        let (removed, removed_floor) = state.removed();
        let removed = match before {
            Some(before) if before.removed.back() == removed.back() => Arc::clone(&before.removed),
            _ => Arc::new(removed.clone()),
        };
        Self {
            cron: cron(cycle, policy),
            daemon: daemon(state, identity),
            tokens: proto::Tokens {
                success: read_error.is_none(),
                error: read_error.map(StoreError::with_remedy),
                as_of: state.table_read_at,
                customers: None,
                ineligible: state.former().take(proto::MAX_IN_TROUBLE).map(words::former).collect(),
                removed: Vec::new(),
                matched: None,
                complete: false,
                summary: proto::Summary { ineligible: state.former().len(), ..summary(&rows) },
            },
            rows,
            ineligible: state.ineligible.clone(),
            servers: server_rows(state, before),
            removed,
            removed_floor,
            history: state.history.share(),
            counters: Arc::clone(state.counters()),
            store_up: Operation::iter()
                .map(|operation| (operation, state.error_of(operation).is_none()))
                .collect(),
            store_class: state.store_error().map(StoreError::class),
            conditions: state.conditions(),
            clock_stepped_at: state.clock_stepped_at,
            unsaved: state.customers().values().filter(|customer| customer.unsaved.is_some()).count(),
        }
    }
}

fn rows(state: &State, policy: &Policy, before: Option<&Snapshot>, now: DateTime<Utc>) -> Vec<Arc<Row>> {
    let mut shared = shared(before.map(|before| &*before.rows), |row: &Row| (row.id(), row.revision));
    let mut urls = Urls::default();
    let row = |(id, customer): (&CustomerId, &CustomerState)| {
        shared(id.as_str(), customer.revision)
            .unwrap_or_else(|| Arc::new(Row::new(id, customer, policy, now, &mut urls)))
    };
    state.customers().iter().map(row).collect()
}

fn server_rows(state: &State, before: Option<&Snapshot>) -> Vec<Arc<ServerRow>> {
    let before = before.map(|before| &*before.servers);
    let mut shared = shared(before, |row: &ServerRow| (row.server.name.as_str(), row.revision));
    let row = |(key, server): (&ServerKey, &Server)| {
        shared(key.as_str(), server.revision).unwrap_or_else(|| {
            let server_shown = proto::Server {
                name: key.to_string(),
                skew_ms: server.skew.map(|skew| skew.ahead.num_milliseconds()),
                limit: server.limit,
                breaker: words::breaker_state(server.breaker),
            };
            Arc::new(ServerRow {
                revision: server.revision,
                server: server_shown,
                has_answered: server.has_answered,
                answers_since: server.answers_since,
            })
        })
    };
    state.servers().iter().map(row).collect()
}

/// Finds the rows of the snapshot before by name and revision. The names must be asked for in their order.
fn shared<R>(
    before: Option<&[Arc<R>]>,
    key_of: fn(&R) -> (&str, u64),
) -> impl FnMut(&str, u64) -> Option<Arc<R>> {
    let mut before = before.unwrap_or_default().iter().peekable();
    move |name, revision| {
        while before.next_if(|row| key_of(row).0 < name).is_some() {}
        before.next_if(|row| key_of(row) == (name, revision)).cloned()
    }
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
            reason: words::by_name(run.trigger.into(), proto::Trigger::Unknown),
            started_at: run.started_at,
            finished_at: run.finished_at,
            duration_ms: u64::try_from((run.finished_at - run.started_at).num_milliseconds()).unwrap_or(0),
            total: run.counts.total,
            updated: run.counts.updated,
            errors: run.counts.errors,
        }),
    }
}

fn daemon(state: &State, identity: &Identity) -> proto::Daemon {
    let renewals_by = |method| state.counters().renewals_by(method);
    proto::Daemon {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: proto::PROTOCOL_VERSION,
        pid: identity.pid,
        started_at: identity.started_at,
        revision: proto::Revision(state.revision()),
        store: identity.store.clone(),
        store_ok: state.store_error().is_none(),
        store_error: state.store_error().map(StoreError::with_remedy),
        ledger: state.ledger_place.as_ref().and_then(LedgerPlace::outside),
        key_mismatch: state.key_mismatch(),
        config_file: identity.config_file.clone(),
        http: identity.http.clone(),
        failing_receivers: Vec::new(),
        renewals_by_login: renewals_by(RenewalMethod::Login),
        renewals_by_refresh_token: renewals_by(RenewalMethod::RefreshToken),
    }
}
