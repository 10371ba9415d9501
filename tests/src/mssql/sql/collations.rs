//! The collation of a comparison of two texts, by the precedence rules of the documentation.

use super::ast::Expr;
use super::compare::{Collation, OF_THE_DATABASE};
use super::errors;
use super::eval::Scope;
use crate::mssql::wire::tokens::Said;

/// Where the collation of an expression comes from. The later takes precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin<'a> {
    /// It has none of its own, as a parameter.
    Default,
    /// Its column's.
    Implicit(&'a str),
    /// That of `COLLATE`.
    Explicit(&'a str),
}

/// The collation for a comparison; error 468 if two of the same precedence differ.
pub(super) fn of_both(scope: Scope<'_>, left: &Expr, right: &Expr) -> Result<Collation, Said> {
    match stronger(origin(scope, left)?, origin(scope, right)?)? {
        Origin::Default => Ok(Collation::of(None)),
        Origin::Implicit(name) | Origin::Explicit(name) => Ok(Collation::of(Some(name))),
    }
}

fn stronger<'a>(left: Origin<'a>, right: Origin<'a>) -> Result<Origin<'a>, Said> {
    match (left, right) {
        (Origin::Default, other) | (other, Origin::Default) => Ok(other),
        (Origin::Explicit(left), Origin::Explicit(right))
        | (Origin::Implicit(left), Origin::Implicit(right))
            if !left.eq_ignore_ascii_case(right) =>
        {
            Err(errors::collation_conflict(left, right))
        }
        (explicit @ Origin::Explicit(_), _) | (_, explicit) => Ok(explicit),
    }
}

fn origin<'a>(scope: Scope<'a>, expr: &'a Expr) -> Result<Origin<'a>, Said> {
    match expr {
        Expr::Collate(_, name) if name.eq_ignore_ascii_case("DATABASE_DEFAULT") => {
            Ok(Origin::Explicit(OF_THE_DATABASE))
        }
        Expr::Collate(_, name) => Ok(Origin::Explicit(name)),
        Expr::Column { table, name } => {
            let Ok((binding, column)) = scope.find(table.as_deref(), name) else {
                return Ok(Origin::Default);
            };
            let column = &scope.bindings[binding].columns[column];
            let collation = column.collation.as_deref().unwrap_or(OF_THE_DATABASE);
            Ok(if column.of.is_text() { Origin::Implicit(collation) } else { Origin::Default })
        }
        // A text stays what it was; what becomes a text has no collation of its own.
        Expr::Cast { expr, to, .. } if to.is_text() => origin(scope, expr),
        Expr::Call { arguments, .. } => arguments
            .iter()
            .try_fold(Origin::Default, |strongest, argument| stronger(strongest, origin(scope, argument)?)),
        _ => Ok(Origin::Default),
    }
}
