//! The customers' rows: reads them without their tokens, and writes tokens under guard.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use rusqlite::types::{Type, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params_from_iter};

use super::super::{Records, RowProblem, Saved, Table, timestamp};
use super::schema::Layout;
use super::{Context, Open, records};
use crate::model::{Customer, CustomerId, Ineligibility, IneligibleRow, Renewal, Row, RowToken, Secret};

/// Reads all rows and the records. The transaction also checks that the file can be written: without that, no token should
/// be requested.
pub(super) fn read(open: &mut Open, context: &Context<'_>, which: Records) -> rusqlite::Result<Table> {
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (customers, ineligible, mut problems) = customers(&transaction, &open.layout, context.fallback_url)?;
    let (records, unreadable) = records::read(&transaction, &mut open.records_lost, which)?;
    problems.extend(unreadable);
    transaction.commit()?;
    let records_lost = open.records_lost.clone();
    Ok(Table { customers, ineligible, problems, records, key: context.key.clone(), records_lost })
}

/// Reads the eligible rows, the other rows, and the problems of single rows.
pub(super) fn customers(
    connection: &Connection,
    layout: &Layout,
    fallback_url: Option<&str>,
) -> rusqlite::Result<(Vec<Customer>, Vec<IneligibleRow>, Vec<RowProblem>)> {
    let mut reader = Reader {
        fallback_url,
        is_keyed: layout.is_keyed,
        seen: HashSet::new(),
        ambiguous: HashSet::new(),
        numbers: 0,
        dates: 0,
        ineligible: Vec::new(),
        problems: Vec::new(),
    };
    let mut customers = Vec::new();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT customer_id, tb_url, tb_username, tb_password,
                tbtoken IS NOT NULL AND tbtoken <> '', tbtokenexpiry
         FROM {}{}",
        layout.table,
        in_order(layout),
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        customers.extend(reader.customer(row)?);
    }
    if reader.dates == 0 && reader.numbers > reader.seen.len() / 2 {
        // Programs that compare numbers would take every text for a later expiry.
        let why = "the column tbtokenexpiry holds numbers; it must hold dates such as 2026-11-23T14:03:00Z";
        return Err(rusqlite::Error::FromSqlConversionFailure(5, Type::Integer, why.into()));
    }
    for Customer { id, has_token, expiry, .. } in
        customers.extract_if(.., |customer| reader.ambiguous.contains(&customer.id))
    {
        let why = Ineligibility::Refused(AMBIGUOUS);
        reader.ineligible.push(IneligibleRow { id, why, has_token, expiry });
    }
    Ok((customers, reader.ineligible, reader.problems))
}

/// Returns the ORDER BY clause. With a fixed order, the first of several rows with one id stays the first.
pub(super) fn in_order(layout: &Layout) -> String {
    if layout.is_keyed { format!(" ORDER BY {}", layout.key.join(", ")) } else { String::new() }
}

/// Why none of the rows with one id is used in a view, which has nothing else that names a row.
const AMBIGUOUS: &str = "customer_id occurs more than once; all its rows are left alone, because a view has nothing else that names a row";

/// Turns rows into customers, and collects the problems of single rows.
struct Reader<'a> {
    fallback_url: Option<&'a str>,
    /// Whether something other than the id names a row.
    is_keyed: bool,
    seen: HashSet<CustomerId>,
    /// Ids that several rows have, if nothing else names a row.
    ambiguous: HashSet<CustomerId>,
    /// How many expiries are numbers, and how many are dates.
    numbers: usize,
    dates: usize,
    ineligible: Vec<IneligibleRow>,
    problems: Vec<RowProblem>,
}

