//! INSERT, UPDATE and DELETE: their changes, and their errors.

use std::collections::BTreeMap;

use super::ast::{Expr, From, Source, Update};
use super::compare::{Collation, compare};
use super::convert::assign;
use super::database::{Column, Database, Table};
use super::errors;
use super::eval::{self, Binding, Context, Scope};
use super::query;
use super::value::Value;
use crate::mssql::wire::tokens::{self, Said};

/// The planned change of a statement. It is planned first and applied afterwards, completely or not at all.
#[derive(Debug)]
pub(super) struct Change {
    /// The table, in the database or a variable.
    pub(super) table: String,
    /// The rows after the change.
    pub(super) rows: Vec<Vec<Value>>,
    /// The number of rows that the statement changes.
    pub(super) touched: u64,
    /// The rows of OUTPUT, and their target: a table, or the client.
    pub(super) output: Option<(Option<String>, query::Rows)>,
}

/// `INSERT INTO t (…) VALUES … | SELECT …`.
pub(super) fn insert(
    context: &Context<'_>,
    name: &str,
    columns: &[String],
    source: &Source,
) -> Result<Change, Said> {
    let table = query::find(context, name).ok_or_else(|| errors::no_such_table(name))?;
    writable(context, table, "INSERT", columns)?;
    let rows = match source {
        Source::Select { select, .. } => query::select(context, Scope::NONE, select)?.rows,
        Source::Values { rows, .. } => {
            let row =
                |row: &Vec<Expr>| row.iter().map(|expr| eval::value(context, Scope::NONE, expr)).collect();
            rows.iter().map(row).collect::<Result<Vec<_>, Said>>()?
        }
        Source::Table { .. } | Source::Json { .. } => return Err(errors::syntax("INSERT")),
    };
    let places = places(table, columns)?;
    let mut all = table.rows.clone();
    let touched = rows.len() as u64;
    for row in rows {
        all.push(new_row(context.database, table, &places, row)?);
        unique(table, &all)?;
    }
    Ok(Change { table: name.to_owned(), rows: all, touched, output: None })
}

/// Where each value of an INSERT goes.
fn places(table: &Table, columns: &[String]) -> Result<Vec<usize>, Said> {
    if columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    columns.iter().map(|name| table.column(name).ok_or_else(|| errors::no_such_column(name))).collect()
}

/// A row made of values for some columns; the others are NULL.
pub(super) fn new_row(
    database: &Database,
    table: &Table,
    places: &[usize],
    values: Vec<Value>,
) -> Result<Vec<Value>, Said> {
    if places.len() != values.len() {
        return Err(errors::syntax("VALUES"));
    }
    let mut row = vec![Value::Null; table.columns.len()];
    for (&place, value) in places.iter().zip(values) {
        row[place] = store(database, table, &table.columns[place], value)?;
    }
    allowed(database, table, &row, "INSERT")?;
    Ok(row)
}

fn store(database: &Database, table: &Table, column: &Column, value: Value) -> Result<Value, Said> {
    assign(value, column.of, |value| match database.is_old {
        true => errors::truncated_in_silence(),
        false => errors::truncated(&table.name, &column.name, value, &database.name),
    })
}

/// NULL where it may not be, and CHECK constraints.
fn allowed(database: &Database, table: &Table, row: &[Value], action: &str) -> Result<(), Said> {
    let variables = BTreeMap::new();
    let tables = BTreeMap::new();
    let context = Context { database, variables: &variables, tables: &tables, now: 0 };
    for (column, value) in table.columns.iter().zip(row) {
        if *value == Value::Null && !column.nullable {
            return Err(errors::not_null(&column.name, &table.name, &database.name, action));
        }
        if let Some(check) = &column.check {
            let binding = Binding { alias: String::new(), table: None, columns: table.columns.clone() };
            let scope = Scope { bindings: &[binding], rows: &[row.to_vec()] };
            if eval::truth(&context, scope, check)? == Some(false) {
                return Err(errors::check_failed(table.short_name(), &database.name));
            }
        }
    }
    Ok(())
}

/// No two rows with the same key; the last one is the new one.
fn unique(table: &Table, rows: &[Vec<Value>]) -> Result<(), Said> {
    let keys: Vec<usize> = (0..table.columns.len()).filter(|at| table.columns[*at].key).collect();
    let Some((new, others)) = rows.split_last().filter(|_| !keys.is_empty()) else { return Ok(()) };
    for other in others {
        let mut is_same = true;
        for key in &keys {
            let collation = Collation::of(table.columns[*key].collation.as_deref());
            let order = compare(&other[*key], &new[*key], collation)?;
            is_same &= order == Some(std::cmp::Ordering::Equal);
        }
        if is_same {
            let key = super::convert::as_text(&new[keys[0]]);
            return Err(errors::duplicate_key(table.short_name(), &key));
        }
    }
    Ok(())
}

/// `DELETE FROM t WHERE …`.
pub(super) fn delete(context: &Context<'_>, name: &str, condition: Option<&Expr>) -> Result<Change, Said> {
    let table = query::find(context, name).ok_or_else(|| errors::no_such_table(name))?;
    writable(context, table, "DELETE", &[])?;
    let short = name.rsplit('.').next().unwrap_or(name).to_owned();
    let bindings = [Binding { alias: short, table: Some(name.to_owned()), columns: table.columns.clone() }];
    query::may_read(context, Scope { bindings: &bindings, rows: &[] }, condition.into_iter())?;
    let mut kept = Vec::new();
    for row in &table.rows {
        let scope = Scope { bindings: &bindings, rows: std::slice::from_ref(row) };
        let goes = condition.map_or(Ok(Some(true)), |condition| eval::truth(context, scope, condition))?;
        if goes != Some(true) {
            kept.push(row.clone());
        }
    }
    let touched = (table.rows.len() - kept.len()) as u64;
    Ok(Change { table: name.to_owned(), rows: kept, touched, output: None })
}

