//! Reads the customers' rows without their tokens, and writes tokens under guard.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tiberius::Query;

use super::super::{RowProblem, Saved};
use super::connection::Connection;
use super::own_writes::OwnWrites;
use super::row_source::Cell;
use super::statements::{self, NO_TIME};
use super::trouble::{Meaning, ServerError, Trouble};
use super::types::{
    Cells, Stored, UnreadableValue, make_id_cell, read_expiry, read_id, read_number, read_secret, read_text,
    round_expiry,
};
use super::zone::{ExpiryClock, Zone};
use crate::model::{Customer, CustomerId, Ineligibility, IneligibleRow, Renewal, Row, Secret, Urls};

/// The eligible rows, the ineligible rows, and the problems of single ones.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) customers: Vec<Customer>,
    pub(super) ineligible: Vec<IneligibleRow>,
    pub(super) problems: Vec<RowProblem>,
}

/// Reads all rows.
pub(super) async fn read(connection: &mut Connection) -> Result<Rows, Trouble> {
    connection.update_zone().await?;
    let site = Arc::clone(&connection.site);
    let sql = statements::read(&connection.layout);
    let mut reader = Reader::new(site.settings.fallback_url.as_deref(), connection.zone, &site.own_writes);
    connection.session.each_row(Query::new(sql), |cells| reader.add(cells)).await?;
    if site.settings.expiry_clock == ExpiryClock::ServerLocal {
        site.own_writes.keep_only(|id| reader.seen.contains(id));
    }
    Ok(reader.finish())
}

/// Turns rows into customers, and collects the problems of single ones.
struct Reader<'a> {
    fallback_url: Option<&'a str>,
    zone: Zone,
    own_writes: &'a OwnWrites,
    /// The ids of the rows without a blank value.
    seen: HashSet<CustomerId>,
    /// The ids that several rows have. Only the id names a row.
    ambiguous: HashSet<CustomerId>,
    urls: Urls,
    rows: Rows,
}

impl<'a> Reader<'a> {
    fn new(fallback_url: Option<&'a str>, zone: Zone, own_writes: &'a OwnWrites) -> Self {
        let (seen, ambiguous) = (HashSet::new(), HashSet::new());
        Self { fallback_url, zone, own_writes, seen, ambiguous, urls: Urls::default(), rows: Rows::default() }
    }

    /// Returns the result. Rows with the same id are not eligible.
    fn finish(mut self) -> Rows {
        let Rows { customers, ineligible, .. } = &mut self.rows;
        // A complete row takes precedence over an incomplete one.
        ineligible.retain(|row| !self.seen.contains(&row.id) || matches!(row.why, Ineligibility::Refused(_)));
        for Customer { id, has_token, expiry, .. } in
            customers.extract_if(.., |customer| self.ambiguous.contains(&customer.id))
        {
            ineligible.push(IneligibleRow { id, why: Ineligibility::Refused(AMBIGUOUS), has_token, expiry });
        }
        self.rows
    }

    fn add(&mut self, mut cells: Cells) {
        let Ok(id) = cells.require(read_id) else {
            let why = "customer_id is NULL, empty or not of its type; the row is left alone";
            return self.problem("(no id)", why);
        };
        if id.as_str().encode_utf16().count() > statements::LONGEST_RECORDED_ID {
            return self.reject(id, "customer_id has more than 450 characters; the row is left alone");
        }
        let row = self
            .read_row(id.clone(), cells)
            .map(|row| Customer::from_row(row, self.fallback_url, &mut self.urls));
        if let Ok(Err(blank)) = row {
            return self.rows.ineligible.push(blank);
        }
        if !self.seen.insert(id.clone()) {
            if self.ambiguous.insert(id.clone()) {
                self.problem(id.as_str(), AMBIGUOUS);
            }
            return;
        }
        match row {
            Ok(customer) => self.rows.customers.extend(customer),
            Err(UnreadableValue) => self.reject(
                id,
                "tb_url, tb_username, tb_password or tbtokenexpiry cannot be read; the row is left alone",
            ),
        }
    }

