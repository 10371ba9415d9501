//! The unchecked settings: the defaults, overridden by the user's file, the environment and the command line.

use serde::Deserialize;
use toml::{Table, Value};

use super::{ConfigError, DEFAULTS, Environment, Overrides};

/// All keys with their values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) schedule: Schedule,
    pub(super) store: Store,
    pub(super) thingsboard: Thingsboard,
    pub(super) control: Control,
    pub(super) http: Http,
    pub(super) log: Log,
    /// The merged table from which the settings were read.
    #[serde(skip)]
    pub(super) table: Table,
    /// Whether `store.kind` was set, and is not the default.
    #[serde(skip)]
    pub(super) says_kind: bool,
    /// The keys whose values do not come from the file, with their origins.
    #[serde(skip)]
    pub(super) origins: Origins,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    pub(super) interval: String,
    pub(super) refresh_window: String,
    pub(super) token_lifetime: String,
    pub(super) autostart: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    pub(super) kind: String,
    pub(super) path: String,
    pub(super) server: String,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password_file: String,
    pub(super) encrypt: String,
    pub(super) trust_server_certificate: bool,
    pub(super) ca_file: String,
    pub(super) multi_subnet_failover: bool,
    pub(super) table: String,
    pub(super) expiry_clock: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Thingsboard {
    pub(super) fallback_url: String,
    pub(super) connect_timeout: String,
    pub(super) request_timeout: String,
    pub(super) require_https: bool,
    pub(super) ca_file: String,
    pub(super) proxy: String,
    pub(super) max_in_flight: i64,
    pub(super) max_in_flight_per_host: i64,
    pub(super) wrong_password_budget: i64,
    pub(super) verify_tokens: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Control {
    pub(super) socket: String,
    pub(super) mode: String,
    pub(super) group: String,
    pub(super) monitor_socket: String,
    pub(super) monitor_mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) listen: String,
    pub(super) token_file: String,
    pub(super) read_token_file: String,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) metrics: String,
    pub(super) page: bool,
    pub(super) behind_proxy: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) level: String,
    pub(super) target: String,
}

/// Keys with the origins of their values: `log.level`, `the environment variable RUST_LOG`.
pub(super) type Origins = Vec<(String, String)>;

/// The environment variables with their keys.
const VARIABLES: [(&str, &str, &str); 4] = [
    ("MSSQL_USER", "store", "user"),
    ("MSSQL_SERVER", "store", "server"),
    ("MSSQL_DATABASE", "store", "database"),
    ("THINGSBOARD_URL", "thingsboard", "fallback_url"),
];

/// Returns the name of an environment variable that the daemon reads, if this is one.
pub(super) fn variable(name: &str) -> Option<&'static str> {
    let others = ["MSSQL_PASSWORD", "RUST_LOG"];
    VARIABLES.iter().map(|(variable, _, _)| *variable).chain(others).find(|variable| *variable == name)
}

impl Settings {
    /// Merges the defaults, `text`, the environment and the command line.
    pub(super) fn merge(
        text: Option<&str>,
        file: &str,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let not_toml = |error: toml::de::Error| {
            // Only the first line is kept: the next ones quote the file, which may hold a secret.
            let why = error.message().lines().next().unwrap_or_default().to_owned();
            let at = error.span().map(|span| line_of(text.unwrap_or_default(), span.start));
            let why = at.map_or(why.clone(), |line| format!("line {line}: {why}"));
            ConfigError::NotToml { file: file.to_owned(), why }
        };
        let mut table: Table = toml::from_str(DEFAULTS).map_err(not_toml)?;
        let given: Table = toml::from_str(text.unwrap_or_default()).map_err(not_toml)?;
        let mut says_kind = given.get("store").and_then(|store| store.get("kind")).is_some();
        let mut origins = Origins::new();
        let mut set = |table: &mut Table, section: &str, key: &str, value: &str, place: String| {
            set(table, section, key, value);
            origins.push((format!("{section}.{key}"), place));
        };
        let variable = |name: &str| format!("the environment variable {name}");
        overlay(&mut table, given, file)?;

        for (name, section, key) in VARIABLES {
            if let Some(value) = environment.get(name).filter(|value| !value.is_empty()) {
                set(&mut table, section, key, value, variable(name));
            }
        }
        if let Some(level) = environment.get("RUST_LOG").and_then(|text| level_of(text)) {
            set(&mut table, "log", "level", level, variable("RUST_LOG"));
        }
        if !says_kind && environment.get("MSSQL_SERVER").is_some_and(|server| !server.is_empty()) {
            set(&mut table, "store", "kind", "mssql", variable("MSSQL_SERVER"));
            says_kind = true;
        }
        if let Some(socket) = &overrides.socket {
            set(&mut table, "control", "socket", &socket.to_string_lossy(), "--socket".to_owned());
        }
        if let Some(level) = &overrides.log_level {
            set(&mut table, "log", "level", level, "--log-level".to_owned());
        }
        let settings: Self = table.clone().try_into().map_err(not_toml)?;
        Ok(Self { table, says_kind, origins, ..settings })
    }
}

