//! Every statement that is sent to SQL Server, and nothing else about it.
//!
//! Each begins with a comment `/* tbtokend:NAME */`, by which it is found in a trace of the server (and by which the
//! fake server of the tests knows it). "rpc" is `sp_executesql` with parameters `@P1`, `@P2`, …; "batch" is plain text.
//!
//! | name | as | parameters, in order | result columns |
//! |---|---|---|---|
//! | `session` | batch | – | none |
//! | `columns` | rpc | `nvarchar` the table as a quoted name, `[dbo].[customer_settings]` | `name nvarchar`, `type nvarchar`, `length int null` (characters, −1 for max), `scale int null`, `collation nvarchar null`; a row a column, none if there is no such table or nothing of it may be seen |
//! | `probe` | rpc | – | never a row; it is the error that tells (208, 207, 229, 230) |
//! | `clock` | rpc | – | one row: `utc datetime2`, `offset_minutes int` (local minus UTC) |
//! | `read` | rpc | – | a row a row: `customer_id` (the column's own type), `tb_url nvarchar null`, `tb_username nvarchar null`, `tb_password nvarchar null`, `has_token int` (0, 1), `tbtokenexpiry` (the column's own type) null |
//! | `save` | rpc | a batch of rows of [`save_columns`]; `known` is the value known to be ours, [`NO_TIME`] for none | a row for each row that is still the one: `tbtokend_saved`, its id as `read` brings it; `kept int`, 1 if it holds the token now |
//! | `tokens` | rpc | a batch of rows of [`token_columns`] | a row for each with that id: `customer_id` as `read` brings it, `tb_url nvarchar null`, `tb_username nvarchar null`, `tbtoken nvarchar null` |
//! | `make_tables` | batch | – | none |
//! | `probe_records` | rpc | – | none; it is the error that tells (208, 207, 229, 230) |
//! | `key` | rpc | – | `fingerprint_key varbinary(32)`, one row or none |
//! | `keep_key` | rpc | `varbinary` 32 bytes | none |
//! | `records` / `failing_records` | rpc | – | a row a record: `customer_id nvarchar`, `credentials_fingerprint varchar null`, `failures int`, `kind varchar null`, `message nvarchar null`, `parked bit`, `failed_at datetime2 null`, `next_attempt_at datetime2 null`, `last_success_at datetime2 null`, `renewals bigint`, `updated_at datetime2`, `changes varchar null`; all of them, or those whose `kind` is not null |
//! | `record` | rpc | a batch of rows of [`RECORD_COLUMNS`]; where the column may be NULL, an empty text or [`NO_TIME`] stands for it | none; each takes the place of the record with its `customer_id` |
//! | `json` | batch | – | none; it is the error that tells |
//! | `probe_ledger` | rpc | – | none; it is the error that tells (208, 207, 229, 230) |
//! | `stamp` | rpc | – | `details nvarchar`, `version bigint` of the ledger's stamp, one row or none |
//! | `keep_stamp` | rpc | `nvarchar` the new id, `nvarchar` the id that it replaces, empty for none | none |
//! | `loop_state` | rpc | – | `details nvarchar`: the state of the loop, one row or none |
//! | `keep_loop_state` | rpc | `nvarchar` the state of the loop | none |
//! | `accounts` | rpc | `bigint` | a row an account with a later version: `account_key varbinary`, `charges int`, `in_flight nvarchar null`, `details nvarchar`, `seen_at datetime2`, `version bigint` |
//! | `write_accounts` | rpc | of the stamp: `nvarchar` id, `bigint` number; `datetime2` × 2 before which accounts without and with charges are forgotten, [`NO_TIME`] for none; `int` 1 if it is sent again; a batch of rows of [`ACCOUNT_COLUMNS`] | `number bigint`, one row, or none if the stamp is another one; then a row for each account that was not written: `account_key varbinary` and the others as `accounts` brings them, NULL if it is not there |
//!
//! | `permissions` | rpc | `nvarchar` the table as a quoted name | one row: `int null` × 2, or × 3 with `updatedttm`: whether there is UPDATE on `tbtoken`, `tbtokenexpiry`, `updatedttm` |
//! | `count` | rpc | – | `bigint`: rows in all |
//! | `sample` | rpc | – | at most 200 rows with token and expiry, the latest first: `tbtoken nvarchar`, `tbtokenexpiry` |
//!
//! The last three are the doctor's. Nothing but `tokens` and `sample` brings the text of a token.
//!
//! "A batch of rows" is one `nvarchar` in JSON, or a parameter for each value where the server knows no `OPENJSON`
//! (`row_source.rs`). Nothing in it has a collation of its own: it is put into a table variable first, and compared as bytes
//! or with the collation of the column beside it (error 468 otherwise). No parameter is ever NULL: tiberius sends NULL without a type, which not every engine takes.
//!
//! `save` writes a row if there is a row with that id, to the letter, whose `tb_url` (NULL is like empty) and
//! `tb_username` are these to the letter, and whose `tbtoken` is NULL or empty, or whose `tbtokenexpiry` is NULL, not
//! later than the new one, or equal to the value known to be ours. Then it looks at the same rows again, under the same
//! condition, which a row that holds the new token fulfils.

