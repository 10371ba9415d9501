//! What is known about one customer.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::checking::{CheckResult, TokenDeath};
use crate::engine::counters::Cause;
use crate::engine::deferral::Deferral;
use crate::engine::event::RenewalMethod;
use crate::model::{
    AccountKey, BaseUrl, Changes, Customer, FailureKind, FailureNote, Fingerprint, FingerprintKey, Record,
    Renewal, Secret, ServerKey, TokenStatus, window_of,
};

/// One customer: its row as it was last read or written, its record, and what only lives in memory.
#[derive(Debug)]
pub struct CustomerState {
    /// The row.
    pub row: Customer,
    /// Its server; none if the row's URL cannot be used.
    pub server: Option<ServerKey>,
    /// Its account; none if the row's URL cannot be used.
    pub account: Option<AccountKey>,
    /// The fingerprint of server, user and password.
    pub credentials: Fingerprint,
    /// The part that survives a restart.
    record: Record,
    /// The status of the token at the last count of its time.
    pub status: TokenStatus,
    /// Whether it is being renewed now.
    pub attempting: bool,
    /// Whether the pass under way is to renew it.
    pub(super) is_in_pass: bool,
    /// Why the pass left it out. Boxed, because few are left out.
    pub deferred: Option<Box<Deferral>>,
    /// A token that is not in the table yet. Boxed, because few have one at a time.
    pub unsaved: Option<Box<Renewal>>,
    /// How the unsaved token was obtained, and how long its server took.
    pub obtained: Option<(RenewalMethod, Duration)>,
    /// When its token came or was last checked, and the result.
    pub checked: Option<(DateTime<Utc>, CheckResult)>,
    /// Its last token that died before its end. Boxed, because few did.
    pub(super) death: Option<Box<TokenDeath>>,
    /// The refresh token for the next renewal, obtained for the row's server and user name.
    pub refresh_token: Option<Secret>,
    /// The revision of its latest change.
    pub revision: u64,
    /// Until when its time was counted.
    pub(super) counted_until: DateTime<Utc>,
    /// The last cause that held its renewal up, and until when.
    pub(super) held_up_by: Option<(Cause, DateTime<Utc>)>,
    /// When its present token was first seen.
    pub(in crate::engine) token_seen_at: DateTime<Utc>,
    /// Equal to the state's mark while its row is in the table.
    pub(super) mark: bool,
    /// The expiry that we wrote last and the whole life that it ended.
    written: Option<(DateTime<Utc>, TimeDelta)>,
    /// How far the clock has stepped backward since the row's expiry was calculated.
    ahead: TimeDelta,
    /// Whether the failure in its record is from an operator's attempt alone, which does not count for the back-off.
    is_uncounted: bool,
    /// The failed attempt from which its waits count, if only operators' attempts before its time came after it.
    counted_at: Option<DateTime<Utc>>,
}

/// A column may be coarser than what was written to it: `smalldatetime` has minutes only.
const COARSEST_COLUMN: TimeDelta = TimeDelta::minutes(1);

/// Whether the row's expiry is this one.
fn is_same(row: Option<DateTime<Utc>>, expiry: DateTime<Utc>) -> bool {
    row.is_some_and(|row| (row - expiry).abs() <= COARSEST_COLUMN)
}

impl CustomerState {
    pub(super) fn new(row: Customer, key: &FingerprintKey, now: DateTime<Utc>, window: TimeDelta) -> Self {
        let record = Record {
            id: row.id.clone(),
            failure: None,
            last_success_at: None,
            renewals: 0,
            changes: Changes::default(),
            updated_at: DateTime::UNIX_EPOCH,
        };
        let mut customer = Self {
            server: None,
            account: None,
            credentials: key.fingerprint(&row.credentials),
            row,
            record,
            status: TokenStatus::Missing,
            attempting: false,
            is_in_pass: false,
            deferred: None,
            unsaved: None,
            obtained: None,
            checked: None,
            death: None,
            refresh_token: None,
            revision: 0,
            counted_until: now,
            held_up_by: None,
            token_seen_at: now,
            mark: false,
            written: None,
            ahead: TimeDelta::zero(),
            is_uncounted: false,
            counted_at: None,
        };
        customer.find_server();
        customer.status = customer.status_at(now, window);
        customer
    }

