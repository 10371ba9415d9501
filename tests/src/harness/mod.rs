//! Starts the real binaries in a temporary folder, talks to them, and ends them again.
//!
//! An [`Installation`] is a folder with a configuration and a SQLite table. It [starts](Installation::start) a
//! [`Daemon`], which can be asked, signalled and waited for, and runs `tbctl` against it. Whatever the processes print or
//! answer is searched for [canaries](crate::canary): promise 5 is checked by every test that uses this.
//!
//! Everything here blocks and has a deadline. The processes are real, so their time is real: what can be awaited is
//! awaited (an exit, a line, a request at the fake); only the state of another process has to be [asked](wait) for again.

pub mod binaries;
mod config;
mod daemon;
pub mod http;
mod installation;
pub mod process;
mod table;
pub mod wait;

pub use config::Config;
pub use daemon::{Daemon, Status};
pub use installation::{Installation, Output};
pub use table::{Row, Table};

/// The signals that tests send.
pub use nix::sys::signal::Signal;