use std::fmt::Write;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

use super::layout::{ExpiryType, IdType, Layout};
use super::quoted::beside;
use super::row_source::{Column, Kind, RowSource};
use super::zone::ExpiryClock;

/// What stands for "no time" in a parameter: a time that every type can hold, and that nothing of ours has.
pub(super) const NO_TIME: NaiveDateTime = match NaiveDate::from_ymd_opt(1900, 1, 1) {
    Some(day) => day.and_time(NaiveTime::MIN),
    None => NaiveDateTime::MIN,
};

/// What holds for the whole session. An error ends the batch, and takes back what is not committed; a statement that
/// writes commits by itself, whatever the server's `user options` say; nobody is waited for longer than ten seconds; and
/// the options with which tables with computed columns, filtered indexes or indexed views can be written.
pub(super) const SESSION: &str = "/* tbtokend:session */ \
    SET XACT_ABORT ON; SET IMPLICIT_TRANSACTIONS OFF; SET NOCOUNT ON; SET LOCK_TIMEOUT 10000; \
    SET ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, ARITHABORT, CONCAT_NULL_YIELDS_NULL, QUOTED_IDENTIFIER ON; \
    SET NUMERIC_ROUNDABORT OFF;";

/// The columns of the table `@P1` as it is resolved for this login.
pub(super) const COLUMNS: &str = "/* tbtokend:columns */ \
    SELECT CAST(COLUMN_NAME AS nvarchar(128)) AS name, CAST(DATA_TYPE AS nvarchar(128)) AS type, \
           CAST(CHARACTER_MAXIMUM_LENGTH AS int) AS length, CAST(DATETIME_PRECISION AS int) AS scale, \
           CAST(COLLATION_NAME AS nvarchar(128)) AS collation \
    FROM INFORMATION_SCHEMA.COLUMNS \
    WHERE TABLE_NAME = OBJECT_NAME(OBJECT_ID(@P1)) AND TABLE_SCHEMA = OBJECT_SCHEMA_NAME(OBJECT_ID(@P1))";

/// What time it is there, and how far its local time is from UTC.
pub(super) const CLOCK: &str = "/* tbtokend:clock */ \
    SELECT SYSUTCDATETIME() AS utc, DATEDIFF(minute, SYSUTCDATETIME(), SYSDATETIME()) AS offset_minutes";

/// The columns of a batch of records. What is NULL after a success comes last: there it need not be sent.
pub(super) const RECORD_COLUMNS: [Column; 12] = [
    ("customer_id", Kind::Text),
    ("updated_at", Kind::Time),
    ("last_success_at", Kind::Time),
    ("renewals", Kind::Number),
    ("failures", Kind::Number),
    ("parked", Kind::Number),
    ("changes", Kind::Text),
    ("credentials_fingerprint", Kind::Plain),
    ("kind", Kind::Plain),
    ("message", Kind::Text),
    ("failed_at", Kind::Time),
    ("next_attempt_at", Kind::Time),
];

