//! The in-memory store. It outlives daemons, and fails when the world says so.

use std::future::pending;
use std::sync::Arc;

use tbtokend::model::{Customer, CustomerId, LoopState, Record, Renewal, RowToken, Secret, Urls};
use tbtokend::store::{
    LedgerRead, LedgerWrite, LedgerWritten, Records, Saved, Stamp, Store, StoreError, Table,
};
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::passwords::key;
use super::world::{Row, Shared, World};

/// The connection of one daemon to the database.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) world: Shared,
    /// The number of the daemon.
    pub(crate) daemon: u32,
    pub(crate) killed: CancellationToken,
}

fn failed() -> StoreError {
    StoreError::Failed { place: "the simulated database".to_owned(), why: "an outage".to_owned() }
}

impl Memory {
    async fn wait(&self, ms: u64) {
        tokio::select! {
            biased;
            () = self.killed.cancelled() => pending().await,
            () = sleep(Duration::from_millis(ms)) => {}
        }
    }

    /// Waits for seconds if the database is slow.
    async fn wait_if_slow(&self) {
        let ms = {
            let mut world = self.world.lock();
            if world.db.is_slow { world.rng.between(500, 3_000) } else { 0 }
        };
        if ms > 0 {
            self.wait(ms.unsigned_abs()).await;
        }
    }

    /// Does a write. A daemon that is killed during it never learns the outcome.
    async fn write<T>(&self, apply: impl FnOnce(&mut World) -> T) -> Result<T, StoreError> {
        self.wait(10).await;
        self.wait_if_slow().await;
        let result = {
            let mut world = self.world.lock();
            let forgets = world.db.half_fails && world.rng.chance(50_000);
            if world.db.write_fails {
                Err(failed())
            } else {
                let outcome = apply(&mut world);
                if forgets { Err(failed()) } else { Ok(outcome) }
            }
        };
        self.wait(5).await;
        result
    }
}

impl Store for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn read(&self, records: Records) -> Result<Table, StoreError> {
        self.wait(20).await;
        self.wait_if_slow().await;
        let mut world = self.world.lock();
        world.count_poll(self.daemon);
        if world.db.read_fails {
            return Err(failed());
        }
        let rows = world.rows.iter().filter(|(user, row)| is_there(**user, row));
        let (mut ineligible, mut urls) = (Vec::new(), Urls::default());
        let customers = rows.filter_map(|(user, row)| {
            let password = if row.present { row.password.clone() } else { "  ".to_owned() };
            let row = tbtokend::model::Row {
                id: CustomerId::new(user.to_string()),
                url: Some(row.url()),
                username: Some(row.username()),
                password: Some(Secret::new(password)),
                has_token: row.token.is_some(),
                expiry: row.expiry,
            };
            Customer::from_row(row, None, &mut urls).map_err(|row| ineligible.push(row)).ok()
        });
        let customers = customers.collect();
        let records_lost = world.db.has_no_records.then(|| "no permission".to_owned());
        let wanted = world.db.records.values();
        let wanted = wanted.filter(|record| records == Records::All || record.failure.is_some());
        Ok(Table {
            customers,
            ineligible,
            problems: Vec::new(),
            records: wanted.cloned().collect(),
            key: key(),
            records_lost,
        })
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        let daemon = self.daemon;
        self.write(|world| batch.iter().map(|renewal| world.save(daemon, renewal)).collect()).await
    }

    async fn tokens(&self, ids: Vec<CustomerId>) -> Result<Vec<RowToken>, StoreError> {
        self.wait(10).await;
        let world = self.world.lock();
        if world.db.read_fails {
            return Err(failed());
        }
        let token = |id: CustomerId| {
            let row = world.rows.get(&user_of(&id)).filter(|row| is_there(user_of(&id), row))?;
            let token = Secret::new(row.token.clone()?);
            Some(RowToken { id, row_url: row.url(), username: row.username(), token })
        };
        Ok(ids.into_iter().filter_map(token).collect())
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        self.write(|world| {
            if world.db.has_no_records {
                return;
            }
            for record in batch {
                let user = user_of(&record.id);
                world.db.records.insert(user, record);
            }
        })
        .await
    }

    async fn read_ledger(&self, since: Option<Stamp>) -> Result<LedgerRead, StoreError> {
        self.wait(5).await;
        let mut world = self.world.lock();
        if world.db.read_fails { Err(failed()) } else { Ok(world.read_ledger(since)) }
    }

    async fn write_ledger(&self, write: LedgerWrite) -> Result<LedgerWritten, StoreError> {
        let written = self.write(|world| world.write_ledger(write)).await;
        let takes = self.world.lock().db.ledger_takes;
        self.wait(takes).await;
        written
    }

    async fn keep_loop_state(&self, state: LoopState) -> Result<(), StoreError> {
        self.write(|world| world.db.loop_state = Some(state)).await
    }
}

/// Whether the row is in the table. Half of the absent customers have no row; the others have one without a password.
fn is_there(user: usize, row: &Row) -> bool {
    row.present || user % 2 == 1
}

fn user_of(id: &CustomerId) -> usize {
    id.as_str().parse().unwrap()
}

impl World {
    /// Saves a token by the rules of the real stores. The row exists, its URL and user equal those of the renewal, and it
    /// has no token with a later expiry.
    fn save(&mut self, daemon: u32, renewal: &Renewal) -> Saved {
        let user = user_of(&renewal.id);
        self.note_token_settled(renewal.token.jwt().expose());
        let row = &self.rows[&user];
        let is_same =
            is_there(user, row) && row.url() == *renewal.row_url && row.username() == renewal.username;
        let before = row.expiry.filter(|_| row.token.is_some());
        if !is_same || before.is_some_and(|before| !renewal.may_replace(before)) {
            return Saved::Superseded;
        }
        self.check_fresh(user, "when its new token came");
        self.note_token_written(user, daemon, renewal);
        Saved::Written
    }
}