impl Reader<'_> {
    fn customer(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Customer>> {
        let Some(id) = text(row.get_ref(0)?).ok().flatten().filter(|id| !id.is_empty()) else {
            self.problem(
                "(no id)",
                "customer_id is NULL, empty, too long or not text; the row is left alone",
            );
            return Ok(None);
        };
        let id = CustomerId::new(id);
        if !self.seen.insert(id.clone()) {
            self.occurs_again(id);
            return Ok(None);
        }
        let has_token = row.get(4)?;
        let expiry = self.expiry(&id, row.get_ref(5)?);
        let texts = (text(row.get_ref(1)?), text(row.get_ref(2)?), text(row.get_ref(3)?));
        let customer = match (texts, expiry) {
            ((Ok(url), Ok(username), Ok(password)), Ok(expiry)) => {
                let password = password.map(Secret::new);
                Customer::from_row(Row { id, url, username, password, has_token, expiry }, self.fallback_url)
            }
            ((Ok(_), Ok(_), Ok(_)), Err(Number)) => Err(self.refused(id, NUMBER, has_token, None)),
            (_, expiry) => Err(self.refused(id, NOT_TEXT, has_token, expiry.ok().flatten())),
        };
        Ok(customer.map_err(|row| self.ineligible.push(row)).ok())
    }

    fn refused(
        &mut self,
        id: CustomerId,
        why: &'static str,
        has_token: bool,
        expiry: Option<DateTime<Utc>>,
    ) -> IneligibleRow {
        self.problem(id.as_str(), why);
        IneligibleRow { id, why: Ineligibility::Refused(why), has_token, expiry }
    }

    fn occurs_again(&mut self, id: CustomerId) {
        if self.is_keyed {
            self.problem(id.as_str(), "customer_id occurs more than once; only the first row is used");
        } else if !self.ambiguous.contains(&id) {
            self.problem(id.as_str(), AMBIGUOUS);
            self.ambiguous.insert(id);
        }
    }

    /// Reads the expiry. A number is an error, because a text must not replace it.
    fn expiry(&mut self, id: &CustomerId, value: ValueRef<'_>) -> Result<Option<DateTime<Utc>>, Number> {
        let expiry = expiry_of(value);
        self.dates += usize::from(expiry.is_some());
        if is_number(value) {
            self.numbers += 1;
            return Err(Number);
        }
        if expiry.is_none() && !matches!(value, ValueRef::Null | ValueRef::Text(b"")) {
            self.problem(
                id.as_str(),
                "tbtokenexpiry is no date (RFC 3339 or YYYY-MM-DD HH:MM:SS); it counts as no expiry",
            );
        }
        Ok(expiry)
    }

    fn problem(&mut self, row: &str, what: &str) {
        self.problems.push(RowProblem { row: row.to_owned(), what: what.to_owned() });
    }
}

/// Returns the expiry in a column, if it is a date.
pub(super) fn expiry_of(value: ValueRef<'_>) -> Option<DateTime<Utc>> {
    match value {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().and_then(timestamp::parse),
        _ => None,
    }
}

/// The error for an expiry that is a number instead of a date.
struct Number;

/// Why a row with such an expiry is not used.
const NUMBER: &str = "tbtokenexpiry is a number, and not replaced by a date: set it to NULL, or to a date such as 2026-11-23T14:03:00Z; the row is left alone";

/// Why a row is not used whose columns are not text.
const NOT_TEXT: &str =
    "tb_url, tb_username or tb_password is too long or not text in UTF-8; the row is left alone";

/// Whether an expiry is a number, also one written as text. Programs that write numbers compare with numbers.
fn is_number(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Integer(_) | ValueRef::Real(_) => true,
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).is_ok_and(|text| text.trim().parse::<f64>().is_ok_and(f64::is_finite))
        }
        ValueRef::Null | ValueRef::Blob(_) => false,
    }
}

/// The longest text that is read, in bytes. SQL Server's store reads 4,000 characters. No value of a login is longer, but a
/// column here may hold a gigabyte.
const LONGEST_TEXT: usize = 16_000;

/// Reads a column as text, whatever its type in SQLite. Fails if the value is not text or too long.
pub(super) fn text(value: ValueRef<'_>) -> Result<Option<String>, NotText> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(number.to_string())),
        ValueRef::Real(number) => Ok(Some(number.to_string())),
        ValueRef::Text(bytes) if bytes.len() > LONGEST_TEXT => Err(NotText),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(NotText),
        },
        ValueRef::Blob(_) => Err(NotText),
    }
}

/// The error for a value that is not text.
pub(super) struct NotText;

/// Reads the tokens of these customers.
pub(super) fn tokens(open: &Open, ids: Vec<CustomerId>) -> rusqlite::Result<Vec<RowToken>> {
    let mut tokens = Vec::with_capacity(ids.len());
    for id in ids {
        let (text_id, number) = (Value::Text(id.as_str().to_owned()), number(id.as_str()));
        let mut statement = open.connection.prepare_cached(&format!(
            "SELECT customer_id, tb_url, tb_username, tbtoken FROM {} WHERE customer_id {}{}",
            open.layout.table,
            if number.is_some() { "IN (?1, ?2)" } else { "= ?1" },
            in_order(&open.layout),
        ))?;
        let mut rows = statement.query(params_from_iter([text_id].into_iter().chain(number)))?;
        while let Some(row) = rows.next()? {
            let read = |column| Ok::<_, rusqlite::Error>(text(row.get_ref(column)?).ok().flatten());
            if read(0)?.as_deref() != Some(id.as_str()) {
                continue;
            }
            let (row_url, username) = (read(1)?.unwrap_or_default(), read(2)?.unwrap_or_default());
            tokens.extend(read(3)?.map(|token| RowToken {
                id,
                row_url,
                username,
                token: Secret::new(token),
            }));
            break;
        }
    }
    Ok(tokens)
}

