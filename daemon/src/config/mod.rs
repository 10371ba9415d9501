//! The configuration: one file, the environment and the command line become one validated [`Config`], in one step.

mod changes;
mod error;
mod file;
mod http;
mod mssql;
mod named_file;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
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

/// Where the file is unless the command line says otherwise.
pub const DEFAULT_FILE: &str = "/etc/tbtokend/config.toml";

/// The commented file in which every key stands with its default.
pub const DEFAULTS: &str = include_str!("../../../packaging/config.toml");

/// Everything that can be set, checked.
#[derive(Debug)]
pub struct Config {
    /// When to renew.
    pub policy: Policy,
    /// Whether the loop runs from the start.
    pub autostart: bool,
    /// Where the customers are.
    pub store: StoreConfig,
    /// For rows without a URL.
    pub fallback_url: Option<String>,
    /// How ThingsBoard is talked to.
    pub client: ClientSettings,
    /// How many logins at a time.
    pub limits: Limits,
    /// The socket for operators.
    pub control: Binding,
    /// The socket for whoever may look.
    pub monitor: Option<Binding>,
    /// The HTTP listener, if there is to be one.
    pub http: Option<crate::http::Settings>,
    /// Where the log goes.
    pub log_target: Target,
    /// What is logged.
    pub log_level: LevelFilter,
    /// The file that was read; none if only the environment and the command line say something.
    pub file: Option<PathBuf>,
    /// Whether the password of the database stands in the environment of this process.
    pub password_in_environment: bool,
    /// The effective settings as a file, secrets as `***`. Its first line says which file was read.
    pub effective: String,
    /// Every key with its value, to be compared when the configuration is read again.
    pub keys: Keys,
}

/// Where the configuration comes from: enough to read it again.
#[derive(Debug, Default)]
pub struct Source {
    /// The command line.
    pub overrides: Overrides,
    /// The environment, as it was when the process began.
    pub environment: Environment,
}

impl Source {
    /// Reads the configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.overrides, &self.environment)
    }

    /// The kind of the store and its table, whether or not the rest can be used: the schema needs no password.
    ///
    /// # Errors
    /// The file cannot be read, or this part of it cannot be used.
    pub fn table(&self) -> Result<(Dialect, String), ConfigError> {
        let file = ConfigFile::read(&self.overrides)?;
        file.interpret(&self.overrides, &self.environment, |settings, environment| {
            validate::table(&settings, environment)
        })
    }
}

/// Where the customers are.
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

/// What the command line may say, over everything else.
#[derive(Debug, Default)]
pub struct Overrides {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// The environment, as far as it is looked at.
pub type Environment = BTreeMap<String, String>;

impl Config {
    /// Reads the file, lays the environment and the command line over it, and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what to do.
    pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Self, ConfigError> {
        let file = ConfigFile::read(overrides)?;
        let mut config = file.interpret(overrides, environment, validate::config)?;
        let place = file.place();
        config.file = file.text.is_some().then_some(file.path);
        config.effective.insert_str(0, &format!("# Configuration: {}\n", printable(&place)));
        Ok(config)
    }
}

/// The file, as it was read.
struct ConfigFile {
    path: PathBuf,
    /// None if there is none.
    text: Option<String>,
}

impl ConfigFile {
    fn read(overrides: &Overrides) -> Result<Self, ConfigError> {
        let Some(named) = &overrides.file else {
            let path = PathBuf::from(DEFAULT_FILE);
            return Ok(Self { text: read_if_there(&path)?, path });
        };
        // The path is shown to people in other folders.
        let path = std::path::absolute(named).unwrap_or_else(|_| named.clone());
        Ok(Self { text: Some(read(&path)?), path })
    }

    /// For people.
    fn place(&self) -> String {
        let path = self.path.display();
        match self.text {
            Some(_) => path.to_string(),
            None => format!("there is no {path}"),
        }
    }

    /// What `meaning` makes of the file and what is laid over it.
    fn interpret<T>(
        &self,
        overrides: &Overrides,
        environment: &Environment,
        meaning: impl FnOnce(file::Settings, &Environment) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let name = self.path.display().to_string();
        let settings = file::Settings::merge(self.text.as_deref(), &name, environment, overrides)?;
        let elsewhere = settings.elsewhere.clone();
        meaning(settings, environment).map_err(|error| error.coming_from(&elsewhere).in_file(self.place()))
    }
}

/// The environment of this process, as far as it is looked at.
///
/// # Errors
/// A variable that counts is not UTF-8.
pub fn environment() -> Result<Environment, ConfigError> {
    environment_of(std::env::vars_os())
}

fn environment_of(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, ConfigError> {
    let ours = variables.filter_map(|(name, value)| Some((file::variable(name.to_str()?)?, value)));
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name.to_owned(), value)),
        // What it holds may be a password.
        Err(_) => Err(ConfigError::NotUtf8 { variable: name }),
    })
    .collect()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { file: path.display().to_string(), source })
}

/// A file that is not there says nothing. One that may not be read could say anything: whoever is not allowed to is told
/// so, instead of being shown the defaults.
fn read_if_there(path: &Path) -> Result<Option<String>, ConfigError> {
    match read(path) {
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn bad(key: &'static str, value: &str, why: impl Into<String>) -> ConfigError {
    ConfigError::BadValue { key, value: value.to_owned(), why: why.into() }
}

/// A time of the configuration as the engine uses it.
fn delta(duration: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
