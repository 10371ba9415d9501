//! Runs a batch: statement by statement, whole or not at all.

use std::collections::BTreeMap;

use super::ast::{ColumnDefinition, Select, Statement};
use super::convert::cast;
use super::database::{Database, Session, Table};
use super::eval::{self, Context, Scope};
use super::modify::{self, Change};
use super::query::{self, Rows};
use super::value::{SqlType, Value};
use super::{errors, statements};
use crate::mssql::wire::rpc::{Parameter, Request};
use crate::mssql::wire::tokens::Said;

/// The result of one statement of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mssql) enum Outcome {
    Rows(Rows),
    /// The number of rows that it changed.
    Count(u64),
    Error(Said),
}

/// Runs a request at `now`, in ticks of 100 ns since 0001-01-01 in UTC.
pub(in crate::mssql) fn run(
    database: &mut Database,
    session: &mut Session,
    request: &Request,
    now: i64,
) -> Vec<Outcome> {
    let parsed = match statements::parse(&request.text) {
        Ok(parsed) => parsed,
        Err(said) => return vec![Outcome::Error(said)],
    };
    // Locks that are held end the LOCK_TIMEOUT of all other sessions.
    if database.is_locked_for(session) {
        return vec![Outcome::Error(errors::text_of(1222))];
    }
    let variables = request.parameters.iter().map(variable).collect();
    let mut batch =
        Batch { database, session, variables, tables: BTreeMap::new(), now, outcomes: Vec::new() };
    for statement in &parsed {
        if !batch.statement(statement) {
            break;
        }
    }
    let outcomes = batch.outcomes;
    // A transaction that was left open stays open.
    database.held(session);
    outcomes
}

/// Whether an error ends only its statement, unless XACT_ABORT is on: errors of one row, locks, and permissions.
fn ends_only_its_statement(number: u32) -> bool {
    matches!(number, 229 | 230 | 515 | 547 | 1222 | 2601 | 2627 | 2628 | 8152)
}

/// Whether an error ends the batch and leaves the transaction open, unless XACT_ABORT is on: missing names.
fn leaves_the_transaction_open(number: u32) -> bool {
    ends_only_its_statement(number) || matches!(number, 207 | 208)
}

fn variable(parameter: &Parameter) -> (String, (SqlType, Value)) {
    (parameter.name.to_lowercase(), (parameter.of, parameter.value.clone()))
}

struct Batch<'a> {
    database: &'a mut Database,
    session: &'a mut Session,
    variables: BTreeMap<String, (SqlType, Value)>,
    tables: BTreeMap<String, Table>,
    now: i64,
    outcomes: Vec<Outcome>,
}

