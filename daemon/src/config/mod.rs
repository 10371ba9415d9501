//! The configuration: the file, the environment and the command line become one validated [`Config`].

mod changes;
mod error;
mod file;
mod http;
mod mssql;
mod named_file;
mod notify;
#[cfg(test)]
mod tests;
mod text;
mod validate;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

pub use changes::{Changes, Keys, is_taken_over};
pub use error::ConfigError;

use crate::control::Binding;
use crate::engine::pass::Limits;
use crate::engine::policy::Policy;
use crate::store::mssql::Settings;
use crate::store::schema::Dialect;
use crate::telemetry::Target;
use crate::text::printable;
use crate::thingsboard::ClientSettings;

/// The path of the file, unless the command line names another one.
pub const DEFAULT_FILE: &str = "/etc/tbtokend/config.toml";

/// The commented file with the default of every key.
pub const DEFAULTS: &str = include_str!("../../../packaging/config.toml");

/// The validated configuration.
#[derive(Debug)]
pub struct Config {
    /// The policy of renewals.
    pub policy: Policy,
    /// Whether the loop runs at the first start.
    pub autostart: bool,
    /// The store of the customers.
    pub store: StoreConfig,
    /// The URL for rows without one.
    pub fallback_url: Option<String>,
    /// The settings of the ThingsBoard client.
    pub client: ClientSettings,
    /// The limits on concurrent logins.
    pub limits: Limits,
    /// The control socket.
    pub control: Binding,
    /// The read-only monitor socket.
    pub monitor: Option<Binding>,
    /// The HTTP listener, if it is configured.
    pub http: Option<crate::http::Settings>,
    /// The receivers of messages about troubles; none if there are no receivers.
    pub notify: Option<crate::notify::Settings>,
    /// The target of the log.
    pub log_target: Target,
    /// The level of the log.
    pub log_level: LevelFilter,
    /// The file that was read; none if there is no file.
    pub file: Option<PathBuf>,
    /// Whether the environment of this process holds the password of the database.
    pub password_in_environment: bool,
    /// The effective settings as a file, with secrets as `***`. Its first line names the file that was read.
    pub effective: String,
    /// All keys with their values, to be compared at a reload.
    pub keys: Keys,
}

/// The sources of the configuration, from which it can be read again.
#[derive(Debug, Default)]
pub struct Source {
    /// The command line.
    pub overrides: Overrides,
    /// The environment at the start of the process.
    pub environment: Environment,
}

impl Source {
    /// Reads the file, merges the environment and the command line, and validates the result.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and the remedy.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let file = ConfigFile::read(self.overrides.file.as_deref())?;
        let mut config = self.interpret(&file, validate::config)?;
        let place = file.place();
        config.file = file.text.is_some().then_some(file.path);
        config.effective.insert_str(0, &format!("# Configuration: {}\n", printable(&place)));
        Ok(config)
    }

    /// Returns the kind of the store and its table, even if other settings are wrong: the schema needs no password.
    ///
    /// # Errors
    /// The file cannot be read, or this part of it is wrong.
    pub fn table(&self) -> Result<(Dialect, String), ConfigError> {
        let file = ConfigFile::read(self.overrides.file.as_deref())?;
        self.interpret(&file, |settings, environment| validate::table(&settings, environment))
    }

    /// Merges all sources and passes the settings to `meaning`.
    fn interpret<T>(
        &self,
        file: &ConfigFile,
        meaning: impl FnOnce(file::Settings, &Environment) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let name = file.path.display().to_string();
        let Self { overrides, environment } = self;
        let settings = file::Settings::merge(file.text.as_deref(), &name, environment, overrides)?;
        let origins = settings.origins.clone();
        meaning(settings, environment).map_err(|error| error.with_origin(&origins).in_file(file.place()))
    }
}

/// The store of the customers.
#[derive(Debug)]
pub enum StoreConfig {
    /// A SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The table.
        table: String,
    },
    /// A SQL Server.
    Mssql(Settings),
}

/// The options of the command line that override all other sources.
#[derive(Debug, Default)]
pub struct Overrides {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// The environment variables that the daemon reads.
pub type Environment = BTreeMap<String, String>;

/// The file, as it was read.
struct ConfigFile {
    path: PathBuf,
    /// None if the file does not exist.
    text: Option<String>,
}

impl ConfigFile {
    fn read(named: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(named) = named else {
            let path = PathBuf::from(DEFAULT_FILE);
            return Ok(Self { text: read_if_there(&path)?, path });
        };
        // The reader of the path may be in another folder.
        let path = std::path::absolute(named).unwrap_or_else(|_| named.to_owned());
        Ok(Self { text: Some(read(&path)?), path })
    }

    /// Names the file for people.
    fn place(&self) -> String {
        let path = self.path.display();
        match self.text {
            Some(_) => path.to_string(),
            None => format!("there is no {path}"),
        }
    }
}

/// Reads the relevant environment variables of this process.
///
/// # Errors
/// A relevant variable is not UTF-8.
pub fn environment() -> Result<Environment, ConfigError> {
    environment_of(std::env::vars_os())
}

fn environment_of(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, ConfigError> {
    let ours = variables.filter_map(|(name, value)| Some((file::variable(name.to_str()?)?, value)));
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name.to_owned(), value)),
        // The value may be a password, so the error does not hold it.
        Err(_) => Err(ConfigError::Setting(format!(
            "the environment variable {name} is not UTF-8; set it in UTF-8, or use the configuration file instead"
        ))),
    })
    .collect()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { file: path.display().to_string(), source })
}

/// Reads a file if it exists. A file without read permission is an error, so that the user is not shown the defaults
/// instead.
fn read_if_there(path: &Path) -> Result<Option<String>, ConfigError> {
    match read(path) {
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn bad_value(key: &'static str, value: &str, why: impl Into<String>) -> ConfigError {
    ConfigError::BadValue { key, value: value.to_owned(), why: why.into() }
}