/// Their names.
const RECORD_NAMES: &str = "customer_id, credentials_fingerprint, failures, kind, message, parked, failed_at, \
    next_attempt_at, last_success_at, renewals, updated_at, changes";

/// The same as parameters say them.
const RECORD_VALUES: &str = "customer_id, NULLIF(credentials_fingerprint, N''), failures, NULLIF(kind, N''), \
    NULLIF(message, N''), parked, NULLIF(failed_at, '19000101'), NULLIF(next_attempt_at, '19000101'), \
    NULLIF(last_success_at, '19000101'), renewals, updated_at, NULLIF(changes, N'')";

/// Their types. Ids are compared to the letter.
const RECORD_DEFINITION: &str = "
    customer_id             nvarchar(450) COLLATE Latin1_General_BIN2 NOT NULL PRIMARY KEY,
    credentials_fingerprint varchar(64) NULL,
    failures                int NOT NULL,
    kind                    varchar(64) NULL,
    message                 nvarchar(1000) NULL,
    parked                  bit NOT NULL,
    failed_at               datetime2(6) NULL,
    next_attempt_at         datetime2(6) NULL,
    last_success_at         datetime2(6) NULL,
    renewals                bigint NOT NULL,
    updated_at              datetime2(6) NOT NULL,
    changes                 varchar(400) NULL
";

/// The columns of a batch of accounts. The key is in hexadecimal digits.
pub(super) const ACCOUNT_COLUMNS: [Column; 6] = [
    ("account_key", Kind::Plain),
    ("charges", Kind::Number),
    ("in_flight", Kind::Text),
    ("details", Kind::Text),
    ("seen_at", Kind::Time),
    ("version", Kind::Number),
];

/// Their names.
const ACCOUNT_NAMES: &str = "account_key, charges, in_flight, details, seen_at, version";

/// Their types in `tbtokend_account`.
const ACCOUNT_DEFINITION: &str = "
    account_key varbinary(32) NOT NULL PRIMARY KEY,
    charges     smallint NOT NULL,
    in_flight   nvarchar(max) COLLATE Latin1_General_BIN2 NULL,
    details     nvarchar(max) COLLATE Latin1_General_BIN2 NOT NULL,
    seen_at     datetime2(6) NOT NULL,
    version     bigint NOT NULL
";

/// [`AccountKey::STAMP`](crate::model::AccountKey::STAMP).
const STAMP_KEY: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";

/// [`AccountKey::LOOP`](crate::model::AccountKey::LOOP).
const LOOP_KEY: &str = "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// Whether the server reads a batch of rows from JSON.
pub(super) const JSON: &str =
    "/* tbtokend:json */ SELECT a FROM OPENJSON(N'[[1]]') WITH (a bigint '$[0]') AS j";

/// Touches the table without reading a row, to learn from the error why its columns cannot be seen.
pub(super) fn probe(quoted_table: &str) -> String {
    format!(
        "/* tbtokend:probe */ SELECT TOP (0) customer_id, tb_url, tb_username, tb_password, tbtoken, tbtokenexpiry \
         FROM {quoted_table}"
    )
}

/// Reads all rows without the text of their tokens. `Customer::from_row` decides which of them are eligible, because it also
/// says why the others are not.
pub(super) fn read(layout: &Layout) -> String {
    let columns = &layout.columns;
    let (id, token, expiry) = (&columns.id, &columns.token, &columns.expiry);
    let (url, username, password) = (&columns.url, &columns.username, &columns.password);
    format!(
        "/* tbtokend:read */ SELECT {id} AS customer_id, {url} AS tb_url, {username} AS tb_username, \
         {password} AS tb_password, CASE WHEN DATALENGTH({token}) > 0 THEN 1 ELSE 0 END AS has_token, {expiry} AS tbtokenexpiry \
         FROM {table}",
        id = id_as_read(&layout.id, id),
        url = url.text,
        username = username.text,
        password = password.text,
        table = layout.table,
    )
}

