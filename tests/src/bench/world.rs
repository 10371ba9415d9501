//! The fake ThingsBoard servers, in a process of their own: this very program, started again with a hidden subcommand.
//!
//! One line of JSON on its standard input is an order, one on its standard output answers it. It ends when its input
//! does, so that it never outlives the benchmark.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::usage::Watched;
use crate::canary;
use crate::thingsboard::{Account, Temper, ThingsBoard, User};

/// A server that shall be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// How many users it has: `user0@host7.example` and so on.
    pub users: usize,
    /// How long each answer takes, in milliseconds.
    pub latency_ms: u64,
    /// Whether it takes requests and never answers.
    pub silent: bool,
}

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Set these servers up.
    Open(Vec<Host>),
    /// Say what was seen so far.
    Count,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Opened { urls: Vec<String> },
    Counted(Seen),
}

/// What the servers have seen, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Requests, answered or not.
    pub requests: u64,
    /// Connections since the start.
    pub connections: u64,
    /// The most connections that any one server had at a time.
    pub connections_peak: usize,
    /// The most requests that any one server was answering at a time.
    pub in_flight_peak: usize,
}

/// The servers, as the benchmark holds them.
#[derive(Debug)]
pub struct World {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    hosts: Vec<Host>,
    urls: Vec<String>,
}

impl World {
    /// Starts the process and sets these servers up.
    ///
    /// # Panics
    /// If this program cannot be started again.
    #[must_use]
    pub fn open(hosts: &[Host]) -> Self {
        let program = std::env::current_exe().expect("the path of this very program");
        let mut child = Command::new(program)
            .arg("serve-thingsboards")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut world = Self { child, orders, answers, hosts: hosts.to_vec(), urls: Vec::new() };
        match world.ask(&Order::Open(hosts.to_vec())) {
            Answer::Opened { urls } => world.urls = urls,
            Answer::Counted(_) => panic!("the fake ThingsBoards answer something else"),
        }
        world
    }

    /// The accounts, in turn: the first of each server, then the second of each, so that the rows of the table say
    /// nothing about the order of the servers.
    pub fn accounts(&self) -> impl Iterator<Item = (usize, Account)> + '_ {
        let most = self.hosts.iter().map(|host| host.users).max().unwrap_or(0);
        (0..most).flat_map(move |number| {
            let has_it = move |(_, host): &(usize, &Host)| number < host.users;
            self.hosts.iter().enumerate().filter(has_it).map(move |(host, _)| {
                let username = username(host, number);
                let password = canary::password(&username);
                (host, Account { url: self.urls[host].clone(), username, password })
            })
        })
    }

    /// The URL of a server.
    #[must_use]
    pub fn url(&self, host: usize) -> &str {
        &self.urls[host]
    }

    /// What the servers have seen so far.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn seen(&mut self) -> Seen {
        match self.ask(&Order::Count) {
            Answer::Counted(seen) => seen,
            Answer::Opened { .. } => panic!("the fake ThingsBoards answer something else"),
        }
    }

    /// The CPU time that the process has used.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        Watched::new(i32::try_from(self.child.id()).expect("process ids fit")).cpu()
    }

    fn ask(&mut self, order: &Order) -> Answer {
        let line = serde_json::to_string(order).expect("an order is JSON");
        writeln!(self.orders, "{line}").expect("the fake ThingsBoards read");
        let answer = self.answers.next().expect("the fake ThingsBoards are there").expect("they answer");
        serde_json::from_str(&answer).expect("an answer is JSON")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn username(host: usize, number: usize) -> String {
    format!("user{number}@host{host}.example")
}

/// Is the process of the servers, until its standard input ends.
pub(super) fn serve() {
    crate::harness::process::raise_descriptor_limit();
    let mut servers = Vec::new();
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        let answer = match serde_json::from_str(&line).expect("an order is JSON") {
            Order::Open(hosts) => {
                servers = hosts.iter().enumerate().map(|(index, host)| server(index, *host)).collect();
                Answer::Opened { urls: servers.iter().map(ThingsBoard::url).collect() }
            }
            Order::Count => Answer::Counted(count(&servers)),
        };
        println!("{}", serde_json::to_string(&answer).expect("an answer is JSON"));
    }
}

fn server(index: usize, host: Host) -> ThingsBoard {
    let server = ThingsBoard::start();
    server.add_many(host.users, |number| User::new(username(index, number)));
    server.set(match host {
        Host { silent: true, .. } => Temper::Silent,
        Host { latency_ms: 0, .. } => Temper::Normal,
        Host { latency_ms, .. } => Temper::Slow(Duration::from_millis(latency_ms)),
    });
    server
}

fn count(servers: &[ThingsBoard]) -> Seen {
    servers.iter().map(ThingsBoard::stats).fold(Seen::default(), |seen, host| Seen {
        requests: seen.requests + host.requests,
        connections: seen.connections + host.connections_total,
        connections_peak: seen.connections_peak.max(host.connections_peak),
        in_flight_peak: seen.in_flight_peak.max(host.in_flight_peak),
    })
}