    fn find_server(&mut self) {
        let base = BaseUrl::parse(&self.row.credentials.url).ok();
        self.account = base.as_ref().map(|base| AccountKey::of(base, &self.row.credentials.username));
        self.server = base.map(|base| base.server_key());
    }

    /// The part that survives a restart. It is changed through `Edit::record_mut`.
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Whether ThingsBoard has rejected credentials of its row whose fingerprint is of another key. They may be the present
    /// ones.
    pub(super) fn has_unknown_rejection(&self) -> bool {
        let is_unknown = |failure: &FailureNote| {
            failure.kind.is_rejection() && !failure.fingerprint.has_key_of(&self.credentials)
        };
        self.record.failure.as_deref().is_some_and(is_unknown)
    }

    /// Returns its failures in a row with this one. An attempt before its time counts only if there is no failure yet; then the
    /// next one does not count.
    pub(super) fn count_failure(&mut self, was_sent: bool, is_early: bool) -> u32 {
        let before = self.record.failure.as_deref().map(|failure| failure.consecutive);
        let was_uncounted = self.is_uncounted && before.is_some();
        let counts = was_sent && if is_early { before.is_none() } else { !was_uncounted };
        self.is_uncounted = is_early && (counts || was_uncounted);
        before.unwrap_or(0).saturating_add(u32::from(counts))
    }

    /// Sets whether its waits go on with the next failure, or begin with it.
    pub(super) fn count_waits(&mut self, go_on: bool) {
        let failure = self.record.failure.as_deref().filter(|_| go_on);
        self.counted_at = failure.map(|failure| self.waits_since(failure));
    }

    /// The time from which the waits after this failure of its record count.
    pub fn waits_since(&self, failure: &FailureNote) -> DateTime<Utc> {
        self.counted_at.unwrap_or(failure.at)
    }

    /// Takes over the record that the store holds.
    pub(super) fn adopt(&mut self, record: Record) {
        self.record = record;
        self.counted_at = None;
    }

    /// Whether a refresh token may be tried before the password. Not after an answer that is not ThingsBoard's: a proxy may
    /// pass only the path of logins.
    pub fn may_refresh(&self) -> bool {
        let was_odd = |failure: &FailureNote| failure.kind == FailureKind::UnexpectedResponse;
        !self.record.failure.as_deref().is_some_and(was_odd)
    }

