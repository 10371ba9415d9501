//! What a renewal changes: from the attempt until the token is in the table.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::event::Via;
use super::super::history::{Notice, NoticeKind, RenewalDetail};
use super::health::Use;
use super::{Entry, Known, State};
use crate::model::{CustomerId, Failure, Renewal, Secret, Skew, whole_seconds};

impl State {
    pub(super) fn attempting(&mut self, id: &CustomerId) {
        self.touch(id, |entry| {
            entry.attempting = true;
            entry.deferred = None;
        });
    }

    /// A token has come. It waits to be saved.
    pub(super) fn obtained(
        &mut self,
        mut renewal: Box<Renewal>,
        refresh_token: Option<Secret>,
        via: Via,
        latency: Duration,
        skew: Skew,
        at: DateTime<Utc>,
    ) {
        let id = renewal.id.clone();
        // Reckoned a moment ago: if it is further away than that, the clock was set back in between.
        renewal.expiry = renewal.expiry.min(whole_seconds(at + renewal.life));
        match via {
            Via::Login => {
                self.by_login += 1;
                self.accepted(&id, at);
            }
            Via::RefreshToken => self.by_refresh_token += 1,
        }
        self.measured(&id, skew, at);
        self.touch(&id, |entry| {
            entry.unsaved = Some(renewal);
            entry.latency = Some(latency);
            entry.refresh_token = refresh_token;
            entry.known = Known::Proven;
        });
    }

    pub(super) fn refresh_token_refused(&mut self, id: &CustomerId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.refresh_token = None;
        }
    }

    fn measured(&mut self, id: &CustomerId, skew: Skew, at: DateTime<Utc>) {
        let Some(host) = self.entries.get(id).and_then(|entry| entry.host.as_ref()) else { return };
        let revision = self.revision + 1;
        let (is_news, message) = self.hosts.measured(host, skew, revision);
        if is_news {
            self.revision = revision;
        }
        if let Some(message) = message {
            self.note(at, NoticeKind::Warning, None, message);
        }
    }

    /// The token that waited is in the table, with this expiry.
    pub(super) fn saved(&mut self, id: &CustomerId, expiry: DateTime<Utc>, at: DateTime<Utc>) {
        self.store_works(Use::Save, at);
        let mut saved = None;
        self.touch(id, |entry| saved = entry.saved(expiry, at));
        let Some(failures) = saved else { return };
        self.unwritten.changed(id);
        self.pass.updated += 1;
        if let Some(failures) = failures {
            let attempts = if failures == 1 { "attempt" } else { "attempts" };
            let message = format!("renewed after {failures} failed {attempts}");
            self.note(at, NoticeKind::Recovered, Some(id), message);
        }
        if let Some(entry) = self.entries.get_mut(id) {
            let detail = RenewalDetail {
                url: crate::text::url(&entry.customer.credentials.url),
                latency: entry.latency.take(),
            };
            let message = format!("good until {}", expiry.format("%FT%TZ"));
            self.history.push(Notice::new(at, NoticeKind::Renewed, message).of(id).renewed(detail));
        }
        let window = self.policy.window;
        self.touch(id, |entry| entry.status = entry.status_at(at, window));
    }

    /// The token that waited is not wanted any more: the row says something else, or has a later one.
    pub(super) fn superseded(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        self.store_works(Use::Save, at);
        self.unwritten.changed(id);
        self.touch(id, |entry| {
            entry.superseded();
            // A token came: whatever was wrong before is over.
            entry.record.failure = None;
            entry.record.updated_at = at;
        });
        let message =
            "the row was changed meanwhile, or holds a token that lives longer; it was left as it is"
                .to_owned();
        self.note(at, NoticeKind::Warning, Some(id), message);
    }

    /// The pass has left it out; `why`, when that was because of its server.
    pub(super) fn deferred(&mut self, id: &CustomerId, why: Option<Failure>) {
        let is_news = |entry: &Entry| entry.attempting || entry.deferred != why;
        if self.entries.get(id).is_some_and(is_news) {
            self.touch(id, |entry| {
                entry.attempting = false;
                entry.deferred = why;
            });
        }
    }
}
