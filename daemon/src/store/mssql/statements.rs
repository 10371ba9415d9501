//! Every statement for SQL Server.
//!
//! Each begins with a comment `/* tbtokend:NAME */`, which identifies it in a trace of the server and in the fake server of the
//! tests. "rpc" is `sp_executesql` with parameters `@P1`, `@P2`, …; "batch" is plain text.
//!
//! | name | as | parameters, in order | result columns |
//! |---|---|---|---|
//! | `session` | batch | – | none |
//! | `columns` | rpc | `nvarchar` the table as a quoted name, `[dbo].[customer_settings]` | `name nvarchar`, `type nvarchar`, `length int null` (characters, −1 for max), `scale int null`, `collation nvarchar null`; one row per column, none if the table does not exist or cannot be seen |
//! | `probe` | rpc | – | never a row; only its error counts (208, 207, 229, 230) |
//! | `clock` | rpc | – | one row: `utc datetime2`, `offset_minutes int` (local minus UTC) |
//! | `read` | rpc | – | one row per row of the table: `customer_id` (the column's own type), `tb_url nvarchar null`, `tb_username nvarchar null`, `tb_password nvarchar null`, `has_token int` (0, 1), `tbtokenexpiry` (the column's own type) null |
//! | `save` | rpc | a batch of rows of [`save_columns`]; `known` is the value that this daemon wrote, [`NO_TIME`] for none | one row for each row that passed the guard: `tbtokend_saved`, its id as `read` returns it; `kept int`, 1 if it holds the token now |
//! | `tokens` | rpc | a batch of rows of [`token_columns`] | one row for each row with that id: `customer_id` as `read` returns it, `tb_url nvarchar null`, `tb_username nvarchar null`, `tbtoken nvarchar null` |
//! | `make_tables` | batch | – | none |
//! | `probe_records` | rpc | – | none; only its error counts (208, 207, 229, 230) |
//! | `key` | rpc | – | `fingerprint_key varbinary(32)`, one row or none |
//! | `keep_key` | rpc | `varbinary` 32 bytes | none |
//! | `records` / `failing_records` | rpc | – | one row per record: `customer_id nvarchar`, `credentials_fingerprint varchar null`, `failures int`, `kind varchar null`, `message nvarchar null`, `parked bit`, `failed_at datetime2 null`, `next_attempt_at datetime2 null`, `last_success_at datetime2 null`, `renewals bigint`, `updated_at datetime2`, `changes varchar null`; all of them, or those whose `kind` is not null |
//! | `record` | rpc | a batch of rows of [`RECORD_COLUMNS`]; an empty text or [`NO_TIME`] stands for NULL where the column may be NULL | none; each replaces the record with its `customer_id` |
//! | `json` | batch | – | none; only its error counts |
//! | `probe_ledger` | rpc | – | none; only its error counts (208, 207, 229, 230) |
//! | `stamp` | rpc | – | `details nvarchar`, `version bigint` of the ledger's stamp, one row or none |
//! | `keep_stamp` | rpc | `nvarchar` the new id, `nvarchar` the id that it replaces, empty for none | none |
//! | `loop_state` | rpc | – | `details nvarchar`: the state of the loop, one row or none |
//! | `keep_loop_state` | rpc | `nvarchar` the state of the loop | none |
//! | `accounts` | rpc | `bigint` | one row per account with a later version: `account_key varbinary`, `charges int`, `in_flight nvarchar null`, `details nvarchar`, `seen_at datetime2`, `version bigint` |
//! | `write_accounts` | rpc | of the stamp: `nvarchar` id, `bigint` number; `datetime2` × 2 before which accounts without and with charges are forgotten, [`NO_TIME`] for none; `int` 1 if it is sent again; a batch of rows of [`ACCOUNT_COLUMNS`] | `number bigint`, one row, or none if the stamp is another one; then one row for each account that was not written: `account_key varbinary` and the others as `accounts` returns them, NULL if it does not exist |
//!
//! | `permissions` | rpc | `nvarchar` the table as a quoted name | one row: `int null` × 2, or × 3 with `updatedttm`: whether there is UPDATE on `tbtoken`, `tbtokenexpiry`, `updatedttm` |
//! | `count` | rpc | – | `bigint`: rows in all |
//! | `sample` | rpc | – | at most 200 rows with token and expiry, the latest first: `tbtoken nvarchar`, `tbtokenexpiry` |
//!
//! The last three are for the doctor. Only `tokens` and `sample` return the text of a token.
//!
//! "A batch of rows" is one `nvarchar` in JSON, or a parameter for each value if the server lacks `OPENJSON` (`row_source.rs`).
//! Its texts have no collation of their own, so a table variable holds them first. They are compared as bytes or with the
//! collation of the other column (error 468 otherwise). No parameter is NULL, because tiberius sends NULL without a type, which
//! not every engine accepts.
//!
//! `save` writes a row if its id, `tb_url` (NULL is like empty) and `tb_username` are exactly those of the batch. In
//! addition, one of these must hold: `tbtoken` is NULL or empty; `tbtokenexpiry` is NULL, not later than the new one, or
//! the value that this daemon wrote. Then it reads the same rows again under the same condition, which a row with the new
//! token fulfils.

