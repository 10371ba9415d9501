//! The views of the system that the statements look at.

use super::compare;
use super::database::{Column, Database, Table};
use super::value::{Length, SqlType, Value};

/// A view of the system by its name.
pub(super) fn view(database: &Database, name: &str) -> Option<Table> {
    match Database::key(name).as_str() {
        "information_schema.columns" => Some(columns(database)),
        "information_schema.tables" => Some(tables(database)),
        "sys.database_principals" => Some(principals(database)),
        "sys.database_permissions" => Some(permissions(database)),
        "sys.database_role_members" => Some(role_members()),
        _ => None,
    }
}

/// The login's user.
pub(super) const OWN_USER: &str = "own";

/// The id of its user; those of other readers follow.
const OWN: i64 = 5;

fn principals(database: &Database) -> Table {
    let columns = [("name", text()), ("principal_id", SqlType::Int), ("type", SqlType::Char(1))];
    let mut view = empty("sys.database_principals", &columns);
    let fixed = [("public", 0, "R"), ("dbo", 1, "S"), (OWN_USER, OWN, "S"), ("db_owner", 16_384, "R")];
    let others = database.key_readers.iter().zip(OWN + 1..).map(|(name, id)| (name.as_str(), id, "S"));
    let line = |(name, id, kind)| vec![Value::text(name), Value::Int(id), Value::text(kind)];
    view.rows = fixed.into_iter().chain(others).map(line).collect();
    view
}

fn permissions(database: &Database) -> Table {
    let number = SqlType::Int;
    let columns = [
        ("class", number),
        ("major_id", number),
        ("grantee_principal_id", number),
        ("type", SqlType::Char(4)),
        ("state", SqlType::Char(1)),
    ];
    let mut view = empty("sys.database_permissions", &columns);
    let Some(key) = database.object_id("tbtokend_key") else { return view };
    let others = database.key_readers.iter().filter(|_| database.shows_permissions).zip(OWN + 1..);
    let line = |grantee| {
        let (class, key) = (Value::Int(1), Value::Int(key));
        vec![class, key, Value::Int(grantee), Value::text("SL  "), Value::text("G")]
    };
    view.rows = std::iter::once(OWN).chain(others.map(|(_, id)| id)).map(line).collect();
    view
}

fn role_members() -> Table {
    let columns = [("role_principal_id", SqlType::Int), ("member_principal_id", SqlType::Int)];
    let mut view = empty("sys.database_role_members", &columns);
    view.rows.push(vec![Value::Int(16_384), Value::Int(1)]);
    view
}

fn visible(database: &Database) -> impl Iterator<Item = &Table> {
    database.tables().filter(|table| database.visible(&Database::key(&table.name)))
}

fn text() -> SqlType {
    SqlType::NVarchar(Length::Of(128))
}

fn empty(name: &str, columns: &[(&str, SqlType)]) -> Table {
    let mut table = Table::plain(name, columns);
    for column in &mut table.columns {
        column.nullable = true;
        column.key = false;
    }
    table
}

fn tables(database: &Database) -> Table {
    let columns = ["TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE"].map(|name| (name, text()));
    let mut view = empty("INFORMATION_SCHEMA.TABLES", &columns);
    view.rows = visible(database)
        .map(|table| {
            [&database.name, table.schema(), table.short_name(), "BASE TABLE"].map(Value::text).to_vec()
        })
        .collect();
    view
}

fn columns(database: &Database) -> Table {
    let number = SqlType::Int;
    let columns = [
        ("TABLE_CATALOG", text()),
        ("TABLE_SCHEMA", text()),
        ("TABLE_NAME", text()),
        ("COLUMN_NAME", text()),
        ("ORDINAL_POSITION", number),
        ("IS_NULLABLE", SqlType::Varchar(Length::Of(3))),
        ("DATA_TYPE", text()),
        ("CHARACTER_MAXIMUM_LENGTH", number),
        ("DATETIME_PRECISION", SqlType::SmallInt),
        ("COLLATION_NAME", text()),
    ];
    let mut view = empty("INFORMATION_SCHEMA.COLUMNS", &columns);
    for table in visible(database) {
        for (position, column) in table.columns.iter().enumerate() {
            view.rows.push(line(database, table, position, column));
        }
    }
    view
}

fn line(database: &Database, table: &Table, position: usize, column: &Column) -> Vec<Value> {
    let number = |number: Option<i64>| number.map_or(Value::Null, Value::Int);
    let precision = match column.of {
        SqlType::DateTime => Some(3),
        SqlType::SmallDateTime => Some(0),
        SqlType::DateTime2(scale) | SqlType::DateTimeOffset(scale) => Some(scale.into()),
        _ => None,
    };
    let collation = match column.of.is_text() {
        false => Value::Null,
        true => Value::text(column.collation.as_deref().unwrap_or(compare::OF_THE_DATABASE)),
    };
    vec![
        Value::text(&database.name),
        Value::text(table.schema()),
        Value::text(table.short_name()),
        Value::text(&column.name),
        Value::Int(i64::try_from(position).expect("few columns") + 1),
        Value::text(if column.nullable { "YES" } else { "NO" }),
        Value::text(column.of.name()),
        number(column.of.characters()),
        number(precision),
        collation,
    ]
}
