//! Collects the facts about a SQL Server for the doctor. Changes nothing.

use std::sync::Arc;

use tiberius::{ColumnData, Query};

use super::MssqlStore;
use super::connection::{Connection, Connections, Work};
use super::grants::{Need, deny_key, grant, grant_columns};
use super::key_readers::{self, Principal};
use super::layout::ExpiryType;
use super::quoted::beside;
use super::session::unreadable_answer;
use super::settings::{Encryption, Trust};
use super::trouble::{Meaning, Operation, Trouble};
use super::types::{self, Stored};
use super::{ledger, rows, statements};
use crate::model::Token;
use crate::store::StoreError;
use crate::store::facts::{
    Examine, Examined, Facts, KeyReaders, Permission, Sample, ServerClock, count_blank,
};

impl Examine for MssqlStore {
    async fn examine(&self) -> Result<Examined, StoreError> {
        let (shared, own_writes) = (Arc::clone(&self.connections), Arc::clone(&self.own_writes));
        let work: Work<Examined> = Box::new(move |connection| {
            let (shared, own_writes) = (Arc::clone(&shared), Arc::clone(&own_writes));
            Box::pin(async move {
                let mut facts = facts(connection, &shared).await?;
                let rows = match examine_rows(connection, &shared, &own_writes, &mut facts).await {
                    // The other permissions are known without the rows.
                    Err(Trouble::Server(error)) if error.meaning() == Meaning::NoPermission => {
                        facts.permissions.insert(0, select(&shared, false));
                        rows::Rows::default()
                    }
                    looked => {
                        facts.permissions.insert(0, select(&shared, true));
                        looked?
                    }
                };
                let rows::Rows { customers, ineligible, problems } = rows;
                facts.ineligible = count_blank(&ineligible);
                Ok(Examined { facts, customers, problems })
            })
        });
        self.connections.run(Operation::Reading, work).await
    }
}

/// Collects the facts that need no row.
async fn facts(connection: &mut Connection, shared: &Connections) -> Result<Facts, Trouble> {
    let layout = connection.state.layout.clone();
    Ok(Facts {
        protection: Some(protection(shared)),
        clock: Some(clock(connection).await?),
        types: vec![
            ("customer_id".to_owned(), layout.id.sql().to_owned()),
            ("tbtokenexpiry".to_owned(), layout.expiry.sql()),
        ],
        capacity: layout.capacity,
        widen: statements::widen(&layout),
        permissions: permissions(connection, shared).await?,
        records: connection.state.records.problem().map(ToOwned::to_owned),
        no_ledger: ledger::examine(connection, &shared.settings().table).await?,
        key_readers: key_readers(connection, shared).await?,
        ..Facts::default()
    })
}

async fn examine_rows(
    connection: &mut Connection,
    shared: &Connections,
    own_writes: &rows::SharedOwnWrites,
    facts: &mut Facts,
) -> Result<rows::Rows, Trouble> {
    let count = count(connection).await?;
    facts.sample = sample(connection).await?;
    let found = rows::read(connection, shared, own_writes).await?;
    facts.rows = Some(count);
    Ok(found)
}

/// Returns the permission to read, which the caller tries: SELECT may be granted on columns alone, and then the server reports
/// none on the table.
fn select(shared: &Connections, granted: bool) -> Permission {
    let (table, user) = (&shared.settings().table, &shared.settings().user);
    Permission {
        what: format!("SELECT on {table}"),
        granted: Some(granted),
        grant: grant(Need::Read, table, user),
    }
}

fn protection(shared: &Connections) -> String {
    let encryption = match shared.settings().encryption {
        Encryption::Required => "encrypted",
        Encryption::Strict => "encrypted from the first byte (TDS 8)",
    };
    let trust = match &shared.settings().trust {
        Trust::AnyCertificate => "its certificate is not checked".to_owned(),
        Trust::Authorities { ca_file: None } => "its certificate is verified".to_owned(),
        Trust::Authorities { ca_file: Some(file) } => {
            format!("its certificate is verified, also with {}", file.display())
        }
    };
    format!("{encryption}, {trust}")
}

async fn clock(connection: &mut Connection) -> Result<ServerClock, Trouble> {
    let found = connection.rows(Query::new(statements::CLOCK)).await?;
    let mut cells = found.into_iter().next().ok_or_else(unreadable_answer)?.into_iter();
    let utc =
        cells.next().and_then(|cell| types::naive(&cell).ok().flatten()).ok_or_else(unreadable_answer)?;
    let offset =
        cells.next().and_then(|cell| types::number(&cell).ok().flatten()).ok_or_else(unreadable_answer)?;
    Ok(ServerClock { utc: utc.and_utc(), offset_minutes: i32::try_from(offset).unwrap_or(0) })
}

