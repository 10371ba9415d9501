//! The parser of statements.

use super::ast::{ColumnDefinition, Expr, From, Item, Select, Source, Statement, Update};
use super::errors;
use super::lexer::Word;
use super::parser::Parser;
use crate::mssql::wire::tokens::Said;

/// Reads a whole batch.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, Said> {
    let mut parser = Parser::new(text)?;
    let mut statements = Vec::new();
    loop {
        while parser.eat_mark(";") {}
        if parser.peek().is_none() {
            return Ok(statements);
        }
        statements.push(parser.statement()?);
    }
}

/// Reads a condition that stands by itself.
pub(super) fn condition(text: &str) -> Result<Expr, Said> {
    let mut parser = Parser::new(text)?;
    let condition = parser.expr()?;
    match parser.peek() {
        None => Ok(condition),
        Some(_) => Err(parser.wrong()),
    }
}

impl Parser {
    fn statement(&mut self) -> Result<Statement, Said> {
        let Some(Word::Name(first)) = self.peek() else { return Err(self.wrong()) };
        match first.to_ascii_uppercase().as_str() {
            "SET" => self.set(),
            "DECLARE" => self.declare(),
            "IF" => self.condition(),
            "BEGIN" => self.begin(),
            "COMMIT" | "ROLLBACK" => {
                let commit = self.eat("COMMIT");
                let _ = commit || self.eat("ROLLBACK");
                let _ = self.eat("TRANSACTION") || self.eat("TRAN");
                Ok(if commit { Statement::Commit } else { Statement::Rollback })
            }
            "CREATE" => self.create(),
            "SELECT" => self.select().map(Statement::Select),
            "INSERT" => self.insert(),
            "UPDATE" => self.update(),
            "DELETE" => self.delete(),
            other => Err(errors::unknown(&format!("the statement {other}"))),
        }
    }

    fn set(&mut self) -> Result<Statement, Said> {
        self.expect("SET")?;
        let mut options = self.list(Self::name)?;
        // What stands between the name and ON does not matter: SET LOCK_TIMEOUT 10000.
        let mut on = true;
        while let Some(word) = self.peek() {
            match word {
                Word::Mark(";") => break,
                Word::Name(name) if name.eq_ignore_ascii_case("OFF") => on = false,
                _ => {}
            }
            let _ = self.next();
        }
        Ok(Statement::Set { option: options.remove(0).to_ascii_uppercase(), on })
    }

    fn declare(&mut self) -> Result<Statement, Said> {
        self.expect("DECLARE")?;
        let Some(Word::Variable(name)) = self.next() else { return Err(self.wrong()) };
        let _ = self.eat("AS");
        if self.eat("TABLE") {
            let columns = self.in_parentheses(Self::column)?;
            return Ok(Statement::DeclareTable { name, columns });
        }
        let of = self.type_name()?;
        let value = if self.eat_mark("=") { Some(self.expr()?) } else { None };
        Ok(Statement::Declare { name, of, value })
    }

    fn condition(&mut self) -> Result<Statement, Said> {
        self.expect("IF")?;
        let condition = self.expr()?;
        let then = self.statement()?.into();
        let _ = self.eat_mark(";");
        let otherwise = if self.eat("ELSE") { Some(self.statement()?.into()) } else { None };
        Ok(Statement::If { condition, then, otherwise })
    }

    fn begin(&mut self) -> Result<Statement, Said> {
        self.expect("BEGIN")?;
        if self.eat("TRANSACTION") || self.eat("TRAN") {
            return Ok(Statement::Begin);
        }
        let mut statements = Vec::new();
        loop {
            while self.eat_mark(";") {}
            if self.eat("END") {
                return Ok(Statement::Block(statements));
            }
            statements.push(self.statement()?);
        }
    }

    fn create(&mut self) -> Result<Statement, Said> {
        self.expect("CREATE")?;
        self.expect("TABLE")?;
        let table = self.table_name()?;
        let mut key = Vec::new();
        let columns = self.in_parentheses(|parser| {
            if !parser.eat("PRIMARY") {
                return parser.column().map(Some);
            }
            parser.expect("KEY")?;
            key = parser.in_parentheses(Self::name)?;
            Ok(None)
        })?;
        let mut columns: Vec<ColumnDefinition> = columns.into_iter().flatten().collect();
        for column in columns.iter_mut().filter(|column| key.contains(&column.name)) {
            (column.key, column.nullable) = (true, false);
        }
        Ok(Statement::Create { table, columns })
    }

    fn column(&mut self) -> Result<ColumnDefinition, Said> {
        let (name, of) = (self.name()?, self.type_name()?);
        let mut column =
            ColumnDefinition { name, of, nullable: true, key: false, collation: None, check: None };
        loop {
            if self.eat("NOT") {
                self.expect("NULL")?;
                column.nullable = false;
            } else if self.eat("PRIMARY") {
                self.expect("KEY")?;
                column.key = true;
                column.nullable = false;
            } else if self.eat("COLLATE") {
                column.collation = Some(self.name()?);
            } else if self.eat("CHECK") {
                self.expect_mark("(")?;
                column.check = Some(self.expr()?);
                self.expect_mark(")")?;
            } else if !self.eat("NULL") {
                return Ok(column);
            }
        }
    }

