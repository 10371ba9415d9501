//! The state of a fake server, and its answers to requests, without sockets.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::oneshot;

use super::answer::{Answer, ErrorCode};
use super::counters::Counters;
use super::directory::Directory;
use super::http::Request;
use super::{Behaviour, Settings, behaviour, jwt};
use crate::clock;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) directory: Directory,
    pub(super) counters: Counters,
    /// The behaviour of the whole server, and a temporary one for the next requests.
    pub(super) behaviour: Behaviour,
    pub(super) passing: Option<(Behaviour, u32)>,
    /// The behaviours for single users, each with its number of requests; `None` means without limit.
    pub(super) behaviours: HashMap<String, (Behaviour, Option<u32>)>,
    /// For [`Behaviour::MaxRate`]: the beginning of the current second, and its number of requests.
    rate: (Option<Instant>, u32),
    /// The requests that arrived while the server is frozen, with the channels for their answers.
    frozen: Vec<(Request, oneshot::Sender<Answer>)>,
}

/// How a request is answered.
#[derive(Debug)]
pub(super) enum Plan {
    /// With this answer, sent as the behaviour says.
    Answer(Behaviour, Answer),
    /// After the server is no longer frozen.
    AfterTheFrost(oneshot::Receiver<Answer>),
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl State {
    pub(super) fn new(settings: Settings, key: u64) -> Self {
        Self {
            directory: Directory::new(settings, key),
            counters: Counters::default(),
            behaviour: Behaviour::Normal,
            passing: None,
            behaviours: HashMap::new(),
            rate: (None, 0),
            frozen: Vec::new(),
        }
    }

    /// Returns the time of the server's own clock.
    pub(super) fn now(&self) -> DateTime<Utc> {
        clock::now() + self.directory.settings.skew
    }

    /// Decides how a request is answered.
    pub(super) fn plan(&mut self, request: Request) -> Plan {
        let path = self.path_of(&request);
        let named = concerns(&path, &request);
        self.counters.stats.checks += u64::from(path == "/api/auth/user");
        self.counters.latest = format!("{} {path}", request.method);
        if let ("/api/auth/login", Some(name)) = (&*path, &named) {
            if is_probe(name) {
                self.counters.stats.probes += 1;
            } else if !self.directory.count_attempt(name) {
                self.counters.stats.unknown_users += 1;
            }
        }
        match self.behaviour_for(named.as_deref()) {
            Behaviour::Frozen => {
                let (thaws, answer) = oneshot::channel();
                self.frozen.push((request, thaws));
                Plan::AfterTheFrost(answer)
            }
            Behaviour::DatabaseDead { after } => self.without_a_database(&request, &path, after),
            Behaviour::AnswerLost(behaviour) => {
                let own = self.route(&request, &path);
                let answer = behaviour.instead(self.now()).unwrap_or(own);
                Plan::Answer(*behaviour, answer)
            }
            behaviour => {
                let answer = self.answer(&request, &path, &behaviour);
                Plan::Answer(behaviour, answer)
            }
        }
    }

    /// Processes the requests that arrived while the server was frozen, in their order, even if their clients are gone.
    pub(super) fn thaw(&mut self) {
        for (request, client) in std::mem::take(&mut self.frozen) {
            let path = self.path_of(&request);
            let answer = self.route(&request, &path);
            let _ = client.send(answer);
        }
    }

    /// Returns the path without the prefix; empty for a path outside the prefix.
    fn path_of(&self, request: &Request) -> String {
        let prefix = self.directory.settings.prefix.trim_end_matches('/');
        request.path.strip_prefix(prefix).unwrap_or_default().to_owned()
    }

    fn answer(&mut self, request: &Request, path: &str, behaviour: &Behaviour) -> Answer {
        let now = self.now();
        if let Some(answer) = behaviour.instead(now).or_else(|| self.over_the_rate(behaviour, now)) {
            return answer;
        }
        let is_processed = !matches!(
            behaviour,
            Behaviour::Silent
                | Behaviour::BlackHole
                | Behaviour::Refuse
                | Behaviour::Reset
                | Behaviour::Garbage
        );
        let answer = if *behaviour == Behaviour::CutsTokenHeader {
            self.route(&request.without_token(), path)
        } else if is_processed {
            self.route(request, path)
        } else {
            Answer::html(404, "404 Not Found")
        };
        behaviour.distort(answer, self.directory.key())
    }

    fn without_a_database(&mut self, request: &Request, path: &str, after: Duration) -> Plan {
        if path.starts_with("/api/noauth/") {
            return Plan::Answer(Behaviour::Normal, self.route(request, path));
        }
        let answer = Answer::error(500, ErrorCode::Database, "Database error", self.now());
        let is_slow = path != "/api/auth/login" || self.directory.is_right(&request.body);
        Plan::Answer(if is_slow { Behaviour::Slow(after) } else { Behaviour::Normal }, answer)
    }

    fn route(&mut self, request: &Request, path: &str) -> Answer {
        let now = self.now();
        let directory = &mut self.directory;
        match (request.method.as_str(), path) {
            ("POST", "/api/auth/login") => directory.login(&request.body, now),
            ("POST", "/api/auth/token") => directory.renew(&request.body, now),
            ("GET", "/api/auth/user") => directory.whoami(request.bearer(), now),
            ("POST", "/api/auth/logout") => directory.logout(request.bearer(), now),
            ("POST", "/api/auth/changePassword") => {
                directory.change_password(request.bearer(), &request.body, now)
            }
            ("GET", "/api/noauth/userPasswordPolicy") => directory.policy(),
            (_, "/api/auth/login" | "/api/auth/token") => {
                Answer::unauthorized("Authentication method not supported", now)
            }
            (_, path) if path.starts_with("/api/noauth/") => {
                Answer::error(404, ErrorCode::ItemNotFound, "Requested item wasn't found!", now)
            }
            _ => Answer::html(404, "404 Not Found"),
        }
    }

    /// Returns the behaviour for a request: the temporary one, that of the whole server, or the user's, in this order.
    fn behaviour_for(&mut self, name: Option<&str>) -> Behaviour {
        if let Some((behaviour, left)) = &mut self.passing {
            let behaviour = behaviour.clone();
            *left -= 1;
            if *left == 0 {
                self.passing = None;
            }
            return behaviour;
        }
        if self.behaviour != Behaviour::Normal {
            return self.behaviour.clone();
        }
        let known = name.and_then(|name| self.directory.find(name));
        match known.or(name).and_then(|name| self.behaviours.get_mut(name)) {
            None | Some((_, Some(0))) => Behaviour::Normal,
            Some((behaviour, left)) => {
                *left = left.map(|left| left - 1);
                behaviour.clone()
            }
        }
    }

    fn over_the_rate(&mut self, behaviour: &Behaviour, now: DateTime<Utc>) -> Option<Answer> {
        let Behaviour::MaxRate { per_second, retry_after } = behaviour else { return None };
        let (began, seen) = &mut self.rate;
        if began.is_none_or(|began| began.elapsed() >= Duration::from_secs(1)) {
            (*began, *seen) = (Some(Instant::now()), 0);
        }
        *seen += 1;
        (*seen > *per_second).then(|| behaviour::rate_limited(*retry_after, now))
    }
}

/// Whether this is a user name that a daemon uses for probes. No real user has such a name.
fn is_probe(name: &str) -> bool {
    name.starts_with("tbtokend-probe-") && name.ends_with("@probe.invalid")
}

/// Returns the user that a request names, without a check.
fn concerns(path: &str, request: &Request) -> Option<String> {
    if path == "/api/auth/user" {
        return Some(jwt::peek(request.bearer()?)?["sub"].as_str()?.to_owned());
    }
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let name = match path {
        "/api/auth/login" => body["username"].as_str()?.to_owned(),
        "/api/auth/token" => jwt::peek(body["refreshToken"].as_str()?)?["sub"].as_str()?.to_owned(),
        _ => return None,
    };
    Some(name)
}
