//! The fake ThingsBoard servers, in a process of their own.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::peer::{self, Peer};
use crate::canary;
use crate::thingsboard::answer::Answer;
use crate::thingsboard::{Account, Behaviour, Certificate, CertificateKind, ThingsBoard, TlsFront, User};

/// A server to set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSetup {
    /// How many users it has: `user0@server7.example` and so on.
    pub users: usize,
    /// How long each answer takes, in milliseconds.
    pub latency_ms: u64,
    /// Whether it reads requests and never answers.
    pub silent: bool,
}

/// An order to the process.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Set these servers up, behind TLS or not.
    Open { servers: Vec<ServerSetup>, tls: bool },
    /// Take every token, and answer nothing else, from now on.
    TakeTokens,
    /// Say what was seen so far.
    Count,
}

/// Where the servers are.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Places {
    urls: Vec<String>,
    /// The authority of their certificates, as PEM; none without TLS.
    authority: Option<String>,
}

/// What the servers have seen, all together.
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
    /// TLS handshakes.
    pub handshakes: u64,
    /// TLS handshakes that resumed an earlier session.
    pub resumed: u64,
}

/// The servers, as the benchmark holds them.
#[derive(Debug)]
pub struct World {
    process: Peer,
    servers: Vec<ServerSetup>,
    places: Places,
}

impl World {
    /// Starts the process and sets these servers up.
    ///
    /// # Panics
    /// If this program cannot be started again.
    #[must_use]
    pub fn open(servers: &[ServerSetup], tls: bool) -> Self {
        let mut process = Peer::start("serve-thingsboards");
        let places = process.ask(&Order::Open { servers: servers.to_vec(), tls });
        Self { process, servers: servers.to_vec(), places }
    }

    /// The authority of the servers' certificates, as PEM; none without TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.places.authority.as_deref()
    }

    /// Returns the accounts in turn: the first of each server, then the second of each. So the order of the rows is
    /// independent of the servers.
    pub fn accounts(&self) -> impl Iterator<Item = (usize, Account)> + '_ {
        let most = self.servers.iter().map(|server| server.users).max().unwrap_or(0);
        (0..most).flat_map(move |number| {
            let has_it = move |(_, server): &(usize, &ServerSetup)| number < server.users;
            self.servers.iter().enumerate().filter(has_it).map(move |(server, _)| {
                let username = username(server, number);
                let password = canary::password(&username);
                (server, Account { url: self.places.urls[server].clone(), username, password })
            })
        })
    }

    /// Returns the URL of a server.
    #[must_use]
    pub fn url(&self, server: usize) -> &str {
        &self.places.urls[server]
    }

    /// The servers take every token that is checked, and answer nothing else, from now on.
    pub(super) fn take_tokens(&mut self) {
        let () = self.process.ask(&Order::TakeTokens);
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

fn username(server: usize, number: usize) -> String {
    format!("user{number}@server{server}.example")
}

/// One server, and its front if it is behind TLS.
struct Server {
    thingsboard: ThingsBoard,
    front: Option<TlsFront>,
}

impl Server {
    fn start(index: usize, server: ServerSetup, certificate: Option<&Certificate>) -> Self {
        let thingsboard = ThingsBoard::start();
        thingsboard.add_many(server.users, |number| User::new(username(index, number)));
        thingsboard.set(match server {
            ServerSetup { silent: true, .. } => Behaviour::Silent,
            ServerSetup { latency_ms: 0, .. } => Behaviour::Normal,
            ServerSetup { latency_ms, .. } => Behaviour::Slow(Duration::from_millis(latency_ms)),
        });
        let front = certificate.map(|certificate| TlsFront::new(&thingsboard, certificate));
        Self { thingsboard, front }
    }

    fn url(&self) -> String {
        self.front.as_ref().map_or_else(|| self.thingsboard.url(), TlsFront::url)
    }
}

/// Is the process of the servers, until its standard input ends.
pub(super) fn serve() {
    let mut servers = Vec::new();
    peer::serve(|order| match order {
        Order::Open { servers: setups, tls } => {
            let certificate = tls.then(|| Certificate::new(CertificateKind::Issued));
            let start =
                |(index, setup): (usize, &ServerSetup)| Server::start(index, *setup, certificate.as_ref());
            servers = setups.iter().enumerate().map(start).collect();
            let urls = servers.iter().map(Server::url).collect();
            json!(Places { urls, authority: certificate.map(|certificate| certificate.authority) })
        }
        Order::TakeTokens => {
            let user = Answer::json(200, &json!({"authority": "TENANT_ADMIN"}));
            servers.iter().for_each(|server| server.thingsboard.set(Behaviour::FixedAnswer(user.clone())));
            json!(null)
        }
        Order::Count => json!(count(&servers)),
    });
}

fn count(servers: &[Server]) -> Seen {
    servers.iter().fold(Seen::default(), |seen, server| {
        let stats = server.thingsboard.stats();
        let (handshakes, resumed) = server.front.as_ref().map_or((0, 0), TlsFront::handshakes);
        Seen {
            requests: seen.requests + stats.requests,
            connections: seen.connections + stats.connections_total,
            connections_peak: seen.connections_peak.max(stats.connections_peak),
            in_flight_peak: seen.in_flight_peak.max(stats.in_flight_peak),
            handshakes: seen.handshakes + handshakes,
            resumed: seen.resumed + resumed,
        }
    })
}
