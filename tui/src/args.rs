//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Watch tbtokend live: who is in trouble, why, and what to do.
#[derive(Debug, Clone, Parser)]
#[command(name = "tbtui", version, after_help = AFTER_HELP)]
pub struct Args {
    /// The daemon's socket [default: $TBTOKEND_SOCKET, else /run/tbtokend/control.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Draw with ASCII characters only, for terminals without box drawing
    #[arg(long)]
    pub ascii: bool,

    /// When to use colours; auto leaves them out when NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// Unless `NO_COLOR` is set or the terminal is dumb.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

const AFTER_HELP: &str = "\
Press ? inside for the keys, q to quit.

Exit codes: 0 quit, by a key or by a signal; 1 the terminal or the dashboard failed; 2 usage, or no terminal.
The dashboard does not end because the daemon is away: it says so and keeps trying.";

/// Quit by a key or by a signal.
pub const EXIT_OK: u8 = 0;
/// The terminal was lost or the dashboard itself failed.
pub const EXIT_FAILED: u8 = 1;
/// Bad usage, or there is no terminal to draw on.
pub const EXIT_USAGE: u8 = 2;
