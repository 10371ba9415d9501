//! The benchmark: the real daemon, measured from outside, against fake ThingsBoards in this process.

#![allow(clippy::expect_used, clippy::panic, reason = "a measurement that goes wrong must end, loudly")]

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tbtoken_proto::{Reply, Request, Rows, StatusQuery, client::Client};
use tbtoken_tests::harness::{Daemon, Installation, Row, binaries};

use tbtoken_tests::thingsboard::{Temper, ThingsBoard, User};

/// Measures one pass over customers who are all due, `status` after it, and the rest after that.
#[derive(Debug, Parser)]
struct Args {
    /// Customers, all of them due.
    #[arg(long, default_value_t = 1000)]
    customers: usize,
    /// ThingsBoard servers that they are spread over.
    #[arg(long, default_value_t = 10)]
    hosts: usize,
    /// How long each login takes, in milliseconds.
    #[arg(long, default_value_t = 100)]
    latency_ms: u64,
    /// How long to watch the daemon at rest, in seconds.
    #[arg(long, default_value_t = 30)]
    rest: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Building them must not count.
    binaries::prepare(binaries::Progress::Shown);
    let hosts: Vec<ThingsBoard> = (0..args.hosts).map(|_| ThingsBoard::start()).collect();
    let installation = Installation::new()
        .with("schedule.interval", "60s")
        .with("log.level", "warn")
        .with_rows(&rows(&args, &hosts));
    for host in &hosts {
        host.set(Temper::Slow(Duration::from_millis(args.latency_ms)));
    }

    let began = Instant::now();
    let daemon = installation.start();
    let mut client = daemon.client();
    let fresh = until_all_valid(&mut client, args.customers, began);
    let after_pass = Usage::of(&daemon);
    println!("all {} fresh after    {:8.3} s", args.customers, fresh.as_secs_f64());
    println!("CPU until then         {:8.3} s", after_pass.cpu.as_secs_f64());
    println!("resident after it      {:8.1} MB (peak {:.1} MB)", after_pass.resident, after_pass.peak);
    println!("logins                 {:8}", hosts.iter().map(|host| host.stats().requests).sum::<u64>());

    for (name, rows) in [("full", Rows::All), ("summary", Rows::None)] {
        let latencies = status_latencies(&mut client, &rows);
        let at = |share: usize| latencies[latencies.len() * share / 100].as_secs_f64() * 1000.0;
        println!("status, {name:<8}       {:8.2} ms p50, {:.2} ms p99", at(50), at(99));
    }

    // Nothing can be awaited here: the absence of work is what is measured.
    let before = Usage::of(&daemon);
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(args.rest) {
        std::thread::park_timeout(Duration::from_secs(1));
    }
    let spent = Usage::of(&daemon).cpu.saturating_sub(before.cpu);
    println!("CPU in {:3} s of rest    {:8.3} s", args.rest, spent.as_secs_f64());
    ExitCode::SUCCESS
}

fn rows(args: &Args, hosts: &[ThingsBoard]) -> Vec<Row> {
    let mut rows = Vec::with_capacity(args.customers);
    for (index, host) in hosts.iter().enumerate() {
        let share = args.customers / hosts.len() + usize::from(index < args.customers % hosts.len());
        let accounts = host.add_many(share, |n| User::new(format!("user{n}@host{index}.example")));
        rows.extend(
            accounts.iter().enumerate().map(|(n, account)| Row::new(format!("c-{index}-{n}"), account)),
        );
    }
    rows
}

fn until_all_valid(client: &mut Client, customers: usize, began: Instant) -> Duration {
    let query = StatusQuery { customers: Rows::None, since: None };
    loop {
        let Reply::Status(status) = client.send(&Request::Status(query.clone())).expect("status") else {
            panic!("status answers with another reply")
        };
        if status.tokens.summary.valid == customers {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(300), "not fresh: {:?}", status.tokens.summary);
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// How long 500 answers took, sorted.
fn status_latencies(client: &mut Client, rows: &Rows) -> Vec<Duration> {
    let request = Request::Status(StatusQuery { customers: rows.clone(), since: None });
    let mut latencies: Vec<Duration> = (0..500)
        .map(|_| {
            let began = Instant::now();
            client.send(&request).expect("status");
            began.elapsed()
        })
        .collect();
    latencies.sort_unstable();
    latencies
}

/// What a process has used, from `/proc`.
struct Usage {
    cpu: Duration,
    resident: f64,
    peak: f64,
}

impl Usage {
    fn of(daemon: &Daemon) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).expect("/proc");
        let stat = read("stat");
        // After the name, which ends with the last parenthesis, utime and stime are the 12th and 13th fields, in
        // hundredths of a second.
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name")..].split_whitespace().collect();
        let ticks: u64 =
            fields[12].parse::<u64>().expect("utime") + fields[13].parse::<u64>().expect("stime");
        let status = read("status");
        let megabytes = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).expect("a line of memory");
            line.split_whitespace().nth(1).expect("kB").parse::<f64>().expect("a number") / 1024.0
        };
        let cpu = Duration::from_millis(ticks * 10);
        Self { cpu, resident: megabytes("VmRSS"), peak: megabytes("VmHWM") }
    }
}
