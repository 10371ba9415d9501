//! The command line, and the man pages that are made from it.

pub mod commands;
pub mod man;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

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
    /// How to serve.
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
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Checks the configuration, prints the effective one without secrets, and ends
    #[arg(long)]
    pub check_config: bool,
    /// With --check-config: prints nothing unless something is wrong
    #[arg(long, short, requires = "check_config")]
    pub quiet: bool,
    /// The control socket, over control.socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// off, error, warn, info, debug or trace, over log.level
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// The arguments of `doctor`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing to do; 1 warnings or errors were found; 2 usage; 6 the configuration cannot be used."
)]
pub struct DoctorArgs {
    /// The configuration [default: /etc/tbtokend/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `schema`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Exit codes: 0 printed; 1 standard output does not take it; 2 usage.")]
pub struct SchemaArgs {
    /// For which database
    #[arg(long, value_enum)]
    dialect: Dialect,
    /// The customers' table, beside which they are made; schema.table for SQL Server
    #[arg(long, value_name = "NAME", default_value = "customer_settings")]
    pub table: String,
    /// With --dialect mssql: and those that give this user of the database what it needs
    #[arg(long, value_name = "USER")]
    pub grants: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dialect {
    Mssql,
    Sqlite,
}

impl SchemaArgs {
    /// For which kind of database.
    pub fn dialect(&self) -> schema::Dialect {
        match self.dialect {
            Dialect::Mssql => schema::Dialect::Mssql,
            Dialect::Sqlite => schema::Dialect::Sqlite,
        }
    }
}

/// What else the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Looks at the installation from the daemon's side and says what to do about each finding
    Doctor(DoctorArgs),
    /// Prints the statements that make tbtokend's own tables, for the DBA
    Schema(SchemaArgs),
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