/// Why a token is not sent for a row of a view.
const SEVERAL: &str =
    "several rows have this customer_id for the database, and a view has nothing else that names one of them";

/// Writes a batch in one transaction. A trigger with `RAISE(ROLLBACK)`, or one that clears a token, undoes the whole
/// transaction. Then the row is found by halving the batch, so that the other rows are written.
pub(super) fn save(open: &mut Open, batch: &[Renewal]) -> rusqlite::Result<Vec<Saved>> {
    match (write_together(open, batch)?, batch) {
        (Together::Done(saved), _) => Ok(saved),
        (Together::Undone(saved), [_]) => Ok(vec![saved]),
        (Together::Undone(_), _) => {
            let (left, right) = batch.split_at(batch.len() / 2);
            let mut saved = save(open, left)?;
            saved.extend(save(open, right)?);
            Ok(saved)
        }
    }
}

/// The outcome of a transaction.
enum Together {
    /// The transaction was committed.
    Done(Vec<Saved>),
    /// A row undid the transaction, for this reason. Nothing was written.
    Undone(Saved),
}

fn write_together(open: &mut Open, batch: &[Renewal]) -> rusqlite::Result<Together> {
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let layout = &open.layout;
    let mut saved = Vec::with_capacity(batch.len());
    let mut written = Vec::with_capacity(batch.len());
    for renewal in batch {
        saved.push(match write(&transaction, layout, renewal) {
            Ok(Write::Done(key)) => {
                written.push((key, renewal));
                Saved::Written
            }
            Ok(Write::Left(saved)) => saved,
            Err(error) => {
                let number = refused(&error).ok_or(error)?;
                if transaction.is_autocommit() {
                    return Ok(Together::Undone(Saved::Refused { number }));
                }
                Saved::Refused { number }
            }
        });
    }
    // Checked after all writes, because a trigger on one row may clear another row.
    for (key, renewal) in written {
        if !holds(&transaction, layout, &key, renewal)? {
            return Ok(Together::Undone(Saved::NOT_HELD));
        }
    }
    match transaction.commit() {
        Ok(()) => Ok(Together::Done(saved)),
        // A deferred constraint is checked only at the commit.
        Err(error) => Ok(Together::Undone(Saved::Refused { number: refused(&error).ok_or(error)? })),
    }
}

/// Returns the number of the error, if a constraint or a trigger of the table caused it. Then only this row has a problem.
pub(super) fn refused(error: &rusqlite::Error) -> Option<i64> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) if error.code == ErrorCode::ConstraintViolation => {
            Some(i64::from(error.extended_code))
        }
        _ => None,
    }
}

/// The values of the columns that identify a row.
pub(super) type Key = Vec<Value>;

/// The outcome of one write.
enum Write {
    /// The token was sent to this row.
    Done(Key),
    /// Nothing was sent.
    Left(Saved),
}

/// Writes one token under guard, by the key of the row that it was obtained for.
fn write(connection: &Connection, layout: &Layout, renewal: &Renewal) -> rusqlite::Result<Write> {
    let key = match row_of(connection, layout, renewal)? {
        Found::Row(key) => key,
        Found::Other => return Ok(Write::Left(Saved::Superseded)),
        Found::Several => return Ok(Write::Left(Saved::NotKept { why: SEVERAL })),
    };
    let mut statement = connection.prepare_cached(&update(layout))?;
    let text = |text: &str| Value::Text(text.to_owned());
    let now = layout.has_updatedttm.then(|| text(&timestamp::format(renewal.expiry - renewal.life)));
    let set = [text(renewal.token.jwt().expose()), text(&timestamp::format(renewal.expiry))];
    statement.execute(params_from_iter(key.iter().cloned().chain(set).chain(now)))?;
    Ok(Write::Done(key))
}

