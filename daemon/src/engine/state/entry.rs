//! What is known of one customer.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::checking::{Death, Found};
use crate::engine::deferral::Deferral;
use crate::engine::event::Via;
use crate::model::{
    AccountKey, BaseUrl, Changes, Customer, FailureKind, FailureNote, Fingerprint, FingerprintKey, HostKey,
    Record, Renewal, Secret, TokenStatus, window_of,
};

/// One customer: its row as it was last read or written, its record, and what only lives in memory.
#[derive(Debug)]
pub struct Entry {
    /// The row.
    pub customer: Customer,
    /// Its server; none if the row's URL cannot be used.
    pub host: Option<HostKey>,
    /// Its account; none if the row's URL cannot be used.
    pub account: Option<AccountKey>,
    /// The fingerprint of server, user and password.
    pub credentials: Fingerprint,
    /// What is remembered over restarts.
    record: Record,
    /// How the token stood when time was last looked at.
    pub status: TokenStatus,
    /// Whether it is being renewed now.
    pub attempting: bool,
    /// Why the pass left it out; boxed, because few are left out.
    pub deferred: Option<Box<Deferral>>,
    /// A token that is not in the table yet; boxed, because few have one at a time.
    pub unsaved: Option<Box<Renewal>>,
    /// How the token that waits was obtained, and how long its server took.
    pub obtained: Option<(Via, Duration)>,
    /// When its token came or was last checked, and what was found.
    pub checked: Option<(DateTime<Utc>, Found)>,
    /// The last token of it that died before its end; boxed, because few did.
    pub(super) death: Option<Box<Death>>,
    /// What the next renewal can use instead of the password; obtained for the row's server and user name.
    pub refresh_token: Option<Secret>,
    /// The revision of its latest change.
    pub revision: u64,
    /// Until when its time was counted.
    pub(super) counted_until: DateTime<Utc>,
    /// When its present token was first seen.
    pub(super) token_seen_at: DateTime<Utc>,
    /// Equal to the state's mark while its row is in the table.
    pub(super) mark: bool,
    /// The expiry that we wrote last and the whole life that it ended.
    written: Option<(DateTime<Utc>, TimeDelta)>,
    /// By how much the clock was set back since the row's expiry was calculated.
    ahead: TimeDelta,
    /// The failure in its record is one of an operator's attempt alone: it does not count for the back-off.
    is_uncounted: bool,
    /// When the attempt failed from which its waits count, if only operators' attempts before its time came after it.
    counted_at: Option<DateTime<Utc>>,
}

/// A column may be coarser than what was written to it: `smalldatetime` has minutes only.
const COARSEST_COLUMN: TimeDelta = TimeDelta::minutes(1);

/// Whether the row's expiry is this one.
fn is_same(row: Option<DateTime<Utc>>, expiry: DateTime<Utc>) -> bool {
    row.is_some_and(|row| (row - expiry).abs() <= COARSEST_COLUMN)
}

impl Entry {
    pub(super) fn new(
        customer: Customer,
        key: &FingerprintKey,
        now: DateTime<Utc>,
        window: TimeDelta,
    ) -> Self {
        let record = Record {
            id: customer.id.clone(),
            failure: None,
            last_success_at: None,
            renewals: 0,
            changes: Changes::default(),
            updated_at: DateTime::UNIX_EPOCH,
        };
        let mut entry = Self {
            host: None,
            account: None,
            credentials: key.fingerprint(&customer.credentials),
            customer,
            record,
            status: TokenStatus::Missing,
            attempting: false,
            deferred: None,
            unsaved: None,
            obtained: None,
            checked: None,
            death: None,
            refresh_token: None,
            revision: 0,
            counted_until: now,
            token_seen_at: now,
            mark: false,
            written: None,
            ahead: TimeDelta::zero(),
            is_uncounted: false,
            counted_at: None,
        };
        entry.find_server();
        entry.status = entry.status_at(now, window);
        entry
    }

    fn find_server(&mut self) {
        let base = BaseUrl::parse(&self.customer.credentials.url).ok();
        self.account = base.as_ref().map(|base| AccountKey::of(base, &self.customer.credentials.username));
        self.host = base.map(|base| base.host_key());
    }

    /// What is remembered over restarts. It is changed through `Edit::record_mut`.
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Whether ThingsBoard has rejected its credentials, or others that its row held before: the fingerprint of those is of
    /// another key.
    pub(super) fn has_unknown_rejection(&self) -> bool {
        let is_unknown = |failure: &FailureNote| {
            failure.kind.is_rejection() && !failure.fingerprint.has_key_of(&self.credentials)
        };
        self.record.failure.as_deref().is_some_and(is_unknown)
    }

    /// Its failures in a row with one more. An attempt before its time counts only where there is no failure yet, and then
    /// the next one does not.
    pub(super) fn count_failure(&mut self, was_sent: bool, is_early: bool) -> u32 {
        let before = self.record.failure.as_deref().map(|failure| failure.consecutive);
        let was_uncounted = self.is_uncounted && before.is_some();
        let counts = was_sent && if is_early { before.is_none() } else { !was_uncounted };
        self.is_uncounted = is_early && (counts || was_uncounted);
        before.unwrap_or(0).saturating_add(u32::from(counts))
    }

