//! A database in memory with the part of T-SQL that the store's statements use, without sockets and without a clock.
//!
//! It follows SQL Server where a store can go wrong: `datetime` has steps of 1/300 second. Texts compare without case and
//! trailing spaces. A value that does not fit is an error that repeats it. NULL is neither equal nor unequal. It refuses
//! unknown SQL and names it, so that a new statement cannot pass untested.

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
