//! The command line.

mod threshold;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{ColorChoice, Parser, Subcommand, ValueHint};
use tbtoken_proto::{DEFAULT_SOCKET, MAX_EVENTS, SOCKET_VARIABLE, TokenStatus};

pub(crate) use self::threshold::Threshold;
pub(crate) use self::values::{Goal, NotifyAction, Shell, SortBy};
use crate::exit;

/// How long an answer may take by default. The length of a manual pass has no bound.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for `check`: a monitoring program does not wait for long.
pub(crate) const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `wait` waits in all by default.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The heading of the options of all commands.
const GLOBAL: &str = "Global options";

/// Queries and controls tbtokend, which keeps the ThingsBoard tokens of all customers fresh; alone it shows the status
#[derive(Debug, Parser)]
#[command(name = "tbctl", version, max_term_width = 100, after_help = after_help())]
pub(crate) struct Args {
    /// The daemon's socket
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "PATH", help = socket_help(), value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
    /// Print only the answer, as one line of JSON on standard output
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Print data and errors only, without summary, remarks and progress
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// Show times in UTC instead of your own zone (TZ, else that of this machine); --json is always in UTC
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) utc: bool,
    /// When to use colour: always, never, or auto (on a terminal, unless NO_COLOR is set) [default: auto]
    #[arg(
        long, global = true, help_heading = GLOBAL, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true,
        hide_default_value = true,
    )]
    pub(crate) color: ColorChoice,
    /// How long to wait for an answer: 30, 30s, 500ms, 2m [default: 30s; check: 10s; wait: 60s in all; refresh: until the pass ends]
    #[arg(short, long, global = true, help_heading = GLOBAL, value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the state of the loop and of the customers, problems first
    Status(StatusArgs),
    /// Show everything about one customer: its state, the cause, what happens next, and what to do
    Show(ShowArgs),
    /// Renew tokens now: of all customers that are due, of those named (even if valid; parked ones are tried once), or of all
    #[command(after_help = REFRESH_HELP)]
    Refresh(RefreshArgs),
    /// Start the loop
    Start,
    /// Stop the loop, over restarts too; a running pass finishes
    Stop,
    /// Read the configuration again, as systemctl reload tbtokend does; say what changes and what needs a restart
    Reload,
    /// Show the last events, oldest first
    Events(EventsArgs),
    /// Check the daemon and its customers, as a monitoring plugin
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Wait until all customers, or those named, have had a valid token
    #[command(after_help = WAIT_HELP)]
    Wait(WaitArgs),
    /// Print the metrics for Prometheus, or write them to a file for node_exporter's textfile collector
    Metrics(MetricsArgs),
    /// List the receivers of messages about troubles, or send them a test message
    Notify(NotifyArgs),
    /// Show the versions of tbctl and of the running daemon
    Version,
    /// Print a script that teaches a shell to complete commands, options, customers and users
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Print the manual page, as roff: tbctl man | man -l -
    Man,
    /// Answer the completion scripts.
    #[command(hide = true)]
    Complete(CompleteArgs),
}

/// The names of a customer on the command line.
const NAME_HELP: &str = "Customers: an id, its beginning (4 characters or more), or a ThingsBoard user";

/// The options of `status`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only these customers
    #[arg(value_name = "ID", help = NAME_HELP)]
    pub(crate) customers: Vec<String>,
    /// Only customers whose token is not valid or whose last renewal failed
    #[arg(long)]
    pub(crate) problems: bool,
    /// With --problems: exit with 1 if there are any
    #[arg(long, requires = "problems", conflicts_with = "watch")]
    pub(crate) exit_code: bool,
    /// Only customers whose token is expired, missing, expiring-soon, or valid; separate several with commas
    #[arg(long, value_name = "STATUS", value_parser = values::token_status(), value_delimiter = ',', hide_possible_values = true)]
    pub(crate) status: Vec<TokenStatus>,
    /// The order: problems (first), left (the least time first), customer (by id), or status
    #[arg(long, value_name = "BY", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) sort: SortBy,
    /// Keep running, and print a line for each change; with --json an object
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// The options of `show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The customer
    #[arg(value_name = "ID", help = "The customer: its id, the beginning of it, or its ThingsBoard user")]
    pub(crate) customer: String,
}

/// The options of `refresh`.
#[derive(Debug, clap::Args)]
pub(crate) struct RefreshArgs {
    /// Exactly these customers
    #[arg(value_name = "ID", help = NAME_HELP)]
    pub(crate) customers: Vec<String>,
    /// All customers that are not parked
    #[arg(long, conflicts_with = "customers")]
    pub(crate) all: bool,
    /// Send passwords again that ThingsBoard has rejected, and one more than the budget allows
    #[arg(long, requires = "customers")]
    pub(crate) force: bool,
    /// Do not wait until the pass is over
    #[arg(long)]
    pub(crate) no_wait: bool,
}