/// Returns the statement that writes a token. Its parameters are the key's values, the token, the expiry and the time of
/// writing.
pub(super) fn update(layout: &Layout) -> String {
    let (condition, next) = by_key(layout);
    let (expiry, now) = (next + 1, next + 2);
    // A number in updatedttm stays, because programs that write numbers compare with numbers.
    let updatedttm = match layout.has_updatedttm {
        true => format!(
            ", updatedttm = CASE WHEN typeof(updatedttm) IN ('integer', 'real') THEN updatedttm ELSE ?{now} END"
        ),
        false => String::new(),
    };
    let table = &layout.table;
    format!("UPDATE {table} SET tbtoken = ?{next}, tbtokenexpiry = ?{expiry}{updatedttm} WHERE {condition}")
}

/// Returns the condition that names one row, and the number of the next parameter. The first comparison of a column finds the
/// row through its index; the second is exact.
pub(super) fn by_key(layout: &Layout) -> (String, usize) {
    let exact = |(column, number): (&String, usize)| {
        format!("{column} = ?{number} AND {column} COLLATE BINARY = ?{number}")
    };
    let conditions: Vec<String> = layout.key.iter().zip(1..).map(exact).collect();
    (conditions.join(" AND "), layout.key.len() + 1)
}

/// The result of looking for the row that a token is for.
enum Found {
    /// The row still matches the token, and its own token does not end later.
    Row(Key),
    /// The row is gone, has changed, or has a token that ends later.
    Other,
    /// Several rows have this id, and nothing else distinguishes them.
    Several,
}

/// Finds the row. Values are compared here and not in SQL: a column may treat `a` like `A`, `1` is another id than `'1'`, and
/// SQLite cannot compare times in different forms.
fn row_of(connection: &Connection, layout: &Layout, renewal: &Renewal) -> rusqlite::Result<Found> {
    let id = renewal.id.as_str();
    let number = number(id);
    let key = layout.key.join(", ");
    let mut statement = connection.prepare_cached(&format!(
        "SELECT customer_id, tb_url, tb_username, tbtoken IS NOT NULL AND tbtoken <> '', tbtokenexpiry, {key}
         FROM {} WHERE customer_id {}{}",
        layout.table,
        if number.is_some() { "IN (?1, ?2)" } else { "= ?1" },
        in_order(layout),
    ))?;
    let mut rows =
        statement.query(params_from_iter([Value::Text(id.to_owned())].into_iter().chain(number)))?;
    let mut found = None;
    while let Some(row) = rows.next()? {
        if !layout.is_keyed && found.is_some() {
            return Ok(Found::Several);
        }
        let is_it = text(row.get_ref(0)?).ok().flatten().as_deref() == Some(id);
        if found.is_none() && (is_it || !layout.is_keyed) {
            let key =
                (5..5 + layout.key.len()).map(|column| row.get(column)).collect::<rusqlite::Result<Key>>()?;
            found = Some((is_it && may_write(row, renewal)?).then_some(key));
        }
    }
    Ok(found.flatten().map_or(Found::Other, Found::Row))
}

/// Returns the number that an id looks like, because ids may be stored as numbers.
pub(super) fn number(id: &str) -> Option<Value> {
    let whole = id.parse().map(Value::Integer);
    whole.or_else(|_| id.parse().map(Value::Real)).ok()
}

/// Whether the row still matches the token, and its own token does not end later.
fn may_write(row: &rusqlite::Row<'_>, renewal: &Renewal) -> rusqlite::Result<bool> {
    let url = text(row.get_ref(1)?).ok().flatten().unwrap_or_default();
    let username = text(row.get_ref(2)?).ok().flatten().unwrap_or_default();
    let (has_token, expiry): (bool, _) = (row.get(3)?, row.get_ref(4)?);
    let ends_later = expiry_of(expiry).is_some_and(|expiry| has_token && !renewal.may_replace(expiry));
    Ok(url == renewal.row_url && username == renewal.username && !is_number(expiry) && !ends_later)
}

/// Whether the row holds the token and the expiry that were written.
fn holds(connection: &Connection, layout: &Layout, key: &Key, renewal: &Renewal) -> rusqlite::Result<bool> {
    let (condition, _) = by_key(layout);
    let table = &layout.table;
    let sql = format!("SELECT tbtoken, tbtokenexpiry FROM {table} WHERE {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(key))?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let is_ours = row.get_ref(0)?.as_str().is_ok_and(|token| token == renewal.token.jwt().expose());
    Ok(is_ours && expiry_of(row.get_ref(1)?) == Some(renewal.expiry))
}
