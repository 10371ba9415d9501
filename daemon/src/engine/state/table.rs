//! What a look at the table changes: rows come, go and say something else; records of another life or of another daemon
//! are taken over.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::super::history::NoticeKind;
use super::health::Use;
use super::refusals::refusal;
use super::{Entry, Known, State};
use crate::model::{Customer, CustomerId, Failure, FailureKind, Fingerprint, FingerprintKey, Record};
use crate::store::{RowProblem, Table};

/// How many customers that left the table are remembered for clients that ask for changes.
const REMEMBERED_REMOVALS: usize = 10_000;

impl State {
    pub(super) fn table_read(&mut self, table: Table, at: DateTime<Utc>) {
        self.adopt_key(&table.key);
        self.take_over_rows(table.customers, at);
        let revision = self.revision + 1;
        if self.hosts.used_by(self.entries.values().filter_map(|entry| entry.host.as_ref()), revision) {
            self.revision = revision;
        }
        self.adopt_records(table.records, &table.key, at);
        if self.table_read_at.is_none() {
            self.was_set_back_before_the_start(at);
        }
        self.unwritten.read();
        self.forgive_what_has_changed(&table.key, at);
        self.refusals.index(self.entries.values().map(|entry| &entry.record));
        self.tell_problems(&table.problems, table.records_lost, at);
        self.table_read_at = Some(at);
        if self.health.refuses_tokens() && self.entries.values().all(|entry| entry.unsaved.is_none()) {
            // Nothing waits any more for which it would be known that it works again.
            self.store_works(Use::Save, at);
        }
        self.store_works(Use::Read, at);
        self.advance(at);
    }

    /// Most rows say what they said a minute ago, so each is compared where it stands: to build the map anew took three
    /// times as long.
    fn take_over_rows(&mut self, customers: Vec<Customer>, at: DateTime<Utc>) {
        self.mark = !self.mark;
        let mut known = 0;
        let mut new = Vec::new();
        for customer in customers {
            if let Some(entry) = self.entries.get_mut(&customer.id) {
                known += 1;
                entry.mark = self.mark;
                if entry.replace_row(customer) {
                    self.revision += 1;
                    entry.revision = self.revision;
                }
            } else {
                self.revision += 1;
                let mut entry = Entry::new(customer, self.revision, at, self.policy.window);
                entry.mark = self.mark;
                if self.table_read_at.is_some() {
                    entry.known = Known::New;
                }
                if let Some(record) = self.refusals.returned(&entry.customer.id) {
                    entry.record = record;
                }
                new.push((entry.customer.id.clone(), entry));
            }
        }
        if known < self.entries.len() {
            self.remove_the_unmarked();
        }
        if self.entries.is_empty() {
            // All at once fills the nodes of the map; one by one leaves a third of them empty.
            self.entries = new.into_iter().collect();
        } else {
            self.entries.extend(new);
        }
    }

    /// Those whose row was not there this time.
    fn remove_the_unmarked(&mut self) {
        let mark = self.mark;
        let gone: Vec<_> = self.entries.extract_if(.., |_, entry| entry.mark != mark).collect();
        for (id, entry) in gone {
            // A row may come back, and must not be tried again just because it was away.
            self.refusals.left(&entry.record);
            self.unwritten.left(entry.record);
            self.remove(id);
        }
    }

    /// When records become possible that were not before, the fingerprints get the stored key, and what was only known
    /// here is written.
    fn adopt_key(&mut self, key: &FingerprintKey) {
        if let Some(old) = self.key.replace(key.clone()).filter(|old| old != key) {
            self.refusals.forget_absent();
            for (id, entry) in &mut self.entries {
                let credentials = &entry.customer.credentials;
                if let Some(failure) = &mut entry.record.failure
                    && failure.fingerprint == old.fingerprint(credentials)
                {
                    failure.fingerprint = key.fingerprint(credentials);
                    self.unwritten.changed(id);
                }
            }
        }
    }

    fn remove(&mut self, id: CustomerId) {
        self.revision += 1;
        self.removed.push_back((self.revision, id));
        if self.removed.len() > REMEMBERED_REMOVALS
            && let Some((revision, _)) = self.removed.pop_front()
        {
            self.removed_floor = revision;
        }
    }