const REFRESH_HELP: &str = "\
A customer that is named is renewed even if its token is valid, and tried once if it is parked. If its password was \
rejected, or its budget is used up, it is skipped without --force, because one more wrong password could lock its \
account: correct the row or the user in ThingsBoard first. Parked customers that are not named are skipped and listed. \
If a customer fails, or a named one is not renewed, the exit code is 1 and, with --json, success is false.";

/// The options of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Only events of this customer
    #[arg(value_name = "ID")]
    pub(crate) customer: Option<String>,
    /// The newest N events; 0 for none, so that --follow shows only new ones [default: 100; with --since: all]
    #[arg(
        short = 'n', long = "lines", value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(0..=MAX_EVENTS as u64),
    )]
    pub(crate) lines: Option<usize>,
    /// Only events of this last time: 90s, 15m, 1h, 2d; as far back as the daemon remembers
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) since: Option<Duration>,
    /// Keep running, and print new events; with --json a line for each
    #[arg(short, long)]
    pub(crate) follow: bool,
}

/// The thresholds of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// WARNING when more customers than this are in trouble
    #[arg(short, long, value_name = "N", default_value = "0")]
    pub(crate) warning: Threshold,
    /// CRITICAL when more customers than this are in trouble
    #[arg(short, long, value_name = "N", default_value = "10%")]
    pub(crate) critical: Threshold,
}

const CHECK_HELP: &str = "\
A customer is in trouble when its token has ended or is missing, or when it is parked: then a person must correct its \
user or password. N is a number, a percentage of all customers, or a range of the Monitoring Plugins guidelines (2:5 \
alerts outside of it, @2:5 inside, 10: below ten).

With any thresholds these are CRITICAL: the daemon cannot be reached or does not answer, the loop is stopped, the \
database cannot be read or written, the table was not read for 5 minutes (or for 5 longer intervals), the key in \
tbtokend_key does not fit and an operator must decide. A table without customers is a WARNING.

The first line is STATE: text | performance data. The lines below it name the customers in trouble and the daemon's \
configuration file (not with -q).

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (there is no result: no permission, wrong arguments).";

/// The options of `wait`.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// For these customers
    #[arg(value_name = "ID", help = NAME_HELP)]
    pub(crate) customers: Vec<String>,
    /// The goal: valid (the token does not end soon), or usable (it has not ended)
    #[arg(long = "for", value_name = "GOAL", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) goal: Goal,
}

const WAIT_HELP: &str = "\
A customer has reached the goal once its token was seen so, even if the token later ends soon again. It also waits for a \
daemon that has not started yet, and for the first customer of an empty table. --timeout bounds the whole (60s by \
default). After that the exit code is 7 and the error names the missing customers; if the daemon cannot be reached \
then, the exit code is 3.";

/// The options of `metrics`.
#[derive(Debug, clap::Args)]
pub(crate) struct MetricsArgs {
    /// Print OpenMetrics instead of Prometheus text
    #[arg(long, conflicts_with = "output")]
    pub(crate) openmetrics: bool,
    /// Replace FILE in one step, and add tbtokend_up, which is 0 if the daemon cannot be reached: an old file never looks fresh
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

/// The options of `notify`.
#[derive(Debug, clap::Args)]
pub(crate) struct NotifyArgs {
    /// list, or test: the exit code is 1 if a receiver does not take the message
    #[arg(value_enum, hide_possible_values = true)]
    pub(crate) action: NotifyAction,
    /// Test this receiver only
    #[arg(value_name = "NAME")]
    pub(crate) receiver: Option<String>,
}

/// The options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh or fish
    #[arg(value_enum, hide_possible_values = true)]
    pub(crate) shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
bash:  source <(tbctl completions bash)         in ~/.bashrc, or once
       tbctl completions bash > /usr/share/bash-completion/completions/tbctl
zsh:   source <(tbctl completions zsh)          in ~/.zshrc, after compinit
       tbctl completions zsh > /usr/share/zsh/vendor-completions/_tbctl
fish:  tbctl completions fish > ~/.config/fish/completions/tbctl.fish";

/// The options of `complete`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompleteArgs {
    /// The shell that asks.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
    /// bash: the line up to the cursor, and the word that bash would replace. Others: the words, the last one up to the
    /// cursor.
    #[arg(last = true)]
    pub(crate) words: Vec<OsString>,
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
        "  check has those of a monitoring plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN\n\n\
         Data goes to standard output, everything else to standard error. In a pipe, the columns of a table are\n\
         at least two spaces apart: tbctl status | awk -F '  +' '{print $2}'",
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
}
