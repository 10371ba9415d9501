//! A customer as clients see it. It is small, because each snapshot holds one per customer.

use std::cmp::Ordering;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tbtoken_proto as proto;
use tbtoken_proto::words::Standing;

use super::super::counters::Cause;
use super::super::policy::Policy;
use super::super::state::{CustomerState, Verdict};
use super::words;
use crate::model::{Changes, CustomerId, ServerKey, Urls};

/// One customer. Rows share their URLs, and a field that few rows need is boxed.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) revision: u64,
    id: CustomerId,
    username: Box<str>,
    pub(super) url: Arc<str>,
    /// Its server; none if the URL cannot be used.
    pub(super) server: Option<ServerKey>,
    pub(super) token_status: proto::TokenStatus,
    pub(super) expiry: Option<DateTime<Utc>>,
    check: Option<proto::Check>,
    /// The cause of its lapse, if nothing makes all customers lapse.
    pub(super) cause: Cause,
    pub(super) state: proto::Phase,
    last_success_at: Option<DateTime<Utc>>,
    renewals: u64,
    next_attempt_at: Option<DateTime<Utc>>,
    pub(super) failure: Option<Box<proto::Failure>>,
    changes: Changes,
}

impl Row {
    pub(super) fn new(
        id: &CustomerId,
        customer: &CustomerState,
        policy: &Policy,
        now: DateTime<Utc>,
        urls: &mut Urls,
    ) -> Self {
        let verdict = customer.verdict(now, policy);
        Self {
            revision: customer.revision,
            id: id.clone(),
            username: customer.row.credentials.username.as_str().into(),
            url: urls.share(&crate::text::url(&customer.row.credentials.url)),
            server: customer.server.clone(),
            token_status: words::status(customer.status),
            // An expiry without a token means nothing.
            expiry: customer.ends_at().filter(|_| customer.row.has_token),
            check: customer.checked.and_then(words::check),
            cause: customer.own_lapse_cause(),
            state: phase(customer, verdict),
            last_success_at: customer.record().last_success_at,
            renewals: customer.record().renewals,
            next_attempt_at: verdict.until(),
            failure: words::failure(customer, now).map(Box::new),
            changes: customer.record().changes.clone(),
        }
    }

    pub(super) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Whether a person should act.
    pub(super) fn in_trouble(&self) -> bool {
        proto::in_trouble(self.token_status, self.state)
    }

    /// Compares two customers: the one that needs a person sooner is first.
    pub(super) fn problems_first(&self, other: &Self) -> Ordering {
        let rank = |row: &Self| {
            let failing = row.failure.is_some();
            let standing =
                Standing { status: row.token_status, state: row.state, failing, expiry: row.expiry };
            standing.rank()
        };
        rank(self).cmp(&rank(other)).then_with(|| self.id().cmp(other.id()))
    }

    /// Compares two customers: the one whose token ends sooner is first.
    pub(super) fn least_left_first(&self, other: &Self) -> Ordering {
        self.expiry.cmp(&other.expiry).then_with(|| self.id().cmp(other.id()))
    }

    /// Whether it fits a filter. `words` are those of the filter's text in lower case; `room` is a buffer for the search.
    pub(super) fn fits(&self, filter: &proto::Match, words: &[String], room: &mut String) -> bool {
        (filter.status.is_empty() || filter.status.contains(&self.token_status))
            && (filter.state.is_empty() || filter.state.contains(&self.state))
            && (words.is_empty() || self.shows(words, room))
    }

    /// Whether its texts hold all these words.
    fn shows(&self, words: &[String], room: &mut String) -> bool {
        let failure = self.failure.as_ref().map_or("", |failure| failure.kind.short());
        room.clear();
        for text in
            [self.id(), &self.username, &self.url, self.token_status.word(), self.state.word(), failure]
        {
            room.push_str(text);
            room.push('\n');
        }
        // There may be 100,000 rows, and nearly all are ASCII.
        match room.is_ascii() {
            true => room.make_ascii_lowercase(),
            false => *room = room.to_lowercase(),
        }
        words.iter().all(|word| room.contains(word.as_str()))
    }

    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// Whether it has no token at that time, if it gets no other.
    pub(super) fn has_lapsed(&self, at: DateTime<Utc>) -> bool {
        self.expiry.is_none_or(|expiry| expiry <= at)
    }

    /// Whether ThingsBoard rejects its token before its end.
    pub(super) fn is_refused(&self) -> bool {
        self.check.is_some_and(|check| check.found == proto::CheckFound::Dead)
    }

    /// Whether its token came since then, or was found to work.
    pub(super) fn is_proven_since(&self, since: DateTime<Utc>) -> bool {
        let works = |check: proto::Check| check.found == proto::CheckFound::Works;
        self.last_success_at.is_some_and(|at| at >= since) || self.check.is_some_and(works)
    }

    /// Returns it in the protocol's form. The minutes that are left depend on the time of the request.
    pub(super) fn at(&self, now: DateTime<Utc>) -> proto::Customer {
        proto::Customer {
            customer_id: self.id.to_string(),
            tb_username: self.username.to_string(),
            tb_url: self.url.to_string(),
            token_status: self.token_status,
            tbtokenexpiry: self.expiry,
            check: self.check,
            // Whole minutes, rounded toward minus infinity.
            minutes_until_expiry: self
                .expiry
                .map(|expiry| (expiry - now).num_milliseconds().div_euclid(60_000)),
            state: self.state,
            last_success_at: self.last_success_at,
            renewals: self.renewals,
            next_attempt_at: self.next_attempt_at,
            failure: self.failure.as_deref().cloned(),
            changes: words::changes(&self.changes),
        }
    }
}

fn phase(customer: &CustomerState, verdict: Verdict) -> proto::Phase {
    match verdict {
        _ if customer.attempting => proto::Phase::Refreshing,
        Verdict::Parked { .. } => proto::Phase::Parked,
        Verdict::Wait { .. } | Verdict::Save => proto::Phase::Retrying,
        Verdict::Due if customer.record().failure.is_some() => proto::Phase::Retrying,
        Verdict::Due => proto::Phase::Due,
        Verdict::Rest { .. } => proto::Phase::Ok,
    }
}
