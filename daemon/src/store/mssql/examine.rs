//! Collects the facts about a SQL Server for the doctor. Changes nothing.

use tiberius::Query;

use super::MssqlStore;
use super::connection::Connection;
use super::grants::{Operation, deny_key, grant, grant_columns};
use super::key_readers::{self, Principal};
use super::layout::ExpiryType;
use super::quoted::beside;
use super::settings::{Encryption, Settings, Trust};
use super::trouble::{Meaning, Trouble};
use super::types::{Cells, Stored, UnreadableValue, read_expiry, read_number, read_secret, read_text};
use super::{ledger, rows, statements};
use crate::model::Token;
use crate::store::StoreError;
use crate::store::facts::{Examine, Examined, Facts, KeyReaders, Permission, Sample, count_blank};

impl Examine for MssqlStore {
    async fn examine(&self) -> Result<Examined, StoreError> {
        self.connections.run(Operation::Reading, |connection| Box::pin(examine(connection))).await
    }
}

async fn examine(connection: &mut Connection) -> Result<Examined, Trouble> {
    let mut facts = collect_facts(connection).await?;
    let (granted, rows) = match examine_rows(connection, &mut facts).await {
        // The other permissions are known without the rows.
        Err(Trouble::Server(error)) if error.meaning() == Meaning::NoPermission => {
            (false, rows::Rows::default())
        }
        read => (true, read?),
    };
    facts.permissions.insert(0, select(connection.settings(), granted));
    let rows::Rows { customers, ineligible, problems } = rows;
    facts.ineligible = count_blank(&ineligible);
    Ok(Examined { facts, customers, problems })
}

/// Collects the facts that need no row.
async fn collect_facts(connection: &mut Connection) -> Result<Facts, Trouble> {
    let layout = connection.layout.clone();
    Ok(Facts {
        protection: Some(describe_protection(connection.settings())),
        clock: Some(connection.read_clock().await?),
        types: vec![
            ("customer_id".to_owned(), layout.id.sql().to_owned()),
            ("tbtokenexpiry".to_owned(), layout.expiry.sql()),
        ],
        capacity: layout.capacity,
        widen: statements::widen(&layout),
        permissions: read_permissions(connection).await?,
        records: connection.records.problem.clone(),
        no_ledger: ledger::examine(connection).await?,
        key_readers: find_key_readers(connection).await?,
        ..Facts::default()
    })
}

async fn examine_rows(connection: &mut Connection, facts: &mut Facts) -> Result<rows::Rows, Trouble> {
    let count = count(connection).await?;
    facts.sample = read_sample(connection).await?;
    let found = rows::read(connection).await?;
    facts.rows = Some(count);
    Ok(found)
}

/// Returns the permission to read, which the caller tries: SELECT may be granted on columns alone, and then the server reports
/// none on the table.
fn select(settings: &Settings, granted: bool) -> Permission {
    Permission {
        what: format!("SELECT on {}", settings.table),
        granted: Some(granted),
        grant: grant(Operation::Reading, &settings.table, &settings.user),
    }
}

fn describe_protection(settings: &Settings) -> String {
    let encryption = match settings.encryption {
        Encryption::Required => "encrypted",
        Encryption::Strict => "encrypted from the first byte (TDS 8)",
    };
    let trust = match &settings.trust {
        Trust::AnyCertificate => "its certificate is not checked".to_owned(),
        Trust::Authorities { ca_file: None } => "its certificate is verified".to_owned(),
        Trust::Authorities { ca_file: Some(file) } => {
            format!("its certificate is verified, also with {}", file.display())
        }
    };
    format!("{encryption}, {trust}")
}

