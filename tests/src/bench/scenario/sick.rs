//! Some servers read requests and never answer: the delay of the customers of the other servers.

use std::time::Duration;

use crate::bench::asking::Latencies;
use crate::bench::options::Sick;
use crate::bench::report::Report;
use crate::bench::stage::Stage;
use crate::bench::world::ServerSetup;

/// Runs once with all servers healthy, and once with some silent.
pub(in crate::bench) fn run(options: &Sick) -> Vec<Report> {
    [0, options.silent].into_iter().map(|silent| one(options, silent)).collect()
}

fn one(options: &Sick, silent: usize) -> Report {
    let is_silent = |index: usize| index < silent;
    let mut stage = Stage::set_up(
        &options.common,
        options.customers,
        options.servers,
        |index, server| ServerSetup { silent: is_silent(index), ..server },
        |_, row, _| row,
    );
    let mut report = stage.report("sick");
    report.set("silent", silent);
    let share = |index| {
        options.customers / options.servers + usize::from(index < options.customers % options.servers)
    };
    let healthy: usize = (silent..options.servers).map(share).sum();
    let bound = stage.bound(healthy);

    let mut run = stage.start();
    let (_, fresh, latencies) =
        run.until("the healthy ones are fresh", |status| status.tokens.summary.valid >= healthy);
    report.time("until_fresh", "until the healthy ones are fresh", fresh, Some(bound));
    let urls: Vec<String> =
        (silent..options.servers).map(|server| run.stage.world.url(server).to_owned()).collect();
    let delays: Vec<Duration> = run
        .delays()
        .into_iter()
        .filter(|(url, _)| {
            urls.iter().any(|healthy| url.trim_end_matches('/') == healthy.trim_end_matches('/'))
        })
        .flat_map(|(_, delays)| delays)
        .collect();
    assert_eq!(delays.len(), healthy, "every customer of a healthy server has a token");
    let delays = Latencies::of(delays);
    for (key, label, percent) in [
        ("delay_p50", "one of them waits, p50", 50),
        ("delay_p99", "one of them waits, p99", 99),
        ("delay_max", "one of them waits, at most", 100),
    ] {
        report.time(key, label, delays.at(percent), None);
    }
    run.count(&mut report);
    report.latencies("status_during", "status summary during it", &latencies);
    report
}
