//! The statements and expressions that are known.

use super::value::{SqlType, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// `SET XACT_ABORT ON`, and the many that change nothing here.
    Set {
        option: String,
        on: bool,
    },
    /// `DECLARE @t TABLE (…)`.
    DeclareTable {
        name: String,
        columns: Vec<ColumnDefinition>,
    },
    /// `DECLARE @x int = …`.
    Declare {
        name: String,
        of: SqlType,
        value: Option<Expr>,
    },
    If {
        condition: Expr,
        then: Box<Statement>,
        otherwise: Option<Box<Statement>>,
    },
    Block(Vec<Statement>),
    Begin,
    Commit,
    Rollback,
    Create {
        table: String,
        columns: Vec<ColumnDefinition>,
    },
    Select(Select),
    Insert {
        table: String,
        columns: Vec<String>,
        source: Source,
    },
    Update(Update),
    Delete {
        table: String,
        condition: Option<Expr>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnDefinition {
    pub(super) name: String,
    pub(super) of: SqlType,
    pub(super) nullable: bool,
    pub(super) key: bool,
    /// Its collation, if it is not the database's.
    pub(super) collation: Option<String>,
    pub(super) check: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Select {
    pub(super) top: Option<Expr>,
    pub(super) items: Vec<Item>,
    pub(super) from: Option<From>,
    pub(super) condition: Option<Expr>,
    pub(super) order: Vec<(Expr, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    All,
    Expr { expr: Expr, name: Option<String> },
}

/// A table and what is joined to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct From {
    pub(super) first: Source,
    pub(super) joins: Vec<(Source, bool, Expr)>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Table {
        name: String,
        alias: Option<String>,
    },
    Values {
        rows: Vec<Vec<Expr>>,
        alias: String,
        columns: Vec<String>,
    },
    /// `OPENJSON(…) WITH (…)`: of each element of an array the elements with these numbers.
    Json {
        text: Expr,
        columns: Vec<(String, SqlType, usize)>,
        alias: String,
    },
    /// `(SELECT …) AS alias`; as the source of an INSERT it has none.
    Select {
        select: Box<Select>,
        alias: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// The alias, or the table itself.
    pub(super) target: String,
    pub(super) set: Vec<(String, Expr)>,
    pub(super) output: Vec<Item>,
    pub(super) into: Option<String>,
    pub(super) from: Option<From>,
    pub(super) condition: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    Literal(Value, SqlType),
    Null,
    Variable(String),
    Column { table: Option<String>, name: String },
    Call { name: String, arguments: Vec<Expr> },
    Cast { expr: Box<Expr>, to: SqlType, or_null: bool },
    Case { operand: Option<Box<Expr>>, whens: Vec<(Expr, Expr)>, otherwise: Option<Box<Expr>> },
    Collate(Box<Expr>, String),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>, bool),
    In { expr: Box<Expr>, list: Vec<Expr>, negated: bool },
    Exists(Box<Select>),
    Scalar(Box<Select>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Plus,
    Minus,
}
