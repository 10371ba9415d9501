//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use tbtoken_proto::{DEFAULT_EVENTS, DEFAULT_SOCKET, MAX_EVENTS, SOCKET_VARIABLE, TokenStatus};

use crate::exit;

/// How long an answer may take unless told otherwise. A manual pass may take as long as it takes.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time-out that is accepted. Longer ones are a typing mistake, or mean "for ever".
const MAX_TIMEOUT_SECONDS: f64 = 365.0 * 86_400.0;

/// Asks and steers tbtokend, which keeps the ThingsBoard tokens of all customers fresh.
///
/// Without a command it shows the status.
#[derive(Debug, Parser)]
#[command(name = "tbctl", version, max_term_width = 100, after_help = after_help())]
pub(crate) struct Args {
    /// The daemon's socket
    #[arg(long, global = true, value_name = "PATH", help = socket_help())]
    pub(crate) socket: Option<PathBuf>,
    /// Print the daemon's answer as JSON, one document, and nothing else on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print data and errors only: no summary, no remarks, no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: When,
    /// How long to wait for the answer: 30, 30s, 500ms, 2m [default: 30s; refresh waits until the pass is over]
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how the loop and the customers stand, problems first
    Status(StatusArgs),
    /// Renew tokens now: of whoever is due, of the customers named (even if valid or parked), or of all
    Refresh(RefreshArgs),
    /// Let the loop run
    Start,
    /// Let a running pass finish and begin no other; the daemon goes on answering
    Stop,
    /// Show what happened lately, oldest first
    Events(EventsArgs),
    /// Show the versions of tbctl and of the running daemon
    Version,
}

/// What `status` shows.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only these customers
    #[arg(value_name = "ID")]
    pub(crate) customers: Vec<String>,
    /// Only customers whose token is not valid or whose last renewal failed
    #[arg(long)]
    pub(crate) problems: bool,
    /// Only customers whose token stands so; several with commas between
    #[arg(long, value_name = "STATUS", value_enum, value_delimiter = ',')]
    pub(crate) status: Vec<StatusWord>,
    /// The order: problems first, the least time left first, by id, or by status
    #[arg(long, value_name = "BY", value_enum, default_value_t)]
    pub(crate) sort: SortBy,
}

/// Whom `refresh` renews.
#[derive(Debug, clap::Args)]
pub(crate) struct RefreshArgs {
    /// Exactly these customers, even if their tokens are valid or they are parked
    #[arg(value_name = "ID")]
    pub(crate) customers: Vec<String>,
    /// Everyone who is not parked
    #[arg(long, conflicts_with = "customers")]
    pub(crate) all: bool,
    /// Do not wait until the pass is over
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// What `events` shows.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Only events of this customer, among the newest that the daemon remembers
    #[arg(value_name = "ID")]
    pub(crate) customer: Option<String>,
    /// The newest so many
    #[arg(
        short = 'n', long = "lines", value_name = "N", default_value_t = DEFAULT_EVENTS,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_EVENTS as u64),
    )]
    pub(crate) lines: usize,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The order of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// Trouble first.
    #[default]
    Problems,
    /// The least time left first.
    Left,
    /// By customer id.
    Customer,
    /// By the status of the token.
    Status,
}

/// A token status on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusWord {
    /// It has ended.
    Expired,
    /// There is none.
    Missing,
    /// It ends soon.
    #[value(alias = "expiring_soon", alias = "expiring soon")]
    ExpiringSoon,
    /// It needs nothing.
    Valid,
}

impl From<StatusWord> for TokenStatus {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Expired => Self::Expired,
            StatusWord::Missing => Self::Missing,
            StatusWord::ExpiringSoon => Self::ExpiringSoon,
            StatusWord::Valid => Self::Valid,
        }
    }
}

/// A time-out that is not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time longer than zero is needed, as 30, 30s, 500ms, 2m or 1h")]
struct BadTimeout;

/// Reads `30`, `30s`, `500ms`, `1.5m`, `1h`.
fn timeout(text: &str) -> Result<Duration, BadTimeout> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(BadTimeout),
    };
    let seconds = number.trim().parse::<f64>().map_err(|_| BadTimeout)? * factor;
    // No answer comes within less than a millisecond, and the time-out of a socket is no finer than a microsecond.
    if !(0.001..=MAX_TIMEOUT_SECONDS).contains(&seconds) {
        return Err(BadTimeout);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| BadTimeout)
}

fn socket_help() -> String {
    format!("The daemon's socket [default: ${SOCKET_VARIABLE}, else {DEFAULT_SOCKET}]")
}

fn after_help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, meaning) in exit::MEANINGS {
        text.push_str(&format!("  {code:<4} {meaning}\n"));
    }
    text.push_str(
        "\nData goes to standard output, everything else to standard error. The columns of a table that is not\n\
         on a terminal are at least two spaces apart: tbctl status | awk -F '  +' '{print $2}'",
    );
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
    fn timeouts_have_a_unit_or_are_seconds() {
        for (text, milliseconds) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("500ms", 500),
            ("0.5", 500),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(timeout(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "0ms", "-1", "s", "1d", "1 week", "nan", "inf", "1e300", "30 s s", "0.0001"] {
            assert_eq!(timeout(text), Err(BadTimeout), "{text}");
        }
    }
}
