//! SELECT: which rows, which columns of them.

use super::ast::{Expr, From, Item, Operator, Select, Source};
use super::catalog;
use super::compare::{Collation, compare};
use super::database::{Column, Table};
use super::errors;
use super::eval::{self, Binding, Context, Scope};
use super::value::{SqlType, Value};
use crate::mssql::wire::tokens::{self, Said};

/// What a SELECT brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mssql) struct Rows {
    pub(in crate::mssql) columns: Vec<tokens::Column>,
    pub(in crate::mssql) rows: Vec<Vec<Value>>,
}

/// A row of each table that is joined, with its number in its table.
pub(super) type Joined = Vec<(usize, Vec<Value>)>;

/// Runs a SELECT.
pub(super) fn select(context: &Context<'_>, outer: Scope<'_>, select: &Select) -> Result<Rows, Said> {
    let (bindings, joined) = match &select.from {
        None => (Vec::new(), vec![Vec::new()]),
        Some(from) => join(context, outer, from)?,
    };
    let items = expand(&bindings, &select.items);
    check(context, outer, &bindings, select, &items)?;
    let columns = describe(context, outer, &bindings, &items)?;
    let mut found = Vec::new();
    for rows in joined {
        let rows: Vec<Vec<Value>> = rows.into_iter().map(|(_, row)| row).collect();
        let scope = inner(outer, &bindings, &rows);
        let scope = scope.scope();
        if let Some(condition) = &select.condition
            && eval::truth(context, scope, condition)? != Some(true)
        {
            continue;
        }
        let values = items
            .iter()
            .zip(&columns)
            .map(|((expr, _), column)| super::convert::cast(eval::value(context, scope, expr)?, column.of));
        let values = values.collect::<Result<Vec<_>, Said>>()?;
        let order = select.order.iter().map(|(expr, _)| eval::value(context, scope, expr));
        found.push((order.collect::<Result<Vec<_>, Said>>()?, values));
    }
    if let [(Expr::Call { name, .. }, _)] = &*items
        && name == "COUNT_BIG"
    {
        let count = Value::Int(i64::try_from(found.len()).expect("few rows"));
        return Ok(Rows { columns, rows: vec![vec![count]] });
    }
    sort(&mut found, select)?;
    let mut rows: Vec<_> = found.into_iter().map(|(_, values)| values).collect();
    if let Some(top) = &select.top
        && let Value::Int(top) = eval::value(context, outer, top)?
    {
        rows.truncate(usize::try_from(top).unwrap_or(0));
    }
    Ok(Rows { columns, rows })
}

/// The scope of a query inside of another: its own tables first.
pub(super) struct Inner(Vec<Binding>, Vec<Vec<Value>>);

impl Inner {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { bindings: &self.0, rows: &self.1 }
    }
}

pub(super) fn inner(outer: Scope<'_>, bindings: &[Binding], rows: &[Vec<Value>]) -> Inner {
    let bindings = bindings.iter().chain(outer.bindings).cloned().collect();
    Inner(bindings, rows.iter().chain(outer.rows).cloned().collect())
}

fn sort(found: &mut [(Vec<Value>, Vec<Value>)], select: &Select) -> Result<(), Said> {
    let mut failed = None;
    found.sort_by(|(left, _), (right, _)| {
        for ((left, right), (_, descending)) in left.iter().zip(right).zip(&select.order) {
            let ordering = match compare(left, right, Collation::IgnoreCase) {
                Ok(ordering) => {
                    ordering.unwrap_or_else(|| (*left != Value::Null).cmp(&(*right != Value::Null)))
                }
                Err(said) => {
                    failed = Some(said);
                    return std::cmp::Ordering::Equal;
                }
            };
            if ordering.is_ne() {
                return if *descending { ordering.reverse() } else { ordering };
            }
        }
        std::cmp::Ordering::Equal
    });
    failed.map_or(Ok(()), Err)
}

/// Names that do not exist, and columns that may not be read, are errors even if there is no row.
fn check(
    context: &Context<'_>,
    outer: Scope<'_>,
    bindings: &[Binding],
    select: &Select,
    items: &[(Expr, String)],
) -> Result<(), Said> {
    let inner = inner(outer, bindings, &[]);
    let order = select.order.iter().map(|(expr, _)| expr);
    let used = items.iter().map(|(expr, _)| expr).chain(&select.condition).chain(order);
    may_read(context, inner.scope(), used)
}

/// Checks that all names exist and that what is read may be read.
pub(super) fn may_read<'a>(
    context: &Context<'_>,
    scope: Scope<'_>,
    used: impl Iterator<Item = &'a Expr>,
) -> Result<(), Said> {
    let mut columns = Vec::new();
    for expr in used {
        eval::type_of(context, scope, expr)?;
        eval::columns_in(scope, expr, &mut columns);
    }
    for (number, binding) in scope.bindings.iter().enumerate() {
        let Some(table) = binding.table.as_deref().and_then(|name| context.database.table(name)) else {
            continue;
        };
        let names: Vec<&str> = columns
            .iter()
            .filter(|(of, _)| *of == number)
            .map(|(_, column)| binding.columns[*column].name.as_str())
            .collect();
        context.database.allows("SELECT", table, &names)?;
    }
    Ok(())
}

