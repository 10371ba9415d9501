//! The functions of T-SQL that the statements call.

use std::cmp::Ordering;

use super::ast::Expr;
use super::compare::{Collation, common, compare};
use super::convert::{as_text, cast, ticks};
use super::database::Database;
use super::errors;
use super::eval::{self, Context, Scope};
use super::value::{Length, SqlType, Value};
use crate::mssql::wire::tokens::Said;

const NAME: SqlType = SqlType::NVarchar(Length::Of(128));

/// The value of a call.
pub(super) fn call(
    context: &Context<'_>,
    scope: Scope<'_>,
    name: &str,
    arguments: &[Expr],
) -> Result<Value, Said> {
    let argument = |number: usize| {
        let argument = arguments.get(number).ok_or_else(|| errors::syntax(name))?;
        eval::value(context, scope, argument)
    };
    let text = |number: usize| argument(number).map(|value| (value != Value::Null).then(|| as_text(&value)));
    let or_null = |text: Option<String>| text.map_or(Value::Null, Value::Text);
    let local = context.now + offset(context) * 600_000_000;
    match name {
        "LTRIM" => Ok(or_null(text(0)?.map(|text| text.trim_start_matches(' ').to_owned()))),
        "RTRIM" => Ok(or_null(text(0)?.map(|text| text.trim_end_matches(' ').to_owned()))),
        "LEN" => Ok(text(0)?.map_or(Value::Null, |text| count(text.trim_end_matches(' ')))),
        "UPPER" => Ok(or_null(text(0)?.map(|text| text.to_uppercase()))),
        "LOWER" => Ok(or_null(text(0)?.map(|text| text.to_lowercase()))),
        "REPLACE" => Ok(match (text(0)?, text(1)?, text(2)?) {
            (Some(text), Some(from), Some(to)) => Value::Text(text.replace(&from, &to)),
            _ => Value::Null,
        }),
        "FROM_HEX" => match text(0)? {
            None => Ok(Value::Null),
            Some(digits) => {
                let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
                let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
                bytes.map(Value::Bytes).ok_or_else(|| errors::no_conversion("nvarchar", "varbinary"))
            }
        },
        "DATALENGTH" => data_length(argument(0)?, eval::type_of(context, scope, &arguments[0])?),
        "ISNULL" => match argument(0)? {
            Value::Null => cast(argument(1)?, eval::type_of(context, scope, &arguments[0])?),
            value => Ok(value),
        },
        "NULLIF" => {
            let (left, right) = (argument(0)?, argument(1)?);
            let equal = compare(&left, &right, Collation::IgnoreCase)? == Some(Ordering::Equal);
            Ok(if equal { Value::Null } else { left })
        }
        "COALESCE" => {
            for number in 0..arguments.len() {
                let value = argument(number)?;
                if value != Value::Null {
                    return cast(value, type_of(context, scope, name, arguments)?);
                }
            }
            Ok(Value::Null)
        }
        "SYSUTCDATETIME" => Ok(Value::DateTime2(context.now)),
        "SYSDATETIME" => Ok(Value::DateTime2(local)),
        "GETUTCDATE" => cast(Value::DateTime2(context.now), SqlType::DateTime),
        "GETDATE" | "CURRENT_TIMESTAMP" => cast(Value::DateTime2(local), SqlType::DateTime),
        "SYSDATETIMEOFFSET" => {
            let offset = i16::try_from(offset(context)).expect("less than a day");
            Ok(Value::DateTimeOffset { utc: context.now, offset })
        }
        "DATEDIFF" => difference(arguments, argument(1)?, argument(2)?),
        "DB_NAME" => Ok(Value::text(&context.database.name)),
        "USER_NAME" => Ok(Value::text(super::catalog::OWN_USER)),
        "SCHEMA_ID" => Ok(Value::Int(1)),
        "SCHEMA_NAME" => Ok(Value::text("dbo")),
        "OBJECT_ID" => {
            Ok(text(0)?.and_then(|name| context.database.object_id(&name)).map_or(Value::Null, Value::Int))
        }
        "OBJECT_NAME" | "OBJECT_SCHEMA_NAME" => {
            let Value::Int(id) = argument(0)? else { return Ok(Value::Null) };
            let Some(table) = context.database.by_id(id) else { return Ok(Value::Null) };
            Ok(Value::text(if name == "OBJECT_NAME" { table.short_name() } else { table.schema() }))
        }
        "COL_LENGTH" => col_length(context.database, text(0)?, text(1)?),
        // The query counts; here it is one of the rows that are counted.
        "COUNT_BIG" => Ok(Value::Int(1)),
        "HAS_PERMS_BY_NAME" if text(1)?.as_deref() == Some("DATABASE") => {
            Ok(Value::Int(context.database.shows_permissions.into()))
        }
        "HAS_PERMS_BY_NAME" => has_permission(context.database, text(0)?, text(2)?, text(3).unwrap_or(None)),
        other => Err(errors::unknown(&format!("the function {other}"))),
    }
}

