//! The values and the types of expressions.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::ast::{Expr, Operator};
use super::compare::{common, compare};
use super::convert::{as_text, cast, ticks};
use super::database::{Column, Database, Table};
use super::value::{Length, SqlType, Value};
use super::{collations, errors, functions, query};
use crate::mssql::wire::tokens::Said;

/// The variables and the time that expressions can use besides rows.
pub(super) struct Context<'a> {
    pub(super) database: &'a Database,
    /// `@name` in lower case.
    pub(super) variables: &'a BTreeMap<String, (SqlType, Value)>,
    /// `@name TABLE`, by `@name` in lower case.
    pub(super) tables: &'a BTreeMap<String, Table>,
    /// Ticks of 100 ns since 0001-01-01, in UTC, by the server's clock.
    pub(super) now: i64,
}

/// A table under its alias.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub(super) alias: String,
    /// The name of the table, if it is one.
    pub(super) table: Option<String>,
    pub(super) columns: Vec<Column>,
}

/// The tables that an expression can name, each with the row that it stands for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) bindings: &'a [Binding],
    pub(super) rows: &'a [Vec<Value>],
}

impl Scope<'_> {
    pub(super) const NONE: Scope<'static> = Scope { bindings: &[], rows: &[] };

    pub(super) fn find(&self, table: Option<&str>, name: &str) -> Result<(usize, usize), Said> {
        let fits = |binding: &Binding| {
            table.is_none_or(|table| {
                let is = |other: &str| other.eq_ignore_ascii_case(table);
                let short = binding.table.as_deref().map(|name| name.rsplit('.').next().unwrap_or(name));
                is(&binding.alias) || short.is_some_and(is)
            })
        };
        for (number, binding) in self.bindings.iter().enumerate().filter(|(_, binding)| fits(binding)) {
            let column = binding.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
            if let Some(column) = column {
                return Ok((number, column));
            }
        }
        Err(errors::no_such_column(name))
    }
}

/// Evaluates `expr` for these rows.
pub(super) fn value(context: &Context<'_>, scope: Scope<'_>, expr: &Expr) -> Result<Value, Said> {
    let eval = |expr: &Expr| value(context, scope, expr);
    match expr {
        Expr::Literal(value, _) => Ok(value.clone()),
        Expr::Null => Ok(Value::Null),
        Expr::Variable(name) => Ok(variable(context, name)?.1.clone()),
        Expr::Column { table, name } => {
            let (binding, column) = scope.find(table.as_deref(), name)?;
            Ok(scope.rows.get(binding).and_then(|row| row.get(column)).cloned().unwrap_or(Value::Null))
        }
        Expr::Call { name, arguments } => functions::call(context, scope, name, arguments),
        Expr::Cast { expr, to, or_null } => match cast(eval(expr)?, *to) {
            Err(_) if *or_null => Ok(Value::Null),
            other => other,
        },
        Expr::Case { operand, whens, otherwise } => {
            for (when, then) in whens {
                let holds = match operand {
                    None => truth(context, scope, when)?,
                    Some(operand) => equal(context, scope, operand, when)?,
                };
                if holds == Some(true) {
                    return cast(eval(then)?, type_of(context, scope, expr)?);
                }
            }
            let otherwise = otherwise.as_deref().map_or(Ok(Value::Null), eval)?;
            cast(otherwise, type_of(context, scope, expr)?)
        }
        Expr::Collate(expr, _) => eval(expr),
        Expr::Binary(Operator::Plus, left, right) => add(eval(left)?, eval(right)?),
        Expr::Binary(Operator::Minus, left, right) => subtract(eval(left)?, eval(right)?),
        Expr::Scalar(select) => query::scalar(context, scope, select),
        Expr::Binary(..) | Expr::Not(_) | Expr::IsNull(..) | Expr::In { .. } | Expr::Exists(_) => {
            Err(errors::syntax("a condition in the place of a value"))
        }
    }
}

/// Whether a condition holds; `None` is neither true nor false, as with NULL.
pub(super) fn truth(context: &Context<'_>, scope: Scope<'_>, expr: &Expr) -> Result<Option<bool>, Said> {
    let holds = |expr: &Expr| truth(context, scope, expr);
    match expr {
        Expr::Binary(Operator::And, left, right) => match holds(left)? {
            Some(false) => Ok(Some(false)),
            left => Ok(match (left, holds(right)?) {
                (_, Some(false)) => Some(false),
                (Some(true), right) => right,
                _ => None,
            }),
        },
        Expr::Binary(Operator::Or, left, right) => match holds(left)? {
            Some(true) => Ok(Some(true)),
            left => Ok(match (left, holds(right)?) {
                (_, Some(true)) => Some(true),
                (Some(false), right) => right,
                _ => None,
            }),
        },
        Expr::Not(expr) => Ok(holds(expr)?.map(|holds| !holds)),
        Expr::IsNull(expr, negated) => Ok(Some((value(context, scope, expr)? == Value::Null) != *negated)),
        Expr::In { expr, list, negated } => {
            let mut found = Some(false);
            for item in list {
                match equal(context, scope, expr, item)? {
                    Some(true) => return Ok(Some(!negated)),
                    Some(false) => {}
                    None => found = None,
                }
            }
            Ok(found.map(|found| found != *negated))
        }
        Expr::Exists(select) => Ok(Some(query::exists(context, scope, select)?)),
        Expr::Binary(operator, left, right) => {
            let ordering = order(context, scope, left, right)?;
            Ok(ordering.map(|ordering| match operator {
                Operator::Equal => ordering == Ordering::Equal,
                Operator::NotEqual => ordering != Ordering::Equal,
                Operator::Less => ordering == Ordering::Less,
                Operator::LessEqual => ordering != Ordering::Greater,
                Operator::Greater => ordering == Ordering::Greater,
                _ => ordering != Ordering::Less,
            }))
        }
        _ => Err(errors::syntax("a value in the place of a condition")),
    }
}