    /// Its next failure leaves its waits where they count from, or begins them.
    pub(super) fn count_waits(&mut self, go_on: bool) {
        let failure = self.record.failure.as_deref().filter(|_| go_on);
        self.counted_at = failure.map(|failure| self.waits_since(failure));
    }

    /// From when on the waits after this failure of its record count.
    pub fn waits_since(&self, failure: &FailureNote) -> DateTime<Utc> {
        self.counted_at.unwrap_or(failure.at)
    }

    /// Takes over the record that the store holds.
    pub(super) fn adopt(&mut self, record: Record) {
        self.record = record;
        self.counted_at = None;
    }

    /// Whether a refresh token may be tried before the password. Not after an answer that is not ThingsBoard's: that may have
    /// been the path of refresh tokens alone, as with a proxy that knows only the login.
    pub fn may_refresh(&self) -> bool {
        let was_odd = |failure: &FailureNote| failure.kind == FailureKind::UnexpectedResponse;
        !self.record.failure.as_deref().is_some_and(was_odd)
    }

    /// What to try before the password.
    pub fn usable_refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref().filter(|_| self.may_refresh())
    }

    /// The refresh window of its token: `configured`, or half the token's life if that is short.
    pub fn window(&self, configured: TimeDelta) -> TimeDelta {
        let life = self.written.filter(|(expiry, _)| is_same(self.customer.expiry, *expiry));
        window_of(life.map(|(_, life)| life), configured)
    }

    /// When its token ends by today's clock: the expiry in its row, less what the clock was set back by since; or when it was
    /// found dead.
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        let end = self.declared_end();
        self.dead().map_or(end, |death| end.map(|end| end.min(death.at - TimeDelta::milliseconds(1))))
    }

    /// When its token ends by today's clock, if it does not die before.
    pub(super) fn declared_end(&self) -> Option<DateTime<Utc>> {
        self.customer.expiry.map(|expiry| expiry - self.ahead)
    }

    /// Whether its row declares its token to end later than it does, and by so much that who believes the row is misled:
    /// it is renewed within its window anyway.
    pub fn is_misdated(&self, configured: TimeDelta) -> bool {
        self.customer.has_token && self.ahead > self.window(configured)
    }

    /// The expiry in its row, if a new token may declare an earlier one.
    pub fn replaceable(&self) -> Option<DateTime<Utc>> {
        self.customer.expiry.filter(|_| self.ahead > TimeDelta::zero() || self.dead().is_some())
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
        self.token_seen_at -= by;
        if let Some(renewal) = &mut self.unsaved {
            renewal.expiry -= by;
        }
        if let Some(death) = &mut self.death {
            death.at -= by;
        }
        self.checked = self.checked.map(|(at, found)| (at - by, found));
        if let Some(failure) = &mut self.record.failure {
            failure.at -= by;
            failure.next_attempt_at = failure.next_attempt_at.map(|at| at - by);
        }
        self.counted_at = self.counted_at.map(|at| at - by);
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

    /// Takes over the row as it was read, which says something else than before.
    pub(super) fn replace_row(&mut self, customer: Customer, key: &FingerprintKey) {
        let (old, new) = (&self.customer.credentials, &customer.credentials);
        let has_other_credentials = old != new;
        let has_other_user = old.username != new.username;
        // A token for another server or user will never be written.
        self.unsaved.take_if(|renewal| {
            renewal.row_url != customer.row_url || renewal.username != customer.credentials.username
        });
        if !self.customer.expiry.is_some_and(|ours| is_same(customer.expiry, ours)) {
            // Another program has written it, by the clock of today.
            self.ahead = TimeDelta::zero();
            self.token_seen_at = self.counted_until;
            self.end_death();
            self.checked = None;
        }
        self.customer = customer;
        if has_other_credentials {
            let before = (self.host.take(), self.account.take());
            self.find_server();
            self.credentials = key.fingerprint(&self.customer.credentials);
            // A refresh token survives another password, and another spelling of the same server.
            if has_other_user || before != (self.host.clone(), self.account) {
                self.refresh_token = None;
            }
        }
    }

    /// The token that waited is not in the table: its row says something else, or has a later one. If that was to be
    /// replaced and could not be, the row is believed: no further login is spent on it.
    pub(super) fn superseded(&mut self) {
        let replaces = self.unsaved.take().and_then(|renewal| renewal.replaces);
        if replaces.is_some() {
            self.ahead = TimeDelta::zero();
            self.end_death();
            self.checked = None;
        }
        self.attempting = false;
    }

    /// The token that waited is in the table, with this expiry. Says whether one waited.
    pub(super) fn saved(&mut self, expiry: DateTime<Utc>) -> bool {
        self.attempting = false;
        self.deferred = None;
        let Some(renewal) = self.unsaved.take() else { return false };
        self.customer.has_token = true;
        self.customer.expiry = Some(expiry);
        self.token_seen_at = self.counted_until;
        self.written = Some((expiry, renewal.life));
        self.end_death();
        // The clock may have been set back while it was on its way.
        self.ahead = (expiry - renewal.expiry).max(TimeDelta::zero());
        true
    }
}