/// `*` and expressions as expressions with names.
pub(super) fn expand(bindings: &[Binding], items: &[Item]) -> Vec<(Expr, String)> {
    let mut expanded = Vec::new();
    for item in items {
        match item {
            Item::Expr { expr, name } => {
                let own = match expr {
                    Expr::Column { name, .. } => name.clone(),
                    _ => String::new(),
                };
                expanded.push((expr.clone(), name.clone().unwrap_or(own)));
            }
            Item::All => {
                for binding in bindings {
                    expanded.extend(binding.columns.iter().map(|column| {
                        let table = Some(binding.alias.clone());
                        (Expr::Column { table, name: column.name.clone() }, column.name.clone())
                    }));
                }
            }
        }
    }
    expanded
}

fn describe(
    context: &Context<'_>,
    outer: Scope<'_>,
    bindings: &[Binding],
    items: &[(Expr, String)],
) -> Result<Vec<tokens::Column>, Said> {
    let inner = inner(outer, bindings, &[]);
    let scope = inner.scope();
    let columns = items.iter().map(|(expr, name)| {
        let of = eval::type_of(context, scope, expr)?;
        let mut found = Vec::new();
        if matches!(expr, Expr::Column { .. }) {
            eval::columns_in(scope, expr, &mut found);
        }
        let nullable = found.first().is_none_or(|(of, column)| scope.bindings[*of].columns[*column].nullable);
        let is_constant = matches!(expr, Expr::Literal(..));
        Ok(tokens::Column { name: name.clone(), of, nullable: nullable && !is_constant })
    });
    columns.collect()
}

/// The rows of all tables of a FROM, joined.
pub(super) fn join(
    context: &Context<'_>,
    outer: Scope<'_>,
    from: &From,
) -> Result<(Vec<Binding>, Vec<Joined>), Said> {
    let (binding, rows) = source(context, outer, &from.first)?;
    let mut bindings = vec![binding];
    let mut joined: Vec<Joined> = rows.into_iter().enumerate().map(|row| vec![row]).collect();
    for (next, keeps_all, condition) in &from.joins {
        let (binding, rows) = source(context, outer, next)?;
        let width = binding.columns.len();
        bindings.push(binding);
        eval::type_of(context, inner(outer, &bindings, &[]).scope(), condition)?;
        let keys = if joined.is_empty() { None } else { keys(context, &bindings, &rows, condition)? };
        let mut both = Vec::new();
        for left in joined {
            let before = both.len();
            let mut values: Vec<Vec<Value>> = left.iter().map(|(_, row)| row.clone()).collect();
            let key = match &keys {
                Some((expr, _)) => {
                    Some(eval::value(context, Scope { bindings: &bindings, rows: &values }, expr)?)
                }
                None => None,
            };
            values.push(Vec::new());
            for (number, row) in rows.iter().enumerate() {
                if let (Some(key), Some((_, keys))) = (&key, &keys)
                    && compare(key, &keys[number], Collation::IgnoreCase)? != Some(std::cmp::Ordering::Equal)
                {
                    continue;
                }
                *values.last_mut().expect("just pushed") = row.clone();
                // The outer query's tables are left out, because no join of the daemon names them: this is the innermost loop.
                let scope = Scope { bindings: &bindings, rows: &values };
                if eval::truth(context, scope, condition)? == Some(true) {
                    let mut found = left.clone();
                    found.push((number, row.clone()));
                    both.push(found);
                }
            }
            if *keeps_all && both.len() == before {
                let mut found = left.clone();
                found.push((usize::MAX, vec![Value::Null; width]));
                both.push(found);
            }
        }
        joined = both;
    }
    Ok((bindings, joined))
}

/// Prepares a join whose condition begins with `a = b`, if one side names only the last table and the other only earlier
/// ones. Returns the other side, and the value of the one for each row. These values exclude most pairs of rows without
/// the whole condition.
fn keys<'e>(
    context: &Context<'_>,
    bindings: &[Binding],
    rows: &[Vec<Value>],
    condition: &'e Expr,
) -> Result<Option<(&'e Expr, Vec<Value>)>, Said> {
    let mut first = condition;
    while let Expr::Binary(Operator::And, left, _) = first {
        first = left;
    }
    let Expr::Binary(Operator::Equal, left, right) = first else { return Ok(None) };
    let last = bindings.len() - 1;
    let names = |expr: &Expr, is_meant: &dyn Fn(usize) -> bool| {
        let mut found = Vec::new();
        eval::columns_in(Scope { bindings, rows: &[] }, expr, &mut found);
        !found.is_empty() && found.into_iter().all(|(binding, _)| is_meant(binding))
    };
    let is_pair = |old: &Expr, new: &Expr| names(old, &|of| of != last) && names(new, &|of| of == last);
    let (old, new) = match () {
        () if is_pair(left, right) => (left, right),
        () if is_pair(right, left) => (right, left),
        () => return Ok(None),
    };
    let value = |row: &Vec<Value>| {
        let mut values = vec![Vec::new(); last];
        values.push(row.clone());
        eval::value(context, Scope { bindings, rows: &values }, new)
    };
    Ok(Some((old, rows.iter().map(value).collect::<Result<_, Said>>()?)))
}