    /// The refresh token to try before the password.
    pub fn usable_refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref().filter(|_| self.may_refresh())
    }

    /// The refresh window of its token: `configured`, or half the token's life if that is short.
    pub fn window(&self, configured: TimeDelta) -> TimeDelta {
        let life = self.written.filter(|(expiry, _)| is_same(self.row.expiry, *expiry));
        window_of(life.map(|(_, life)| life), configured)
    }

    /// When its token ends: the expiry in its row, less the clock steps since then; or when it was found dead.
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        let end = self.declared_end();
        self.dead().map_or(end, |death| end.map(|end| end.min(death.at - TimeDelta::milliseconds(1))))
    }

    /// When its token ends if it does not die before: the expiry in its row, less the clock steps since then.
    pub(super) fn declared_end(&self) -> Option<DateTime<Utc>> {
        self.row.expiry.map(|expiry| expiry - self.ahead)
    }

    /// Whether the expiry in its row is too late by more than the window. Readers of the row would use a token that has ended.
    pub fn is_misdated(&self, configured: TimeDelta) -> bool {
        self.row.has_token && self.ahead > self.window(configured)
    }

    /// The expiry in its row, if a new token may declare an earlier one.
    pub fn replaceable(&self) -> Option<DateTime<Utc>> {
        self.row.expiry.filter(|_| self.ahead > TimeDelta::zero() || self.dead().is_some())
    }

    /// The status of its token at `now`.
    pub(super) fn status_at(&self, now: DateTime<Utc>, window: TimeDelta) -> TokenStatus {
        TokenStatus::at(now, self.row.has_token, self.ends_at(), self.window(window))
    }

    /// The clock stepped backward: times that were calculated before come that much earlier.
    pub(super) fn clock_stepped(&mut self, by: TimeDelta) {
        // The daemon writes whole seconds. A fraction is from another program, with an unknown clock.
        if self.row.expiry.is_some_and(|expiry| expiry.timestamp_subsec_nanos() == 0) {
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
        self.held_up_by = self.held_up_by.map(|(cause, until)| (cause, until - by));
        if let Some(failure) = &mut self.record.failure {
            failure.at -= by;
            failure.next_attempt_at = failure.next_attempt_at.map(|at| at - by);
        }
        self.counted_at = self.counted_at.map(|at| at - by);
    }

    /// When its status changes next without a renewal.
    pub(super) fn next_change(&self, window: TimeDelta) -> Option<DateTime<Utc>> {
        let instant_after = |at: DateTime<Utc>| at + TimeDelta::milliseconds(1);
        match self.status {
            TokenStatus::Valid => self.ends_at().map(|end| instant_after(end - self.window(window))),
            TokenStatus::ExpiringSoon => self.ends_at().map(instant_after),
            TokenStatus::Missing | TokenStatus::Expired => None,
        }
    }

    /// Takes over a row that has changed.
    pub(super) fn replace_row(&mut self, row: Customer, key: &FingerprintKey) {
        let (old, new) = (&self.row.credentials, &row.credentials);
        let has_other_credentials = old != new;
        let has_other_user = old.username != new.username;
        // A token for another server or user will never be written.
        self.unsaved.take_if(|renewal| {
            renewal.row_url != row.row_url || renewal.username != row.credentials.username
        });
        if !self.row.expiry.is_some_and(|ours| is_same(row.expiry, ours)) {
            // Another program has written it after the clock step.
            self.ahead = TimeDelta::zero();
            self.token_seen_at = self.counted_until;
            self.end_death();
            self.checked = None;
        }
        self.row = row;
        if has_other_credentials {
            let before = (self.server.take(), self.account.take());
            self.find_server();
            self.credentials = key.fingerprint(&self.row.credentials);
            // A refresh token survives another password, and another spelling of the same server.
            if has_other_user || before != (self.server.clone(), self.account) {
                self.refresh_token = None;
            }
        }
    }

    /// The unsaved token is dropped, because its row has changed or has a later token. If the token was to replace a later
    /// expiry, the row is believed from now on, so that no further login is spent on it.
    pub(super) fn superseded(&mut self) {
        let replaces = self.unsaved.take().and_then(|renewal| renewal.replaces);
        if replaces.is_some() {
            self.ahead = TimeDelta::zero();
            self.end_death();
            self.checked = None;
        }
        self.attempting = false;
    }

    /// The unsaved token is in the table, with this expiry. Returns whether there was one.
    pub(super) fn saved(&mut self, expiry: DateTime<Utc>) -> bool {
        (self.attempting, self.is_in_pass) = (false, false);
        self.deferred = None;
        let Some(renewal) = self.unsaved.take() else { return false };
        self.row.has_token = true;
        self.row.expiry = Some(expiry);
        self.token_seen_at = self.counted_until;
        self.written = Some((expiry, renewal.life));
        self.end_death();
        // The clock may have stepped backward during the write.
        self.ahead = (expiry - renewal.expiry).max(TimeDelta::zero());
        true
    }
}
