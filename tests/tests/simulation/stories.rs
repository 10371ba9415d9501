//! What is known of each password that was refused: who was told, and whether a record of it is durable. Promises 2 and 3
//! are about these, not about rows: many rows may say the same.

use std::collections::{BTreeMap, BTreeSet};

use tbtokend::model::{Credentials, Failure, Fingerprint, FingerprintKey, Record, Secret};
use tokio::time::Instant;

use super::audit::SHORT;
use super::world::{Row, World, url};

/// What a row says: host, login and password.
pub(crate) type Says = (usize, usize, String);

/// The key of the simulated store.
pub(crate) fn key() -> FingerprintKey {
    FingerprintKey::new(&[7; FingerprintKey::BYTES])
}

/// One password that was refused for good while some row says it.
#[derive(Debug, Default)]
struct Story {
    /// The daemons that were told.
    told: Vec<u32>,
    /// A server has counted it.
    is_counted: bool,
    /// Since when the store holds a record of it.
    durable_at: Option<u64>,
    /// Since when a daemon that runs has known of it without the store knowing.
    waits_since: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Stories {
    refused: BTreeMap<Says, Story>,
    /// The same, until they bring a token or no row says them.
    parked: BTreeSet<Says>,
    by_fingerprint: BTreeMap<String, Says>,
    /// Passwords whose outcome a daemon did not live to hear, though it ended in good order.
    abandoned: BTreeMap<Says, Instant>,
    /// When each daemon last read the table. These two are counted, not timed: much happens in one millisecond.
    read_at: BTreeMap<u32, u64>,
}

fn fingerprint((host, login, password): &Says) -> Fingerprint {
    let password = Secret::new(password.clone());
    key().fingerprint(&Credentials { url: url(*host, 0), username: format!("user{login}"), password })
}

impl World {
    /// A daemon looks at the table: whatever is durable now it knows from now on.
    pub(crate) fn reads(&mut self, daemon: u32) {
        let serial = self.serial();
        if self.stories.read_at.insert(daemon, serial).is_none() {
            self.started_at = Instant::now();
            if self.db.has_no_records {
                // Nothing tells it what has worked.
                self.accepted.clear();
                self.rows.values_mut().for_each(|row| row.has_succeeded = false);
            }
        }
    }

    /// A daemon was told that these credentials are refused for good.
    pub(crate) fn refused(&mut self, daemon: u32, says: Says, failure: &Failure) {
        if self.saying(&says).is_empty() {
            // The rows were changed while the request was on its way.
            return;
        }
        self.tell(says.1, || format!("daemon {daemon} is told of {says:?}: {failure}"));
        let now = Instant::now();
        let knew_at = self.stories.read_at.get(&daemon).copied().unwrap_or(0);
        self.stories.by_fingerprint.insert(fingerprint(&says).as_str().to_owned(), says.clone());
        self.stories.parked.insert(says.clone());
        let story = self.stories.refused.entry(says.clone()).or_default();
        // What no server counts is forgotten at a restart, when the row that was told says something else and another one has
        // got on with a refresh token; and when another daemon has.
        let is_counted = matches!(failure, Failure::CredentialsRejected | Failure::AccountLocked);
        let again = if story.told.is_empty() {
            self.audit.bad_rows += 1;
            None
        } else if (self.setup.daemons > 1 && !is_counted)
            || (!story.is_counted && !story.told.contains(&daemon))
        {
            self.audit.forgiven += 1;
            None
        } else if story.told.contains(&daemon) {
            Some("the same daemon was told before")
        } else if story.durable_at.is_some_and(|at| at <= knew_at) {
            Some("the table held the record when the daemon read it")
        } else {
            // The one that was told was killed before its record was durable, or two daemons asked at the same time.
            self.audit.forgiven += 1;
            None
        };
        story.told.push(daemon);
        story.is_counted |= is_counted;
        if story.durable_at.is_none() {
            story.waits_since.get_or_insert(now);
        }
        let times = story.told.len();
        if let Some(why) = again {
            self.audit.refused_most = self.audit.refused_most.max(u32::try_from(times).unwrap());
            let login = says.1;
            self.violation("2 and 3", login, &format!("refused {times} times ({failure}): {why}"));
        } else {
            self.audit.refused_most = self.audit.refused_most.max(1);
        }
    }

    /// Whether a daemon was told that what the row says is refused for good. That an operator names a row allows one more
    /// try; parked it stays until one succeeds.
    pub(crate) fn was_refused(&self, says: &Says) -> bool {
        self.stories.parked.contains(says)
    }

    /// A daemon has ended in good order while the database worked: whatever it was told is durable (2).
    pub(crate) fn check_told(&mut self, daemon: u32) {
        // Of two daemons one may have written over it what it could not ask; see `recorded`.
        if !self.db_is_well() || self.db.has_no_records || self.setup.daemons > 1 {
            return;
        }
        let is_lost = |story: &Story| story.durable_at.is_none() && story.told.contains(&daemon);
        let lost = self.stories.refused.iter().filter(|(_, story)| is_lost(story));
        let lost: Vec<Says> = lost.map(|(says, _)| says.clone()).collect();
        for says in lost {
            let what =
                format!("daemon {daemon} ended in good order, and the refusal of {says:?} is not durable");
            self.violation("2", says.1, &what);
        }
    }

