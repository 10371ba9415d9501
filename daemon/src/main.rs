//! The daemon's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tbtokend::clock::Clock;
use tbtokend::config::{Config, Overrides};
use tbtokend::store::schema;
use tbtokend::telemetry;
use tokio_util::sync::CancellationToken;

/// Keeps the ThingsBoard tokens of many customers fresh.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit codes: 0 ended as asked; 1 could not start; 2 usage; 6 configuration.")]
struct Args {
    /// The configuration; missing is fine if the environment or the defaults suffice
    /// [default: /etc/tbtokend/config.toml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Checks the configuration, prints the effective one without secrets, and ends
    #[arg(long)]
    check_config: bool,
    /// The control socket, over control.socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// error, warn, info, debug or trace, over log.level
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Without a command, the daemon runs
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the statements that make tbtokend's own tables, for the DBA
    Schema {
        /// For which database
        #[arg(long, value_enum)]
        dialect: Dialect,
        /// The customers' table, beside which they are made; schema.table for SQL Server
        #[arg(long, value_name = "NAME", default_value = "customer_settings")]
        table: String,
        /// SQL Server: what this user of the database must be allowed, too
        #[arg(long, value_name = "USER")]
        grants: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dialect {
    Mssql,
    Sqlite,
}

/// It could not start: the socket is taken, for example.
const COULD_NOT_START: u8 = 1;
/// The command line cannot be understood.
const USAGE: u8 = 2;
/// The configuration cannot be used.
const BAD_CONFIGURATION: u8 = 6;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Schema { dialect, table, grants }) = args.command {
        return print_schema(dialect, &table, grants.as_deref());
    }
    let overrides = Overrides { file: args.config, socket: args.socket, log_level: args.log_level };
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = match Config::load(&overrides, &environment) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    if args.check_config {
        print!("{}", config.effective);
        return ExitCode::SUCCESS;
    }
    let clock = Clock::system();
    telemetry::init(config.log_level, clock.clone());
    match serve(config, clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref(), COULD_NOT_START),
    }
}

fn serve(config: Config, clock: Clock) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let asked = shutdown.clone();
        tokio::spawn(async move {
            if signals.next().await.is_some() {
                asked.cancel();
            }
        });
        Ok(tbtokend::run(config, clock, shutdown).await?)
    });
    // What still blocks a thread (a name that does not resolve) must not hold up the end.
    runtime.shutdown_background();
    result
}

fn print_schema(dialect: Dialect, table: &str, grants: Option<&str>) -> ExitCode {
    let dialect = match dialect {
        Dialect::Mssql => schema::Dialect::Mssql,
        Dialect::Sqlite if grants.is_some() => {
            eprintln!("error: SQLite has no users to grant anything to; leave --grants out");
            return ExitCode::from(USAGE);
        }
        Dialect::Sqlite => schema::Dialect::Sqlite,
    };
    print!("{}", schema::statements(dialect, table, grants));
    ExitCode::SUCCESS
}

/// Prints the error with its causes.
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("error: {text}");
    ExitCode::from(code)
}
