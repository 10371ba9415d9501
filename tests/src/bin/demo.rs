//! The demo: the whole product in one command, with fake ThingsBoard servers, the daemon and the dashboard.

use std::process::ExitCode;

use clap::Parser;
use tbtoken_tests::demo::{self, Options};

/// Shows tbtoken at work: fake ThingsBoard servers with healthy and failing customers, the daemon on a SQLite file in a
/// temporary folder, and the dashboard. Nothing else is needed, and everything is removed at the end.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// Show no dashboard; print the path of the socket and run until interrupted.
    #[arg(long)]
    headless: bool,
    /// Keep the folder with the table and the log.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let Arguments { headless, keep } = Arguments::parse();
    demo::run(Options { headless, keep })
}