async fn read_permissions(connection: &mut Connection) -> Result<Vec<Permission>, Trouble> {
    let mut query = Query::new(statements::permissions(&connection.layout));
    query.bind(connection.layout.table.clone());
    let mut cells = connection.session.first_row(query).await?.ok_or(UnreadableValue)?;
    let mut written = vec!["tbtoken", "tbtokenexpiry"];
    written.extend(connection.layout.columns.updated.as_ref().map(|_| "updatedttm"));
    let Settings { table, user, .. } = connection.settings();
    // One statement for all columns, whichever permission is missing.
    let grant = grant_columns(&written, table, user);
    let permission = |column| Permission {
        what: format!("UPDATE on {table} ({column})"),
        granted: cells.require(read_number).ok().map(|number| number != 0),
        grant: grant.clone(),
    };
    Ok(written.into_iter().map(permission).collect())
}

/// Finds the other readers of the key of the fingerprints; `None` if the engine lacks these lists.
async fn find_key_readers(connection: &mut Connection) -> Result<Option<KeyReaders>, Trouble> {
    if connection.records.problem.is_some() {
        return Ok(None);
    }
    match read_key_readers(connection).await {
        Err(Trouble::Server(_)) => Ok(None),
        readers => readers.map(Some),
    }
}

async fn read_key_readers(connection: &mut Connection) -> Result<KeyReaders, Trouble> {
    let Connection { session, site, .. } = connection;
    let table = &site.settings.table;
    let mut query = Query::new(key_readers::PERMISSIONS);
    query.bind(beside(table, "tbtokend_key"));
    let mut permissions = Vec::new();
    let take = |mut cells: Cells| {
        let grantee = cells.require(read_number).ok();
        permissions.extend(grantee.zip(cells.require(read_text).ok().map(|state| state == "D")));
    };
    session.each_row(query, take).await?;
    let mut members = Vec::new();
    let take = |mut cells: Cells| {
        let role = cells.require(read_number).ok();
        members.extend(role.zip(cells.require(read_number).ok()));
    };
    session.each_row(Query::new(key_readers::MEMBERS), take).await?;
    let (mut principals, mut complete) = (Vec::new(), false);
    let take = |mut cells: Cells| {
        let (id, name) = (cells.require(read_number), cells.require(read_text));
        let is_role = cells.require(read_text).is_ok_and(|kind| kind == "R");
        let is_own = cells.require(read_number) == Ok(1);
        complete = cells.require(read_number) == Ok(1);
        if let (Ok(id), Ok(name)) = (id, name) {
            principals.push(Principal { id, name, is_role, is_own });
        }
    };
    session.each_row(Query::new(key_readers::PRINCIPALS), take).await?;
    let others = key_readers::find_other_readers(&permissions, &members, &principals);
    let deny = others.iter().map(|reader| deny_key(table, reader)).collect();
    Ok(KeyReaders { others, deny, complete })
}

async fn count(connection: &mut Connection) -> Result<u64, Trouble> {
    let query = Query::new(statements::count(&connection.layout));
    let mut cells = connection.session.first_row(query).await?.ok_or(UnreadableValue)?;
    Ok(u64::try_from(cells.require(read_number)?).map_err(|_| UnreadableValue)?)
}

/// Reads a sample of tokens and expiries. The text of a token does not leave this function.
async fn read_sample(connection: &mut Connection) -> Result<Vec<Sample>, Trouble> {
    if matches!(connection.layout.expiry, ExpiryType::DateTimeOffset(_)) {
        return Ok(Vec::new());
    }
    let query = Query::new(statements::sample(&connection.layout));
    let rows = connection.session.rows(query).await?.into_iter();
    Ok(rows.filter_map(|row| read_row_of_sample(row.into())).collect())
}

fn read_row_of_sample(mut cells: Cells) -> Option<Sample> {
    let token = cells.require(read_secret).ok()?;
    let Stored::Naive(shown) = cells.require(read_expiry).ok()? else { return None };
    let token = Token::parse(token.expose()).ok()?;
    Some(Sample { shown, issued_at: token.issued_at(), life: token.life().num_seconds() })
}
