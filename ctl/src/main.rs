//! **tbctl** queries and controls tbtokend: one command, one answer.
//!
//! The arguments ([`args`]) choose a command ([`commands`]). It sends requests to the daemon ([`session`]), finds the
//! customers of the given names ([`names`]), and makes an [`output::Report`] of the answers ([`table`], pure). [`run`]
//! prints it and returns the exit code ([`exit`]). The commands that keep running (`status --watch`, `events --follow`,
//! `wait`) keep a [`link`] to the daemon over its restarts and [`pause`] between requests.

mod args;
mod commands;
mod error;
mod exit;
mod link;
mod names;
mod output;
mod pause;
mod progress;
mod run;
mod session;
mod table;

use std::process::ExitCode;

use chrono::{DateTime, Utc};

fn main() -> ExitCode {
    ExitCode::from(run::run(std::env::args_os(), clock))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tbctl reads the clock; elsewhere the time is a parameter"
)]
fn clock() -> DateTime<Utc> {
    Utc::now()
}