/// A text is brought as nvarchar, whatever code page its column has, and without the spaces that fill a column of fixed width:
/// no operator names a customer with them.
fn id_as_read(kind: &IdType, column: &str) -> String {
    match kind {
        IdType::Guid | IdType::Number(_) => column.to_owned(),
        IdType::Text { sql, .. } if sql.starts_with("char") || sql.starts_with("nchar") => {
            format!("RTRIM(CAST({column} AS nvarchar(4000)))")
        }
        IdType::Text { .. } => format!("CAST({column} AS nvarchar(4000))"),
    }
}

/// The columns of a batch of ids.
pub(super) fn token_columns(id: &IdType) -> [Column; 1] {
    let kind = match id {
        IdType::Number(_) => Kind::Number,
        IdType::Guid => Kind::Plain,
        IdType::Text { .. } => Kind::Text,
    };
    [("id", kind)]
}

/// The type of an id in a table variable.
fn id_variable(id: &IdType) -> &str {
    match id {
        IdType::Guid | IdType::Number(_) => id.sql(),
        IdType::Text { .. } => "nvarchar(450) COLLATE Latin1_General_BIN2",
    }
}

/// Reads the tokens of `rows` customers.
pub(super) fn tokens(layout: &Layout, source: RowSource, rows: usize) -> String {
    let columns = &layout.columns;
    format!(
        "/* tbtokend:tokens */ DECLARE @ids TABLE (id {id_type} NOT NULL PRIMARY KEY); \
         INSERT INTO @ids (id) SELECT id FROM {batch}; \
         SELECT {id} AS customer_id, {url} AS tb_url, {username} AS tb_username, \
         CAST(c.{token} AS nvarchar(4000)) AS tbtoken FROM {table} AS c JOIN @ids AS v ON {same_id}",
        id_type = id_variable(&layout.id),
        batch = source.sql(&token_columns(&layout.id), rows, 1),
        id = id_as_read(&layout.id, &format!("c.{}", columns.id)),
        url = columns.url.text_of("c"),
        username = columns.username.text_of("c"),
        token = columns.token,
        table = layout.table,
        same_id = same_id(&layout.id, &columns.id),
    )
}

/// The columns of a batch of tokens.
pub(super) fn save_columns(id: &IdType) -> [Column; 6] {
    [
        token_columns(id)[0],
        ("url", Kind::Text),
        ("username", Kind::Text),
        ("token", Kind::Plain),
        ("expiry", Kind::Time),
        ("known", Kind::Time),
    ]
}

