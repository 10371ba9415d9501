//! All customers are due when the daemon starts.

use tbtoken_proto::StatusReply;

use crate::bench::asking::Latencies;
use crate::bench::options::{Common, Pass};
use crate::bench::report::{Report, Unit};
use crate::bench::stage::{Run, Stage};
use crate::receivers::Webhook;

/// Runs once, and once more with receivers that hang if there are some.
pub(in crate::bench) fn run(options: &Pass) -> Vec<Report> {
    let Pass { common, customers, servers, hanging_receivers } = options;
    let counts = [0, *hanging_receivers].into_iter().take(if *hanging_receivers > 0 { 2 } else { 1 });
    let one = |count: usize| {
        let receivers = (*hanging_receivers > 0).then_some(count);
        let (mut report, mut run) = pass("pass", common, *customers, *servers, receivers);
        if !common.brief {
            run.measure_status(&mut report);
        }
        report
    };
    counts.map(one).collect()
}

/// Measures one pass over all customers. The daemon still runs afterwards. With a number of receivers, which never answer, one
/// of the customers is parked, so that they are told of something.
pub(super) fn pass(
    scenario: &str,
    common: &Common,
    customers: usize,
    servers: usize,
    receivers: Option<usize>,
) -> (Report, Run) {
    let is_parked = |number| receivers.is_some() && number == 0;
    let mut stage = Stage::set_up(
        common,
        customers,
        servers,
        |_, server| server,
        |number, row, _| if is_parked(number) { row.url("no URL") } else { row },
    );
    let mut report = stage.report(scenario);
    let hanging: Vec<Webhook> = (0..receivers.unwrap_or_default()).map(|_| Webhook::start()).collect();
    if let Some(count) = receivers {
        report.set("hanging_receivers", count);
        stage.add_receivers(&hanging);
    }
    let bound = stage.bound(customers);
    let mut run = stage.start();
    let (status, fresh, latencies) = run.until("the pass is over", |status| is_over(status, customers));
    report.time("until_fresh", "until all are fresh", fresh, Some(bound));
    report.add(
        "logins_per_second",
        "logins per second",
        Unit::PerSecond,
        customers as f64 / fresh.as_secs_f64(),
    );
    report.count("not_fresh", "not fresh after it", (customers - status.tokens.summary.valid) as u64);
    if receivers.is_some() {
        let delays = Latencies::of(run.delays().into_values().flatten().collect());
        report.time("delay_p99", "a customer waits, p99", delays.at(99), None);
        let told = hanging.iter().filter(|webhook| !webhook.posted().is_empty()).count();
        report.count("receivers_hanging", "receivers that hang on a message", told as u64);
    }
    run.count(&mut report);
    report.latencies("status_during", "status summary during it", &latencies);
    (report, run)
}

/// Whether all customers are fresh or were tried in vain. The end of the first pass is not enough, because a long pass
/// continues in the next one.
fn is_over(status: &StatusReply, customers: usize) -> bool {
    let summary = status.tokens.summary;
    let ended = status.cron.last_run.as_ref().is_some_and(|run| run.total > 0);
    let all_tried = summary.valid + summary.retrying + summary.parked >= customers;
    summary.valid == customers || (ended && !status.cron.refreshing && all_tried)
}
