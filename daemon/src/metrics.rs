//! The exposition for Prometheus, made of one snapshot at each scrape. Nothing here touches the store or the loop, and the
//! number of series is the same however many customers there are.

mod families;
mod process;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;
use tbtoken_proto::{BreakerState, MetricsFormat};

use self::families::{Families, seconds};
use crate::engine::view::{Counts, OUTLASTING, ServerCounts, Snapshot};
use crate::{notify, telemetry};

/// The exposition as of `now`. `process_*` is left out where another program exports its own under these names.
///
/// # Errors
/// The library cannot write; there is no way in which that could happen.
pub fn exposition(
    snapshot: Arc<Snapshot>,
    now: DateTime<Utc>,
    format: MetricsFormat,
    has_process: bool,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let started_at = snapshot.daemon.started_at;
    let own = registry.sub_registry_with_prefix("tbtokend");
    own.register_collector(Box::new(Scrape { snapshot, now }));
    if has_process {
        registry.register_collector(Box::new(process::Process { started_at }));
    }
    let mut out = String::new();
    match format {
        MetricsFormat::Prometheus => prometheus_text::encode(&mut out, &registry)?,
        MetricsFormat::Openmetrics => text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

/// The content type of a format.
pub fn content_type(format: MetricsFormat) -> &'static str {
    match format {
        MetricsFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        MetricsFormat::Openmetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
}

/// The labels of a metric without labels.
const NO_LABELS: [(&str, &str); 0] = [];

/// One scrape.
#[derive(Debug)]
struct Scrape {
    snapshot: Arc<Snapshot>,
    now: DateTime<Utc>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        let counts = self.snapshot.counts(self.now);
        self.identity(&mut out)?;
        self.customers(&mut out, &counts)?;
        self.renewals(&mut out)?;
        servers(&mut out, &counts)?;
        self.store(&mut out)?;
        self.passes(&mut out)?;
        notifications(&mut out)
    }
}

impl Scrape {
    fn identity(&self, out: &mut Families<'_>) -> fmt::Result {
        let daemon = &self.snapshot.daemon;
        out.gauges("build_info", "The version that runs", [([("version", daemon.version.as_str())], 1)])?;
        let kind = daemon.store.split(' ').next().unwrap_or_default();
        out.gauges("store_info", "The kind of the database", [([("kind", kind)], 1)])?;
        out.gauge("leader", "Whether this daemon renews the tokens of its table", 1)?;
        out.gauge("leader_epoch", "The number of the present leadership", 0)?;
        out.counter("leadership_changes", "Changes of the daemon that renews", 0_u64)
    }

    fn customers(&self, out: &mut Families<'_>, counts: &Counts) -> fmt::Result {
        let (summary, counters) = (self.snapshot.tokens.summary, &self.snapshot.counters);
        out.gauge("customers", "Eligible rows", summary.total)?;
        out.tally("tokens", "Customers by token status", "status", &counts.tokens)?;
        out.tally("customers_by_state", "Customers by what happens next", "state", &counts.states)?;
        out.tally("customers_failing", "Customers whose last attempt failed", "kind", &counts.failing)?;
        let under_way = counts.states.get("refreshing").copied().unwrap_or(0);
        out.gauge("logins_in_flight", "Customers whose renewal is under way", under_way)?;
        out.gauge("customers_in_trouble", "Customers that need attention", summary.in_trouble)?;
        out.gauge(
            "customers_ineligible",
            "Rows that lost what a login needs while their token lived",
            summary.ineligible,
        )?;
        let outlasting = OUTLASTING.map(|seconds| seconds.to_string());
        let outlasting =
            outlasting.iter().zip(counts.outlasting).map(|(seconds, n)| ([("seconds", seconds.as_str())], n));
        out.gauges("tokens_outlasting", "Customers whose token lasts longer than this from now", outlasting)?;
        out.time(
            "next_token_expiry_timestamp_seconds",
            "The earliest end of a live token",
            counts.next_expiry,
        )?;
        out.time(
            "longest_lapse_start_timestamp_seconds",
            "Since when the longest-waiting customer has no valid token",
            counts.longest_lapse,
        )?;
        let lapses = counters.lapses.iter().map(|(cause, n)| ([("cause", name(*cause))], *n));
        out.counters("lapses", "Tokens that ended without a new one", lapses)?;
        out.counter(
            "customer_seconds",
            "Time for which customers were watched, added up",
            seconds(counters.watched),
        )?;
        let lapsed = counters.lapsed.iter().map(|(cause, time)| ([("cause", name(*cause))], seconds(*time)));
        out.counters(
            "customer_lapsed_seconds",
            "Time in which customers had no valid token, added up",
            lapsed,
        )?;
        let dead = counters.dead_tokens.iter().map(|(cause, n)| ([("cause", name(*cause))], *n));
        out.counters("dead_tokens", "Tokens that ThingsBoard no longer accepted before their end", dead)?;
        let parked = counters.parked.iter().map(|(kind, n)| ([("kind", kind.as_str())], *n));
        out.counters("parked", "Customers that were parked", parked)?;
        out.counter("recovered", "Customers that worked again after failures", counters.recovered)
    }

    fn renewals(&self, out: &mut Families<'_>) -> fmt::Result {
        let counters = &self.snapshot.counters;
        let renewals = counters
            .renewals
            .iter()
            .map(|((method, outcome), n)| ([("method", name(*method)), ("outcome", *outcome)], *n));
        out.counters("renewals", "Attempts that ended", renewals)?;
        out.counter(
            "refresh_token_refusals",
            "Refresh tokens that a server no longer accepted",
            counters.refresh_tokens_refused,
        )?;
        let requests = counters.requests.iter().map(|(method, times)| ([("method", name(*method))], times));
        out.histograms(
            "thingsboard_request_duration_seconds",
            "How long ThingsBoard took to answer a renewal",
            requests,
        )
    }

    fn store(&self, out: &mut Families<'_>) -> fmt::Result {
        let (snapshot, counters) = (&self.snapshot, &self.snapshot.counters);
        let up = snapshot
            .store_up
            .iter()
            .map(|(operation, is_up)| ([("operation", name(*operation))], i64::from(*is_up)));
        out.gauges("store_up", "Whether the database works for this", up)?;
        let times =
            counters.store.iter().map(|(operation, times)| ([("operation", name(*operation))], times));
        out.histograms("store_operation_duration_seconds", "How long the database took", times)?;
        let errors = counters
            .store_errors
            .iter()
            .map(|((operation, class), n)| ([("operation", name(*operation)), ("class", *class)], *n));
        out.counters("store_errors", "Failures of the database", errors)?;
        out.gauge("unsaved_tokens", "Tokens that are not in the table yet", snapshot.unsaved)?;
        // 0 before the first: a rule can then subtract it.
        let read_at = snapshot.tokens.as_of.unwrap_or(DateTime::UNIX_EPOCH);
        out.time("table_last_read_timestamp_seconds", "When the table was last read", Some(read_at))
    }

    fn passes(&self, out: &mut Families<'_>) -> fmt::Result {
        let (cron, counters) = (&self.snapshot.cron, &self.snapshot.counters);
        out.gauge("interval_seconds", "How often the table is polled", cron.interval_seconds)?;
        out.gauge("loop_running", "Whether the loop runs; an operator can stop it", i64::from(cron.running))?;
        let passes = counters.passes.iter().map(|(trigger, n)| ([("trigger", name(*trigger))], *n));
        out.counters("passes", "Passes that ended", passes)?;
        out.histograms(
            "pass_duration_seconds",
            "How long passes took",
            [(NO_LABELS, &counters.pass_durations)],
        )?;
        out.counter("ticks_skipped", "Intervals that came round during a pass", counters.ticks_skipped)?;
        out.counter("clock_set_back", "Steps of the clock backwards", counters.clock_steps)?;
        out.counter(
            "log_lines_dropped",
            "Log lines dropped because the journal was slow",
            telemetry::lines_dropped(),
        )
    }
}

/// The value of a label.
fn name(label: impl Into<&'static str>) -> &'static str {
    label.into()
}

/// Nothing without receivers; their names come from the configuration, so that there are few.
fn notifications(out: &mut Families<'_>) -> fmt::Result {
    let receivers = notify::receivers();
    if receivers.is_empty() {
        return Ok(());
    }
    let outcomes = receivers.iter().flat_map(|receiver| {
        let count = |(outcome, n): (&'static str, u64)| {
            ([("receiver", receiver.name.as_str()), ("outcome", outcome)], n)
        };
        receiver.outcomes.map(count)
    });
    out.counters("notifications", "Messages about troubles, by what came of each try", outcomes)?;
    let queued = receivers.iter().map(|receiver| ([("receiver", receiver.name.as_str())], receiver.queued));
    out.gauges("notifications_queued", "Messages about troubles that wait", queued)?;
    let up = receivers.iter().map(|it| ([("receiver", it.name.as_str())], i64::from(it.is_up)));
    out.gauges("notifications_up", "Whether the receiver took the last message, and has not refused all", up)
}

fn servers(out: &mut Families<'_>, counts: &Counts) -> fmt::Result {
    out.tally("servers", "ThingsBoard servers by circuit breaker", "state", &counts.breakers)?;
    out.gauge("servers_clock_off", "Servers whose clock is wrong by more than 30 s", counts.clocks_off)?;
    out.gauge("server_series_omitted", "Servers without series of their own", counts.servers_omitted)?;
    if counts.servers.is_empty() {
        return Ok(());
    }
    let label = |of: &ServerCounts| [("server", of.server.name.clone())];
    let is_up = |of| (label(of), i64::from(of.server.breaker == BreakerState::Closed));
    out.gauges("server_available", "Whether the server is treated as up", counts.servers.iter().map(is_up))?;
    let limit = |of| (label(of), i64::from(of.server.limit));
    out.gauges("server_login_limit", "Logins to the server at once", counts.servers.iter().map(limit))?;
    let skew = |of: &ServerCounts| Some((label(of), seconds(TimeDelta::milliseconds(of.server.skew_ms?))));
    let skews = counts.servers.iter().filter_map(skew);
    out.gauges("server_clock_skew_seconds", "How far the server's clock is ahead", skews)?;
    let customers = |of| (label(of), of.customers);
    out.gauges("server_customers", "Customers of the server", counts.servers.iter().map(customers))?;
    let lapsed = |of| (label(of), of.lapsed);
    out.gauges("server_customers_lapsed", "Those without a valid token", counts.servers.iter().map(lapsed))
}

#[cfg(test)]
mod tests;
