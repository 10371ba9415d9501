//! **tbctl** asks and steers tbtokend: one command, one answer.
//!
//! The arguments ([`args`]) choose a command ([`commands`]), which asks the daemon once and builds a [`output::Report`]
//! from its answer, in pure code ([`table`]); [`run`] prints it and says with which code to end ([`exit`]).

mod args;
mod commands;
mod error;
mod exit;
mod output;
mod progress;
mod run;
mod table;

use std::process::ExitCode;

use chrono::{DateTime, Utc};

fn main() -> ExitCode {
    ExitCode::from(run::run(std::env::args_os(), clock))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tbctl reads the clock; all else is handed it"
)]
fn clock() -> DateTime<Utc> {
    Utc::now()
}