    /// A record is durable, in place of the one before. Of two daemons one may write over what the other was told, having
    /// asked before it could read that; the other one tells it again after its next look at the table.
    pub(crate) fn recorded(&mut self, record: &Record, before: Option<&Record>) {
        if let Ok(user) = record.id.as_str().parse::<usize>() {
            let login = self.rows.get(&user).map_or(user, |row| row.login);
            self.tell(login, || format!("recorded of row {user}: {:?}", record.failure));
        }
        let lost = before.and_then(|before| before.failure.as_ref()).filter(|failure| failure.permanent);
        let lost = lost.filter(|_| record.failure.as_ref().is_none_or(|failure| !failure.permanent));
        if let Some(says) = lost.and_then(|lost| self.stories.by_fingerprint.get(lost.fingerprint.as_str()))
            && self.setup.daemons > 1
            && let Some(story) = self.stories.refused.get_mut(says)
        {
            story.durable_at = None;
        }
        let Some(failure) = record.failure.as_ref().filter(|failure| failure.permanent) else { return };
        let serial = self.serial();
        let Some(says) = self.stories.by_fingerprint.get(failure.fingerprint.as_str()) else { return };
        if let Some(story) = self.stories.refused.get_mut(says) {
            story.durable_at.get_or_insert(serial);
            story.waits_since = None;
        }
    }

    /// These credentials may be tried again: they were accepted, their row says something else, or an operator has named
    /// it.
    pub(crate) fn forgive(&mut self, says: &Says) {
        self.stories.refused.remove(says);
        self.stories.abandoned.remove(says);
        self.unheard.remove(says);
    }

    /// They are a new story, or right after all.
    pub(crate) fn forget(&mut self, says: &Says) {
        self.stories.parked.remove(says);
        self.forgive(says);
    }

    /// The database works again: what waits has its time from now on.
    pub(crate) fn database_is_back(&mut self) {
        let now = Instant::now();
        for story in self.stories.refused.values_mut() {
            story.waits_since = story.waits_since.map(|_| now);
        }
        self.stories.abandoned.clear();
    }

    /// A daemon has ended: what only it knew is lost.
    pub(crate) fn forget_what_only_knew(&mut self, daemon: u32) {
        for story in self.stories.refused.values_mut() {
            if story.durable_at.is_none() && story.told.contains(&daemon) {
                story.waits_since = None;
            }
        }
        self.drop_held_by(daemon);
    }

    /// A password was on its way when its daemon ended in good order.
    pub(crate) fn abandoned(&mut self, says: Says) {
        if self.db_is_well() {
            self.stories.abandoned.insert(says, Instant::now());
        }
    }

    /// An operator asks for something: whoever waits may be tried.
    pub(crate) fn operator_asks(&mut self) {
        self.stories.abandoned.clear();
        self.is_asking = true;
        self.nobody_waits();
        self.one_more_may_be_sent();
    }

    /// A password is sent. One whose outcome nobody heard is not sent again at once by the next daemon.
    pub(crate) fn sends(&mut self, says: &Says) {
        let Some(at) = self.stories.abandoned.remove(says) else { return };
        let rows: Vec<usize> = self.saying(says);
        let lives = rows.iter().any(|row| self.is_alive(*row));
        if rows.len() == 1 && !lives && at.elapsed().as_secs() < 40 && self.clock_moved_at < at {
            let what = format!(
                "its password was sent again {:?} after a login that nobody heard the end of",
                at.elapsed()
            );
            self.violation("2", rows[0], &what);
        }
    }

    /// The rows that say this.
    pub(crate) fn saying(&self, says: &Says) -> Vec<usize> {
        let is_same = |row: &Row| row.host == says.0 && row.password == says.2;
        self.rows_of(says.1).filter(|(_, row)| row.present && is_same(row)).map(|(user, _)| user).collect()
    }

    /// Every refusal becomes durable in time.
    pub(crate) fn check_durable(&mut self) {
        if !self.db_is_well() || self.db.has_no_records {
            return;
        }
        let is_late = |story: &Story| story.waits_since.is_some_and(|since| since.elapsed() > SHORT);
        let late =
            self.stories.refused.iter().filter(|(_, story)| is_late(story)).map(|(says, _)| says.clone());
        for says in late.collect::<Vec<_>>() {
            if let Some(story) = self.stories.refused.get_mut(&says) {
                story.waits_since = None;
            }
            let rows = self.saying(&says);
            if rows.iter().any(|row| self.rows[row].excused_until < Instant::now()) {
                self.violation("2", rows[0], "its refusal is not durable after three minutes");
            }
        }
    }
}
