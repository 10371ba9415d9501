//! What a poll of the table changes: rows come, go and change.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::super::credentials::{HeldCredentials, Leave, LoginQuery, Step};
use super::super::history::NoticeKind;
use super::servers::replace_servers;
use super::{CustomerState, State};
use crate::engine::counters::Operation;
use crate::model::{AccountKey, Customer, Failure, Fingerprint, FingerprintKey, Urls};
use crate::store::{LedgerPlace, LedgerRead, RowProblem, Table};

impl State {
    pub(super) fn table_read(&mut self, table: Table, at: DateTime<Utc>) {
        self.adopt_key(&table.key, at);
        let gone = self.take_over_rows(table.customers, &table.key, at);
        self.take_over_ineligible(table.ineligible, &gone, &table.records, at);
        let used = self.customers.values().filter_map(|customer| customer.server.as_ref()).collect();
        let has_changed = replace_servers(&mut self.servers, &used, self.customers.revision + 1);
        self.customers.revision += u64::from(has_changed);
        self.adopt_records(table.records, at);
        self.customers.unwritten.read();
        self.drop_obsolete_failures(at);
        self.report_problems(&table.problems, table.records_lost, at);
        self.table_read_at = Some(at);
        if self.error_of(Operation::Write).is_some()
            && self.customers.values().all(|customer| customer.unsaved.is_none())
        {
            // No token is left whose write would show that the store works again.
            self.store_works(Operation::Write, at);
        }
        self.store_works(Operation::Read, at);
        self.advance(at);
    }

    /// Takes over the rows, and returns the former customers. Most rows are unchanged, so each is compared in its place;
    /// building a new map took three times as long.
    fn take_over_rows(
        &mut self,
        rows: Vec<Customer>,
        key: &FingerprintKey,
        at: DateTime<Utc>,
    ) -> Vec<CustomerState> {
        self.mark = !self.mark;
        let (mark, window) = (self.mark, self.policy.window);
        let mut known = 0;
        let (mut new, mut urls) = (Vec::new(), Urls::default());
        for row in rows {
            if let Some(mut edit) = self.customers.edit(&row.id, at) {
                known += 1;
                edit.set_mark(mark);
                if edit.row != row {
                    edit.replace_row(row, key);
                }
            } else {
                let mut customer = CustomerState::new(row, key, at, window);
                customer.server = customer.server.map(|server| server.share(&mut urls));
                customer.mark = mark;
                new.push(customer);
            }
        }
        let mut gone = Vec::new();
        if known < self.customers.len() {
            gone = self.customers.remove(|customer| customer.mark != mark);
            for customer in &gone {
                self.customers.left(customer, at);
            }
        }
        self.customers.add(new);
        gone
    }

    /// Adopts the stored key when records become possible: all fingerprints change to it, and the records are written.
    fn adopt_key(&mut self, key: &FingerprintKey, at: DateTime<Utc>) {
        if self.key.replace(key.clone()).is_none_or(|old| old == *key) {
            return;
        }
        let mut new_of = HashMap::new();
        self.customers.edit_all(at, |edit| {
            let (old, new) = (edit.credentials, key.fingerprint(&edit.row.credentials));
            edit.credentials = new;
            new_of.insert(old, new);
            if edit.record().failure.as_ref().is_some_and(|failure| failure.fingerprint == old)
                && let Some(failure) = &mut edit.record_mut().failure
            {
                failure.fingerprint = new;
            }
        });
        self.ledger.rekey(new_of);
    }

    /// Reports a problem of a row once, and again only if it was solved in between.
    fn report_problems(&mut self, problems: &[RowProblem], records_lost: Option<String>, at: DateTime<Utc>) {
        let reported = std::mem::replace(&mut self.reported_problems, problems.iter().cloned().collect());
        for problem in problems.iter().filter(|problem| !reported.contains(problem)) {
            let message = format!("row {}: {}", problem.row, problem.what);
            self.note(at, NoticeKind::Warning, None, message);
        }
        let was_reported = std::mem::replace(&mut self.has_reported_lost_records, records_lost.is_some());
        if let Some(why) = records_lost.filter(|_| !was_reported) {
            let message = format!(
                "the table tbtokend_state cannot be used ({why}): a restart forgets which customers are parked; have the DBA run the output of `tbtokend schema`"
            );
            self.note(at, NoticeKind::Warning, None, message);
        }
    }

    /// Takes over what was read of the store's ledger; `seen` is by the monotonic clock.
    pub(super) fn ledger_read(&mut self, read: &LedgerRead, seen: Instant, at: DateTime<Utc>) {
        self.store_works(Operation::Ledger, at);
        let step = self.ledger.take_in(read, seen);
        if step == Step::Replaced {
            self.report_ledger_replaced(at);
        }
        if step == Step::First {
            self.note_recorded_rejections();
        }
        let found = self.ledger.take_found_in_flight();
        if !found.is_empty() {
            for customer in self.customers.values() {
                if let (Some(account), Some(server)) = (&customer.account, &customer.server)
                    && found.contains(account)
                {
                    self.ledger.doubt(server, seen);
                }
            }
        }
        let servers = &self.servers;
        self.ledger.retain_servers(|server| servers.contains_key(server));
        self.ledger.see(self.customers.values().filter_map(|customer| customer.account.as_ref()), at);
        if self.ledger_place.as_ref() != Some(&read.place) {
            self.ledger_place = Some(read.place.clone());
            if let Some(outside) = read.place.outside() {
                let message = format!(
                    "sent passwords are recorded {outside}, which serves one daemon only. For several daemons, have the DBA run the output of `tbtokend schema`"
                );
                self.note(at, NoticeKind::Warning, None, message);
            }
        }
        self.unpark_what_the_ledger_allows(at);
        self.count_undecidable(at);
    }

