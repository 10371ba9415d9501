//! The benchmark: the real daemon, measured from outside.
//!
//! ```text
//!   scenario ──▶ stage: [`World`] (fake ThingsBoards, a process of their own)
//!      │                [`Database`] (SQLite; a fake SQL Server, a process of its own; a real one)
//!      │                tbtokend, the real binary
//!      ▼
//!   [`Report`]: figures from `/proc`, from the socket and from the counters of the fakes,
//!               each time beside the least time of the work itself
//! ```
//!
//! The fakes are processes of their own, so that their CPU time does not count as the daemon's. But they share the machine
//! with it: on few cores they slow it down, so their CPU time is shown as well.

mod asking;
mod bound;
mod database;
mod options;
mod peer;
mod report;
mod scenario;
mod stage;
mod usage;
mod web;
mod world;

use std::process::ExitCode;

pub use options::Arguments;
use options::Scenario;
pub use report::Report;
pub use world::World;

use crate::harness::binaries::{self, Progress};

/// Runs the scenario of the command line.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    let common = match &arguments.scenario {
        Scenario::ServeThingsboards => {
            world::serve();
            return ExitCode::SUCCESS;
        }
        Scenario::ServeMssql => {
            database::serve();
            return ExitCode::SUCCESS;
        }
        Scenario::Pass(options) => &options.common,
        Scenario::Rest(options) => &options.common,
        Scenario::Sick(options) => &options.common,
        Scenario::Herd(options) => &options.common,
        Scenario::Growth(options) => &options.common,
    };
    // Built first, so that the build is not measured.
    if let Err(error) = binaries::try_prepare(&["tbtokend"], Progress::Shown) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let reports = match &arguments.scenario {
        Scenario::ServeThingsboards | Scenario::ServeMssql => Vec::new(),
        Scenario::Pass(options) => scenario::pass::run(options),
        Scenario::Rest(options) => vec![scenario::rest::run(options)],
        Scenario::Sick(options) => scenario::sick::run(options),
        Scenario::Herd(options) => vec![scenario::herd::run(options)],
        Scenario::Growth(options) => scenario::growth::run(options),
    };
    report::print(&reports, common.json);
    ExitCode::SUCCESS
}
