//! The ledger of the simulated store, by the rules of `store/ledger.rs`, and its content for an account.

use std::collections::BTreeMap;

use serde::Deserialize;
use tbtokend::model::AccountKey;
use tbtokend::store::LedgerPlace;
use tbtokend::store::{AccountRow, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

use super::passwords::AccountId;
use super::world::{Database, World};

/// The table `tbtokend_account`.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    stamp: Stamp,
    rows: BTreeMap<AccountKey, AccountRow>,
    known: BTreeMap<AccountId, Known>,
}

/// The content of the ledger for an account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) charges: u8,
    pub(crate) open: Vec<(Option<String>, Option<String>, u8)>,
    pub(crate) accepted: Vec<String>,
    pub(crate) rejected: Vec<String>,
    /// Whether a password of the account is in flight, or was when its daemon died.
    pub(crate) is_in_flight: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    open: Vec<(Option<String>, Option<String>, u8)>,
    accepted: Vec<(String, u32)>,
    rejected: Vec<(String, String, u32, String)>,
}

impl Known {
    fn of(row: &AccountRow) -> Self {
        let Details { open, accepted, rejected } = serde_json::from_str(&row.details).unwrap();
        Self {
            charges: row.charges,
            open,
            accepted: accepted.into_iter().map(|(fingerprint, _)| fingerprint).collect(),
            rejected: rejected.into_iter().map(|(fingerprint, ..)| fingerprint).collect(),
            is_in_flight: row.in_flight.is_some(),
        }
    }

    /// Counts the open charges of this user name at this server.
    pub(crate) fn charges_against(&self, server: &str, username: &str) -> u8 {
        let is = |known: &Option<String>, this: &str| known.as_ref().is_none_or(|known| known == this);
        let open = self.open.iter().filter(|(at, name, _)| is(at, server) && is(name, username));
        open.map(|(_, _, charges)| *charges).max().unwrap_or_default()
    }
}

impl Database {
    /// Returns the content of its ledger for an account.
    pub(crate) fn ledger_of(&self, account: AccountId) -> Option<&Known> {
        self.ledger.as_ref()?.known.get(&account)
    }
}

impl World {
    /// Reads the accounts that have changed since `since`, or all accounts.
    pub(crate) fn read_ledger(&mut self, since: Option<Stamp>) -> LedgerRead {
        if self.db.ledger.is_none() {
            let id = i64::try_from(self.rng.below(1 << 62)).unwrap();
            self.db.ledger = Some(Ledger {
                stamp: Stamp { id, number: 0 },
                rows: BTreeMap::new(),
                known: BTreeMap::new(),
            });
        }
        let id = i64::try_from(self.rng.below(1 << 62)).unwrap();
        let ledger = self.db.ledger.as_mut().unwrap();
        if since.is_some_and(|since| since.id == ledger.stamp.id && since.number > ledger.stamp.number) {
            // An older state becomes another ledger, so that other daemons notice it too.
            ledger.stamp.id = id;
        }
        let since = since.filter(|since| since.id == ledger.stamp.id && since.number <= ledger.stamp.number);
        let is_new = |row: &&AccountRow| since.is_none_or(|since| row.version > since.number);
        let place = if self.db.has_no_records {
            let why = "the database has no table tbtokend_account".to_owned();
            LedgerPlace::File { path: "/var/lib/tbtokend/ledger.db".to_owned(), why }
        } else {
            LedgerPlace::Database
        };
        LedgerRead {
            stamp: ledger.stamp,
            is_whole: since.is_none(),
            accounts: ledger.rows.values().filter(is_new).cloned().collect(),
            loop_state: self.db.loop_state.filter(|_| since.is_none()),
            place,
            ..LedgerRead::default()
        }
    }

    /// Writes each account over the version that it names, if the ledger has the stamp.
    pub(crate) fn write_ledger(&mut self, write: LedgerWrite) -> LedgerWritten {
        let Some(ledger) = &mut self.db.ledger else { return LedgerWritten::Replaced };
        if ledger.stamp.id != write.stamp.id || ledger.stamp.number < write.stamp.number {
            return LedgerWritten::Replaced;
        }
        ledger.stamp.number += 1;
        let number = ledger.stamp.number;
        let (mut conflicts, mut changed) = (Vec::new(), Vec::new());
        for mut row in write.accounts {
            let before = ledger.rows.get(&row.key);
            if before.map_or(0, |before| before.version) != row.version {
                conflicts.push((row.key, before.cloned()));
                continue;
            }
            let is_new_charge = row.in_flight.is_some()
                && before.and_then(|before| before.in_flight.as_ref()) != row.in_flight.as_ref();
            row.version = number;
            changed.push((row.key, Known::of(&row), is_new_charge));
            ledger.rows.insert(row.key, row);
        }
        if let Some(forget) = write.forget {
            ledger.rows.retain(|_, row| {
                let before = if row.charges == 0 { forget.uncharged_before } else { forget.charged_before };
                row.seen_at >= before
            });
        }
        for (key, known, is_new_charge) in changed {
            let Some(account) = self.db.keys.get(&key).copied() else { continue };
            self.note_ledger(account, &known, is_new_charge);
            if let Some(ledger) = &mut self.db.ledger {
                ledger.known.insert(account, known);
            }
        }
        LedgerWritten::Written { number, conflicts }
    }

    /// Makes a copy of the table.
    pub(crate) fn back_up_ledger(&mut self) {
        self.db.copy.clone_from(&self.db.ledger);
    }

    /// Drops the table, deletes all of its rows, or restores an earlier copy, while a daemon runs.
    pub(crate) fn lose_ledger(&mut self) {
        let kind = self.rng.below(3);
        self.log_for_all(&format!("the ledger is lost ({kind})"));
        self.audit.ledger_losses += 1;
        self.keep_parked_rows();
        match kind {
            0 => self.db.ledger = None,
            1 => {
                // The daemon may make a table, so it makes the row with the stamp again at once.
                self.db.ledger = None;
                let _ = self.read_ledger(None);
            }
            _ => self.db.ledger.clone_from(&self.db.copy),
        }
        self.note_ledger_loss();
    }
}