    /// Takes over what the store remembers and we do not know better: all of it at the start, and later what another
    /// daemon on the same table has learned.
    fn adopt_records(&mut self, records: Vec<Record>, key: &FingerprintKey, at: DateTime<Utc>) {
        for record in records {
            let id = &record.id;
            let Some(entry) = self.entries.get_mut(id) else {
                if !self.unwritten.may_be_newer(id) {
                    self.refusals.left(&record);
                }
                continue;
            };
            // No answer to a password that we do not need.
            let is_of_a_password =
                record.failure.as_ref().is_some_and(|note| note.kind == FailureKind::Timeout);
            if is_of_a_password && entry.usable_refresh_token().is_some() {
                continue;
            }
            // What we have written since, or are about to, is newer. But that we could not ask is no answer to a refusal.
            let could_not_ask = entry.record.failure.as_ref().is_some_and(|note| !note.permanent);
            if self.unwritten.may_be_newer(id) && !(could_not_ask && refusal(&record).is_some()) {
                continue;
            }
            match preference(&entry.record, &record, || key.fingerprint(&entry.customer.credentials)) {
                Preference::Ours => {}
                Preference::OursForBoth => {
                    entry.record.updated_at = at;
                    self.unwritten.changed(id);
                }
                Preference::Theirs => {
                    self.revision += 1;
                    entry.revision = self.revision;
                    self.unwritten.given_up(id);
                    entry.record = record;
                }
            }
        }
    }

    /// A failure belongs to the credentials that failed. Others are a new story: the customer is tried again. So it is when
    /// the configuration allows what it forbade.
    fn forgive_what_has_changed(&mut self, key: &FingerprintKey, at: DateTime<Utc>) {
        let mut unparked = Vec::new();
        let mut left = HashMap::new();
        for (id, entry) in &mut self.entries {
            let Some(failure) = &entry.record.failure else { continue };
            let is_allowed = failure.kind == FailureKind::InsecureUrl && !self.policy.require_https;
            if !is_allowed && failure.fingerprint == key.fingerprint(&entry.customer.credentials) {
                continue;
            }
            if let Some(refused) = refusal(&entry.record) {
                left.insert(refused.fingerprint.clone(), Failure::shared(id, refused));
            }
            if failure.permanent {
                let why =
                    if is_allowed { "http is allowed now" } else { "its URL, user or password has changed" };
                unparked.push((id.clone(), why));
            }
            self.unheard.heard(&failure.fingerprint);
            entry.record.failure = None;
            entry.record.updated_at = at;
            self.revision += 1;
            entry.revision = self.revision;
            self.unwritten.changed(id);
        }
        for (id, why) in unparked {
            let message = format!("{why}; it is tried again");
            self.note(at, NoticeKind::Unparked, Some(&id), message);
        }
        self.park_who_still_says(&left, key, at);
    }

    /// Whoever was told that these credentials are refused does not say them any more. Who still does must not be the next
    /// to be told.
    fn park_who_still_says(
        &mut self,
        refused: &HashMap<Fingerprint, Failure>,
        key: &FingerprintKey,
        at: DateTime<Utc>,
    ) {
        if refused.is_empty() {
            return;
        }
        let others = self.entries.iter().filter(|(_, entry)| refusal(&entry.record).is_none());
        let others = others.filter_map(|(id, entry)| {
            let failure = refused.get(&key.fingerprint(&entry.customer.credentials))?;
            Some((id.clone(), failure.clone()))
        });
        for (id, failure) in others.collect::<Vec<_>>() {
            // Nothing is rolled for what does not end.
            self.failed(&id, &failure, at, 0.5);
        }
    }

    /// Says once what is wrong with a row, and again only if it was right in between.
    fn tell_problems(&mut self, problems: &[RowProblem], records_lost: Option<String>, at: DateTime<Utc>) {
        let told = std::mem::replace(&mut self.told, problems.iter().cloned().collect());
        for problem in problems.iter().filter(|problem| !told.contains(problem)) {
            let message = format!("row {}: {}", problem.row, problem.what);
            self.note(at, NoticeKind::Warning, None, message);
        }
        let was_told = std::mem::replace(&mut self.told_records_lost, records_lost.is_some());
        if let Some(why) = records_lost.filter(|_| !was_told) {
            let message = format!(
                "the table tbtokend_state cannot be used ({why}): who is parked is forgotten at a restart; have the DBA run what `tbtokend schema` prints"
            );
            self.note(at, NoticeKind::Warning, None, message);
        }
    }
}

