//! The benchmark: the real daemon, measured from outside.
//!
//! ```text
//!   scenario ──▶ stage: [`World`] (fake ThingsBoards, a process of their own)
//!      │                [`Database`] (SQLite; a fake SQL Server, a process of its own; a real one)
//!      │                tbtokend, the real binary
//!      ▼
//!   [`Report`]: figures from `/proc`, from the socket and from what the fakes have counted,
//!               each time beside the bound that the work itself sets
//! ```
//!
//! The fakes are processes of their own so that what they cost is not counted as the daemon's. They share the machine
//! with it all the same: on few cores, what they take is missing elsewhere, so their CPU time is shown as well.

mod asking;
mod bound;
mod database;
mod options;
mod peer;
mod report;
mod scenario;
mod stage;
mod usage;
mod world;

use std::process::ExitCode;

pub use options::Arguments;
use options::Scenario;
pub use report::Report;
pub use world::World;

use crate::harness::binaries::{self, Progress};

/// Does what the command line asks for.
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
    // Building it must not count.
    if let Err(error) = binaries::try_prepare(&["tbtokend"], Progress::Shown) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let reports = match &arguments.scenario {
        Scenario::ServeThingsboards | Scenario::ServeMssql => Vec::new(),
        Scenario::Pass(options) => vec![scenario::pass::run(options)],
        Scenario::Rest(options) => vec![scenario::rest::run(options)],
        Scenario::Sick(options) => scenario::sick::run(options),
        Scenario::Herd(options) => vec![scenario::herd::run(options)],
        Scenario::Growth(options) => scenario::growth::run(options),
    };
    report::print(&reports, common.json);
    ExitCode::SUCCESS
}
