//! The command line, and the man pages that are made from it.

pub mod commands;
mod customers;
pub mod man;
mod token;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::Overrides;
use crate::store::schema::Dialect;

/// Keeps the ThingsBoard tokens of many customers fresh
///
/// Without a command it runs until it gets SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(
    name = "tbtokend",
    version,
    after_help = "Exit codes: 0 ended normally, or nothing to do; 1 could not start, or the doctor found warnings or errors; 2 usage; 6 configuration. Manual: man tbtokend, man tbtokend.toml",
    disable_help_subcommand = true
)]
pub struct Args {
    /// The options of the daemon; some apply to the commands too.
    #[command(flatten)]
    pub options: Options,
    /// A command instead of the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The configuration file [default: /etc/tbtokend/config.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration, print it without secrets, and end
    #[arg(long)]
    pub check_config: bool,
    /// With --check-config: print only errors
    #[arg(long, short, requires = "check_config")]
    pub quiet: bool,
    /// The control socket; overrides control.socket
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// off, error, warn, info, debug or trace; overrides log.level
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<String>,
}

/// The arguments of `doctor`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing to do; 1 warnings or errors were found; 2 usage; 6 the configuration cannot be used."
)]
pub struct DoctorArgs {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `schema`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "The configuration supplies what is not given here; it is not read if --dialect and --table are given.\n\nExit codes: 0 printed; 1 standard output cannot be written; 2 usage; 6 the configuration cannot be used."
)]
pub struct SchemaArgs {
    /// The kind of database [default: that of the configuration]
    #[arg(long, value_parser = dialect_parser())]
    dialect: Option<Dialect>,
    /// The customer table, in whose schema the tables are made; schema.table for SQL Server [default: that of the configuration]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// With --dialect mssql: also print the grants for this database user
    #[arg(long, value_name = "USER")]
    pub grants: Option<String>,
}

/// Returns the parser of `--dialect`, which lists the possible values in the help.
fn dialect_parser() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new(["mssql", "sqlite"]).try_map(|name| name.parse())
}

impl SchemaArgs {
    /// Returns the kind of database and the table; `configured` supplies what the command line does not.
    ///
    /// # Errors
    /// Those of `configured`.
    pub fn table<E>(
        &self,
        configured: impl FnOnce() -> Result<(Dialect, String), E>,
    ) -> Result<(Dialect, String), E> {
        if let (Some(dialect), Some(table)) = (self.dialect, &self.table) {
            return Ok((dialect, table.clone()));
        }
        let (kind, table) = configured()?;
        Ok((self.dialect.unwrap_or(kind), self.table.clone().unwrap_or(table)))
    }
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Examine the installation from the daemon's side and print a remedy for each finding
    Doctor(DoctorArgs),
    /// Print the SQL statements that make tbtokend's own tables, for the DBA
    Schema(SchemaArgs),
    /// List and change the customers in a SQLite file, beside the running daemon
    #[command(subcommand)]
    Customers(customers::Customers),
    /// Write a new token for the HTTP listener to a file that only its owner can read
    HttpToken {
        /// The file, which must not exist
        #[arg(value_name = "FILE", default_value = token::DEFAULT_FILE)]
        file: PathBuf,
    },
    /// Print a man page, in roff, for packagers
    #[command(hide = true)]
    Man {
        /// The page
        page: man::Page,
    },
}

/// The daemon could not start, for example because another daemon owns the socket.
pub const COULD_NOT_START: u8 = 1;
/// The configuration cannot be used.
pub const BAD_CONFIGURATION: u8 = 6;

impl Args {
    /// Reads the command line.
    ///
    /// # Errors
    /// It is wrong, or requests the help.
    pub fn read() -> Result<Self, clap::Error> {
        let args = Self::try_parse()?;
        if args.command.is_some() && args.options.check_config {
            let why = "use --check-config without a command; `tbtokend doctor` checks the configuration too";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        Ok(args)
    }
}

impl Options {
    /// Returns the options that override the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            file: self.config.clone(),
            socket: self.socket.clone(),
            log_level: self.log_level.clone(),
        }
    }
}