use std::fmt::Write;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use tiberius::Query;

use super::layout::{ExpiryType, IdType, Layout};
use super::quoted::beside;
use super::row_source::{Column, Kind, RowSource};
use super::zone::ExpiryClock;

/// The parameter that stands for "no time": every type can hold it, and no real value has it.
pub(super) const NO_TIME: NaiveDateTime = match NaiveDate::from_ymd_opt(1900, 1, 1) {
    Some(day) => day.and_time(NaiveTime::MIN),
    None => NaiveDateTime::MIN,
};

/// The settings of the session. An error ends the batch and undoes its transaction. A statement that writes commits by
/// itself, whatever the server's `user options` are. A lock is awaited for ten seconds at most. The other options are necessary
/// for tables with computed columns, filtered indexes or indexed views.
pub(super) const SESSION: &str = "/* tbtokend:session */ \
    SET XACT_ABORT ON; SET IMPLICIT_TRANSACTIONS OFF; SET NOCOUNT ON; SET LOCK_TIMEOUT 10000; \
    SET ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, ARITHABORT, CONCAT_NULL_YIELDS_NULL, QUOTED_IDENTIFIER ON; \
    SET NUMERIC_ROUNDABORT OFF;";

/// Reads the columns of the table `@P1`, as the server resolves the name for this login.
pub(super) const COLUMNS: &str = "/* tbtokend:columns */ \
    SELECT CAST(COLUMN_NAME AS nvarchar(128)) AS name, CAST(DATA_TYPE AS nvarchar(128)) AS type, \
           CAST(CHARACTER_MAXIMUM_LENGTH AS int) AS length, CAST(DATETIME_PRECISION AS int) AS scale, \
           CAST(COLLATION_NAME AS nvarchar(128)) AS collation \
    FROM INFORMATION_SCHEMA.COLUMNS \
    WHERE TABLE_NAME = OBJECT_NAME(OBJECT_ID(@P1)) AND TABLE_SCHEMA = OBJECT_SCHEMA_NAME(OBJECT_ID(@P1))";

/// Reads the server's time, and the offset of its local time from UTC.
pub(super) const CLOCK: &str = "/* tbtokend:clock */ \
    SELECT SYSUTCDATETIME() AS utc, DATEDIFF(minute, SYSUTCDATETIME(), SYSDATETIME()) AS offset_minutes";

