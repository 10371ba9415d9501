//! **tbctl** asks and steers tbtokend: one command, one answer.
//!
//! The arguments ([`args`]) choose a command ([`commands`]). It asks the daemon ([`session`]), for the customers whose
//! names are given too ([`names`]), and builds an [`output::Report`] from the answer, in pure code ([`table`]); [`run`]
//! prints it and says with which code to end ([`exit`]). The commands that go on (`status --watch`, `events --follow`,
//! `wait`) keep a [`link`] to the daemon over its restarts and [`pause`] between two questions.

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
    reason = "the one place where tbctl reads the clock; all else is handed it"
)]
fn clock() -> DateTime<Utc> {
    Utc::now()
}