/// `UPDATE … SET … OUTPUT … FROM … WHERE …`.
pub(super) fn update(context: &Context<'_>, update: &Update) -> Result<Change, Said> {
    let own = From { first: Source::Table { name: update.target.clone(), alias: None }, joins: Vec::new() };
    let from = update.from.as_ref().unwrap_or(&own);
    let (bindings, joined) = query::join(context, Scope::NONE, from)?;
    let target = bindings
        .iter()
        .position(|binding| binding.alias.eq_ignore_ascii_case(&update.target))
        .or_else(|| bindings.iter().position(|binding| is_table(binding, &update.target)))
        .ok_or_else(|| errors::no_such_table(&update.target))?;
    let name = bindings[target].table.clone().ok_or_else(|| errors::no_such_table(&update.target))?;
    let table = query::find(context, &name).ok_or_else(|| errors::no_such_table(&name))?;
    let columns: Vec<String> = update.set.iter().map(|(column, _)| column.clone()).collect();
    writable(context, table, "UPDATE", &columns)?;
    if table.has_trigger && !update.output.is_empty() && update.into.is_none() {
        return Err(errors::output_with_trigger(&name));
    }
    let joins = from.joins.iter().map(|(_, _, condition)| condition);
    let used = update.set.iter().map(|(_, expr)| expr).chain(&update.condition).chain(joins);
    query::may_read(context, Scope { bindings: &bindings, rows: &[] }, used)?;
    let places = places(table, &columns)?;
    let output = output_scope(&bindings, target);
    let items = query::expand(&[], &update.output);
    let outputs = describe(context, &output, &items)?;

    let mut rows = table.rows.clone();
    let mut touched = BTreeMap::new();
    let mut put_out = Vec::new();
    for combination in joined {
        let number = combination[target].0;
        let values: Vec<Vec<Value>> = combination.into_iter().map(|(_, row)| row).collect();
        let scope = Scope { bindings: &bindings, rows: &values };
        let goes =
            update.condition.as_ref().map_or(Ok(Some(true)), |expr| eval::truth(context, scope, expr))?;
        // A row that several others join is written once, by any of them: here the first.
        if goes != Some(true) || touched.contains_key(&number) {
            continue;
        }
        let mut row = values[target].clone();
        for (&place, (_, expr)) in places.iter().zip(&update.set) {
            let value = eval::value(context, scope, expr)?;
            row[place] = store(context.database, table, &table.columns[place], value)?;
        }
        allowed(context.database, table, &row, "UPDATE")?;
        if table.guarded.is_some() && table.guarded.as_ref() == row.first() {
            return Err(errors::trigger_refused());
        }
        let mut shown = values.clone();
        shown.extend([row.clone(), values[target].clone()]);
        let scope = Scope { bindings: &output, rows: &shown };
        let one = items.iter().map(|(expr, _)| eval::value(context, scope, expr));
        put_out.push(one.collect::<Result<Vec<_>, Said>>()?);
        if let Some((key, columns)) = &table.undone
            && row.first() == Some(key)
        {
            for &place in columns {
                row[place] = values[target][place].clone();
            }
        }
        rows[number] = row;
        touched.insert(number, ());
    }
    let output =
        (!items.is_empty()).then(|| (update.into.clone(), query::Rows { columns: outputs, rows: put_out }));
    Ok(Change { table: name, rows, touched: touched.len() as u64, output })
}

fn is_table(binding: &Binding, name: &str) -> bool {
    binding.table.as_deref().is_some_and(|table| Database::key(table) == Database::key(name))
}

/// In OUTPUT the row stands twice more: as it will be, and as it was.
fn output_scope(bindings: &[Binding], target: usize) -> Vec<Binding> {
    let mut all = bindings.to_vec();
    for alias in ["inserted", "deleted"] {
        let columns = bindings[target].columns.clone();
        all.push(Binding { alias: alias.to_owned(), table: None, columns });
    }
    all
}

fn describe(
    context: &Context<'_>,
    bindings: &[Binding],
    items: &[(Expr, String)],
) -> Result<Vec<tokens::Column>, Said> {
    let scope = Scope { bindings, rows: &[] };
    let column = |(expr, name): &(Expr, String)| {
        let of = eval::type_of(context, scope, expr)?;
        Ok(tokens::Column { name: name.clone(), of, nullable: true })
    };
    items.iter().map(column).collect()
}

fn writable(context: &Context<'_>, table: &Table, action: &str, columns: &[String]) -> Result<(), Said> {
    if table.name.starts_with('@') {
        return Ok(());
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    context.database.allows(action, table, &columns)?;
    if context.database.read_only {
        return Err(errors::read_only(&context.database.name));
    }
    Ok(())
}

/// What OUTPUT brought as further rows of the table that it goes into.
pub(super) fn into_table(
    database: &Database,
    table: &Table,
    rows: query::Rows,
) -> Result<Vec<Vec<Value>>, Said> {
    let places: Vec<usize> = (0..table.columns.len()).collect();
    let mut all = table.rows.clone();
    for row in rows.rows {
        all.push(new_row(database, table, &places, row)?);
        unique(table, &all)?;
    }
    Ok(all)
}
