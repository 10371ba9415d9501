//! The tokens of an answer.

use super::bytes::{put_short_text, put_text};
use super::types::{put_type, put_value};
use crate::mssql::sql::{SqlType, Value};

/// The name that the server gives itself in errors.
const SERVER_NAME: &str = "FAKESQL01";

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mssql) struct Column {
    pub(in crate::mssql) name: String,
    pub(in crate::mssql) of: SqlType,
    /// Whether the column can be NULL. Otherwise it is sent in the type of fixed length, if there is one.
    pub(in crate::mssql) nullable: bool,
}

/// An error or a message: its number, its class, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mssql) struct Said {
    pub(in crate::mssql) number: u32,
    pub(in crate::mssql) state: u8,
    pub(in crate::mssql) class: u8,
    pub(in crate::mssql) text: String,
}

/// An answer that is being built.
#[derive(Debug, Default)]
pub(in crate::mssql) struct Tokens(Vec<u8>);

/// The bits of DONE.
const MORE: u16 = 0x01;
const ERROR: u16 = 0x02;
const COUNT: u16 = 0x10;
const ATTENTION: u16 = 0x20;

/// The kind of a DONE token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mssql) enum Done {
    /// Ends a batch or a statement of it.
    Batch,
    /// Ends a statement inside a call.
    InCall,
    /// Ends a call.
    Call,
}

impl Tokens {
    pub(in crate::mssql) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds a token with its length in two bytes.
    fn sized(&mut self, token: u8, body: &[u8]) {
        self.0.push(token);
        self.0.extend(u16::try_from(body.len()).expect("a short token").to_le_bytes());
        self.0.extend(body);
    }

    /// Adds a change for the client: its new database, language or packet size.
    pub(in crate::mssql) fn changed(&mut self, what: u8, new: &str, old: &str) {
        let mut body = vec![what];
        put_short_text(&mut body, new);
        put_short_text(&mut body, old);
        self.sized(0xe3, &body);
    }

    /// Adds the collation, as a change.
    pub(in crate::mssql) fn collation(&mut self) {
        self.sized(0xe3, &[7, 5, 0x09, 0x04, 0xd0, 0x00, 0x34, 0]);
    }

    /// Adds the name and the version of the server. With TDS 8 the version is still 7.4.
    pub(in crate::mssql) fn login_ack(&mut self) {
        let mut body = vec![1];
        body.extend(0x7400_0004_u32.to_be_bytes());
        put_short_text(&mut body, "Microsoft SQL Server");
        body.extend([16, 0, 0x10, 0x27]);
        self.sized(0xad, &body);
    }

    pub(in crate::mssql) fn info(&mut self, said: &Said) {
        self.said(0xab, said);
    }

    pub(in crate::mssql) fn error(&mut self, said: &Said) {
        self.said(0xaa, said);
    }

    fn said(&mut self, token: u8, said: &Said) {
        let mut body = said.number.to_le_bytes().to_vec();
        body.extend([said.state, said.class]);
        put_text(&mut body, &said.text);
        put_short_text(&mut body, SERVER_NAME);
        put_short_text(&mut body, "");
        body.extend(1_u32.to_le_bytes());
        self.sized(token, &body);
    }

    pub(in crate::mssql) fn columns(&mut self, columns: &[Column]) {
        self.0.push(0x81);
        self.0.extend(u16::try_from(columns.len()).expect("few columns").to_le_bytes());
        for column in columns {
            self.0.extend(0_u32.to_le_bytes());
            self.0.extend(u16::from(column.nullable).to_le_bytes());
            put_type(&mut self.0, column.of, column.nullable);
            put_short_text(&mut self.0, &column.name);
        }
    }

    /// Adds a row. If it has NULLs, the short form leaves them out.
    pub(in crate::mssql) fn row(&mut self, columns: &[Column], values: &[Value]) {
        let has_null = values.contains(&Value::Null);
        if has_null {
            let mut bits = vec![0_u8; columns.len().div_ceil(8)];
            for (number, _) in values.iter().enumerate().filter(|(_, value)| **value == Value::Null) {
                bits[number / 8] |= 1 << (number % 8);
            }
            self.0.push(0xd2);
            self.0.extend(bits);
        } else {
            self.0.push(0xd1);
        }
        for (column, value) in columns.iter().zip(values).filter(|(_, value)| **value != Value::Null) {
            put_value(&mut self.0, column.of, column.nullable, value);
        }
    }

    /// Adds the status that a call returns.
    pub(in crate::mssql) fn status(&mut self, status: u32) {
        self.0.push(0x79);
        self.0.extend(status.to_le_bytes());
    }

    /// Adds the end of a statement, with the number of its rows if there is one.
    pub(in crate::mssql) fn done(&mut self, done: Done, more: bool, failed: bool, rows: Option<u64>) {
        let mut status = if more { MORE } else { 0 };
        status |= if failed { ERROR } else { 0 };
        status |= if rows.is_some() { COUNT } else { 0 };
        self.put_done(done, status, rows.unwrap_or(0));
    }

    /// Adds the answer to an attention.
    pub(in crate::mssql) fn attention(&mut self) {
        self.put_done(Done::Batch, ATTENTION, 0);
    }

    fn put_done(&mut self, done: Done, status: u16, rows: u64) {
        self.0.push(match done {
            Done::Batch => 0xfd,
            Done::InCall => 0xff,
            Done::Call => 0xfe,
        });
        self.0.extend(status.to_le_bytes());
        self.0.extend(0xc1_u16.to_le_bytes());
        self.0.extend(rows.to_le_bytes());
    }
}
