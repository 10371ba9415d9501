//! The in-memory store: it outlives daemons, and fails when the world says so.

use std::future::pending;
use std::sync::Arc;

use tbtokend::model::{Credentials, Customer, CustomerId, Record, Renewal, Secret};
use tbtokend::store::{Records, Saved, Store, StoreError, Table};
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::stories::key;
use super::world::{Shared, World, url};

/// One daemon's way to the database.
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

    /// A write. A daemon that is killed meanwhile never hears of it, done or not.
    async fn write<T>(&self, apply: impl FnOnce(&mut World) -> T) -> Result<T, StoreError> {
        self.wait(10).await;
        let result = {
            let mut world = self.world.lock();
            let forgets = world.db.half_fails && world.dice.chance(50_000);
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
        let mut world = self.world.lock();
        if world.db.read_fails {
            return Err(failed());
        }
        world.reads(self.daemon);
        let rows = world.rows.iter().filter(|(_, row)| row.present);
        let customers = rows.map(|(user, row)| Customer {
            id: CustomerId::new(user.to_string()),
            credentials: Credentials {
                url: url(row.host),
                username: format!("user{}", row.login),
                password: Secret::new(row.password.clone()),
            },
            row_url: url(row.host),
            has_token: row.token.is_some(),
            expiry: row.expiry,
        });
        let wanted = world.db.records.values();
        let wanted = wanted.filter(|record| records == Records::All || record.failure.is_some());
        Ok(Table {
            customers: customers.collect(),
            problems: Vec::new(),
            records: wanted.cloned().collect(),
            key: key(),
            records_lost: None,
        })
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        self.write(|world| batch.iter().map(|renewal| world.save(renewal)).collect()).await
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        self.write(|world| {
            for record in batch {
                let user = user_of(&record.id);
                let before = world.db.records.get(&user).cloned();
                world.recorded(&record, before.as_ref());
                world.db.records.insert(user, record);
            }
        })
        .await
    }
}

fn user_of(id: &CustomerId) -> usize {
    id.as_str().parse().unwrap()
}

impl World {
    fn save(&mut self, renewal: &Renewal) -> Saved {
        let user = user_of(&renewal.id);
        let before = self.rows[&user].expiry;
        let row = self.rows.get_mut(&user).unwrap();
        row.held.take_if(|(_, jwt, _)| jwt == renewal.token.jwt().expose());
        let is_same = row.present && url(row.host) == renewal.row_url;
        let is_kept = |before| before >= renewal.expiry && renewal.replaces != Some(before);
        if !is_same || before.is_some_and(is_kept) {
            return Saved::Superseded;
        }
        self.check_fresh(user, "when its new token came");
        let row = self.rows.get_mut(&user).unwrap();
        row.token = Some(renewal.token.jwt().expose().to_owned());
        row.expiry = Some(renewal.expiry);
        self.audit.saved += 1;
        Saved::Written
    }
}
