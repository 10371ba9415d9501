//! The demo: a `cast` of customers, a `script` of events, and a `stage` with the daemon and the dashboard.
//!
//! ```text
//!  fake ThingsBoards ◀── script: goes away, comes back, forgets a password …
//!        ▲
//!     tbtokend ◀──▶ customers.db
//!        ▲
//!      tbtui (in the foreground)      --headless: the path of the socket instead
//! ```

mod cast;
mod script;
mod stage;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::harness::binaries::{self, PACKAGES, Progress};

/// The options of the command line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Shows no dashboard; prints the path of the socket and runs until interrupted.
    pub headless: bool,
    /// Keeps the folder.
    pub keep: bool,
}

/// Runs the demo to its end.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    let terminal = std::io::stdout().is_terminal();
    if !terminal && !options.headless {
        say("standard output is no terminal, so there is no dashboard: going on as with --headless");
    }
    let options = Options { headless: options.headless || !terminal, ..options };
    let outcome = binaries::try_prepare(&PACKAGES, Progress::Shown).and_then(|_| stage::perform(options));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a text for the person. A closed terminal is not an error.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "demo: {text}");
}