    pub(super) fn select(&mut self) -> Result<Select, Said> {
        self.expect("SELECT")?;
        let top = match self.eat("TOP") {
            false => None,
            true => {
                self.expect_mark("(")?;
                let top = self.expr()?;
                self.expect_mark(")")?;
                Some(top)
            }
        };
        let items = self.list(Self::item)?;
        let from = if self.eat("FROM") { Some(self.from()?) } else { None };
        let condition = if self.eat("WHERE") { Some(self.expr()?) } else { None };
        let mut order = Vec::new();
        if self.eat("ORDER") {
            self.expect("BY")?;
            order = self.list(|parser| {
                let expr = parser.expr()?;
                let descending = parser.eat("DESC");
                let _ = descending || parser.eat("ASC");
                Ok((expr, descending))
            })?;
        }
        Ok(Select { top, items, from, condition, order })
    }

    fn item(&mut self) -> Result<Item, Said> {
        if self.eat_mark("*") {
            return Ok(Item::All);
        }
        let expr = self.expr()?;
        Ok(Item::Expr { expr, name: self.alias()? })
    }

    fn from(&mut self) -> Result<From, Said> {
        let first = self.source()?;
        let mut joins = Vec::new();
        loop {
            let outer = self.eat("LEFT");
            let _ = self.eat("OUTER") || self.eat("INNER");
            if !self.eat("JOIN") {
                return Ok(From { first, joins });
            }
            let source = self.source()?;
            self.expect("ON")?;
            joins.push((source, outer, self.expr()?));
        }
    }

    fn source(&mut self) -> Result<Source, Said> {
        if self.eat_mark("(") {
            if self.is("SELECT") {
                let select = self.select()?.into();
                self.expect_mark(")")?;
                let alias = self.alias()?.ok_or_else(|| self.wrong())?;
                return Ok(Source::Select { select, alias });
            }
            self.expect("VALUES")?;
            let rows = self.list(|parser| parser.in_parentheses(Self::expr))?;
            self.expect_mark(")")?;
            let alias = self.alias()?.ok_or_else(|| self.wrong())?;
            let columns = self.in_parentheses(Self::name)?;
            return Ok(Source::Values { rows, alias, columns });
        }
        let name = self.table_name()?;
        if name.eq_ignore_ascii_case("OPENJSON") {
            return self.json();
        }
        let alias = self.alias()?;
        self.hints()?;
        Ok(Source::Table { name, alias })
    }

    /// Hints steer locks, of which there are none here.
    fn hints(&mut self) -> Result<(), Said> {
        if self.eat("WITH") {
            self.in_parentheses(Self::name)?;
        }
        Ok(())
    }

    fn json(&mut self) -> Result<Source, Said> {
        self.expect_mark("(")?;
        let text = self.expr()?;
        self.expect_mark(")")?;
        self.expect("WITH")?;
        let columns = self.in_parentheses(|parser| {
            let (name, of) = (parser.name()?, parser.type_name()?);
            let Some(Word::Text(path, false)) = parser.next() else { return Err(parser.wrong()) };
            let number = path.strip_prefix("$[").and_then(|path| path.strip_suffix(']')?.parse().ok());
            Ok((name, of, number.ok_or_else(|| errors::unknown(&format!("the path {path}")))?))
        })?;
        let alias = self.alias()?.ok_or_else(|| self.wrong())?;
        Ok(Source::Json { text, columns, alias })
    }

    fn insert(&mut self) -> Result<Statement, Said> {
        self.expect("INSERT")?;
        let _ = self.eat("INTO");
        let table = self.table_name()?;
        self.hints()?;
        let columns = if self.is_mark("(") { self.in_parentheses(Self::name)? } else { Vec::new() };
        let source = if self.eat("VALUES") {
            let rows = self.list(|parser| parser.in_parentheses(Self::expr))?;
            if rows.len() > 1000 {
                return Err(errors::too_many_values());
            }
            Source::Values { rows, alias: String::new(), columns: Vec::new() }
        } else {
            Source::Select { select: self.select()?.into(), alias: String::new() }
        };
        Ok(Statement::Insert { table, columns, source })
    }

    fn update(&mut self) -> Result<Statement, Said> {
        self.expect("UPDATE")?;
        let target = self.table_name()?;
        self.expect("SET")?;
        let set = self.list(|parser| {
            let mut column = parser.name()?;
            if parser.eat_mark(".") {
                column = parser.name()?;
            }
            parser.expect_mark("=")?;
            Ok((column, parser.expr()?))
        })?;
        let output = if self.eat("OUTPUT") { self.list(Self::item)? } else { Vec::new() };
        let into = if self.eat("INTO") { Some(self.table_name()?) } else { None };
        let from = if self.eat("FROM") { Some(self.from()?) } else { None };
        let condition = if self.eat("WHERE") { Some(self.expr()?) } else { None };
        Ok(Statement::Update(Update { target, set, output, into, from, condition }))
    }

    fn delete(&mut self) -> Result<Statement, Said> {
        self.expect("DELETE")?;
        let _ = self.eat("FROM");
        let table = self.table_name()?;
        self.hints()?;
        let condition = if self.eat("WHERE") { Some(self.expr()?) } else { None };
        Ok(Statement::Delete { table, condition })
    }
}
