//! No customer is due: the cost of a poll.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::Rows;

use crate::bench::asking::{self, Question};
use crate::bench::options::Rest;
use crate::bench::report::{Report, Unit};
use crate::bench::stage::{Run, Stage};
use crate::bench::web::Listener;
use crate::harness::Row;
use crate::{canary, clock};

/// The tokens outlive every measurement.
const LIFE: TimeDelta = TimeDelta::hours(2);

pub(in crate::bench) fn run(options: &Rest) -> Report {
    let expiry = (clock::now() + LIFE).format("%FT%TZ").to_string();
    let row = |number: usize, row: Row| match number < options.parked {
        true => row.password(canary::password("wrong")),
        false => row.token("a.b.c", expiry.clone()),
    };
    let mut stage = Stage::set_up(
        &options.common,
        options.customers,
        options.servers,
        |_, server| server,
        |number, fresh, _| row(number, fresh),
    );
    stage.installation.config().set("schedule.interval", format!("{}s", options.interval));
    stage.installation.config().set("thingsboard.verify_tokens", options.verify_tokens.as_str());
    let listener = options.http.then(|| Listener::switch_on(&mut stage.installation));
    let mut report = stage.report("rest");
    report.set("parked", options.parked);

    let mut run = stage.start();
    run.until("all customers are known and the wrong ones are parked", |status| {
        let summary = status.tokens.summary;
        summary.total == options.customers && summary.parked == options.parked && !status.cron.refreshing
    });
    run.stage.world.take_tokens();
    watch(&mut run, options, &mut report);
    if options.common.brief {
        return report;
    }
    run.measure_status(&mut report);
    for (key, label, question) in [
        ("summary_beside_full", "summary, beside a full status", Question::Summary),
        ("loop_beside_full", "the loop, beside a full status", Question::Loop),
    ] {
        let latencies = asking::latencies_beside_full_status(run.daemon.socket(), question);
        report.latencies(key, label, &latencies);
    }
    if let Some(listener) = listener {
        listener.measure(&run, &mut report);
    }
    let memory = run.process.memory();
    report.add("peak_memory_with_clients", "peak memory, with those clients", Unit::Megabytes, memory.peak);
    report
}

/// Measures some polls, from just after one to just after another, without a client.
fn watch(run: &mut Run, options: &Rest, report: &mut Report) {
    let first = wait_for_next_poll(run);
    let requests = run.stage.world.seen().requests;
    let peak = match run.process.forget_peak() {
        true => "peak memory of these polls",
        false => "peak memory since the start (only root can begin it again)",
    };
    let before = run.process.cpu();
    let whole = Duration::from_secs(u64::from(options.interval * options.wakes));
    // Nothing can be awaited here, because the daemon must have no other work while it is measured.
    let watched = Instant::now();
    while watched.elapsed() < whole {
        std::thread::park_timeout(whole.saturating_sub(watched.elapsed()));
    }
    let last = wait_for_next_poll(run);
    let spent = run.process.cpu().saturating_sub(before);
    let interval = TimeDelta::seconds(i64::from(options.interval));
    let wakes = ((last - first).num_milliseconds() as f64 / interval.num_milliseconds() as f64).round();
    let memory = run.process.memory();
    report.time("cpu_per_wake", "CPU time of a poll", spent.div_f64(wakes), None);
    let asked = run.stage.world.seen().requests - requests;
    report.count("checks", "requests that ThingsBoard saw", asked);
    report.add("resident", "resident", Unit::Megabytes, memory.resident);
    report.add("peak_memory", peak, Unit::Megabytes, memory.peak);
}

/// Waits for the end of the next poll.
fn wait_for_next_poll(run: &mut Run) -> DateTime<Utc> {
    let before = asking::status(&mut run.client, Rows::None).tokens.as_of;
    let (status, ..) = run.until("the table is looked at", |status| status.tokens.as_of > before);
    status.tokens.as_of.expect("it is later than something")
}
