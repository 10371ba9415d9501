//! All customers are due when the daemon starts.

use tbtoken_proto::StatusReply;

use crate::bench::options::{Common, Pass};
use crate::bench::report::{Report, Unit};
use crate::bench::stage::{Run, Stage};

pub(in crate::bench) fn run(options: &Pass) -> Report {
    let (mut report, mut run) = pass("pass", &options.common, options.customers, options.servers);
    if !options.common.brief {
        run.measure_status(&mut report);
    }
    report
}

/// Measures one pass over all customers. The daemon still runs afterwards.
pub(super) fn pass(scenario: &str, common: &Common, customers: usize, servers: usize) -> (Report, Run) {
    let mut stage = Stage::set_up(common, customers, servers, |_, server| server, |_, row, _| row);
    let mut report = stage.report(scenario);
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