async fn permissions(connection: &mut Connection, shared: &Connections) -> Result<Vec<Permission>, Trouble> {
    let (table, user) = (&shared.settings().table, &shared.settings().user);
    let mut query = Query::new(statements::permissions(&connection.state.layout));
    query.bind(connection.state.layout.table.clone());
    let found = connection.rows(query).await?;
    let cells = found.into_iter().next().ok_or_else(unreadable_answer)?.into_iter();
    let granted = cells.map(|cell| types::number(&cell).ok().flatten().map(|number| number != 0));
    let columns = &connection.state.layout.columns;
    let mut written = vec!["tbtoken", "tbtokenexpiry"];
    if columns.updated.is_some() {
        written.push("updatedttm");
    }
    // One statement for all columns, whichever permission is missing.
    let grant = grant_columns(&written, table, user);
    Ok(written
        .into_iter()
        .zip(granted)
        .map(|(column, granted)| {
            let what = format!("UPDATE on {table} ({column})");
            Permission { what, granted, grant: grant.clone() }
        })
        .collect())
}

/// Finds the other readers of the key of the fingerprints; `None` if the engine lacks these lists.
async fn key_readers(
    connection: &mut Connection,
    shared: &Connections,
) -> Result<Option<KeyReaders>, Trouble> {
    if connection.state.records.problem().is_some() {
        return Ok(None);
    }
    match read_key_readers(connection, &shared.settings().table).await {
        Err(Trouble::Server(_)) => Ok(None),
        readers => readers.map(Some),
    }
}

async fn read_key_readers(connection: &mut Connection, table: &str) -> Result<KeyReaders, Trouble> {
    let key = beside(table, "tbtokend_key");
    let mut query = Query::new(key_readers::PERMISSIONS);
    query.bind(key.as_str());
    let mut permissions = Vec::new();
    connection
        .each_row(query, |mut cells| {
            let grantee = cells.next().and_then(|cell| types::number(&cell).ok().flatten());
            let state = cells.next().and_then(|cell| types::text(cell).ok().flatten());
            permissions.extend(grantee.zip(state.map(|state| state == "D")));
        })
        .await?;
    let mut members = Vec::new();
    connection
        .each_row(Query::new(key_readers::MEMBERS), |mut cells| {
            let mut number = || cells.next().and_then(|cell| types::number(&cell).ok().flatten());
            members.extend(number().zip(number()));
        })
        .await?;
    let (mut principals, mut complete) = (Vec::new(), false);
    connection
        .each_row(Query::new(key_readers::PRINCIPALS), |mut cells| {
            let id = cells.next().and_then(|cell| types::number(&cell).ok().flatten());
            let mut text = || cells.next().and_then(|cell| types::text(cell).ok().flatten());
            let (name, kind) = (text(), text());
            let mut is = || cells.next().and_then(|cell| types::number(&cell).ok().flatten()) == Some(1);
            let is_own = is();
            complete = is();
            if let (Some(id), Some(name)) = (id, name) {
                principals.push(Principal { id, name, is_role: kind.as_deref() == Some("R"), is_own });
            }
        })
        .await?;
    let others = key_readers::find_other_readers(&permissions, &members, &principals);
    let deny = others.iter().map(|reader| deny_key(table, reader)).collect();
    Ok(KeyReaders { others, deny, complete })
}

async fn count(connection: &mut Connection) -> Result<u64, Trouble> {
    let found = connection.rows(Query::new(statements::count(&connection.state.layout))).await?;
    let count =
        found.into_iter().next().and_then(|row| types::number(&row.into_iter().next()?).ok().flatten());
    count.and_then(|count| u64::try_from(count).ok()).ok_or_else(unreadable_answer)
}

/// Reads a sample of tokens and expiries. The text of a token does not leave this function.
async fn sample(connection: &mut Connection) -> Result<Vec<Sample>, Trouble> {
    if matches!(connection.state.layout.expiry, ExpiryType::DateTimeOffset(_)) {
        return Ok(Vec::new());
    }
    let found = connection.rows(Query::new(statements::sample(&connection.state.layout))).await?;
    Ok(found.into_iter().filter_map(|row| row_of_sample(row.into_iter())).collect())
}

fn row_of_sample(mut cells: impl Iterator<Item = ColumnData<'static>>) -> Option<Sample> {
    let token = types::secret(cells.next()?).ok()??;
    let Stored::Naive(shown) = types::expiry(&cells.next()?).ok()?? else { return None };
    let token = Token::parse(token.expose()).ok()?;
    Some(Sample { shown, issued_at: token.issued_at(), life: token.life().num_seconds() })
}