    /// Rejects a row. It is unknown whether it holds a token.
    fn reject(&mut self, id: CustomerId, why: &'static str) {
        self.problem(id.as_str(), why);
        let why = Ineligibility::Refused(why);
        self.rows.ineligible.push(IneligibleRow { id, why, has_token: false, expiry: None });
    }

    fn read_row(&self, id: CustomerId, mut cells: Cells) -> Result<Row, UnreadableValue> {
        let url = cells.next(read_text)?;
        let username = cells.next(read_text)?;
        let password = cells.next(read_secret)?;
        let has_token = cells.next(read_number)?.unwrap_or(0) != 0;
        let stored = cells.next(read_expiry)?;
        // Invalid text became this character. Sent back, it would differ from the row.
        let is_broken = |text: Option<&str>| text.is_some_and(|text| text.contains('\u{fffd}'));
        let texts = [url.as_deref(), username.as_deref(), password.as_ref().map(Secret::expose)];
        if texts.into_iter().any(is_broken) {
            return Err(UnreadableValue);
        }
        let expiry = stored.map(|stored| self.expiry(&id, stored));
        Ok(Row { id, url, username, password, has_token, expiry })
    }

    fn expiry(&self, id: &CustomerId, stored: Stored) -> DateTime<Utc> {
        match stored {
            Stored::Naive(shown) if self.zone != Zone::UTC => self.own_writes.expiry(id, shown, self.zone),
            stored => stored.instant(self.zone),
        }
    }

    fn problem(&mut self, row: &str, what: &str) {
        self.rows.problems.push(RowProblem { row: row.to_owned(), what: what.to_owned() });
    }
}

/// The problem of several rows with one id.
const AMBIGUOUS: &str = "customer_id occurs more than once; all its rows are left alone: give each its own";

/// The reason why a token was not written.
const SEVERAL: &str =
    "several rows have this customer_id, tb_url and tb_username, or a trigger adds a row twice (error 2627)";

/// Writes a batch, each token under guard, and returns the outcome of each. Writing twice is harmless, because the guard accepts
/// a token with the expiry that the row has.
pub(super) async fn save(connection: &mut Connection, batch: &[Renewal]) -> Result<Vec<Saved>, Trouble> {
    if batch.iter().any(|renewal| exceeded_capacity(renewal, connection).is_some()) {
        // The column may be wider by now.
        connection.update_layout().await?;
    }
    connection.update_zone().await?;

    let too_long = |renewal: &Renewal, connection: &Connection| {
        exceeded_capacity(renewal, connection).map(|capacity| Saved::TooLong { capacity })
    };
    let renewals = || batch.iter().enumerate();
    let mut outcomes: HashMap<usize, Saved> =
        renewals().filter_map(|(index, renewal)| Some((index, too_long(renewal, connection)?))).collect();
    let fitting = renewals().filter(|(index, _)| !outcomes.contains_key(index));
    let mut waiting = groups(fitting, connection.row_source.rows_at_once());
    let mut rejected: Vec<((usize, &Renewal), ServerError)> = Vec::new();
    let mut any_written = false;
    while let Some(group) = waiting.pop() {
        match write(connection, &group).await {
            Ok(written) => {
                any_written = true;
                outcomes.extend(written);
            }
            Err(Trouble::Server(error)) if error.may_be_about_a_row() => match *group {
                [one] => rejected.push((one, error)),
                // One row makes the statement fail. Halving the group finds it.
                _ => {
                    let (left, right) = group.split_at(group.len() / 2);
                    waiting.extend([left.to_vec(), right.to_vec()]);
                }
            },
            Err(trouble) => return Err(trouble),
        }
    }
    if let [(_, first), (_, _), ..] = *rejected
        && !any_written
        && rejected.iter().all(|(_, error)| error.meaning() == Meaning::Other)
    {
        // Every row failed, so the cause is not a row.
        return Err(Trouble::Server(first));
    }
    if rejected.iter().any(|(_, error)| matches!(error.number, 2628 | 8152)) {
        connection.update_layout().await?;
    }
    for ((index, renewal), error) in rejected {
        let rejected = match error.number {
            2627 => Saved::NotKept { why: SEVERAL },
            number => Saved::Refused { number: i64::from(number) },
        };
        outcomes.insert(index, too_long(renewal, connection).unwrap_or(rejected));
    }
    Ok((0..batch.len()).map(|index| outcomes.remove(&index).unwrap_or(Saved::Superseded)).collect())
}

