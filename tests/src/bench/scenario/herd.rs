//! All tokens end in the same second.

use chrono::TimeDelta;

use crate::bench::options::Herd;
use crate::bench::report::Report;
use crate::bench::stage::Stage;
use crate::clock;
use crate::harness::Row;

/// A shorter window than in production, so that there is less time to renew all tokens before they end.
const WINDOW: TimeDelta = TimeDelta::minutes(2);

/// The time until all customers become due. By then the rows must be in the table and the daemon must run.
const LEAD: TimeDelta = TimeDelta::seconds(10);

pub(in crate::bench) fn run(options: &Herd) -> Report {
    let due_at = clock::now() + LEAD;
    let end = due_at + WINDOW;
    let expiry = end.format("%FT%T%.3fZ").to_string();
    let row = |_: usize, row: Row, _: &_| row.token("a.b.c", expiry.clone());
    let mut stage =
        Stage::set_up(&options.common, options.customers, options.servers, |_, server| server, row);
    stage.installation.config().set("schedule.refresh_window", format!("{}s", WINDOW.num_seconds()));
    let mut report = stage.report("herd");
    let bound = stage.bound(options.customers);

    let mut run = stage.start();
    let late = (clock::now() - due_at).num_milliseconds();
    assert!(late < 0, "it took {late} ms too long to set this up; ask for fewer customers");
    let lapsed = std::cell::Cell::new(0);
    let (_, _, latencies) = run.until("all customers have a new token", |status| {
        let summary = status.tokens.summary;
        lapsed.set(lapsed.get().max(summary.expired));
        let renewed = status.daemon.renewals_by_login + status.daemon.renewals_by_refresh_token;
        summary.valid == options.customers && renewed >= options.customers as u64
    });
    let now = clock::now();
    let taken = (now - due_at).to_std().unwrap_or_default();
    report.time("until_fresh", "from due until all are fresh", taken, Some(bound));
    report.time("spare", "before the old tokens ended", (end - now).to_std().unwrap_or_default(), None);
    report.count("lapsed", "tokens that lapsed", lapsed.get() as u64);
    run.count(&mut report);
    report.latencies("status_during", "status summary during it", &latencies);
    report
}
