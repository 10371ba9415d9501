//! `tbtui`: the live dashboard of tbtokend. See the library of the same name.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tbtui::run(&tbtui::args::Args::parse())
}