/// Returns the capacity of the column if the token is longer. All characters of a token are ASCII.
fn exceeded_capacity(renewal: &Renewal, connection: &Connection) -> Option<usize> {
    connection.layout.capacity.filter(|capacity| renewal.token.jwt().expose().len() > *capacity)
}

/// Divides a batch into statements of at most so many rows, none with the same customer twice.
fn groups<'a>(
    renewals: impl Iterator<Item = (usize, &'a Renewal)>,
    most: usize,
) -> Vec<Vec<(usize, &'a Renewal)>> {
    let mut groups: Vec<Vec<_>> = Vec::new();
    let mut seen: HashSet<&CustomerId> = HashSet::new();
    for (index, renewal) in renewals {
        match groups.last_mut() {
            Some(group) if group.len() < most && !seen.contains(&renewal.id) => {
                group.push((index, renewal));
            }
            _ => {
                groups.push(vec![(index, renewal)]);
                seen.clear();
            }
        }
        seen.insert(&renewal.id);
    }
    // The caller takes them from the end.
    groups.reverse();
    groups
}

/// Sends one statement. Returns the outcomes of the rows that still have the URL and the user of their tokens.
async fn write(
    connection: &mut Connection,
    group: &[(usize, &Renewal)],
) -> Result<Vec<(usize, Saved)>, Trouble> {
    let Connection { session, site, layout, row_source, zone, .. } = connection;
    let (settings, own_writes) = (&site.settings, &site.own_writes);
    let tracks_own_writes = statements::tracks_own_writes(layout, settings.expiry_clock);
    let mut rows = Vec::with_capacity(group.len());
    let mut sent = HashMap::with_capacity(group.len());
    for (index, renewal) in group {
        // An id that no value of the column's type has is in no row.
        let Some((id, printed)) = make_id_cell(&layout.id, &renewal.id) else { continue };
        let stored = round_expiry(layout.expiry, renewal.expiry, *zone);
        let replaces = renewal.replaces.map(|expiry| round_expiry(layout.expiry, expiry, *zone));
        let written_before =
            || own_writes.last_written(&renewal.id).filter(|_| tracks_own_writes).map(Stored::Naive);
        let known = replaces.or_else(written_before).map_or(Cell::Time(NO_TIME), Stored::cell);
        rows.push(vec![
            id,
            Cell::Text((&*renewal.row_url).into()),
            Cell::Text(renewal.username.as_str().into()),
            Cell::Text(renewal.token.jwt().expose().into()),
            stored.cell(),
            known,
        ]);
        sent.insert(printed, (*index, renewal, stored));
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = Query::new(statements::save(layout, *row_source, rows.len()));
    row_source.bind(&mut query, rows);
    let mut written = Vec::with_capacity(sent.len());
    for row in session.rows(query).await? {
        // A trigger may return results of its own.
        if row.columns().first().is_none_or(|column| column.name() != "tbtokend_saved") {
            continue;
        }
        let mut cells = Cells::from(row);
        let (id, kept) = (cells.require(read_id)?, cells.require(read_number)?);
        // A second row of the same id was reported already.
        let Some((index, renewal, stored)) = sent.remove(&id) else { continue };
        if kept == 0 {
            written.push((index, Saved::NOT_HELD));
            continue;
        }
        if let (true, Stored::Naive(shown)) = (tracks_own_writes, stored) {
            own_writes.note(renewal.id.clone(), shown, renewal.expiry);
        }
        written.push((index, Saved::Written));
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
