//! The command line.

use std::path::PathBuf;

use clap::{ColorChoice, Parser, Subcommand};
use tbtoken_proto::{DEFAULT_SOCKET, SOCKET_VARIABLE};

use crate::render::help::{self, Entry};

/// Watch tbtokend live: which customers are in trouble, why, and what to do.
#[derive(Debug, Clone, Parser)]
#[command(
    name = NAME,
    version,
    max_term_width = 100,
    after_help = after_help(),
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    /// The options of the dashboard.
    #[command(flatten)]
    pub options: Options,

    /// A command instead of the dashboard.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The name of the program.
pub(crate) const NAME: &str = "tbtui";

/// The options.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", help = socket_help())]
    pub socket: Option<PathBuf>,

    /// Draw with ASCII characters only, for terminals without box drawing; the default on the Linux console and in a
    /// locale that is not UTF-8
    #[arg(long)]
    pub ascii: bool,

    /// When to use colours; auto uses them unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,

    /// Show times in UTC instead of the zone of this terminal (TZ, else that of this machine)
    #[arg(long)]
    pub utc: bool,
}

/// The commands, for packagers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print the man page, in roff
    #[command(hide = true)]
    Man,
}

/// The dashboard was quit by a key or a signal.
pub const EXIT_OK: u8 = 0;
/// The terminal was lost, or the dashboard failed.
pub const EXIT_FAILED: u8 = 1;
/// Bad usage, or there is no terminal to draw on.
pub const EXIT_USAGE: u8 = 2;

/// The exit codes and their meanings.
pub(crate) const EXIT_CODES: [(u8, &str); 3] = [
    (EXIT_OK, "quit by a key or a signal"),
    (EXIT_FAILED, "the terminal was lost, or the dashboard failed"),
    (EXIT_USAGE, "wrong usage, or no terminal to draw on"),
];

/// What the dashboard does without a daemon.
const WITHOUT_DAEMON: &str = "While the daemon or its database is unreachable, the dashboard says so, shows the \
                              last data, and keeps trying.";

fn socket_help() -> String {
    format!("The daemon's socket [default: ${SOCKET_VARIABLE}, else {DEFAULT_SOCKET}]")
}

fn after_help() -> String {
    let mut text = "Keys:\n".to_owned();
    for entry in help::KEYS {
        if let Entry::Key(key, does) = entry {
            text.push_str(&format!("  {key:<12} {does}\n"));
        }
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("  {code:<12} {meaning}\n"));
    }
    text.push_str(&format!("\n{WITHOUT_DAEMON}"));
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_option_key_and_exit_code() {
        let help = Args::command().render_long_help().to_string();
        for word in [
            "--socket",
            "--ascii",
            "--color",
            "--utc",
            "Ctrl-C",
            "start or stop",
            "Exit codes",
            "TBTOKEND_SOCKET",
        ] {
            assert!(help.contains(word), "{word} in\n{help}");
        }
        assert!(!help.contains("man"), "packages only:\n{help}");
    }
}
