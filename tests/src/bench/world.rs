//! The fake ThingsBoard servers, in a process of their own.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::peer::{self, Peer};
use crate::canary;
use crate::thingsboard::{Account, Behaviour, ThingsBoard, User};

/// A server to set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// How many users it has: `user0@host7.example` and so on.
    pub users: usize,
    /// How long each answer takes, in milliseconds.
    pub latency_ms: u64,
    /// Whether it reads requests and never answers.
    pub silent: bool,
}

/// An order to the process.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Sets up these servers.
    Open(Vec<Host>),
    /// Reports the counters.
    Count,
}

/// The counters of all servers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Requests, answered or not.
    pub requests: u64,
    /// Connections since the start.
    pub connections: u64,
    /// The most connections that one server had at once.
    pub connections_peak: usize,
    /// The most requests that one server had in flight at once.
    pub in_flight_peak: usize,
}

/// The servers, as the benchmark holds them.
#[derive(Debug)]
pub struct World {
    process: Peer,
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
        let mut process = Peer::start("serve-thingsboards");
        let urls = process.ask(&Order::Open(hosts.to_vec()));
        Self { process, hosts: hosts.to_vec(), urls }
    }

    /// Returns the accounts in turn: the first of each server, then the second of each. So the order of the rows is
    /// independent of the servers.
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

    /// Returns the URL of a server.
    #[must_use]
    pub fn url(&self, host: usize) -> &str {
        &self.urls[host]
    }

    /// Returns the counters of the servers.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn seen(&mut self) -> Seen {
        self.process.ask(&Order::Count)
    }

    /// Returns the CPU time of the process.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.process.cpu()
    }
}

fn username(host: usize, number: usize) -> String {
    format!("user{number}@host{host}.example")
}

/// Runs as the process of the servers, until its standard input ends.
pub(super) fn serve() {
    let mut servers = Vec::new();
    peer::serve(|order| match order {
        Order::Open(hosts) => {
            servers = hosts.iter().enumerate().map(|(index, host)| server(index, *host)).collect();
            json!(servers.iter().map(ThingsBoard::url).collect::<Vec<_>>())
        }
        Order::Count => json!(count(&servers)),
    });
}

fn server(index: usize, host: Host) -> ThingsBoard {
    let server = ThingsBoard::start();
    server.add_many(host.users, |number| User::new(username(index, number)));
    server.set(match host {
        Host { silent: true, .. } => Behaviour::Silent,
        Host { latency_ms: 0, .. } => Behaviour::Normal,
        Host { latency_ms, .. } => Behaviour::Slow(Duration::from_millis(latency_ms)),
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