/// The columns of a batch of records. Those that are NULL after a success come last, where they need not be sent.
const RECORD_COLUMNS: [Column; 12] = [
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

/// The names of the columns of a record.
const RECORD_NAMES: &str = "customer_id, credentials_fingerprint, failures, kind, message, parked, failed_at, \
    next_attempt_at, last_success_at, renewals, updated_at, changes";

/// The columns of a record, as expressions of a batch.
const RECORD_VALUES: &str = "customer_id, NULLIF(credentials_fingerprint, N''), failures, NULLIF(kind, N''), \
    NULLIF(message, N''), parked, NULLIF(failed_at, '19000101'), NULLIF(next_attempt_at, '19000101'), \
    NULLIF(last_success_at, '19000101'), renewals, updated_at, NULLIF(changes, N'')";

/// The types of the columns of a record. Ids are compared exactly.
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
const ACCOUNT_COLUMNS: [Column; 6] = [
    ("account_key", Kind::Plain),
    ("charges", Kind::Number),
    ("in_flight", Kind::Text),
    ("details", Kind::Text),
    ("seen_at", Kind::Time),
    ("version", Kind::Number),
];

/// The names of the columns of an account.
const ACCOUNT_NAMES: &str = "account_key, charges, in_flight, details, seen_at, version";

/// The types of the columns in `tbtokend_account`.
const ACCOUNT_DEFINITION: &str = "
    account_key varbinary(32) NOT NULL PRIMARY KEY,
    charges     smallint NOT NULL,
    in_flight   nvarchar(max) COLLATE Latin1_General_BIN2 NULL,
    details     nvarchar(max) COLLATE Latin1_General_BIN2 NOT NULL,
    seen_at     datetime2(6) NOT NULL,
    version     bigint NOT NULL
";

/// The columns of `tbtokend_key`.
const KEY_DEFINITION: &str = "
    id              tinyint NOT NULL PRIMARY KEY CHECK (id = 1),
    fingerprint_key varbinary(32) NOT NULL
";

/// The names of the columns of a notice.
const NOTICE_NAMES: &str = "receiver, cause, began, last_sent, severity, customers, lapsed";

/// The types of the columns in `tbtokend_notice`.
const NOTICE_DEFINITION: &str = "
    receiver  varchar(32) NOT NULL,
    cause     nvarchar(400) COLLATE Latin1_General_BIN2 NOT NULL,
    began     datetime2(6) NOT NULL,
    last_sent datetime2(6) NOT NULL,
    severity  varchar(16) NOT NULL,
    customers bigint NOT NULL,
    lapsed    bigint NOT NULL,
    PRIMARY KEY (receiver, cause)
";

/// The side tables with the definitions of their columns.
const SIDE_TABLES: [(&str, &str); 4] = [
    ("tbtokend_state", RECORD_DEFINITION),
    ("tbtokend_key", KEY_DEFINITION),
    ("tbtokend_account", ACCOUNT_DEFINITION),
    ("tbtokend_notice", NOTICE_DEFINITION),
];

/// The texts that [`on_side_tables`] puts into a statement, besides the names of the side tables.
const PARTS: [(&str, &str); 5] = [
    ("{record_columns}", RECORD_NAMES),
    ("{account_columns}", ACCOUNT_NAMES),
    ("{notice_columns}", NOTICE_NAMES),
    // The literals of `AccountKey::STAMP` and `AccountKey::LOOP`.
    ("{stamp}", "0x0000000000000000000000000000000000000000000000000000000000000000"),
    ("{loop}", "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
];

/// Makes the query of a statement on the side tables. The statement holds the tables' names and [`PARTS`] in braces.
pub(super) fn on_side_tables<'a>(statement: &str, table: &str) -> Query<'a> {
    let tables = SIDE_TABLES.map(|(name, _)| (format!("{{{name}}}"), beside(table, name)));
    let parts = PARTS.map(|(place, text)| (place.to_owned(), text.to_owned()));
    let texts = tables.into_iter().chain(parts);
    Query::new(texts.fold(statement.to_owned(), |sql, (place, text)| sql.replace(&place, &text)))
}

/// Tries whether the server reads a batch of rows from JSON.
pub(super) const JSON: &str =
    "/* tbtokend:json */ SELECT a FROM OPENJSON(N'[[1]]') WITH (a bigint '$[0]') AS j";

/// Uses the table without reading a row. The error says why its columns cannot be seen.
pub(super) fn probe(quoted_table: &str) -> String {
    format!(
        "/* tbtokend:probe */ SELECT TOP (0) customer_id, tb_url, tb_username, tb_password, tbtoken, tbtokenexpiry \
         FROM {quoted_table}"
    )
}

/// Reads all rows without the text of their tokens. `Customer::from_row` decides which rows are eligible, because it also reports
/// why the others are not.
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

/// Returns the expression that reads an id. A text is read as nvarchar, whatever code page its column has. The spaces that
/// fill a column of fixed width are dropped, because no operator types them.
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

/// Writes `rows` tokens under guard, and checks whether the table holds them. A trigger may ignore, clear or redirect a write
/// without an error.
///
/// No id is written twice. A second row with the same id, URL and user would break the key of `@saved` (error 2627), and so
/// the whole transaction. `OUTPUT` would return the same ids. But without `INTO` a table with a trigger refuses it (error
/// 334), and with `INTO` not every engine accepts it beside a join.
///
/// Texts are compared as bytes, because most collations equate `a` with `A` and all ignore a space at the end.
///
/// A `datetime` differs from the `datetime2` of the same text only in fractions of a second. A sent value has none
/// (`types::round_expiry`; `CustomerState` replaces no value with one), so it is the same in each type. The comparison with the column is exact
/// without a cast.
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

/// Whether the guard lets the daemon's own value be replaced, because the clock that the column does not name can go backwards.
pub(super) fn tracks_own_writes(layout: &Layout, clock: ExpiryClock) -> bool {
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

/// Returns the exact comparison of two texts, in which NULL equals empty.
fn same_text(column: &str, parameter: &str) -> String {
    format!(
        "CAST(ISNULL(CAST({column} AS nvarchar(4000)), N'') AS varbinary(8000)) \
         = CAST(CAST({parameter} AS nvarchar(4000)) AS varbinary(8000))"
    )
}

/// Creates the side tables that are missing. `tbtokend schema` prints the same text.
pub(super) fn create_tables(table: &str) -> String {
    let create = |(name, definition): (&str, &str)| {
        let quoted = beside(table, name);
        let literal = quoted.replace('\'', "''");
        format!("IF OBJECT_ID(N'{literal}') IS NULL\nCREATE TABLE {quoted} ({definition});\n")
    };
    format!("/* tbtokend:make_tables */\n{}", SIDE_TABLES.map(create).concat())
}

/// The most characters of a record's id: a key holds no more.
pub(super) const LONGEST_RECORDED_ID: usize = 450;

/// The most characters of a record's message.
pub(super) const LONGEST_MESSAGE: usize = 1000;

/// Uses the tables of the records in every necessary way, without a row. The error says why they cannot be used.
pub(super) const PROBE_RECORDS: &str = "/* tbtokend:probe_records */ \
    UPDATE {tbtokend_state} SET failures = failures WHERE 1 = 0; \
    INSERT INTO {tbtokend_state} ({record_columns}) SELECT {record_columns} FROM {tbtokend_state} WHERE 1 = 0; \
    INSERT INTO {tbtokend_key} (id, fingerprint_key) SELECT id, fingerprint_key FROM {tbtokend_key} WHERE 1 = 0";

/// Reads the key of the fingerprints.
pub(super) const KEY: &str = "/* tbtokend:key */ SELECT fingerprint_key FROM {tbtokend_key} WHERE id = 1";

/// Stores `@P1` as the key, unless there is one.
pub(super) const KEEP_KEY: &str = "/* tbtokend:keep_key */ \
    INSERT INTO {tbtokend_key} (id, fingerprint_key) SELECT 1, @P1 WHERE NOT EXISTS (SELECT 1 FROM {tbtokend_key})";

/// Reads all records.
pub(super) const RECORDS: &str = "/* tbtokend:records */ SELECT {record_columns} FROM {tbtokend_state}";

/// Reads the records with a failure.
pub(super) const FAILING_RECORDS: &str =
    "/* tbtokend:failing_records */ SELECT {record_columns} FROM {tbtokend_state} WHERE kind IS NOT NULL";

/// Writes `rows` records, each in place of the earlier one. The first statement updates the existing records and the second
/// inserts the others. Each is atomic, and nothing is lost between them, so no transaction is needed.
pub(super) fn record(source: RowSource, rows: usize) -> String {
    let columns = RECORD_NAMES.split(", ");
    let set: Vec<String> = columns.skip(1).map(|column| format!("{column} = r.{column}")).collect();
    format!(
        "/* tbtokend:record */ DECLARE @records TABLE ({RECORD_DEFINITION}); \
         INSERT INTO @records ({{record_columns}}) SELECT {RECORD_VALUES} FROM {batch}; \
         UPDATE s SET {set} FROM {{tbtokend_state}} AS s JOIN @records AS r ON s.customer_id = r.customer_id; \
         INSERT INTO {{tbtokend_state}} ({{record_columns}}) SELECT {{record_columns}} FROM @records AS r \
         WHERE NOT EXISTS (SELECT 1 FROM {{tbtokend_state}} AS s WHERE s.customer_id = r.customer_id)",
        set = set.join(", "),
        batch = source.sql(&RECORD_COLUMNS, rows, 1),
    )
}

/// Uses the ledger in every necessary way, without a row. The error says why it cannot be used.
pub(super) const PROBE_LEDGER: &str = "/* tbtokend:probe_ledger */ \
    UPDATE {tbtokend_account} SET charges = charges WHERE 1 = 0; \
    DELETE FROM {tbtokend_account} WHERE 1 = 0; \
    INSERT INTO {tbtokend_account} ({account_columns}) SELECT {account_columns} FROM {tbtokend_account} WHERE 1 = 0";

/// Reads the stamp.
pub(super) const STAMP: &str =
    "/* tbtokend:stamp */ SELECT details, version FROM {tbtokend_account} WHERE account_key = {stamp}";

/// Gives the stamp the id `@P1` if it has the id `@P2`. Makes the stamp if there is none.
pub(super) const KEEP_STAMP: &str = "/* tbtokend:keep_stamp */ \
    UPDATE {tbtokend_account} SET details = @P1 WHERE account_key = {stamp} AND details = @P2; \
    INSERT INTO {tbtokend_account} ({account_columns}) SELECT {stamp}, 0, NULL, @P1, '19700101', 0 \
    WHERE NOT EXISTS (SELECT 1 FROM {tbtokend_account} WHERE account_key = {stamp})";

/// Reads the state of the loop.
pub(super) const LOOP_STATE: &str =
    "/* tbtokend:loop_state */ SELECT details FROM {tbtokend_account} WHERE account_key = {loop}";

/// Stores `@P1` as the state of the loop. The row has version 0, so that it is never read as an account, and it never expires.
pub(super) const KEEP_LOOP_STATE: &str = "/* tbtokend:keep_loop_state */ \
    UPDATE {tbtokend_account} SET details = @P1 WHERE account_key = {loop}; \
    INSERT INTO {tbtokend_account} ({account_columns}) SELECT {loop}, 0, NULL, @P1, '99991231', 0 \
    WHERE NOT EXISTS (SELECT 1 FROM {tbtokend_account} WHERE account_key = {loop})";

/// Reads the accounts with a version after `@P1`.
pub(super) const ACCOUNTS: &str = "/* tbtokend:accounts */ \
    SELECT {account_columns} FROM {tbtokend_account} WHERE version > @P1 AND account_key <> {stamp}";

/// The number of parameters of `write_accounts` before the batch.
const WRITE_PARAMETERS: usize = 5;

/// Writes `rows` accounts, each over the version that it names, if the stamp matches.
///
/// The stamp is updated first, and its lock keeps every other daemon out until the end. If the stamp is another one, `@stamp` is
/// empty, and so is everything that is joined to it. An account was written if it has the new number, which no other write has.
/// A write whose answer was lost is sent again. Then a row with exactly the same values counts as the named version.
pub(super) fn write_accounts(source: RowSource, rows: usize, forgets: bool) -> String {
    let delete = match forgets {
        false => "",
        true => {
            "DELETE FROM {tbtokend_account} WHERE account_key <> {stamp} AND EXISTS (SELECT 1 FROM @stamp) \
             AND (charges = 0 AND seen_at < @P3 OR charges <> 0 AND seen_at < @P4); "
        }
    };
    let insert = match rows {
        0 => String::new(),
        rows => format!(
            "INSERT INTO @new ({{account_columns}}) SELECT CONVERT(varbinary(32), account_key, 2), charges, \
             NULLIF(in_flight, N''), details, seen_at, version FROM {}; ",
            source.sql(&ACCOUNT_COLUMNS, rows, WRITE_PARAMETERS + 1)
        ),
    };
    format!(
        "/* tbtokend:write_accounts */ DECLARE @stamp TABLE (number bigint NOT NULL); \
         DECLARE @new TABLE ({ACCOUNT_DEFINITION}); {insert}BEGIN TRANSACTION; \
         UPDATE {{tbtokend_account}} SET version = version + 1 OUTPUT inserted.version INTO @stamp \
         WHERE account_key = {{stamp}} AND details = @P1 AND version >= @P2; \
         UPDATE a SET charges = n.charges, in_flight = n.in_flight, details = n.details, seen_at = n.seen_at, \
         version = s.number FROM {{tbtokend_account}} AS a JOIN @new AS n ON a.account_key = n.account_key JOIN @stamp AS s ON 1 = 1 \
         WHERE a.version = n.version OR (@P5 = 1 AND a.charges = n.charges AND a.details = n.details \
         AND ISNULL(a.in_flight, N'') = ISNULL(n.in_flight, N'') AND a.seen_at = n.seen_at); \
         INSERT INTO {{tbtokend_account}} ({{account_columns}}) \
         SELECT n.account_key, n.charges, n.in_flight, n.details, n.seen_at, s.number \
         FROM @new AS n JOIN @stamp AS s ON 1 = 1 \
         WHERE n.version = 0 AND NOT EXISTS (SELECT 1 FROM {{tbtokend_account}} AS a WHERE a.account_key = n.account_key); \
         {delete}SELECT number FROM @stamp; \
         SELECT n.account_key, a.charges, a.in_flight, a.details, a.seen_at, a.version \
         FROM @new AS n JOIN @stamp AS s ON 1 = 1 LEFT JOIN {{tbtokend_account}} AS a ON a.account_key = n.account_key \
         WHERE a.version IS NULL OR a.version <> s.number; \
         COMMIT TRANSACTION"
    )
}

/// Reads what receivers of messages were told. No statement waits for a lock on this table, because tokens wait for the
/// connection meanwhile.
pub(super) const NOTICES: &str =
    "/* tbtokend:notices */ SELECT {notice_columns} FROM {tbtokend_notice} WITH (NOWAIT)";

/// Deletes the notice of the receiver `@P1` about the cause `@P2`.
pub(super) const FORGET_NOTICE: &str = "/* tbtokend:forget_notice */ DELETE FROM {tbtokend_notice} WITH (NOWAIT) WHERE receiver = @P1 AND cause = @P2";

/// Replaces the notice of the receiver `@P1` about the cause `@P2`.
pub(super) const WRITE_NOTICE: &str = "/* tbtokend:write_notice */ BEGIN TRANSACTION; \
     DELETE FROM {tbtokend_notice} WITH (NOWAIT) WHERE receiver = @P1 AND cause = @P2; \
     INSERT INTO {tbtokend_notice} WITH (NOWAIT) ({notice_columns}) VALUES (@P1, @P2, @P3, @P4, @P5, @P6, @P7); COMMIT TRANSACTION";

/// Returns the statement with which a DBA makes room for tokens of any length. The daemon never sends it.
pub(super) fn widen(layout: &Layout) -> String {
    format!("ALTER TABLE {} ALTER COLUMN {} varchar(max) NULL;", layout.table, layout.columns.token)
}

/// Reads the permissions to write.
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

/// Reads some rows with a token, to find the clock of their expiries.
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

    /// One of the most 2,100 parameters of a statement is its text.
    const MOST_PARAMETERS: usize = 2099;

    /// Tokens wait for the connection, so that a lock on the table of notices must not hold it.
    #[test]
    fn p32_no_statement_waits_for_a_lock_on_the_notices() {
        for statement in [NOTICES, FORGET_NOTICE, WRITE_NOTICE] {
            let count = |text: &str| statement.matches(text).count();
            assert_eq!(count("{tbtokend_notice}"), count("{tbtokend_notice} WITH (NOWAIT)"), "{statement}");
        }
    }

    #[test]
    fn no_statement_has_more_parameters_than_the_server_takes() {
        let at_once = RowSource::Values.rows_at_once();
        assert!(at_once * save_columns(&IdType::Guid).len() <= MOST_PARAMETERS);
        assert!(at_once * RECORD_COLUMNS.len() <= MOST_PARAMETERS);
        assert!(LedgerWrite::MOST_ACCOUNTS * ACCOUNT_COLUMNS.len() + WRITE_PARAMETERS <= MOST_PARAMETERS);
    }
}
