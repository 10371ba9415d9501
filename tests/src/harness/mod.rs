//! The harness: starts the real binaries in a temporary folder, talks to them, and ends them again.
//!
//! An [`Installation`] is a folder with a configuration and a SQLite table. It [starts](Installation::start) a [`Daemon`],
//! to which tests send requests and signals, and runs `tbctl` against it. All output and all answers of the processes are
//! searched for [canaries](crate::canary). So every test that uses the harness checks promise 5.
//!
//! All functions block and have a deadline. The processes are real, so their time is real. Events are awaited (an exit, a
//! line, a request at the fake); only the state of another process has to be [polled](wait).

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
