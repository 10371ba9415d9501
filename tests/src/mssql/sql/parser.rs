//! The parser of expressions, and the reader of words for all parsers.

use super::ast::{Expr, Operator};
use super::errors;
use super::lexer::{Word, words};
use super::value::{Length, SqlType, Value};
use crate::mssql::wire::tokens::Said;

/// The words of a text, read one after the other.
pub(super) struct Parser {
    words: Vec<Word>,
    at: usize,
}

/// Words that end an expression or a list, and therefore are no alias.
const RESERVED: [&str; 32] = [
    "FROM", "WHERE", "JOIN", "INNER", "LEFT", "ON", "AND", "OR", "ORDER", "GROUP", "SET", "OUTPUT", "INTO",
    "VALUES", "SELECT", "INSERT", "UPDATE", "DELETE", "CASE", "WHEN", "THEN", "ELSE", "END", "AS", "WITH",
    "DECLARE", "IF", "UNION", "BEGIN", "COMMIT", "ROLLBACK", "CREATE",
];

impl Parser {
    pub(super) fn new(text: &str) -> Result<Self, Said> {
        Ok(Self { words: words(text)?, at: 0 })
    }

    pub(super) fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    pub(super) fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    /// The error for the word that stands here.
    pub(super) fn wrong(&self) -> Said {
        let near = match self.peek() {
            None => "the end".to_owned(),
            Some(Word::Name(name) | Word::Quoted(name) | Word::Variable(name)) => name.clone(),
            Some(Word::Mark(mark)) => (*mark).to_owned(),
            Some(Word::Number(number)) => number.to_string(),
            Some(Word::Text(..)) => "a text".to_owned(),
            Some(Word::Bytes(_)) => "a binary value".to_owned(),
        };
        errors::syntax(&near)
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Word::Name(name)) if name.eq_ignore_ascii_case(keyword))
    }

    /// Takes a keyword, if it stands here.
    pub(super) fn eat(&mut self, keyword: &str) -> bool {
        let is = self.is(keyword);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, keyword: &str) -> Result<(), Said> {
        if self.eat(keyword) { Ok(()) } else { Err(self.wrong()) }
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        matches!(self.peek(), Some(Word::Mark(found)) if *found == mark)
    }

    pub(super) fn eat_mark(&mut self, mark: &str) -> bool {
        let is = self.is_mark(mark);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect_mark(&mut self, mark: &str) -> Result<(), Said> {
        if self.eat_mark(mark) { Ok(()) } else { Err(self.wrong()) }
    }

    /// A name, quoted or not.
    pub(super) fn name(&mut self) -> Result<String, Said> {
        match self.peek() {
            Some(Word::Name(name) | Word::Quoted(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.wrong()),
        }
    }

    /// A table's name: `[dbo].[t]` becomes `dbo.t`; `@t` is a table variable.
    pub(super) fn table_name(&mut self) -> Result<String, Said> {
        if let Some(Word::Variable(name)) = self.peek() {
            let name = name.clone();
            self.at += 1;
            return Ok(name);
        }
        let mut name = self.name()?;
        while self.eat_mark(".") {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name)
    }

    /// An alias, with or without AS.
    pub(super) fn alias(&mut self) -> Result<Option<String>, Said> {
        if self.eat("AS") {
            return self.name().map(Some);
        }
        match self.peek() {
            Some(Word::Name(name)) if !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) => {
                self.name().map(Some)
            }
            Some(Word::Quoted(_)) => self.name().map(Some),
            _ => Ok(None),
        }
    }

    /// What stands between commas.
    pub(super) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Said>,
    ) -> Result<Vec<T>, Said> {
        let mut list = vec![one(self)?];
        while self.eat_mark(",") {
            list.push(one(self)?);
        }
        Ok(list)
    }

    /// The same in parentheses.
    pub(super) fn in_parentheses<T>(
        &mut self,
        one: impl FnMut(&mut Self) -> Result<T, Said>,
    ) -> Result<Vec<T>, Said> {
        self.expect_mark("(")?;
        let list = self.list(one)?;
        self.expect_mark(")")?;
        Ok(list)
    }

    /// A type: `nvarchar(50)`.
    pub(super) fn type_name(&mut self) -> Result<SqlType, Said> {
        let mut text = self.name()?;
        if self.eat_mark("(") {
            let argument = match self.next() {
                Some(Word::Number(number)) => number.to_string(),
                Some(Word::Name(name)) => name,
                _ => return Err(self.wrong()),
            };
            self.expect_mark(")")?;
            text = format!("{text}({argument})");
        }
        SqlType::parse(&text).ok_or_else(|| errors::unknown(&format!("the type {text}")))
    }

    pub(super) fn expr(&mut self) -> Result<Expr, Said> {
        let mut left = self.conjunction()?;
        while self.eat("OR") {
            left = Expr::Binary(Operator::Or, left.into(), self.conjunction()?.into());
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expr, Said> {
        let mut left = self.negation()?;
        while self.eat("AND") {
            left = Expr::Binary(Operator::And, left.into(), self.negation()?.into());
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expr, Said> {
        if self.eat("NOT") { Ok(Expr::Not(self.negation()?.into())) } else { self.comparison() }
    }

    fn comparison(&mut self) -> Result<Expr, Said> {
        let left = self.sum()?;
        if self.eat("IS") {
            let negated = self.eat("NOT");
            self.expect("NULL")?;
            return Ok(Expr::IsNull(left.into(), negated));
        }
        let negated = self.eat("NOT");
        if self.eat("IN") {
            let list = self.in_parentheses(Self::expr)?;
            return Ok(Expr::In { expr: left.into(), list, negated });
        }
        if negated {
            return Err(self.wrong());
        }
        let operators = [
            ("=", Operator::Equal),
            ("<>", Operator::NotEqual),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessEqual),
            (">=", Operator::GreaterEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        match operators.into_iter().find(|(mark, _)| self.is_mark(mark)) {
            None => Ok(left),
            Some((mark, operator)) => {
                self.expect_mark(mark)?;
                Ok(Expr::Binary(operator, left.into(), self.sum()?.into()))
            }
        }
    }

    fn sum(&mut self) -> Result<Expr, Said> {
        let mut left = self.collated()?;
        loop {
            let operator = match () {
                () if self.eat_mark("+") => Operator::Plus,
                () if self.eat_mark("-") => Operator::Minus,
                () => return Ok(left),
            };
            left = Expr::Binary(operator, left.into(), self.collated()?.into());
        }
    }

    fn collated(&mut self) -> Result<Expr, Said> {
        let expr = self.atom()?;
        if self.eat("COLLATE") { Ok(Expr::Collate(expr.into(), self.name()?)) } else { Ok(expr) }
    }

    fn atom(&mut self) -> Result<Expr, Said> {
        let Some(word) = self.peek().cloned() else { return Err(self.wrong()) };
        match word {
            Word::Number(number) => {
                self.at += 1;
                Ok(Expr::Literal(Value::Int(number), SqlType::Int))
            }
            Word::Text(text, wide) => {
                self.at += 1;
                let length = u16::try_from(text.encode_utf16().count().max(1)).unwrap_or(u16::MAX);
                let length = if length > 4000 { Length::Max } else { Length::Of(length) };
                let of = if wide { SqlType::NVarchar(length) } else { SqlType::Varchar(length) };
                Ok(Expr::Literal(Value::Text(text), of))
            }
            Word::Bytes(bytes) => {
                self.at += 1;
                Ok(Expr::Literal(Value::Bytes(bytes), SqlType::Varbinary(Length::Max)))
            }
            Word::Variable(name) => {
                self.at += 1;
                Ok(Expr::Variable(name))
            }
            Word::Mark("-") => {
                self.at += 1;
                let zero = Expr::Literal(Value::Int(0), SqlType::Int);
                Ok(Expr::Binary(Operator::Minus, zero.into(), self.atom()?.into()))
            }
            Word::Mark("(") => {
                self.at += 1;
                let expr = match self.is("SELECT") {
                    true => Expr::Scalar(self.select()?.into()),
                    false => self.expr()?,
                };
                self.expect_mark(")")?;
                Ok(expr)
            }
            Word::Name(_) | Word::Quoted(_) => self.named(),
            Word::Mark(_) => Err(self.wrong()),
        }
    }

    fn named(&mut self) -> Result<Expr, Said> {
        if self.eat("NULL") {
            return Ok(Expr::Null);
        }
        if self.eat("CASE") {
            return self.case();
        }
        if self.eat("EXISTS") {
            self.expect_mark("(")?;
            let select = self.select()?;
            self.expect_mark(")")?;
            return Ok(Expr::Exists(select.into()));
        }
        let mut name = self.name()?;
        if self.is_mark("(") {
            return self.call(name);
        }
        let mut table = None;
        while self.eat_mark(".") {
            // Of `schema.table.column` the schema does not matter here.
            table = Some(std::mem::replace(&mut name, self.name()?));
            if self.is_mark("(") {
                let name = format!("{}.{name}", table.unwrap_or_default());
                return self.call(name);
            }
        }
        Ok(Expr::Column { table, name })
    }

    fn call(&mut self, name: String) -> Result<Expr, Said> {
        self.expect_mark("(")?;
        let upper = name.to_ascii_uppercase();
        if matches!(upper.as_str(), "CAST" | "TRY_CAST") {
            let expr = self.expr()?.into();
            self.expect("AS")?;
            let to = self.type_name()?;
            self.expect_mark(")")?;
            return Ok(Expr::Cast { expr, to, or_null: upper == "TRY_CAST" });
        }
        if matches!(upper.as_str(), "CONVERT" | "TRY_CONVERT") {
            let to = self.type_name()?;
            self.expect_mark(",")?;
            let expr: Box<Expr> = self.expr()?.into();
            if self.eat_mark(",") {
                // The one style that is known: two hexadecimal digits are a byte.
                return match (self.next(), self.next()) {
                    (Some(Word::Number(2)), Some(Word::Mark(")"))) => {
                        Ok(Expr::Call { name: "FROM_HEX".to_owned(), arguments: vec![*expr] })
                    }
                    _ => Err(errors::unknown("this style of CONVERT")),
                };
            }
            self.expect_mark(")")?;
            return Ok(Expr::Cast { expr, to, or_null: upper == "TRY_CONVERT" });
        }
        if self.eat_mark(")") {
            return Ok(Expr::Call { name: upper, arguments: Vec::new() });
        }
        let arguments = self.list(|parser| {
            if parser.eat_mark("*") {
                return Ok(Expr::Literal(Value::Int(1), SqlType::Int));
            }
            parser.expr()
        })?;
        self.expect_mark(")")?;
        Ok(Expr::Call { name: upper, arguments })
    }

    fn case(&mut self) -> Result<Expr, Said> {
        let operand = if self.is("WHEN") { None } else { Some(self.expr()?.into()) };
        let mut whens = Vec::new();
        while self.eat("WHEN") {
            let when = self.expr()?;
            self.expect("THEN")?;
            whens.push((when, self.expr()?));
        }
        let otherwise = if self.eat("ELSE") { Some(self.expr()?.into()) } else { None };
        self.expect("END")?;
        Ok(Expr::Case { operand, whens, otherwise })
    }
}
