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
    /// By how much the clock was set back since the row's expiry was reckoned.
    ahead: TimeDelta,
}

/// What is known of the credentials in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// As they were found at the start; what the record says of earlier tokens speaks for them.
    Found,
    /// They have brought a token since the daemon started.
    Proven,
    /// They came into the table or were changed since the daemon started, and have brought nothing yet.
    New,
}

fn host_of(customer: &Customer) -> Option<HostKey> {
    BaseUrl::parse(&customer.credentials.url).ok().map(|base| base.host_key())
}

/// A column may be coarser than what was written to it: `smalldatetime` has minutes only.
const COARSEST_COLUMN: TimeDelta = TimeDelta::minutes(1);

/// Whether the row's expiry is this one.
fn is_same(row: Option<DateTime<Utc>>, expiry: DateTime<Utc>) -> bool {
    row.is_some_and(|row| (row - expiry).abs() <= COARSEST_COLUMN)
}

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
            ahead: TimeDelta::zero(),
        };
        entry.status = entry.status_at(now, window);
        entry
    }

    /// Whether anything speaks for its credentials: then a server that did not answer is no reason to think that it counts
    /// wrong passwords. After a restart that is the record of the row, though it may be of other credentials: to doubt
    /// everyone then cost tokens that servers would have given.
    pub fn has_worked(&self) -> bool {
        match self.known {
            Known::Proven => true,
            Known::Found => self.record.last_success_at.is_some(),
            Known::New => false,
        }
    }

    /// Its failure, if no answer came.
    pub fn unheard(&self) -> Option<&FailureNote> {
        self.record.failure.as_deref().filter(|failure| failure.kind == FailureKind::Timeout)
    }

    /// Its failure, if a password was sent that may be wrong, and the server may have counted it: no answer came.
    pub fn doubt(&self) -> Option<&FailureNote> {
        self.unheard().filter(|_| !self.has_worked())
    }

    /// Whether that failure means that the password was sent and no answer came.
    pub(super) fn sent_unheard(&self, failure: &Failure) -> bool {
        failure.kind() == FailureKind::Timeout && self.usable_refresh_token().is_none()
    }

    /// What to try before the password. After an answer that was none, nothing: that may have been the road of refresh tokens
    /// alone, as with a proxy that knows only the login.
    pub fn usable_refresh_token(&self) -> Option<&Secret> {
        let was_odd = |failure: &FailureNote| failure.kind == FailureKind::UnexpectedResponse;
        self.refresh_token.as_ref().filter(|_| !self.record.failure.as_deref().is_some_and(was_odd))
    }

    /// The refresh window of its token: `configured`, or half the token's life if that is short.
    pub fn window(&self, configured: TimeDelta) -> TimeDelta {
        let life = self.written.filter(|(expiry, _)| is_same(self.customer.expiry, *expiry));
        window_of(life.map(|(_, life)| life), configured)
    }

    /// When its token ends by today's clock: the expiry in its row, less what the clock was set back by since.
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.customer.expiry.map(|expiry| expiry - self.ahead)
    }

    /// Whether its row declares its token to end later than it does, and by so much that who believes the row is misled:
    /// it is renewed within its window anyway.
    pub fn is_misdated(&self, configured: TimeDelta) -> bool {
        self.customer.has_token && self.ahead > self.window(configured)
    }

    /// The expiry in its row, if a new token may declare an earlier one.
    pub fn replaceable(&self) -> Option<DateTime<Utc>> {
        self.customer.expiry.filter(|_| self.ahead > TimeDelta::zero())
    }

    /// How its token stands at `now`.
    pub(super) fn status_at(&self, now: DateTime<Utc>, window: TimeDelta) -> TokenStatus {
        TokenStatus::at(now, self.customer.has_token, self.ends_at(), self.window(window))
    }

    /// The clock was set back: what was reckoned by it before comes that much earlier by the clock of today.
    pub(super) fn clock_set_back(&mut self, by: TimeDelta) {
        // What we write are whole seconds. Who wrote a fraction, by which clock, is not known, and no store finds it again.
        if self.customer.expiry.is_some_and(|expiry| expiry.timestamp_subsec_nanos() == 0) {
            self.ahead += by;
        }
        if let Some(renewal) = &mut self.unsaved {
            renewal.expiry -= by;
        }
        if let Some(failure) = &mut self.record.failure {
            failure.at -= by;
            failure.next_attempt_at = failure.next_attempt_at.map(|at| at - by);
        }
    }

    /// When its status changes by itself next; none if it does not any more.
    pub(super) fn next_change(&self, window: TimeDelta) -> Option<DateTime<Utc>> {
        let instant_after = |at: DateTime<Utc>| at + TimeDelta::milliseconds(1);
        match self.status {
            TokenStatus::Valid => self.ends_at().map(|end| instant_after(end - self.window(window))),
            TokenStatus::ExpiringSoon => self.ends_at().map(instant_after),
            TokenStatus::Missing | TokenStatus::Expired => None,
        }
    }

    /// Takes over the row as it was read. Says whether anything is new.
    pub(super) fn replace_row(&mut self, customer: Customer) -> bool {
        if self.customer == customer {
            return false;
        }
        if !self.customer.credentials.are_of_the_account(&customer.credentials) {
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
        if !self.customer.expiry.is_some_and(|ours| is_same(customer.expiry, ours)) {
            // Somebody else has written it, by the clock of today.
            self.ahead = TimeDelta::zero();
        }
        self.customer = customer;
        true
    }

    /// The token that waited is not in the table: its row says something else, or has a later one. If that was to be
    /// replaced and could not be, the row is believed: nobody logs in for it in vain again.
    pub(super) fn superseded(&mut self) {
        let replaces = self.unsaved.take().and_then(|renewal| renewal.replaces);
        if replaces.is_some() {
            self.ahead = TimeDelta::zero();
        }
        self.attempting = false;
    }

    /// The token that waited is in the table, with this expiry. After failures it brings their number.
    pub(super) fn saved(&mut self, expiry: DateTime<Utc>, at: DateTime<Utc>) -> Option<Option<u32>> {
        self.attempting = false;
        self.deferred = None;
        let renewal = self.unsaved.take()?;
        self.customer.has_token = true;
        self.customer.expiry = Some(expiry);
        self.written = Some((expiry, renewal.life));
        // The clock may have been set back while it was on its way.
        self.ahead = (expiry - renewal.expiry).max(TimeDelta::zero());
        self.record.last_success_at = Some(at);
        self.record.renewals += 1;
        self.record.updated_at = at;
        Some(self.record.failure.take().map(|failure| failure.consecutive))
    }
}