    /// Adds to the ledger the rejections that only records have: a process may be killed between the two writes.
    fn note_recorded_rejections(&mut self) {
        let held = HeldCredentials::default();
        for customer in self.customers.values() {
            let failure = customer.record().failure.as_deref();
            if let Some(failure) = failure.filter(|failure| failure.fingerprint == customer.credentials)
                && failure.kind.is_rejection()
                && let Some(query) = customer.login_query(&held, Leave::None)
            {
                self.ledger.note_rejection(&query, failure.kind);
            }
        }
    }

    pub(super) fn report_ledger_replaced(&mut self, at: DateTime<Utc>) {
        let ledger = match &self.ledger_place {
            Some(LedgerPlace::File { path, .. }) => format!("the file {path}"),
            Some(LedgerPlace::Database) | None => "the table tbtokend_account".to_owned(),
        };
        let message = format!(
            "{ledger} was dropped, emptied or replaced by an older one; tbtokend writes back what it knows of sent passwords before it sends another. Restore it only while no daemon runs"
        );
        self.note(at, NoticeKind::Warning, None, message);
    }

    /// Counts the customers whose passwords wait for an operator, because the fingerprint key was replaced.
    pub(super) fn count_undecidable(&mut self, at: DateTime<Utc>) {
        let held = HeldCredentials::default();
        let is_undecidable = |customer: &&CustomerState| {
            let refusal =
                customer.login_query(&held, Leave::None).and_then(|query| self.ledger.refusal(&query));
            customer.has_unknown_rejection() || matches!(refusal, Some(Failure::RejectionUnknown { .. }))
        };
        let count = self.customers.values().filter(is_undecidable).count();
        let before = std::mem::replace(&mut self.undecidable, count);
        if let Some(message) = self.key_mismatch().filter(|_| before == 0) {
            self.note(at, NoticeKind::Warning, None, message);
        }
    }

    /// The warning about a fingerprint key that does not belong to the stored fingerprints, if there is one.
    pub fn key_mismatch(&self) -> Option<String> {
        let whose = match self.undecidable {
            0 => return None,
            1 => "the password of one customer".to_owned(),
            count => format!("the passwords of {count} customers"),
        };
        Some(format!(
            "the key in tbtokend_key does not belong to the fingerprints in tbtokend_state and tbtokend_account. So it is unknown whether ThingsBoard has rejected {whose}, and none of it is sent. Restore tbtokend_key from the same backup as these tables, and restart tbtokend. Or check each parked customer, then: tbctl refresh --force ID"
        ))
    }

    /// Unparks customers that were parked because of the ledger, if it allows their passwords now. Other rows or an
    /// operator have shown that their credentials or account are right.
    pub(super) fn unpark_what_the_ledger_allows(&mut self, at: DateTime<Utc>) {
        let is_parked = |customer: &&CustomerState| {
            customer
                .record()
                .failure
                .as_deref()
                .is_some_and(|failure| failure.permanent && failure.kind.is_the_ledgers())
                && !customer.has_unknown_rejection()
        };
        let parked: Vec<_> =
            self.customers.values().filter(is_parked).map(|customer| customer.row.id.clone()).collect();
        if parked.is_empty() || !self.ledger.is_trusted() {
            return;
        }
        let accounts = parked.iter().filter_map(|id| self.customers.get(id)?.account).collect();
        let held = self.held_credentials(&accounts);
        for id in parked {
            let Some(customer) = self.customers.get(&id) else { continue };
            let allowed = customer.account.is_some_and(|account| {
                let held = held.get(&account).cloned().unwrap_or_default();
                let query = customer.login_query(&held, Leave::None);
                self.ledger.knows(&account)
                    && query.is_some_and(|query| self.ledger.refusal(&query).is_none())
            });
            if allowed {
                if let Some(mut edit) = self.customers.edit(&id, at) {
                    edit.record_mut().failure = None;
                }
                let message =
                    "its account or its credentials were accepted meanwhile; it is tried again".to_owned();
                self.note(at, NoticeKind::Unparked, Some(&id), message);
            }
        }
    }

    /// Returns all credentials that rows hold for each of these accounts.
    pub fn held_credentials(&self, accounts: &HashSet<AccountKey>) -> HashMap<AccountKey, HeldCredentials> {
        let mut held: HashMap<AccountKey, Vec<Fingerprint>> = HashMap::new();
        if accounts.is_empty() {
            return HashMap::new();
        }
        for customer in self.customers.values() {
            if let Some(account) = customer.account.filter(|account| accounts.contains(account)) {
                let known = held.entry(account).or_default();
                if !known.contains(&customer.credentials) {
                    known.push(customer.credentials);
                }
            }
        }
        held.into_iter().map(|(account, held)| (account, HeldCredentials::new(&held))).collect()
    }
}

impl CustomerState {
    /// The question to the ledger about the row's password; none if its URL cannot be used.
    pub fn login_query<'a>(&'a self, held: &'a HeldCredentials, leave: Leave) -> Option<LoginQuery<'a>> {
        Some(LoginQuery {
            account: self.account?,
            server: self.server.as_ref()?,
            username: &self.row.credentials.username,
            credentials: self.credentials,
            held,
            leave,
        })
    }
}