impl Batch<'_> {
    /// Runs one statement. Returns false if the batch ends with it.
    fn statement(&mut self, statement: &Statement) -> bool {
        match self.run(statement) {
            Ok(goes_on) => goes_on,
            Err(said) => {
                let aborts = self.session.xact_abort;
                let goes_on = !aborts && ends_only_its_statement(said.number);
                let undone = aborts || !leaves_the_transaction_open(said.number);
                self.outcomes.push(Outcome::Error(said));
                if undone && let Some(before) = self.session.before.take() {
                    self.database.restore(before);
                }
                goes_on
            }
        }
    }

    fn run(&mut self, statement: &Statement) -> Result<bool, Said> {
        match statement {
            Statement::Set { option, on } => self.set(option, *on)?,
            Statement::DeclareTable { name, columns } => self.declare_table(name, columns),
            Statement::Declare { name, of, value } => self.declare(name, *of, value.as_ref())?,
            Statement::If { condition, then, otherwise } => {
                let holds = eval::truth(&self.context(), Scope::NONE, condition)? == Some(true);
                return Ok(match (holds, otherwise) {
                    (true, _) => self.statement(then),
                    (false, Some(otherwise)) => self.statement(otherwise),
                    (false, None) => true,
                });
            }
            Statement::Block(statements) => {
                return Ok(statements.iter().all(|statement| self.statement(statement)));
            }
            Statement::Begin => {
                if self.session.before.is_some() {
                    return Err(errors::unknown("a transaction inside of a transaction"));
                }
                self.session.before = Some(self.database.all());
            }
            Statement::Commit => {
                self.session.before.take().ok_or_else(|| errors::syntax("COMMIT"))?;
            }
            Statement::Rollback => {
                let before = self.session.before.take().ok_or_else(|| errors::syntax("ROLLBACK"))?;
                self.database.restore(before);
            }
            Statement::Create { table, columns } => self.create(table, columns)?,
            Statement::Select(select) => self.select(select)?,
            Statement::Insert { table, columns, source } => {
                self.begin_by_itself();
                let change = modify::insert(&self.context(), table, columns, source)?;
                self.apply(change)?;
            }
            Statement::Update(update) => {
                self.begin_by_itself();
                let change = modify::update(&self.context(), update)?;
                self.apply(change)?;
            }
            Statement::Delete { table, condition } => {
                self.begin_by_itself();
                let change = modify::delete(&self.context(), table, condition.as_ref())?;
                self.apply(change)?;
            }
        }
        Ok(true)
    }

    /// With IMPLICIT_TRANSACTIONS, a statement that writes begins a transaction.
    fn begin_by_itself(&mut self) {
        if self.session.implicit_transactions && self.session.before.is_none() {
            self.session.before = Some(self.database.all());
        }
    }

    fn context(&self) -> Context<'_> {
        Context { database: self.database, variables: &self.variables, tables: &self.tables, now: self.now }
    }

    fn set(&mut self, option: &str, on: bool) -> Result<(), Said> {
        match option {
            "XACT_ABORT" => self.session.xact_abort = on,
            "NOCOUNT" => self.session.nocount = on,
            "IMPLICIT_TRANSACTIONS" => self.session.implicit_transactions = on,
            "LOCK_TIMEOUT"
            | "TRANSACTION"
            | "ANSI_NULLS"
            | "ANSI_PADDING"
            | "ANSI_WARNINGS"
            | "ARITHABORT"
            | "CONCAT_NULL_YIELDS_NULL"
            | "QUOTED_IDENTIFIER"
            | "NUMERIC_ROUNDABORT"
            | "DATEFORMAT" => {}
            other => return Err(errors::unknown(&format!("SET {other}"))),
        }
        Ok(())
    }

    fn declare_table(&mut self, name: &str, columns: &[ColumnDefinition]) {
        self.tables.insert(name.to_lowercase(), Table::new(name, columns));
    }

    fn declare(&mut self, name: &str, of: SqlType, value: Option<&super::ast::Expr>) -> Result<(), Said> {
        let value = match value {
            None => Value::Null,
            Some(expr) => cast(eval::value(&self.context(), Scope::NONE, expr)?, of)?,
        };
        self.variables.insert(name.to_lowercase(), (of, value));
        Ok(())
    }

    fn create(&mut self, name: &str, columns: &[ColumnDefinition]) -> Result<(), Said> {
        if self.database.denied.contains(&super::Permission::CreateTable) {
            return Err(errors::create_denied(&self.database.name));
        }
        if self.database.read_only {
            return Err(errors::read_only(&self.database.name));
        }
        if self.database.table(name).is_some() {
            return Err(errors::exists_already(name.rsplit('.').next().unwrap_or(name)));
        }
        self.database.add(Table::new(name, columns));
        Ok(())
    }

    fn select(&mut self, select: &Select) -> Result<(), Said> {
        let rows = query::select(&self.context(), Scope::NONE, select)?;
        self.outcomes.push(Outcome::Rows(rows));
        Ok(())
    }

    /// Applies a planned change.
    fn apply(&mut self, change: Change) -> Result<(), Said> {
        let output = match change.output {
            Some((Some(into), rows)) => {
                let context = self.context();
                let table = query::find(&context, &into).ok_or_else(|| errors::no_such_table(&into))?;
                let rows = modify::into_table(context.database, table, rows)?;
                self.put(&into, rows);
                None
            }
            Some((None, rows)) => Some(rows),
            None => None,
        };
        self.put(&change.table, change.rows);
        self.outcomes.extend(output.map(Outcome::Rows));
        self.outcomes.push(Outcome::Count(change.touched));
        Ok(())
    }

    fn put(&mut self, name: &str, rows: Vec<Vec<Value>>) {
        let table = match name.starts_with('@') {
            true => self.tables.get_mut(&name.to_lowercase()),
            false => self.database.table_mut(name),
        };
        table.expect("it was found before").rows = rows;
    }
}
