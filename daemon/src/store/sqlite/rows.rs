//! The customers' rows: reads them without their tokens, and writes tokens under guard.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use rusqlite::types::{Type, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params_from_iter};

use super::super::{Records, RowProblem, Saved, Table, timestamp};
use super::schema::Layout;
use super::{Context, Open, records};
use crate::model::{
    Customer, CustomerId, Ineligibility, IneligibleRow, Renewal, Row, RowToken, Secret, Urls,
};

/// Reads all rows and the records. The transaction also checks that the file can be written: without that, no token should
/// be requested.
pub(super) fn read(open: &mut Open, context: &Context<'_>, which: Records) -> rusqlite::Result<Table> {
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (customers, ineligible, mut problems) =
        read_customers(&transaction, &open.layout, context.fallback_url)?;
    let (records, unreadable) = records::read(&transaction, &mut open.records_lost, which)?;
    problems.extend(unreadable);
    transaction.commit()?;
    let records_lost = open.records_lost.clone();
    Ok(Table { customers, ineligible, problems, records, key: context.key.clone(), records_lost })
}

/// Reads the eligible rows, the other rows, and the problems of single rows.
pub(super) fn read_customers(
    connection: &Connection,
    layout: &Layout,
    fallback_url: Option<&str>,
) -> rusqlite::Result<(Vec<Customer>, Vec<IneligibleRow>, Vec<RowProblem>)> {
    let mut reader = Reader {
        fallback_url,
        is_keyed: layout.is_keyed,
        seen: HashSet::new(),
        ambiguous: HashSet::new(),
        urls: Urls::default(),
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
    urls: Urls,
    /// How many expiries are numbers, and how many are dates.
    numbers: usize,
    dates: usize,
    ineligible: Vec<IneligibleRow>,
    problems: Vec<RowProblem>,
}

impl Reader<'_> {
    fn customer(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Customer>> {
        let Some(id) = text_of(row, 0)?.filter(|id| !id.is_empty()) else {
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
        let texts = (read_text(row.get_ref(1)?), read_text(row.get_ref(2)?), read_text(row.get_ref(3)?));
        let customer = match (texts, expiry) {
            ((Ok(url), Ok(username), Ok(password)), Ok(expiry)) => {
                let password = password.map(Secret::new);
                let row = Row { id, url, username, password, has_token, expiry };
                Customer::from_row(row, self.fallback_url, &mut self.urls)
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
        let expiry = read_expiry(value);
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
pub(super) fn read_expiry(value: ValueRef<'_>) -> Option<DateTime<Utc>> {
    match value {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().and_then(timestamp::parse),
        _ => None,
    }
}

/// The error for an expiry that is a number instead of a date.
struct Number;

/// Why a row with such an expiry is not used.
const NUMBER: &str = "tbtokenexpiry is a number, and not replaced by a date: set it to NULL, or to a date such as 2026-11-23T14:03:00Z; the row is left alone";

/// Why a row with columns of other types is not used.
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
fn read_text(value: ValueRef<'_>) -> Result<Option<String>, NotText> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(number.to_string())),
        ValueRef::Real(number) => Ok(Some(number.to_string())),
        ValueRef::Text(bytes) if bytes.len() <= LONGEST_TEXT => {
            std::str::from_utf8(bytes).map(|text| Some(text.to_owned())).map_err(|_| NotText)
        }
        ValueRef::Text(_) | ValueRef::Blob(_) => Err(NotText),
    }
}

/// The error for a value that is not text.
struct NotText;

/// Reads a column as text; `None` also if the value is not text.
pub(super) fn text_of(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(read_text(row.get_ref(column)?).ok().flatten())
}

/// Passes to `take` each row whose id equals this one for the database, and whether it is exactly this one. A column may
/// treat `a` like `A`, and a stored number `1` is another id than the text `'1'`. Returns the first result.
pub(super) fn find_by_id<T>(
    connection: &Connection,
    layout: &Layout,
    id: &str,
    columns: &str,
    mut take: impl FnMut(bool, &rusqlite::Row<'_>) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Option<T>> {
    let number = parse_number(id);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT customer_id, {columns} FROM {} WHERE customer_id {}{}",
        layout.table,
        if number.is_some() { "IN (?1, ?2)" } else { "= ?1" },
        in_order(layout),
    ))?;
    let ids = [Value::Text(id.to_owned())].into_iter().chain(number);
    let mut rows = statement.query(params_from_iter(ids))?;
    while let Some(row) = rows.next()? {
        let is_exact = text_of(row, 0)?.as_deref() == Some(id);
        if let Some(found) = take(is_exact, row)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns the number that an id looks like.
fn parse_number(id: &str) -> Option<Value> {
    let whole = id.parse().map(Value::Integer);
    whole.or_else(|_| id.parse().map(Value::Real)).ok()
}

/// Reads the tokens of these customers.
pub(super) fn read_tokens(open: &Open, ids: Vec<CustomerId>) -> rusqlite::Result<Vec<RowToken>> {
    let mut tokens = Vec::with_capacity(ids.len());
    for id in ids {
        let columns = "tb_url, tb_username, tbtoken";
        let found = find_by_id(&open.connection, &open.layout, id.as_str(), columns, |is_exact, row| {
            Ok(if is_exact { Some((text_of(row, 1)?, text_of(row, 2)?, text_of(row, 3)?)) } else { None })
        })?;
        if let Some((row_url, username, Some(token))) = found {
            let (row_url, username) = (row_url.unwrap_or_default(), username.unwrap_or_default());
            tokens.push(RowToken { id, row_url, username, token: Secret::new(token) });
        }
    }
    Ok(tokens)
}

/// Why a token is not sent for a row of a view.
const SEVERAL: Saved = Saved::NotKept {
    why: "several rows have this customer_id for the database, and a view has nothing else that names one of them",
};

/// Writes a batch in one transaction. A trigger with `RAISE(ROLLBACK)`, or one that clears a token, undoes the whole
/// transaction. Then the row is found by halving the batch, so that the other rows are written.
pub(super) fn save(open: &mut Open, batch: &[Renewal]) -> rusqlite::Result<Vec<Saved>> {
    match (write_together(open, batch)?, batch) {
        (Ok(saved), _) => Ok(saved),
        (Err(saved), [_]) => Ok(vec![saved]),
        (Err(_), _) => {
            let (left, right) = batch.split_at(batch.len() / 2);
            let mut saved = save(open, left)?;
            saved.extend(save(open, right)?);
            Ok(saved)
        }
    }
}

/// Writes a batch in one transaction. The inner error is that of a row that undid the transaction. Then nothing was written.
fn write_together(open: &mut Open, batch: &[Renewal]) -> rusqlite::Result<Result<Vec<Saved>, Saved>> {
    let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let layout = &open.layout;
    let mut saved = Vec::with_capacity(batch.len());
    let mut written = Vec::with_capacity(batch.len());
    for renewal in batch {
        saved.push(match write(&transaction, layout, renewal) {
            Ok(Ok(key)) => {
                written.push((key, renewal));
                Saved::Written
            }
            Ok(Err(not_sent)) => not_sent,
            Err(error) => {
                let refused = Saved::Refused { number: refused(&error).ok_or(error)? };
                if transaction.is_autocommit() {
                    return Ok(Err(refused));
                }
                refused
            }
        });
    }
    // Checked after all writes, because a trigger on one row may clear another row.
    for (key, renewal) in written {
        if !holds(&transaction, layout, &key, renewal)? {
            return Ok(Err(Saved::NOT_HELD));
        }
    }
    match transaction.commit() {
        Ok(()) => Ok(Ok(saved)),
        // A deferred constraint is checked only at the commit.
        Err(error) => Ok(Err(Saved::Refused { number: refused(&error).ok_or(error)? })),
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

/// Reads the key from the columns of a row from number `first` on.
pub(super) fn read_key(row: &rusqlite::Row<'_>, layout: &Layout, first: usize) -> rusqlite::Result<Key> {
    (first..first + layout.key.len()).map(|column| row.get(column)).collect()
}

/// Writes one token under guard, and returns the key of the row that it was obtained for. The inner error says why nothing was
/// sent.
fn write(
    connection: &Connection,
    layout: &Layout,
    renewal: &Renewal,
) -> rusqlite::Result<Result<Key, Saved>> {
    let key = match find_row(connection, layout, renewal)? {
        Ok(key) => key,
        not_sent => return Ok(not_sent),
    };
    let mut statement = connection.prepare_cached(&update(layout))?;
    let text = |text: &str| Value::Text(text.to_owned());
    let now = layout.has_updatedttm.then(|| text(&timestamp::format(renewal.expiry - renewal.life)));
    let set = [text(renewal.token.jwt().expose()), text(&timestamp::format(renewal.expiry))];
    statement.execute(params_from_iter(key.iter().cloned().chain(set).chain(now)))?;
    Ok(Ok(key))
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

/// Finds the row that a token is for. Values are compared here and not in SQL, which treats other ids alike and cannot compare
/// times in different forms. The inner error says why the token must not be written.
fn find_row(
    connection: &Connection,
    layout: &Layout,
    renewal: &Renewal,
) -> rusqlite::Result<Result<Key, Saved>> {
    let columns = format!(
        "tb_url, tb_username, tbtoken IS NOT NULL AND tbtoken <> '', tbtokenexpiry, {}",
        layout.key.join(", ")
    );
    let mut first = None;
    let several = find_by_id(connection, layout, renewal.id.as_str(), &columns, |is_exact, row| {
        if first.is_some() {
            return Ok((!layout.is_keyed).then_some(Err(SEVERAL)));
        }
        if is_exact || !layout.is_keyed {
            let may_write = is_exact && may_write(row, renewal)?;
            first = Some(if may_write { Ok(read_key(row, layout, 5)?) } else { Err(Saved::Superseded) });
        }
        Ok(None)
    })?;
    Ok(several.or(first).unwrap_or(Err(Saved::Superseded)))
}

/// Whether the row still matches the token, and its own token does not end later.
fn may_write(row: &rusqlite::Row<'_>, renewal: &Renewal) -> rusqlite::Result<bool> {
    let (url, username) = (text_of(row, 1)?.unwrap_or_default(), text_of(row, 2)?.unwrap_or_default());
    let (has_token, expiry): (bool, _) = (row.get(3)?, row.get_ref(4)?);
    let ends_later = read_expiry(expiry).is_some_and(|expiry| has_token && !renewal.may_replace(expiry));
    Ok(url == *renewal.row_url && username == renewal.username && !is_number(expiry) && !ends_later)
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
    Ok(is_ours && read_expiry(row.get_ref(1)?) == Some(renewal.expiry))
}
