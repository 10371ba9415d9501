//! What a renewal changes: from the attempt until the token is in the table.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::deferral::Deferral;
use super::super::event::RenewalMethod;
use super::super::history::{Notice, NoticeKind, RenewalDetail};
use super::{CheckResult, State};
use crate::engine::counters::{Cause, Operation};
use crate::model::{CustomerId, Renewal, Secret, Skew, TokenStatus, whole_seconds};

impl State {
    pub(super) fn attempting(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        if let Some(mut edit) = self.customers.edit(id, at) {
            edit.attempting = true;
            edit.deferred = None;
        }
    }

    /// A token has come and waits for its write.
    pub(super) fn obtained(
        &mut self,
        mut renewal: Box<Renewal>,
        refresh_token: Option<Secret>,
        method: RenewalMethod,
        latency: Duration,
        skew: Skew,
        at: DateTime<Utc>,
    ) {
        let id = renewal.id.clone();
        // An expiry that is further away than the token's life was calculated before a clock step.
        renewal.expiry = renewal.expiry.min(whole_seconds(at + renewal.life));
        self.measured(&id, skew, at);
        if let Some(mut edit) = self.customers.edit(&id, at) {
            edit.unsaved = Some(renewal);
            edit.obtained = Some((method, latency));
            // Whole seconds, as in the expiry, would not show that it came after another one was found dead.
            edit.checked = Some((at, CheckResult::New));
            edit.refresh_token = refresh_token;
        }
    }

    pub(super) fn refresh_token_refused(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        self.customers.counters_mut().refresh_tokens_refused += 1;
        if let Some(mut edit) = self.customers.edit(id, at) {
            edit.refresh_token = None;
        }
    }

    fn measured(&mut self, id: &CustomerId, skew: Skew, at: DateTime<Utc>) {
        let Some(key) = self.customers.get(id).and_then(|customer| customer.server.as_ref()) else { return };
        let Some(server) = self.servers.get_mut(key) else { return };
        let (is_better, message) = server.set_skew(key, skew, self.customers.revision + 1);
        self.customers.revision += u64::from(is_better);
        if let Some(message) = message {
            self.note(at, NoticeKind::Warning, None, message);
        }
    }

    /// The unsaved token is in the table, with this expiry.
    pub(super) fn saved(&mut self, id: &CustomerId, expiry: DateTime<Utc>, at: DateTime<Utc>) {
        self.store_works(Operation::Write, at);
        let window = self.policy.window;
        let Some(mut edit) = self.customers.edit(id, at) else { return };
        if !edit.saved(expiry) {
            return;
        }
        edit.status = edit.status_at(at, window);
        // The database has held up a token of which so much has passed since it came.
        edit.held_up_by = (edit.status != TokenStatus::Valid).then_some((Cause::Store, at));
        let obtained = edit.obtained.take();
        let url = crate::text::url(&edit.row.credentials.url);
        let renewal = Some(RenewalDetail { url, latency: obtained.map(|(_, latency)| latency) });
        let record = edit.record_mut();
        record.last_success_at = Some(at);
        record.renewals += 1;
        let failures = record.failure.take().map(|failure| failure.consecutive);
        drop(edit);
        self.pass.updated += 1;
        if let Some((method, _)) = obtained {
            self.customers.counters_mut().renewal(method, "renewed");
        }
        if let Some(failures) = failures {
            let attempts = if failures == 1 { "attempt" } else { "attempts" };
            let message = format!("renewed after {failures} failed {attempts}");
            self.note(at, NoticeKind::Recovered, Some(id), message);
        }
        let message = format!("good until {}", expiry.format("%FT%TZ"));
        self.history.push(Notice { renewal, ..Notice::new(at, NoticeKind::Renewed, message).of(id) });
    }

    /// The unsaved token is dropped: the row has changed or has a later token.
    pub(super) fn superseded(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        self.store_works(Operation::Write, at);
        let obtained = self.customers.edit(id, at).and_then(|mut edit| {
            edit.superseded();
            // A token came, so the failure before it is over.
            edit.record_mut().failure = None;
            edit.obtained.take()
        });
        if let Some((method, _)) = obtained {
            self.customers.counters_mut().renewal(method, "superseded");
        }
        let message =
            "the row was changed meanwhile, or holds a token that lives longer; it was left as it is"
                .to_owned();
        self.note(at, NoticeKind::Warning, Some(id), message);
    }

    /// The pass has left the customer out; without `why`, the next pass follows at once. A reason that is no failure is only in
    /// the answer to the operator.
    pub(super) fn deferred(&mut self, id: &CustomerId, why: Option<Deferral>, at: DateTime<Utc>) {
        let Some(mut edit) = self.customers.edit(id, at) else { return };
        let why = why.filter(|why| why.kind().is_some()).map(Box::new);
        if edit.attempting || edit.deferred != why {
            edit.attempting = false;
            edit.deferred = why;
        }
    }
}