/// Writes `rows` tokens under guard, and looks whether the table holds them: a trigger of theirs may ignore, clear or redirect
/// a write, and no error tells of it.
///
/// No id is written twice: a second row with the same id, URL and user breaks the key of `@saved` (error 2627), and with it
/// the whole transaction. `OUTPUT` would bring the same ids, but without `INTO` it is refused where the table has a trigger
/// (error 334), and with it not every engine takes it beside a join.
/// Texts are compared as bytes, because most collations take `a` for `A` and none minds a space at the end.
/// A `datetime` is not exactly the `datetime2` that it looks like, but only where there are fractions of a second: what is
/// sent has none (`types::stored`; `Entry` knows nothing to be replaced that has one), so it is the same in each type, and the
/// server compares it exactly with whatever is in the column. Nothing needs to be cast for that.
pub(super) fn save(layout: &Layout, source: RowSource, rows: usize) -> String {
    let columns = &layout.columns;
    let (id, token, expiry) = (&columns.id, &columns.token, &columns.expiry);
    let expiry_type = layout.expiry.sql();
    let mut set = format!("{token} = v.token, {expiry} = CAST(v.expiry AS {expiry_type})");
    if let Some((column, now)) = &columns.updated {
        let _ = write!(set, ", {column} = {now}");
    }
    let rows_that_may_be_written = format!(
        "FROM {table} AS c JOIN @new AS v ON {same_id} \
         WHERE {same_url} AND {same_username} \
         AND (ISNULL(DATALENGTH(c.{token}), 0) = 0 OR c.{expiry} IS NULL \
         OR c.{expiry} <= v.expiry OR c.{expiry} = v.known)",
        table = layout.table,
        same_id = same_id(&layout.id, id),
        same_url = same_text(&columns.url.text_of("c"), "v.url"),
        same_username = same_text(&columns.username.text_of("c"), "v.username"),
    );
    let id_type = id_variable(&layout.id);
    let text = "nvarchar(max) COLLATE Latin1_General_BIN2 NOT NULL";
    let time = match layout.expiry {
        ExpiryType::DateTimeOffset(_) => "datetimeoffset(6)",
        ExpiryType::DateTime | ExpiryType::SmallDateTime | ExpiryType::DateTime2(_) => "datetime2(6)",
    };
    format!(
        "/* tbtokend:save */ DECLARE @new TABLE (id {id_type} NOT NULL PRIMARY KEY, url {text}, username {text}, \
         token {text}, expiry {time} NOT NULL, known {time} NULL); \
         DECLARE @saved TABLE (id {id_type} NOT NULL PRIMARY KEY, kept int NOT NULL); \
         INSERT INTO @new (id, url, username, token, expiry, known) \
         SELECT id, url, username, token, expiry, known FROM {batch}; \
         BEGIN TRANSACTION; \
         UPDATE c SET {set} {rows_that_may_be_written}; \
         INSERT INTO @saved (id, kept) SELECT {saved}, \
         CASE WHEN CAST(RTRIM(CAST(c.{token} AS nvarchar(max))) AS varbinary(max)) = CAST(v.token AS varbinary(max)) \
         AND c.{expiry} = CAST(v.expiry AS {expiry_type}) THEN 1 ELSE 0 END {rows_that_may_be_written}; \
         COMMIT TRANSACTION; \
         SELECT id AS tbtokend_saved, kept FROM @saved",
        batch = source.sql(&save_columns(&layout.id), rows, 1),
        saved = id_as_read(&layout.id, &format!("c.{id}")),
    )
}

/// Whether whatever we wrote may be replaced, because the clock that the column does not name can go backwards.
pub(super) fn knows_its_own(layout: &Layout, clock: ExpiryClock) -> bool {
    clock == ExpiryClock::ServerLocal && !matches!(layout.expiry, ExpiryType::DateTimeOffset(_))
}

fn same_id(kind: &IdType, column: &str) -> String {
    match kind {
        IdType::Guid | IdType::Number(_) => format!("c.{column} = CAST(v.id AS {})", kind.sql()),
        // The first comparison finds the row through its index, the second is exact.
        IdType::Text { sql, collation } => {
            let as_read = id_as_read(kind, &format!("c.{column}"));
            let exactly = same_text(&as_read, "v.id");
            format!("c.{column} = CAST(v.id COLLATE {collation} AS {sql}) AND {exactly}")
        }
    }
}

/// Equal to the letter, NULL and empty being the same.
fn same_text(column: &str, parameter: &str) -> String {
    format!(
        "CAST(ISNULL(CAST({column} AS nvarchar(4000)), N'') AS varbinary(8000)) \
         = CAST(CAST({parameter} AS nvarchar(4000)) AS varbinary(8000))"
    )
}

