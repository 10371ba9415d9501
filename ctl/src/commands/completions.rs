//! `completions`: scripts that ask `tbctl complete`, so that they know what this tbctl knows, and the customers of
//! the running daemon.

use crate::args::Shell;
use crate::output::Report;

/// The script for this shell.
pub(super) fn script(shell: Shell) -> Report {
    let script = match shell {
        Shell::Bash => include_str!("completions/tbctl.bash"),
        Shell::Zsh => include_str!("completions/_tbctl"),
        Shell::Fish => include_str!("completions/tbctl.fish"),
    };
    Report { data: script.to_owned(), ..Report::default() }
}