/// Returns the level that `RUST_LOG` sets for the daemon: a plain one, or that of `tbtokend` in a list such as
/// `tbtokend=debug,info`. Other entries do not matter, because libraries do not log.
fn level_of(text: &str) -> Option<&str> {
    let directives = || text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    directives()
        .find_map(|directive| directive.strip_prefix("tbtokend="))
        .or_else(|| directives().find(|directive| !directive.contains('=')))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn set(table: &mut Table, section: &str, key: &str, value: &str) {
    if let Some(Value::Table(section)) = table.get_mut(section) {
        section.insert(key.to_owned(), Value::String(value.to_owned()));
    }
}

/// Replaces defaults by the user's values. A key without a default is an error.
fn overlay(defaults: &mut Table, given: Table, file: &str) -> Result<(), ConfigError> {
    for (section, values) in given {
        let Value::Table(values) = values else {
            return Err(match defaults.get(&section) {
                Some(_) => wrong_type(file, &section, &Value::Table(Table::new()), &values),
                None => unknown(file, &section, defaults),
            });
        };
        if !defaults.contains_key(&section) {
            let key = values.keys().next().map_or(section.clone(), |key| format!("{section}.{key}"));
            return Err(unknown(file, &key, defaults));
        }
        for (key, value) in values {
            let path = format!("{section}.{key}");
            let known = defaults.get_mut(&section).and_then(|section| section.get_mut(&key));
            let Some(known) = known else { return Err(unknown(file, &path, defaults)) };
            if known.type_str() != value.type_str() {
                return Err(wrong_type(file, &path, known, &value));
            }
            *known = value;
        }
    }
    Ok(())
}

fn wrong_type(file: &str, key: &str, known: &Value, found: &Value) -> ConfigError {
    let wanted = match known {
        Value::Table(_) => "a section",
        Value::Boolean(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Array(_) => "a list of texts in brackets",
        _ => "a text in quotes",
    };
    let found = match found {
        Value::Table(_) => "a section",
        Value::Boolean(_) => "true or false, without quotes",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::String(_) => "a text in quotes",
    };
    ConfigError::In { place: file.to_owned(), what: format!("{key} must be {wanted}, but is {found}") }
}

/// Makes the error for an unknown key, with the most similar known key.
fn unknown(file: &str, key: &str, known: &Table) -> ConfigError {
    let keys = known.iter().flat_map(|(section, keys)| {
        let keys = keys.as_table().into_iter().flat_map(Table::keys);
        keys.map(move |key| format!("{section}.{key}"))
    });
    let likeness = |candidate: &String| {
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        // A key in the wrong section, or without a section, is similar to the same key in another one.
        strsim::jaro_winkler(candidate, key).max(strsim::jaro_winkler(&last(candidate), &last(key)))
    };
    let nearest = keys
        .map(|candidate| (likeness(&candidate), candidate))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness > 0.75)
        .map_or(String::new(), |(_, candidate)| format!("; did you mean {candidate}?"));
    ConfigError::In { place: file.to_owned(), what: format!("unknown key {key}{nearest}") }
}
