//! A table, the servers of its customers, and the daemon between them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tbtoken_proto::client::Client;
use tbtoken_proto::{Rows, StatusReply};

use super::asking::{self, Latencies, Question};
use super::bound;
use super::database::{Database, StoreChoice};
use super::options::Common;
use super::report::{Report, Unit};
use super::usage::Watched;
use super::world::{ServerSetup, World};
use crate::harness::{Daemon, Installation, Row};
use crate::receivers::Webhook;
use crate::thingsboard::{Account, jwt};

/// The longest wait before the benchmark fails.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The time between two requests of the summary while the benchmark waits.
const LOOK: Duration = Duration::from_millis(10);

/// The servers, the database and the installation of a run.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) database: Database,
    pub(super) installation: Installation,
    pub(super) customers: usize,
    servers: usize,
    latency: Duration,
}

/// A stage with a running daemon. The daemon is dropped first, then the stage.
#[derive(Debug)]
pub(super) struct Run {
    began: Instant,
    pub(super) client: Client,
    pub(super) process: Watched,
    pub(super) daemon: Daemon,
    pub(super) stage: Stage,
}

impl Stage {
    /// Sets up customers on servers; `row` makes each row from its account.
    pub(super) fn set_up(
        common: &Common,
        customers: usize,
        servers: usize,
        server: impl Fn(usize, ServerSetup) -> ServerSetup,
        row: impl Fn(usize, Row, &Account) -> Row,
    ) -> Self {
        let share = |index| customers / servers + usize::from(index < customers % servers);
        let healthy =
            |index| ServerSetup { users: share(index), latency_ms: common.latency_ms, silent: false };
        let servers_wanted: Vec<_> = (0..servers).map(|index| server(index, healthy(index))).collect();
        let world = World::open(&servers_wanted, common.tls);
        let rows: Vec<Row> = world
            .accounts()
            .enumerate()
            .map(|(number, (_, account))| row(number, Row::new(jwt::uuid(number), &account), &account))
            .collect();
        let mut installation = Installation::new().with("schedule.interval", "60s").with("log.level", "warn");
        if let Some(authority) = world.authority() {
            let path = installation.folder().join("thingsboard-ca.pem");
            std::fs::write(&path, authority).expect("a file in one's own folder");
            installation.config().set("thingsboard.ca_file", path.to_str().expect("a folder in UTF-8"));
        }
        let choice = StoreChoice::or_environment(common.store.as_ref());
        let (database, installation) = Database::fill(&choice, installation, &rows);
        Self { world, database, installation, customers, servers, latency: common.latency() }
    }

    /// Adds receivers of messages, which are told as soon as possible. They never answer.
    pub(super) fn add_receivers(&mut self, receivers: &[Webhook]) {
        let receiver = |(number, webhook): (usize, &Webhook)| {
            webhook.answer(0);
            let name = format!("receiver-{number}");
            let keys =
                [("name", name), ("url", webhook.url())].map(|(key, value)| (key.to_owned(), value.into()));
            let kind = [("kind", "webhook"), ("format", "standard")]
                .map(|(key, value)| (key.to_owned(), value.into()));
            toml::Value::Table(keys.into_iter().chain(kind).collect())
        };
        let all: Vec<_> = receivers.iter().enumerate().map(receiver).collect();
        self.installation.config().set("notify.receiver", all);
        self.installation.config().set("notify.group_wait", "1s");
    }

    /// Starts the daemon.
    pub(super) fn start(self) -> Run {
        let began = Instant::now();
        let daemon = self.installation.start();
        let client = daemon.client();
        Run { began, client, process: Watched::new(daemon.pid()), daemon, stage: self }
    }

    /// Makes a report with the options of this run.
    pub(super) fn report(&self, scenario: &str) -> Report {
        let mut report = Report::new(scenario, self.database.name());
        report.set("customers", self.customers);
        report.set("servers", self.servers);
        report.set("latency_ms", usize::try_from(self.latency.as_millis()).unwrap_or(usize::MAX));
        if self.world.authority().is_some() {
            report.set("tls", true);
        }
        report
    }

