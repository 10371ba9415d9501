//! `completions`: scripts that run `tbctl complete`, so that they always fit this tbctl and the running daemon.

use crate::args::Shell;

/// Returns the script for this shell.
pub(super) fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("completions/tbctl.bash"),
        Shell::Zsh => include_str!("completions/_tbctl"),
        Shell::Fish => include_str!("completions/tbctl.fish"),
    }
}