/// Makes our tables where they are missing. `tbtokend schema` prints the same text.
pub(super) fn make_tables(table: &str) -> String {
    let (state, key) = (beside(table, "tbtokend_state"), beside(table, "tbtokend_key"));
    let account = account_table(table);
    format!(
        "/* tbtokend:make_tables */
IF OBJECT_ID(N'{state_name}') IS NULL
CREATE TABLE {state} ({RECORD_DEFINITION});
IF OBJECT_ID(N'{key_name}') IS NULL
CREATE TABLE {key} (
    id              tinyint NOT NULL PRIMARY KEY CHECK (id = 1),
    fingerprint_key varbinary(32) NOT NULL
);
IF OBJECT_ID(N'{account_name}') IS NULL
CREATE TABLE {account} ({ACCOUNT_DEFINITION});
",
        state_name = state.replace('\'', "''"),
        key_name = key.replace('\'', "''"),
        account_name = account.replace('\'', "''"),
    )
}

/// The most characters of an id that a record can have: as many as a key holds.
pub(super) const LONGEST_RECORDED_ID: usize = 450;

/// The most characters of a record's message.
pub(super) const LONGEST_MESSAGE: usize = 1000;

/// Touches our tables in every way that is needed, without a row, to learn from the error why they cannot be used.
pub(super) fn probe_records(table: &str) -> String {
    let (state, key) = (beside(table, "tbtokend_state"), beside(table, "tbtokend_key"));
    format!(
        "/* tbtokend:probe_records */ UPDATE {state} SET failures = failures WHERE 1 = 0; \
         INSERT INTO {state} ({RECORD_NAMES}) SELECT {RECORD_NAMES} FROM {state} WHERE 1 = 0; \
         INSERT INTO {key} (id, fingerprint_key) SELECT id, fingerprint_key FROM {key} WHERE 1 = 0"
    )
}

/// The key of the fingerprints.
pub(super) fn key(table: &str) -> String {
    format!("/* tbtokend:key */ SELECT fingerprint_key FROM {} WHERE id = 1", beside(table, "tbtokend_key"))
}

/// Keeps `@P1` as the key, unless there is one.
pub(super) fn keep_key(table: &str) -> String {
    let key = beside(table, "tbtokend_key");
    format!(
        "/* tbtokend:keep_key */ INSERT INTO {key} (id, fingerprint_key) \
         SELECT 1, @P1 WHERE NOT EXISTS (SELECT 1 FROM {key})"
    )
}

/// Reads all records, or only those with a failure.
pub(super) fn records(table: &str, only_failing: bool) -> String {
    let (name, only) = match only_failing {
        true => ("failing_records", " WHERE kind IS NOT NULL"),
        false => ("records", ""),
    };
    let state = beside(table, "tbtokend_state");
    format!("/* tbtokend:{name} */ SELECT {RECORD_NAMES} FROM {state}{only}")
}

/// Writes `rows` records, each in place of the one before. Those that are there are updated and the others inserted,
/// each in a statement that is done or not done as a whole; between the two nothing is lost, so no transaction is needed.
pub(super) fn record(table: &str, source: RowSource, rows: usize) -> String {
    let state = beside(table, "tbtokend_state");
    let columns = RECORD_NAMES.split(", ").map(str::trim);
    let set: Vec<String> = columns.skip(1).map(|column| format!("{column} = r.{column}")).collect();
    format!(
        "/* tbtokend:record */ DECLARE @records TABLE ({RECORD_DEFINITION}); \
         INSERT INTO @records ({RECORD_NAMES}) SELECT {RECORD_VALUES} FROM {batch}; \
         UPDATE s SET {set} FROM {state} AS s JOIN @records AS r ON s.customer_id = r.customer_id; \
         INSERT INTO {state} ({RECORD_NAMES}) SELECT {RECORD_NAMES} FROM @records AS r \
         WHERE NOT EXISTS (SELECT 1 FROM {state} AS s WHERE s.customer_id = r.customer_id)",
        set = set.join(", "),
        batch = source.sql(&RECORD_COLUMNS, rows, 1),
    )
}

fn account_table(table: &str) -> String {
    beside(table, "tbtokend_account")
}