/// Which of two records of one customer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preference {
    Ours,
    /// Ours, and the store is to say so.
    OursForBoth,
    Theirs,
}

/// Whether our record or the store's, which another daemon may have written, counts. A refusal of the present
/// credentials does, whatever the clocks say: the other one was told, or we were, and nobody else needs to be. What the
/// store holds was written after anything that we have written.
fn preference(ours: &Record, theirs: &Record, credentials: impl FnOnce() -> Fingerprint) -> Preference {
    match (refusal(ours), refusal(theirs)) {
        (Some(our), Some(their)) if our.fingerprint == their.fingerprint => Preference::Ours,
        (None, Some(their)) if their.fingerprint == credentials() => Preference::Theirs,
        // The other one could not even ask, unless it has had a token since.
        (Some(our), None) if theirs.last_success_at.is_none_or(|at| at <= our.at) => Preference::OursForBoth,
        _ if ours.updated_at < theirs.updated_at => Preference::Theirs,
        _ => Preference::Ours,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::engine::event::Event;
    use crate::engine::plan::Policy;
    use crate::model::{Credentials, Lifetime, Secret, TokenStatus};

    fn state() -> State {
        let policy = Policy {
            interval: TimeDelta::minutes(1),
            window: TimeDelta::minutes(5),
            lifetime: Lifetime::Jwt,
            require_https: false,
        };
        State::new(policy, 100)
    }

    fn read(state: &mut State, customers: &[(&str, &str)]) {
        let customers = customers.iter().map(|(id, username)| Customer {
            id: CustomerId::new(*id),
            credentials: Credentials {
                url: "https://tb.example".to_owned(),
                username: (*username).to_owned(),
                password: Secret::new("p"),
            },
            row_url: "https://tb.example".to_owned(),
            has_token: false,
            expiry: None,
        });
        let table = Table {
            customers: customers.collect(),
            problems: Vec::new(),
            records: Vec::new(),
            key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
            records_lost: None,
        };
        state.apply(Event::TableRead(table), DateTime::UNIX_EPOCH, 0.5);
    }

    /// Ids with their users, and whose entry has changed since the revision.
    fn picture(state: &State, since: u64) -> (Vec<(&str, &str)>, Vec<&str>) {
        let users = state.entries().map(|(id, entry)| (id.as_str(), &*entry.customer.credentials.username));
        let changed = state.entries().filter(|(_, entry)| entry.revision > since);
        (users.collect(), changed.map(|(id, _)| id.as_str()).collect())
    }

    #[test]
    fn rows_come_change_go_and_come_back_in_any_order() {
        let mut state = state();
        read(&mut state, &[("b", "u"), ("a", "u"), ("c", "u")]);
        assert_eq!(picture(&state, 0), (vec![("a", "u"), ("b", "u"), ("c", "u")], vec!["a", "b", "c"]));
        let before = state.revision();
        read(&mut state, &[("c", "u"), ("a", "u"), ("b", "u")]);
        assert_eq!(state.revision(), before, "nothing is new");

        read(&mut state, &[("d", "u"), ("c", "v")]);
        assert_eq!(picture(&state, before), (vec![("c", "v"), ("d", "u")], vec!["c", "d"]));
        let gone: Vec<_> = state.removed().0.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(gone, ["a", "b"]);

        let before = state.revision();
        read(&mut state, &[("a", "u"), ("c", "v"), ("d", "u")]);
        assert_eq!(picture(&state, before), (vec![("a", "u"), ("c", "v"), ("d", "u")], vec!["a"]));
        read(&mut state, &[]);
        assert!(state.is_empty());
        assert_eq!(state.removed().0.len(), 5);
    }

    #[test]
    fn a_record_that_was_not_written_outlives_its_row() {
        let mut state = state();
        read(&mut state, &[("a", "u"), ("b", "u")]);
        let failure = Failure::CredentialsRejected;
        state.apply(Event::Failed { id: CustomerId::new("a"), failure }, DateTime::UNIX_EPOCH, 0.5);
        read(&mut state, &[("b", "u")]);
        let records = state.take_unrecorded(1000);
        assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(records[0].failure.as_ref().unwrap().permanent);
    }

    fn failing(state: &mut State, name: &str, failure: Failure, at: i64) {
        state.apply(Event::Failed { id: CustomerId::new(name), failure }, second(at), 0.5);
    }

    fn second(at: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(at)
    }

    fn refused() -> Failure {
        Failure::CredentialsRejected
    }

    fn strained() -> Failure {
        Failure::ServerError { status: 503 }
    }

    /// A record of a customer with these credentials who has failed like this.
    fn record(failure: Failure, username: &str, at: i64) -> Record {
        let mut state = state();
        read(&mut state, &[("a", username)]);
        failing(&mut state, "a", failure, at);
        state.take_unrecorded(1000).remove(0)
    }

    /// Who wins, of two daemons that have each learned something.
    #[test]
    fn p02_a_refusal_of_the_present_credentials_counts_whatever_the_clocks_say() {
        let present = record(refused(), "now", 50).failure.unwrap().fingerprint;
        let fine = |at: i64, success: Option<i64>| Record {
            failure: None,
            last_success_at: success.map(second),
            ..record(strained(), "now", at)
        };
        let (early, late) = (10, 90);
        let (ours, both, theirs) = (Preference::Ours, Preference::OursForBoth, Preference::Theirs);
        let cases = [
            ("we both were refused", record(refused(), "now", early), record(refused(), "now", late), ours),
            (
                "ours is of older credentials",
                record(refused(), "old", early),
                record(refused(), "now", late),
                theirs,
            ),
            (
                "theirs is of older credentials",
                record(refused(), "now", late),
                record(refused(), "old", early),
                ours,
            ),
            ("they were refused", record(strained(), "now", late), record(refused(), "now", early), theirs),
            ("they were, long ago", record(strained(), "now", late), record(refused(), "old", early), ours),
            ("they could not ask", record(refused(), "now", early), record(strained(), "now", late), both),
            ("they had a token before", record(refused(), "now", 50), fine(late, Some(50)), both),
            ("they have had a token since", record(refused(), "now", 50), fine(late, Some(51)), theirs),
            ("they are later", record(strained(), "now", early), record(strained(), "now", late), theirs),
            ("we are later", record(strained(), "now", late), record(strained(), "now", early), ours),
            ("nobody is later", record(strained(), "now", early), record(strained(), "now", early), ours),
        ];
        for (what, our, their, expected) in cases {
            assert_eq!(preference(&our, &their, || present.clone()), expected, "{what}");
        }
    }

    fn read_with(state: &mut State, customers: &[(&str, &str)], change: impl FnOnce(&mut Table), at: i64) {
        let mut other = self::state();
        read(&mut other, customers);
        let customers = other.entries().map(|(_, entry)| entry.customer.clone()).collect();
        let key = FingerprintKey::new(&[7; FingerprintKey::BYTES]);
        let mut table =
            Table { customers, problems: Vec::new(), records: Vec::new(), key, records_lost: None };
        change(&mut table);
        state.apply(Event::TableRead(table), second(at), 0.5);
    }

    #[test]
    fn what_another_daemon_has_written_is_shown_and_not_written_again() {
        let mut state = state();
        read(&mut state, &[("a", "u"), ("b", "u2")]);
        let before = state.revision();
        read_with(
            &mut state,
            &[("a", "u"), ("b", "u2")],
            |table| table.records = vec![record(refused(), "u", 5)],
            9,
        );
        assert_eq!(picture(&state, before).1, ["a"]);
        assert!(state.entry(&CustomerId::new("a")).unwrap().record.failure.as_ref().unwrap().permanent);
        assert!(!state.has_unrecorded());
        assert_eq!(state.table_read_at(), Some(second(9)));
        // Theirs counts over what we were about to write.
        failing(&mut state, "b", strained(), 10);
        let theirs = Record { id: CustomerId::new("b"), ..record(refused(), "u2", 5) };
        read_with(&mut state, &[("a", "u"), ("b", "u2")], |table| table.records = vec![theirs], 11);
        assert!(!state.has_unrecorded());
        // What we were told counts over what they were not, and is written again, as of now.
        state.apply(Event::Reading, second(12), 0.5);
        read_with(&mut state, &[("a", "u")], |table| table.records = vec![record(strained(), "u", 13)], 14);
        let records = state.take_unrecorded(1000);
        assert_eq!(records.iter().map(|record| record.updated_at).collect::<Vec<_>>(), [second(14)]);
    }

    #[test]
    fn p03_other_credentials_free_the_parked_and_are_said_and_written() {
        let mut state = state();
        read(&mut state, &[("a", "u"), ("b", "u2")]);
        failing(&mut state, "a", refused(), 1);
        failing(&mut state, "b", strained(), 1);
        state.take_unrecorded(1000);
        state.history_mut().take_unlogged().for_each(drop);
        let before = state.revision();
        read_with(&mut state, &[("a", "v"), ("b", "v2")], |_| {}, 60);
        let told: Vec<_> =
            state.history_mut().take_unlogged().map(|n| (n.kind, n.customer.clone())).collect();
        assert_eq!(told, [(NoticeKind::Unparked, Some(CustomerId::new("a")))], "b was not parked");
        let records = state.take_unrecorded(1000);
        assert!(records.iter().all(|record| record.failure.is_none() && record.updated_at == second(60)));
        assert_eq!((records.len(), picture(&state, before).1), (2, vec!["a", "b"]));
    }

    /// Somebody mends one row and forgets the other: that one waited for its server all the while.
    #[test]
    fn p02_who_still_says_what_was_refused_is_parked_when_the_refused_row_is_mended() {
        let mut state = state();
        read(&mut state, &[("a", "u"), ("b", "u"), ("c", "v")]);
        failing(&mut state, "b", strained(), 1);
        failing(&mut state, "a", refused(), 2);
        state.take_unrecorded(1000);
        read_with(&mut state, &[("a", "mended"), ("b", "u"), ("c", "v")], |_| {}, 60);
        let failure = |name: &str| state.entry(&CustomerId::new(name)).unwrap().record.failure.as_ref();
        let b = failure("b").unwrap();
        assert!(b.permanent && b.message.contains("for customer a"), "{}", b.message);
        assert!(failure("a").is_none() && failure("c").is_none());
        let ids = state.take_unrecorded(1000).into_iter().map(|record| record.id.to_string());
        assert_eq!(ids.collect::<Vec<_>>(), ["a", "b"], "after a restart too");
        // It is mended as well.
        read_with(&mut state, &[("a", "mended"), ("b", "mended"), ("c", "v")], |_| {}, 120);
        assert!(state.entries().all(|(_, entry)| entry.record.failure.is_none()));
    }

    /// What a record says of earlier tokens is of the credentials of then, and nobody saw whether they were changed while the
    /// row was away.
    #[test]
    fn p02_nothing_speaks_for_the_credentials_of_a_row_that_came_back() {
        let known = |state: &State, name: &str| state.entry(&CustomerId::new(name)).unwrap().known;
        let mut state = state();
        read(&mut state, &[("a", "u")]);
        assert_eq!(known(&state, "a"), Known::Found);
        read(&mut state, &[("b", "u")]);
        read(&mut state, &[("a", "u"), ("b", "u")]);
        assert_eq!((known(&state, "a"), known(&state, "b")), (Known::New, Known::New));
    }

    /// The other daemon has only the password, and got no answer. We do not need it.
    #[test]
    fn who_has_a_refresh_token_does_not_wait_for_an_answer_to_a_password() {
        let unheard = || Failure::Timeout { after: std::time::Duration::from_secs(10) };
        for (failure, waits) in [(unheard(), false), (strained(), true), (refused(), true)] {
            let mut state = state();
            read(&mut state, &[("a", "u")]);
            let record = record(failure, "u", 5);
            state.entries.get_mut(&CustomerId::new("a")).unwrap().refresh_token = Some(Secret::new("r"));
            read_with(&mut state, &[("a", "u")], |table| table.records = vec![record], 9);
            assert_eq!(state.entry(&CustomerId::new("a")).unwrap().record.failure.is_some(), waits);
        }
    }

    #[test]
    fn another_key_changes_the_fingerprints_and_frees_nobody() {
        let mut state = state();
        read(&mut state, &[("a", "u"), ("gone", "w")]);
        failing(&mut state, "a", refused(), 1);
        failing(&mut state, "gone", refused(), 1);
        read(&mut state, &[("a", "u")]);
        let other = || FingerprintKey::new(&[9; FingerprintKey::BYTES]);
        read_with(&mut state, &[("a", "u"), ("b", "u")], |table| table.key = other(), 60);
        let a = state.entry(&CustomerId::new("a")).unwrap();
        let note = a.record.failure.as_ref().unwrap();
        assert!(note.permanent && note.fingerprint == other().fingerprint(&a.customer.credentials));
        let is_refused = |name: &str| {
            let fingerprint =
                state.fingerprint(&state.entry(&CustomerId::new(name)).unwrap().customer.credentials);
            state.refusal(&fingerprint.unwrap()).is_some()
        };
        assert!(is_refused("a") && is_refused("b"), "b says the same");
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said_once_until_it_was_right() {
        let problem = || RowProblem { row: "7".to_owned(), what: "is no date".to_owned() };
        let mut state = state();
        let mut look = |problems: usize, lost: Option<&str>| {
            let change = |table: &mut Table| {
                table.problems = vec![problem(); problems];
                table.records_lost = lost.map(ToOwned::to_owned);
            };
            read_with(&mut state, &[], change, 1);
            let said = state.history_mut().take_unlogged().map(|notice| notice.message.clone());
            said.map(|message| message.chars().take(16).collect()).collect::<Vec<String>>()
        };
        assert_eq!(look(1, None), ["row 7: is no dat"]);
        assert!(look(1, None).is_empty());
        assert!(look(0, None).is_empty());
        assert_eq!(look(1, None), ["row 7: is no dat"]);
        assert_eq!(look(1, Some("no permission")), ["the table tbtoke"]);
        assert!(look(1, Some("no permission")).is_empty());
        assert!(look(1, None).is_empty());
        assert_eq!(look(1, Some("no permission")), ["the table tbtoke"]);
    }

    #[test]
    fn who_left_is_remembered_for_clients_up_to_a_bound() {
        let mut state = state();
        let names: Vec<String> = (0..=REMEMBERED_REMOVALS).map(|n| format!("{n:05}")).collect();
        let rows: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "u")).collect();
        read(&mut state, &rows);
        let (before, floor) = (state.revision(), state.removed().1);
        read(&mut state, &rows[..1]);
        assert_eq!((state.removed().0.len(), state.removed().1), (REMEMBERED_REMOVALS, floor));
        let revisions: Vec<u64> = state.removed().0.iter().map(|(revision, _)| *revision).collect();
        assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]) && revisions[0] > before);
        read(&mut state, &[]);
        let (removed, floor) = state.removed();
        assert_eq!(
            (removed.len(), floor),
            (REMEMBERED_REMOVALS, revisions[0]),
            "the oldest is no longer known"
        );
        assert_eq!(removed.back().unwrap().1.as_str(), "00000");
    }

    #[test]
    fn the_status_of_a_row_is_right_at_the_look() {
        let mut state = state();
        let soon = |table: &mut Table| {
            table.customers[0].has_token = true;
            table.customers[0].expiry = Some(second(1_000));
        };
        read_with(&mut state, &[("a", "u")], soon, 0);
        let status = |state: &State| state.entry(&CustomerId::new("a")).unwrap().status;
        assert_eq!(status(&state), TokenStatus::Valid);
        read_with(&mut state, &[("a", "u")], soon, 900);
        assert_eq!(status(&state), TokenStatus::ExpiringSoon);
        read_with(&mut state, &[("a", "u")], |_| {}, 901);
        assert_eq!(status(&state), TokenStatus::Missing);
    }
}
