//! The store that the product is for: a customers' table in SQL Server, as it is.

mod address;
#[cfg(test)]
mod any_cell;
mod connect;
mod connection;
mod examine;
mod grants;
mod key_readers;
mod layout;
mod own;
mod patience;
mod problem;
mod records;
mod rows;
mod settings;
mod statements;
mod trouble;
mod types;
mod zone;

use std::sync::Arc;

pub use self::address::{Address, At, BadAddress};
pub(super) use self::grants::schema;
pub use self::problem::{NotLocated, Problem};
pub use self::settings::{Encryption, Password, Settings, Trust, Unreadable};
pub use self::zone::ExpiryClock;

use self::connection::{Connections, Shared};
use self::rows::SharedOwn;
use self::trouble::Doing;
use super::{Records, Saved, Store, StoreError, Table};
use crate::model::{Record, Renewal};

/// A customers' table in SQL Server. It is connected to at the first use, and again whenever the connection was lost.
#[derive(Debug)]
pub struct MssqlStore {
    description: String,
    connections: Shared,
    own: Arc<SharedOwn>,
}

impl MssqlStore {
    /// A store on that table.
    pub fn new(settings: Settings) -> Self {
        Self {
            description: settings.describe(),
            connections: Arc::new(Connections::new(settings)),
            own: Arc::default(),
        }
    }
}

impl MssqlStore {
    /// A store that is only looked at: it does not even make its own tables.
    pub fn for_examination(settings: Settings) -> Self {
        Self {
            description: settings.describe(),
            connections: Arc::new(Connections::for_examination(settings)),
            own: Arc::default(),
        }
    }
}

impl Store for MssqlStore {
    fn describe(&self) -> String {
        self.description.clone()
    }

    async fn read(&self, which: Records) -> Result<Table, StoreError> {
        let (shared, own) = (Arc::clone(&self.connections), Arc::clone(&self.own));
        let work: connection::Work<Table> = Box::new(move |connection| {
            let (shared, own) = (Arc::clone(&shared), Arc::clone(&own));
            Box::pin(async move {
                let table = &shared.settings().table;
                let rows::Rows { customers, mut problems } = rows::read(connection, &shared, &own).await?;
                let which = match connection.prepare_records(table).await? {
                    // Those from before are to be known as well.
                    true => Records::All,
                    false => which,
                };
                let (records, unreadable) = records::read(connection, table, which).await?;
                problems.extend(unreadable);
                let key = connection.records.key().clone();
                let records_lost = connection.records.lost().map(ToOwned::to_owned);
                Ok(Table { customers, problems, records, key, records_lost })
            })
        });
        self.connections.with(Doing::Reading, work).await
    }

    async fn save(&self, batch: Arc<Vec<Renewal>>) -> Result<Vec<Saved>, StoreError> {
        let (shared, own) = (Arc::clone(&self.connections), Arc::clone(&self.own));
        let work: connection::Work<Vec<Saved>> = Box::new(move |connection| {
            let (shared, own, batch) = (Arc::clone(&shared), Arc::clone(&own), Arc::clone(&batch));
            Box::pin(async move { rows::save(connection, &shared, &own, &batch).await })
        });
        self.connections.with(Doing::Saving, work).await
    }

    async fn record(&self, batch: Vec<Record>) -> Result<(), StoreError> {
        let latest = Arc::new(records::latest(batch));
        // One statement at a time, so that tokens are saved in between.
        for start in (0..latest.len()).step_by(statements::MOST_ROWS) {
            let (shared, latest) = (Arc::clone(&self.connections), Arc::clone(&latest));
            let work: connection::Work<()> = Box::new(move |connection| {
                let (shared, latest) = (Arc::clone(&shared), Arc::clone(&latest));
                Box::pin(async move {
                    let end = latest.len().min(start + statements::MOST_ROWS);
                    let part = latest.get(start..end).unwrap_or_default();
                    records::keep(connection, &shared.settings().table, part).await
                })
            });
            self.connections.with(Doing::Recording, work).await?;
        }
        Ok(())
    }
}