fn source(
    context: &Context<'_>,
    outer: Scope<'_>,
    source: &Source,
) -> Result<(Binding, Vec<Vec<Value>>), Said> {
    match source {
        Source::Table { name, alias } => {
            let view;
            let table = match find(context, name) {
                Some(table) => table,
                None => {
                    view = catalog::view(context.database, name);
                    view.as_ref().ok_or_else(|| errors::no_such_table(name))?
                }
            };
            let alias = alias.clone().unwrap_or_else(|| name.rsplit('.').next().unwrap_or(name).to_owned());
            let binding = Binding { alias, table: Some(name.clone()), columns: table.columns.clone() };
            Ok((binding, table.rows.clone()))
        }
        Source::Values { rows, alias, columns } => values(context, outer, rows, alias, columns),
        Source::Select { select, alias } => {
            let found = self::select(context, outer, select)?;
            let columns = found.columns.into_iter().map(|column| (column.name, column.of));
            Ok((binding(alias, columns), found.rows))
        }
        Source::Json { text, columns, alias } => {
            if context.database.is_old {
                return Err(errors::no_such_table("OPENJSON"));
            }
            let rows = json_rows(&eval::value(context, outer, text)?, columns)?;
            let columns = columns.iter().map(|(name, of, _)| (name.clone(), *of));
            Ok((binding(alias, columns), rows))
        }
    }
}

/// What is no table of the database under its alias.
fn binding(alias: &str, columns: impl Iterator<Item = (String, SqlType)>) -> Binding {
    let column = |(name, of)| Column { name, of, nullable: true, key: false, collation: None, check: None };
    Binding { alias: alias.to_owned(), table: None, columns: columns.map(column).collect() }
}

/// An array of arrays as rows.
fn json_rows(text: &Value, columns: &[(String, SqlType, usize)]) -> Result<Vec<Vec<Value>>, Said> {
    let text = text.as_text().unwrap_or_default();
    let rows: Vec<Vec<serde_json::Value>> = serde_json::from_str(text).map_err(|_| errors::no_json())?;
    let cell = |row: &[serde_json::Value], of, number| {
        let value = match row.get(number) {
            None | Some(serde_json::Value::Null) => Value::Null,
            Some(serde_json::Value::String(text)) => Value::text(text),
            Some(other) => Value::text(&other.to_string()),
        };
        super::convert::cast(value, of)
    };
    rows.iter().map(|row| columns.iter().map(|(_, of, number)| cell(row, *of, *number)).collect()).collect()
}

/// Finds a table of the database, or a table variable. SQL Server reports a table that the login cannot see as missing.
pub(super) fn find<'a>(context: &'a Context<'_>, name: &str) -> Option<&'a Table> {
    match name.starts_with('@') {
        true => context.tables.get(&name.to_lowercase()),
        false => context.database.table(name),
    }
}

fn values(
    context: &Context<'_>,
    outer: Scope<'_>,
    rows: &[Vec<Expr>],
    alias: &str,
    names: &[String],
) -> Result<(Binding, Vec<Vec<Value>>), Said> {
    let mut types: Vec<Option<SqlType>> = vec![None; names.len()];
    for row in rows {
        if row.len() != names.len() {
            return Err(errors::syntax("VALUES"));
        }
        for (of, expr) in types.iter_mut().zip(row).filter(|(_, expr)| **expr != Expr::Null) {
            let found = eval::type_of(context, outer, expr)?;
            *of = Some(of.map_or(found, |of| super::compare::common(of, found)));
        }
    }
    let types: Vec<SqlType> = types.into_iter().map(|of| of.unwrap_or(SqlType::Int)).collect();
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let row = row
            .iter()
            .zip(&types)
            .map(|(expr, of)| super::convert::cast(eval::value(context, outer, expr)?, *of));
        found.push(row.collect::<Result<Vec<_>, Said>>()?);
    }
    Ok((binding(alias, names.iter().cloned().zip(types)), found))
}

/// `(SELECT …)` as a value.
pub(super) fn scalar(context: &Context<'_>, outer: Scope<'_>, select: &Select) -> Result<Value, Said> {
    let found = self::select(context, outer, select)?;
    Ok(found.rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or(Value::Null))
}

pub(super) fn scalar_type(context: &Context<'_>, outer: Scope<'_>, select: &Select) -> Result<SqlType, Said> {
    let found = self::select(context, outer, select)?;
    Ok(found.columns.first().map_or(SqlType::Int, |column| column.of))
}

/// `EXISTS (SELECT …)`.
pub(super) fn exists(context: &Context<'_>, outer: Scope<'_>, select: &Select) -> Result<bool, Said> {
    Ok(!self::select(context, outer, select)?.rows.is_empty())
}
