//! What is known of one customer.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{
    BaseUrl, Customer, Failure, FailureKind, FailureNote, HostKey, Record, Renewal, Secret, TokenStatus,
    window_of,
};

/// One customer: its row as it was last read or written, its record, and what only lives in memory.
#[derive(Debug)]
pub struct Entry {
    /// The row.
    pub customer: Customer,
    /// Its server; none if the row's URL cannot be used.
    pub host: Option<HostKey>,
    /// What is remembered over restarts.
    pub record: Record,
    /// How the token stood when time was last looked at.
    pub status: TokenStatus,
    /// Whether it is being renewed now.
    pub attempting: bool,
    /// Why the pass left it out, when that was because of its server.
    pub deferred: Option<Failure>,
    /// A token that is not in the table yet; boxed, because hardly anyone has one at a time.
    pub unsaved: Option<Box<Renewal>>,
    /// How long its server took for the latest token.
    pub latency: Option<Duration>,
    /// What the next renewal can use instead of the password; obtained with exactly the row's credentials.
    pub refresh_token: Option<Secret>,
    /// What is known of the row's credentials.
    pub known: Known,
    /// The revision of its latest change.
    pub revision: u64,
    /// Equal to the state's mark while its row is in the table.
    pub(super) mark: bool,
    /// The expiry that we wrote last and the whole life that it ended.
    written: Option<(DateTime<Utc>, TimeDelta)>,
}

/// What is known of the credentials in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// As they were found; what the record says of earlier tokens speaks for them.
    Found,
    /// They have brought a token since the daemon started.
    Proven,
    /// Somebody has changed them since the daemon started, and they have brought nothing yet.
    New,
}

fn host_of(customer: &Customer) -> Option<HostKey> {
    BaseUrl::parse(&customer.credentials.url).ok().map(|base| base.host_key())
}

/// A column may be coarser than what was written to it: `smalldatetime` has minutes only.
const COARSEST_COLUMN: TimeDelta = TimeDelta::minutes(1);

/// A clock that was set back by less is none of our business.
const CLOCK_STEP: TimeDelta = TimeDelta::seconds(5);

impl Entry {
    pub(super) fn new(customer: Customer, revision: u64, now: DateTime<Utc>, window: TimeDelta) -> Self {
        let record = Record {
            id: customer.id.clone(),
            failure: None,
            last_success_at: None,
            renewals: 0,
            updated_at: DateTime::UNIX_EPOCH,
        };
        let mut entry = Self {
            host: host_of(&customer),
            customer,
            record,
            status: TokenStatus::Missing,
            attempting: false,
            deferred: None,
            unsaved: None,
            latency: None,
            refresh_token: None,
            known: Known::Found,
            revision,
            mark: false,
            written: None,
        };
        entry.status = entry.status_at(now, window);
        entry
    }

    /// Whether its credentials have brought a token: then a server that did not answer is no reason to think that it counts
    /// wrong passwords. What the record says of earlier tokens may be of other credentials.
    pub fn has_worked(&self) -> bool {
        self.known == Known::Proven
    }

    /// Its failure, if a password was sent that may be wrong, and the server may have counted it: no answer came.
    pub fn doubt(&self) -> Option<&FailureNote> {
        let failure = self.record.failure.as_deref()?;
        (failure.kind == FailureKind::Timeout && !self.has_worked()).then_some(failure)
    }

    /// What to try before the password. After an answer that was none, nothing: that may have been the road of refresh tokens
    /// alone, as with a proxy that knows only the login.
    pub fn usable_refresh_token(&self) -> Option<&Secret> {
        let was_odd = |failure: &FailureNote| failure.kind == FailureKind::UnexpectedResponse;
        self.refresh_token.as_ref().filter(|_| !self.record.failure.as_deref().is_some_and(was_odd))
    }

    /// The refresh window of its token: `configured`, or half the token's life if that is short.
    pub fn window(&self, configured: TimeDelta) -> TimeDelta {
        let life = self.written.filter(|(expiry, _)| {
            self.customer.expiry.is_some_and(|now| (now - expiry).abs() <= COARSEST_COLUMN)
        });
        window_of(life.map(|(_, life)| life), configured)
    }

    /// How its token stands at `now`. One that we wrote by a clock that has been set back since ends before its expiry: by
    /// the clock of today nobody knows when.
    pub fn status_at(&self, now: DateTime<Utc>, window: TimeDelta) -> TokenStatus {
        match self.ahead_of_its_time(now) {
            Some(_) => TokenStatus::Expired,
            None => TokenStatus::at(now, self.customer.has_token, self.customer.expiry, self.window(window)),
        }
    }

    /// The expiry in its row, if we wrote it and it is further away than the token's whole life: the clock has been set back
    /// since.
    pub fn ahead_of_its_time(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (written, life) = self.written?;
        let expiry = self.customer.expiry.filter(|_| self.customer.has_token)?;
        let coarseness = (expiry - written).abs();
        let is_ours = coarseness <= COARSEST_COLUMN;
        (is_ours && expiry - now > life + coarseness + CLOCK_STEP).then_some(expiry)
    }

    /// How long its token still lives, as far as is known.
    pub(super) fn remaining(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let expiry = self.customer.expiry.filter(|_| self.customer.has_token)?;
        self.ahead_of_its_time(now).is_none().then(|| expiry - now)
    }

    /// When its status changes by itself next; none if it does not any more.
    pub(super) fn next_change(&self, window: TimeDelta) -> Option<DateTime<Utc>> {
        let instant_after = |at: DateTime<Utc>| at + TimeDelta::milliseconds(1);
        match self.status {
            TokenStatus::Valid => {
                self.customer.expiry.map(|expiry| instant_after(expiry - self.window(window)))
            }
            TokenStatus::ExpiringSoon => self.customer.expiry.map(instant_after),
            TokenStatus::Missing | TokenStatus::Expired => None,
        }
    }

    /// Takes over the row as it was read. Says whether anything is new.
    pub(super) fn replace_row(&mut self, customer: Customer) -> bool {
        if self.customer == customer {
            return false;
        }
        if self.customer.credentials != customer.credentials {
            self.refresh_token = None;
            self.known = Known::New;
        }
        // A token for another server or user will never be written.
        self.unsaved.take_if(|renewal| {
            renewal.row_url != customer.row_url || renewal.username != customer.credentials.username
        });
        if self.customer.credentials.url != customer.credentials.url {
            self.host = host_of(&customer);
        }
        self.customer = customer;
        true
    }

    /// The token that waited is in the table. Brings its expiry, and after failures their number.
    pub(super) fn saved(&mut self, at: DateTime<Utc>) -> Option<(DateTime<Utc>, Option<u32>)> {
        self.attempting = false;
        self.deferred = None;
        let renewal = self.unsaved.take()?;
        self.customer.has_token = true;
        self.customer.expiry = Some(renewal.expiry);
        self.written = Some((renewal.expiry, renewal.life));
        self.record.last_success_at = Some(at);
        self.record.renewals += 1;
        self.record.updated_at = at;
        let failures = self.record.failure.take().map(|failure| failure.consecutive);
        Some((renewal.expiry, failures))
    }
}
