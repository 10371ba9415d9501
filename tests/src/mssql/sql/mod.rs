//! A table in memory and the small part of T-SQL that the store's statements use: no sockets, no clock of its own.
//!
//! It follows SQL Server where that can hurt: `datetime` holds thirds of a hundredth of a second, a text compares without
//! regard to case and trailing spaces, a value that does not fit is an error that repeats the value, NULL is neither
//! equal nor unequal. What it does not know it refuses by name, so that a new statement cannot pass untested.

pub(super) mod ast;
mod catalog;
mod collations;
mod compare;
mod convert;
mod database;
mod errors;
mod eval;
mod functions;
mod lexer;
mod modify;
mod parser;
mod query;
mod run;
mod statements;
mod time;
mod value;

pub(super) use convert::parse_guid;
pub(super) use database::{Database, Session, Table};
pub use database::{Permission, Zone};
pub(super) use errors::{login_failed, no_database, text_of, too_many_parameters, unknown};
pub(super) use run::{Outcome, run};
pub(super) use time::ticks_of_unix;
pub use value::{Length, SqlType, Value};
