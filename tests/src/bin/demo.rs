//! The demo: the whole product in one command, with fake ThingsBoard servers, the daemon and the dashboard.

use std::process::ExitCode;

use clap::Parser;
use tbtoken_tests::demo::{self, Options};

/// Shows tbtoken at work: fake ThingsBoard servers with healthy and failing customers, the daemon on a SQLite file in a
/// temporary folder, and the dashboard. Nothing else is needed, and everything is removed at the end.
#[derive(Debug, Parser)]
#[command(name = "demo", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Show no dashboard; print the path of the socket and run until interrupted.
    #[arg(long)]
    headless: bool,
    /// Keep the folder with the table and the log.
    #[arg(long)]
    keep: bool,
}

const AFTER_HELP: &str = "\
In the dashboard:
  j k Enter        select a customer, see everything about it
  r R S            refresh the customer, refresh all that are due, stop or start the loop
  / s p e ?        filter, sort, problems only, events, all keys
  q Ctrl-C         end the demo and remove everything it made

Without a terminal, or with --headless, it prints the address of the admin page and the commands of tbctl to try;
Ctrl-C or SIGTERM ends it.

Environment:
  TBTOKEN_BIN_DIR  a folder with tbtokend, tbctl and tbtui; without it cargo builds them
  TMPDIR           where the demo makes its folder (else /tmp)
  TZ, NO_COLOR     the zone of the times, and whether there are colours

Exit codes: 0 ended by a key or a signal; 1 something failed, and the folder with the log stays; 2 usage.";

fn main() -> ExitCode {
    let Arguments { headless, keep } = Arguments::parse();
    demo::run(Options { headless, keep })
}