/// The type of what a call gives.
pub(super) fn type_of(
    context: &Context<'_>,
    scope: Scope<'_>,
    name: &str,
    arguments: &[Expr],
) -> Result<SqlType, Said> {
    // The first argument of DATEDIFF is a word, not an expression.
    let types = arguments.iter().skip(usize::from(name == "DATEDIFF"));
    let types = types.map(|expr| eval::type_of(context, scope, expr)).collect::<Result<Vec<_>, _>>()?;
    let first = types.first().copied();
    Ok(match name {
        "LTRIM" | "RTRIM" | "UPPER" | "LOWER" => match first.ok_or_else(|| errors::syntax(name))? {
            SqlType::Char(length) => SqlType::Varchar(Length::Of(length)),
            SqlType::NChar(length) => SqlType::NVarchar(Length::Of(length)),
            of => of,
        },
        "REPLACE" => SqlType::NVarchar(Length::Max),
        "FROM_HEX" => SqlType::Varbinary(Length::Max),
        "ISNULL" | "NULLIF" => first.ok_or_else(|| errors::syntax(name))?,
        "COALESCE" => types.into_iter().reduce(common).ok_or_else(|| errors::syntax(name))?,
        "LEN" | "DATALENGTH" | "DATEDIFF" | "OBJECT_ID" | "SCHEMA_ID" | "HAS_PERMS_BY_NAME" => SqlType::Int,
        "COUNT_BIG" => SqlType::BigInt,
        "COL_LENGTH" => SqlType::SmallInt,
        "SYSUTCDATETIME" | "SYSDATETIME" => SqlType::DateTime2(7),
        "GETUTCDATE" | "GETDATE" | "CURRENT_TIMESTAMP" => SqlType::DateTime,
        "SYSDATETIMEOFFSET" => SqlType::DateTimeOffset(7),
        "DB_NAME" | "USER_NAME" | "SCHEMA_NAME" | "OBJECT_NAME" | "OBJECT_SCHEMA_NAME" => NAME,
        other => return Err(errors::unknown(&format!("the function {other}"))),
    })
}

fn offset(context: &Context<'_>) -> i64 {
    context.database.zone.offset_at(context.now).into()
}

fn count(text: &str) -> Value {
    Value::Int(i64::try_from(text.encode_utf16().count()).expect("a short text"))
}

fn data_length(value: Value, of: SqlType) -> Result<Value, Said> {
    let wide = matches!(of, SqlType::NVarchar(_) | SqlType::NChar(_));
    Ok(match value {
        Value::Null => Value::Null,
        Value::Text(text) => match count(&text) {
            Value::Int(length) if wide => Value::Int(length * 2),
            length => length,
        },
        Value::Bytes(bytes) => Value::Int(i64::try_from(bytes.len()).expect("short")),
        _ => Value::Int(of.bytes()),
    })
}

/// How many boundaries of the unit lie between two times.
fn difference(arguments: &[Expr], from: Value, to: Value) -> Result<Value, Said> {
    let Some(Expr::Column { name: unit, .. }) = arguments.first() else {
        return Err(errors::syntax("DATEDIFF"));
    };
    let unit = match unit.to_ascii_lowercase().as_str() {
        "second" | "ss" => 10_000_000,
        "minute" | "mi" => 600_000_000,
        "hour" | "hh" => 36_000_000_000,
        "day" | "dd" => super::time::DAY,
        "millisecond" | "ms" => 10_000,
        other => return Err(errors::unknown(&format!("DATEDIFF({other}, …)"))),
    };
    let boundary = |value: Value| match value {
        Value::Null => Ok(None),
        Value::Text(_) => cast(value, SqlType::DateTime2(7)).map(|value| ticks(&value)),
        value => Ok(ticks(&value)),
    };
    Ok(match (boundary(from)?, boundary(to)?) {
        (Some(from), Some(to)) => Value::Int(to.div_euclid(unit) - from.div_euclid(unit)),
        _ => Value::Null,
    })
}

fn col_length(database: &Database, table: Option<String>, column: Option<String>) -> Result<Value, Said> {
    let (Some(table), Some(column)) = (table, column) else { return Ok(Value::Null) };
    let length = database
        .table(&table)
        .and_then(|table| table.columns.get(table.column(&column)?))
        .map(|column| column.of.bytes());
    Ok(length.map_or(Value::Null, Value::Int))
}

/// 1, 0, or NULL for what does not exist.
fn has_permission(
    database: &Database,
    object: Option<String>,
    action: Option<String>,
    column: Option<String>,
) -> Result<Value, Said> {
    let (Some(object), Some(action)) = (object, action) else { return Ok(Value::Null) };
    let Some(table) = database.table(&object).filter(|table| database.visible(&Database::key(&table.name)))
    else {
        return Ok(Value::Null);
    };
    let columns: Vec<&str> = column.iter().map(String::as_str).collect();
    let allowed = database.allows(&action.to_ascii_uppercase(), table, &columns).is_ok();
    Ok(Value::Int(allowed.into()))
}
