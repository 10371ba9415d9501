//! A fake SQL Server on a real socket, as exact and as faulty as the real one, as far as a store can notice.
//!
//! It speaks TDS 7.4 with TLS inside prelogin packets, and TDS 8 with TLS first. `wire` is the protocol in bytes; `sql` is a
//! database in memory with the part of T-SQL that the store's statements use. Neither has sockets. A [`SqlServer`] puts
//! them on a socket, counts requests, and has switches for all known faults.
//!
//! Only statements with a name, `/* tbtokend:NAME */`, are run; all others are refused with an error that quotes them. The
//! fake does not have: locks (one request runs at a time), `GO`, procedures, several results of one connection at once.

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
