//! The command line, and the man pages that are made from it.

pub mod commands;
mod customers;
pub mod man;
mod token;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::config::Overrides;
use crate::store::schema;

/// Keeps the ThingsBoard tokens of many customers fresh
///
/// Without a command it serves until it is told to end.
#[derive(Debug, Parser)]
#[command(
    name = "tbtokend",
    version,
    after_help = "Exit codes: 0 ended as asked, or nothing to do; 1 could not start, or the doctor has found something; 2 usage; 6 configuration. Manual: man tbtokend, man tbtokend.toml",
    disable_help_subcommand = true
)]
pub struct Args {
    /// How to serve; some of them are for the commands as well.
    #[command(flatten)]
    pub options: Options,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The options.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The configuration [default: /etc/tbtokend/config.toml, which need not be there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Checks the configuration, prints the effective one without secrets, and ends
    #[arg(long)]
    pub check_config: bool,
    /// With --check-config: prints nothing unless something is wrong
    #[arg(long, short, requires = "check_config")]
    pub quiet: bool,
    /// The control socket, over control.socket
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// off, error, warn, info, debug or trace, over log.level
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<String>,
}

/// The arguments of `doctor`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing to do; 1 warnings or errors were found; 2 usage; 6 the configuration cannot be used."
)]
pub struct DoctorArgs {
    /// The findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `schema`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "What is not said here is taken from the configuration, which is not read if --dialect and --table say all.\n\nExit codes: 0 printed; 1 standard output does not take it; 2 usage; 6 the configuration cannot be used."
)]
pub struct SchemaArgs {
    /// For which database [default: the one of the configuration]
    #[arg(long, value_enum)]
    dialect: Option<Dialect>,
    /// The customers' table, beside which they are made; schema.table for SQL Server [default: the one of the configuration]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// With --dialect mssql: and those that give this user of the database what it needs
    #[arg(long, value_name = "USER")]
    pub grants: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dialect {
    Mssql,
    Sqlite,
}

impl From<Dialect> for schema::Dialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Mssql => Self::Mssql,
            Dialect::Sqlite => Self::Sqlite,
        }
    }
}

impl SchemaArgs {
    /// For which kind of database, and the table; `configured` says what the command line does not.
    ///
    /// # Errors
    /// Those of `configured`.
    pub fn table<E>(
        &self,
        configured: impl FnOnce() -> Result<(schema::Dialect, String), E>,
    ) -> Result<(schema::Dialect, String), E> {
        let dialect = self.dialect.map(Into::into);
        if let (Some(dialect), Some(table)) = (dialect, &self.table) {
            return Ok((dialect, table.clone()));
        }
        let (kind, table) = configured()?;
        Ok((dialect.unwrap_or(kind), self.table.clone().unwrap_or(table)))
    }
}

/// What else the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Looks at the installation from the daemon's side and says what to do about each finding
    Doctor(DoctorArgs),
    /// Prints the statements that make tbtokend's own tables, for the DBA
    Schema(SchemaArgs),
    /// Lists and changes the customers in a SQLite file, beside the running daemon
    #[command(subcommand)]
    Customers(customers::Customers),
    /// Writes a new token for the HTTP listener into a file that only its owner can read
    HttpToken {
        /// The file, which must not be there yet
        #[arg(value_name = "FILE", default_value = token::DEFAULT_FILE)]
        file: PathBuf,
    },
    /// Prints a man page, in roff; for those who build packages
    #[command(hide = true)]
    Man {
        /// Which one
        page: man::Page,
    },
}

/// It could not start: the socket is taken, for example.
pub const COULD_NOT_START: u8 = 1;
/// The configuration cannot be used.
pub const BAD_CONFIGURATION: u8 = 6;

impl Args {
    /// Reads the command line.
    ///
    /// # Errors
    /// It is wrong, or asks for help.
    pub fn read() -> Result<Self, clap::Error> {
        let args = Self::try_parse()?;
        if args.command.is_some() && args.options.check_config {
            let why = "--check-config is not for a command; `tbtokend doctor` checks the configuration, too";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        Ok(args)
    }
}

impl Options {
    /// What it says about the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            file: self.config.clone(),
            socket: self.socket.clone(),
            log_level: self.log_level.clone(),
        }
    }
}