    /// Calculates the least time of a pass over all customers: the logins, and then the writing of the tokens.
    pub(super) fn bound(&mut self, customers: usize) -> Duration {
        let batch = self.database.batch(&self.installation);
        bound::logins(customers, self.servers, self.latency) + bound::saves(customers, batch)
    }
}

fn per(time: Duration, customers: usize) -> f64 {
    time.as_secs_f64() * 1e6 / customers.max(1) as f64
}

impl Run {
    /// Waits until the summary satisfies `condition`. Returns that status, its time, and how long each request took.
    pub(super) fn until(
        &mut self,
        what: &str,
        condition: impl Fn(&StatusReply) -> bool,
    ) -> (StatusReply, Duration, Latencies) {
        let mut latencies = Vec::new();
        loop {
            let asked = Instant::now();
            let status = asking::status(&mut self.client, Rows::None);
            latencies.push(asked.elapsed());
            if condition(&status) {
                return (status, self.began.elapsed(), Latencies::of(latencies));
            }
            assert!(self.began.elapsed() < TIMEOUT, "waited in vain until {what}: {:?}", status.tokens);
            std::thread::park_timeout(LOOK);
        }
    }

    /// Reports the counters of the servers, the database and the kernel since the start.
    pub(super) fn count(&mut self, report: &mut Report) {
        let (cpu, memory, seen) = (self.process.cpu(), self.process.memory(), self.stage.world.seen());
        report.time("cpu", "CPU time", cpu, None);
        report.add(
            "cpu_per_customer",
            "CPU time per customer",
            Unit::Microseconds,
            per(cpu, self.stage.customers),
        );
        let outside = cpu.saturating_sub(self.process.cpu_of_threads("sqlite"));
        report.add(
            "cpu_outside_sqlite",
            "the same without SQLite's thread",
            Unit::Microseconds,
            per(outside, self.stage.customers),
        );
        report.add("peak_memory", "peak memory", Unit::Megabytes, memory.peak);
        report.add("resident", "resident after it", Unit::Megabytes, memory.resident);
        report.count("requests", "requests that ThingsBoard saw", seen.requests);
        report.count("connections", "connections that it saw", seen.connections);
        report.count(
            "connections_peak",
            "most of them at a time at one server",
            seen.connections_peak as u64,
        );
        report.count("in_flight_peak", "most requests at a time at one server", seen.in_flight_peak as u64);
        if self.stage.world.authority().is_some() {
            report.count("handshakes", "TLS handshakes", seen.handshakes);
            report.count("resumed", "of them resumed", seen.resumed);
        }
        self.stage.database.count(report);
        report.time("fakes_cpu", "CPU time of the fake ThingsBoards", self.stage.world.cpu(), None);
    }

    /// Measures the status with all customers, without customers, and with changes only, of which there are none.
    pub(super) fn measure_status(&mut self, report: &mut Report) {
        let revision = asking::status(&mut self.client, Rows::None).daemon.revision;
        for (key, label, question) in [
            ("status_full", "status, all customers", Question::Full),
            ("status_summary", "status, summary", Question::Summary),
            ("status_delta", "status, nothing new", Question::Delta(revision)),
        ] {
            let latencies = asking::latencies(self.daemon.socket(), question);
            report.latencies(key, label, &latencies);
            if question == Question::Full {
                let megabytes = latencies.bytes as f64 / f64::from(1 << 20);
                report.add("status_full_size", "its length", Unit::Megabytes, megabytes);
            }
        }
    }

    /// Returns when each customer's token was written, since the daemon's start, by the URL of its server.
    pub(super) fn delays(&mut self) -> HashMap<String, Vec<Duration>> {
        let status = asking::status(&mut self.client, Rows::All);
        let started_at = status.daemon.started_at;
        let mut delays: HashMap<String, Vec<Duration>> = HashMap::new();
        for customer in status.tokens.customers.into_iter().flatten() {
            let written = customer.last_success_at.and_then(|at| (at - started_at).to_std().ok());
            delays.entry(customer.tb_url).or_default().extend(written);
        }
        delays
    }
}