fn equal(context: &Context<'_>, scope: Scope<'_>, left: &Expr, right: &Expr) -> Result<Option<bool>, Said> {
    Ok(order(context, scope, left, right)?.map(|ordering| ordering == Ordering::Equal))
}

fn order(
    context: &Context<'_>,
    scope: Scope<'_>,
    left: &Expr,
    right: &Expr,
) -> Result<Option<Ordering>, Said> {
    let collation = collations::of_both(scope, left, right)?;
    compare(&value(context, scope, left)?, &value(context, scope, right)?, collation)
}

fn variable<'a>(context: &'a Context<'_>, name: &str) -> Result<&'a (SqlType, Value), Said> {
    context.variables.get(&name.to_lowercase()).ok_or_else(|| errors::no_such_variable(name))
}

fn add(left: Value, right: Value) -> Result<Value, Said> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Int(left), Value::Int(right)) => Ok(Value::Int(left + right)),
        (left @ Value::Text(_), right) | (left, right @ Value::Text(_)) => {
            Ok(Value::Text(as_text(&left) + &as_text(&right)))
        }
        _ => Err(errors::unknown("a sum of these types")),
    }
}

fn subtract(left: Value, right: Value) -> Result<Value, Said> {
    match (&left, &right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Int(left), Value::Int(right)) => Ok(Value::Int(left - right)),
        _ if ticks(&left).is_some() => Err(errors::unknown("a difference of dates")),
        _ => Err(errors::unknown("a difference of these types")),
    }
}

/// The type of an expression. Names that do not exist are found here, before any row is read, as SQL Server finds them.
pub(super) fn type_of(context: &Context<'_>, scope: Scope<'_>, expr: &Expr) -> Result<SqlType, Said> {
    let of = |expr: &Expr| type_of(context, scope, expr);
    match expr {
        Expr::Literal(_, of) => Ok(*of),
        Expr::Null => Ok(SqlType::Int),
        Expr::Variable(name) => Ok(variable(context, name)?.0),
        Expr::Column { table, name } => {
            let (binding, column) = scope.find(table.as_deref(), name)?;
            Ok(scope.bindings[binding].columns[column].of)
        }
        Expr::Call { name, arguments } => functions::type_of(context, scope, name, arguments),
        Expr::Cast { expr, to, .. } => of(expr).map(|_| *to),
        Expr::Case { operand, whens, otherwise } => {
            if let Some(operand) = operand {
                of(operand)?;
            }
            let mut found: Option<SqlType> = None;
            for (when, then) in whens {
                of(when)?;
                if *then != Expr::Null {
                    let then = of(then)?;
                    found = Some(found.map_or(then, |found| common(found, then)));
                }
            }
            if let Some(otherwise) = otherwise.as_deref().filter(|otherwise| **otherwise != Expr::Null) {
                let otherwise = of(otherwise)?;
                found = Some(found.map_or(otherwise, |found| common(found, otherwise)));
            }
            Ok(found.unwrap_or(SqlType::Int))
        }
        Expr::Collate(expr, _) => of(expr),
        Expr::Binary(Operator::Plus | Operator::Minus, left, right) => {
            let of = common(of(left)?, of(right)?);
            Ok(if of.is_text() { SqlType::NVarchar(Length::Max) } else { of })
        }
        Expr::Binary(Operator::And | Operator::Or, left, right) => {
            of(left).and_then(|_| of(right)).map(|_| SqlType::Bit)
        }
        Expr::Binary(_, left, right) => {
            let (left_type, right_type) = (of(left)?, of(right)?);
            if left_type.is_text() && right_type.is_text() {
                collations::of_both(scope, left, right)?;
            }
            Ok(SqlType::Bit)
        }
        Expr::Not(expr) | Expr::IsNull(expr, _) => of(expr).map(|_| SqlType::Bit),
        Expr::In { expr, list, .. } => {
            of(expr)?;
            list.iter().try_for_each(|item| of(item).map(|_| ()))?;
            Ok(SqlType::Bit)
        }
        Expr::Exists(_) => Ok(SqlType::Bit),
        Expr::Scalar(select) => query::scalar_type(context, scope, select),
    }
}

/// The columns of `scope` that an expression names, as (binding, column).
pub(super) fn columns_in(scope: Scope<'_>, expr: &Expr, found: &mut Vec<(usize, usize)>) {
    let mut within = |expr: &Expr| columns_in(scope, expr, found);
    match expr {
        Expr::Column { table, name } => found.extend(scope.find(table.as_deref(), name)),
        Expr::Call { arguments, .. } => arguments.iter().for_each(within),
        Expr::Cast { expr, .. } | Expr::Collate(expr, _) | Expr::Not(expr) | Expr::IsNull(expr, _) => {
            within(expr);
        }
        Expr::Case { operand, whens, otherwise } => {
            operand.iter().chain(otherwise).for_each(|expr| within(expr));
            whens.iter().for_each(|(when, then)| {
                within(when);
                within(then);
            });
        }
        Expr::Binary(_, left, right) => {
            within(left);
            within(right);
        }
        Expr::In { expr, list, .. } => {
            within(expr);
            list.iter().for_each(within);
        }
        Expr::Literal(..) | Expr::Null | Expr::Variable(_) | Expr::Exists(_) | Expr::Scalar(_) => {}
    }
}