/// Touches the ledger in every way that is needed, without a row, to learn from the error why it cannot be used.
pub(super) fn probe_ledger(table: &str) -> String {
    let account = account_table(table);
    format!(
        "/* tbtokend:probe_ledger */ UPDATE {account} SET charges = charges WHERE 1 = 0; \
         DELETE FROM {account} WHERE 1 = 0; \
         INSERT INTO {account} ({ACCOUNT_NAMES}) SELECT {ACCOUNT_NAMES} FROM {account} WHERE 1 = 0"
    )
}

/// Reads the stamp.
pub(super) fn stamp(table: &str) -> String {
    let account = account_table(table);
    format!("/* tbtokend:stamp */ SELECT details, version FROM {account} WHERE account_key = {STAMP_KEY}")
}

/// Gives the stamp the id `@P1`, if it has the id `@P2`; makes it, if there is none.
pub(super) fn keep_stamp(table: &str) -> String {
    let account = account_table(table);
    format!(
        "/* tbtokend:keep_stamp */ UPDATE {account} SET details = @P1 WHERE account_key = {STAMP_KEY} AND details = @P2; \
         INSERT INTO {account} ({ACCOUNT_NAMES}) SELECT {STAMP_KEY}, 0, NULL, @P1, '19700101', 0 \
         WHERE NOT EXISTS (SELECT 1 FROM {account} WHERE account_key = {STAMP_KEY})"
    )
}

/// Reads the state of the loop.
pub(super) fn loop_state(table: &str) -> String {
    let account = account_table(table);
    format!("/* tbtokend:loop_state */ SELECT details FROM {account} WHERE account_key = {LOOP_KEY}")
}

/// Keeps `@P1` as the state of the loop. Its row has no version, so that it is never read as an account, and never gets old.
pub(super) fn keep_loop_state(table: &str) -> String {
    let account = account_table(table);
    format!(
        "/* tbtokend:keep_loop_state */ UPDATE {account} SET details = @P1 WHERE account_key = {LOOP_KEY}; \
         INSERT INTO {account} ({ACCOUNT_NAMES}) SELECT {LOOP_KEY}, 0, NULL, @P1, '99991231', 0 \
         WHERE NOT EXISTS (SELECT 1 FROM {account} WHERE account_key = {LOOP_KEY})"
    )
}

/// Reads the accounts with a version after `@P1`.
pub(super) fn accounts(table: &str) -> String {
    let account = account_table(table);
    format!(
        "/* tbtokend:accounts */ SELECT {ACCOUNT_NAMES} FROM {account} WHERE version > @P1 AND account_key <> {STAMP_KEY}"
    )
}

/// How many parameters of `write_accounts` stand before the batch.
pub(super) const WRITE_PARAMETERS: usize = 5;

