//! The whole product in one command: a fake ThingsBoard with customers of every behaviour, the daemon, the dashboard.

use std::process::ExitCode;

use clap::Parser;
use tbtoken_tests::demo::{self, Options};

/// Shows tbtoken at work: a fake ThingsBoard with well- and ill-behaved customers, the daemon on a SQLite file in a
/// temporary folder, and the dashboard on top. Nothing else is needed, nothing stays behind.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// Show no dashboard; print where the socket is and run until interrupted.
    #[arg(long)]
    headless: bool,
    /// Leave the folder with the table and the log where it is.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let Arguments { headless, keep } = Arguments::parse();
    demo::run(Options { headless, keep })
}
