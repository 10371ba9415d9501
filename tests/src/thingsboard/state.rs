//! What a fake host knows and wants, and what it answers to a request: no sockets here.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::answer::Answer;
use super::counters::Counters;
use super::directory::Directory;
use super::http::Request;
use super::{Settings, Temper, jwt, temper};
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
    /// The host's own temper, and one that passes.
    pub(super) temper: Temper,
    pub(super) passing: Option<(Temper, u32)>,
    /// The tempers that single users meet, and for how many requests; without end if that is `None`.
    pub(super) tempers: HashMap<String, (Temper, Option<u32>)>,
    /// The second that [`Temper::MaxRate`] counts in, and how many requests it has seen.
    rate: (Option<Instant>, u32),
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
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
            temper: Temper::Normal,
            passing: None,
            tempers: HashMap::new(),
            rate: (None, 0),
        }
    }

    /// The time on the server's own clock.
    pub(super) fn now(&self) -> DateTime<Utc> {
        clock::now() + self.directory.settings.skew
    }

    /// What a request gets, and in which manner.
    pub(super) fn answer(&mut self, request: &Request) -> (Temper, Answer) {
        let now = self.now();
        let prefix = self.directory.settings.prefix.trim_end_matches('/');
        let path = request.path.strip_prefix(prefix).map(str::to_owned);
        let named = path.as_deref().and_then(|path| concerns(path, &request.body));
        if let (Some("/api/auth/login"), Some(name)) = (path.as_deref(), &named)
            && !self.directory.count_attempt(name)
        {
            self.counters.stats.unknown_users += 1;
        }
        let temper = self.temper_for(named.as_deref());
        if let Some(answer) = temper.instead(now).or_else(|| self.over_the_rate(&temper, now)) {
            return (temper, answer);
        }
        let reaches_the_rules = !matches!(
            temper,
            Temper::Silent | Temper::BlackHole | Temper::Refuse | Temper::Reset | Temper::Garbage
        );
        let answer = match path {
            Some(path) if reaches_the_rules => self.route(request, &path, now),
            _ => Answer::html(404, "404 Not Found"),
        };
        let answer = temper.distort(answer, self.directory.key());
        (temper, answer)
    }

    fn route(&mut self, request: &Request, path: &str, now: DateTime<Utc>) -> Answer {
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
            _ => Answer::html(404, "404 Not Found"),
        }
    }

    /// The temper that a request meets: the host's passing one, the host's own, the user's, in this order.
    fn temper_for(&mut self, name: Option<&str>) -> Temper {
        if let Some((temper, left)) = &mut self.passing {
            let temper = temper.clone();
            *left -= 1;
            if *left == 0 {
                self.passing = None;
            }
            return temper;
        }
        if self.temper != Temper::Normal {
            return self.temper.clone();
        }
        match name.and_then(|name| self.tempers.get_mut(name)) {
            None | Some((_, Some(0))) => Temper::Normal,
            Some((temper, left)) => {
                *left = left.map(|left| left - 1);
                temper.clone()
            }
        }
    }

    fn over_the_rate(&mut self, temper: &Temper, now: DateTime<Utc>) -> Option<Answer> {
        let Temper::MaxRate { per_second, retry_after } = temper else { return None };
        let (began, seen) = &mut self.rate;
        if began.is_none_or(|began| began.elapsed() >= Duration::from_secs(1)) {
            (*began, *seen) = (Some(Instant::now()), 0);
        }
        *seen += 1;
        (*seen > *per_second).then(|| temper::rate_limited(*retry_after, now))
    }
}

/// The user whom a request names, believed or not.
fn concerns(path: &str, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let name = match path {
        "/api/auth/login" => body["username"].as_str()?.to_owned(),
        "/api/auth/token" => jwt::peek(body["refreshToken"].as_str()?)?["sub"].as_str()?.to_owned(),
        _ => return None,
    };
    Some(name)
}