/// Writes `rows` accounts, each over the version that it names, if the stamp is the one that is asked for.
///
/// The stamp is updated first: its lock keeps every other daemon out until the end. Where it is another one, `@stamp` is
/// empty, and with it everything that is joined to it. An account was written if it has the new number: no other write has
/// it. A write whose answer was lost is sent again, and then what stands there to the letter counts as the version named.
pub(super) fn write_accounts(table: &str, source: RowSource, rows: usize, forgets: bool) -> String {
    let account = account_table(table);
    let delete = match forgets {
        false => String::new(),
        true => format!(
            "DELETE FROM {account} WHERE account_key <> {STAMP_KEY} AND EXISTS (SELECT 1 FROM @stamp) \
             AND (charges = 0 AND seen_at < @P3 OR charges <> 0 AND seen_at < @P4); "
        ),
    };
    let insert = match rows {
        0 => String::new(),
        rows => format!(
            "INSERT INTO @new ({ACCOUNT_NAMES}) SELECT CONVERT(varbinary(32), account_key, 2), charges, \
             NULLIF(in_flight, N''), details, seen_at, version FROM {}; ",
            source.sql(&ACCOUNT_COLUMNS, rows, WRITE_PARAMETERS + 1)
        ),
    };
    format!(
        "/* tbtokend:write_accounts */ DECLARE @stamp TABLE (number bigint NOT NULL); \
         DECLARE @new TABLE ({ACCOUNT_DEFINITION}); {insert}BEGIN TRANSACTION; \
         UPDATE {account} SET version = version + 1 OUTPUT inserted.version INTO @stamp \
         WHERE account_key = {STAMP_KEY} AND details = @P1 AND version >= @P2; \
         UPDATE a SET charges = n.charges, in_flight = n.in_flight, details = n.details, seen_at = n.seen_at, \
         version = s.number FROM {account} AS a JOIN @new AS n ON a.account_key = n.account_key JOIN @stamp AS s ON 1 = 1 \
         WHERE a.version = n.version OR (@P5 = 1 AND a.charges = n.charges AND a.details = n.details \
         AND ISNULL(a.in_flight, N'') = ISNULL(n.in_flight, N'') AND a.seen_at = n.seen_at); \
         INSERT INTO {account} ({ACCOUNT_NAMES}) \
         SELECT n.account_key, n.charges, n.in_flight, n.details, n.seen_at, s.number \
         FROM @new AS n JOIN @stamp AS s ON 1 = 1 \
         WHERE n.version = 0 AND NOT EXISTS (SELECT 1 FROM {account} AS a WHERE a.account_key = n.account_key); \
         {delete}SELECT number FROM @stamp; \
         SELECT n.account_key, a.charges, a.in_flight, a.details, a.seen_at, a.version \
         FROM @new AS n JOIN @stamp AS s ON 1 = 1 LEFT JOIN {account} AS a ON a.account_key = n.account_key \
         WHERE a.version IS NULL OR a.version <> s.number; \
         COMMIT TRANSACTION"
    )
}

/// For a DBA: makes room for a token of any length. It is never sent.
pub(super) fn widen(layout: &Layout) -> String {
    format!("ALTER TABLE {} ALTER COLUMN {} varchar(max) NULL;", layout.table, layout.columns.token)
}

/// Asks which permissions to write there are.
pub(super) fn permissions(layout: &Layout) -> String {
    let columns = &layout.columns;
    let updated = columns.updated.as_ref().map(|(column, _)| column);
    let update: Vec<String> = [Some(&columns.token), Some(&columns.expiry), updated]
        .into_iter()
        .flatten()
        .map(|column| {
            let name =
                column.trim_start_matches('[').trim_end_matches(']').replace("]]", "]").replace('\'', "''");
            format!("CAST(HAS_PERMS_BY_NAME(@P1, 'OBJECT', 'UPDATE', N'{name}', 'COLUMN') AS int)")
        })
        .collect();
    format!("/* tbtokend:permissions */ SELECT {}", update.join(", "))
}

/// Counts the rows.
pub(super) fn count(layout: &Layout) -> String {
    format!("/* tbtokend:count */ SELECT COUNT_BIG(*) FROM {}", layout.table)
}

/// Some rows with a token, for the clock of their expiries.
pub(super) fn sample(layout: &Layout) -> String {
    let (token, expiry) = (&layout.columns.token, &layout.columns.expiry);
    format!(
        "/* tbtokend:sample */ SELECT TOP ({most}) CAST({token} AS nvarchar(4000)) AS tbtoken, {expiry} AS tbtokenexpiry \
         FROM {table} WHERE DATALENGTH({token}) > 0 AND {expiry} IS NOT NULL ORDER BY {expiry} DESC",
        most = super::super::facts::SAMPLE,
        table = layout.table,
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::LedgerWrite;
    use super::*;

    #[test]
    fn no_statement_has_more_parameters_than_the_server_takes() {
        let at_once = RowSource::Values.rows_at_once();
        assert!(at_once <= RowSource::Values.most_rows(&save_columns(&IdType::Guid), 0));
        assert!(at_once <= RowSource::Values.most_rows(&RECORD_COLUMNS, 0));
        let most = RowSource::Values.most_rows(&ACCOUNT_COLUMNS, WRITE_PARAMETERS);
        assert!(LedgerWrite::MOST_ACCOUNTS <= most, "{most}");
    }
}
