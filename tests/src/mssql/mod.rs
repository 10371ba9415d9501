//! A SQL Server on a real socket, as exact and as rude as the real one where a store can feel it.
//!
//! It speaks TDS 7.4 with TLS inside of prelogin packets, and TDS 8 with TLS before everything. `wire` is the protocol in
//! bytes, `sql` a database in memory with the part of T-SQL that the store's statements use: both know no sockets. A
//! [`SqlServer`] puts them on one, counts what arrives, and has switches for all that goes wrong in the field.
//!
//! Only statements that say who they are, `/* tbtokend:NAME */`, are run; everything else is refused with an error that
//! names it. What the real server does and this does not: locks (one request runs at a time), `GO`, procedures, several
//! results of one connection at a time.

mod browser;
mod counters;
mod faults;
mod meter;
mod server;
mod session;
mod settings;
mod sql;
mod state;
mod tables;
mod tls;
mod wire;

pub use browser::{Browser, BrowserReply, answer as browser_answer};
pub use counters::Stats;
pub use faults::{Direction, Layer, When};
pub use server::SqlServer;
pub use settings::{Accepts, Certificate, Settings};
pub use sql::{Length, Permission, SqlType, Value, Zone};
