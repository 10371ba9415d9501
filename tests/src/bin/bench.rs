//! The benchmark: the real daemon, measured from outside. See `docs/performance.md`.

use std::process::ExitCode;

use clap::Parser;
use tbtoken_tests::bench::{self, Arguments};

fn main() -> ExitCode {
    bench::run(&Arguments::parse())
}
