//! The unchecked settings: the defaults, overridden by the user's file, the environment and the command line.

use toml::{Table, Value};

use super::text::Text;
use super::{ConfigError, DEFAULTS, Environment, Overrides, bad_value};

/// All keys with their values.
#[derive(Debug)]
pub(super) struct Settings {
    /// The defaults, with the user's values in place of some. Every value has the type of its default.
    pub(super) table: Table,
    /// Whether `store.kind` was set, and is not the default.
    pub(super) says_kind: bool,
    /// The keys whose values do not come from the file, with their origins.
    pub(super) origins: Origins,
    /// Each receiver of messages as settings of its own, with keys such as `notify.receiver.name`.
    pub(super) receivers: Vec<Self>,
}

/// The keys of a receiver with their defaults. The file of all defaults cannot hold them, because there may be no receiver.
const RECEIVER_DEFAULTS: &str = r#"
[notify]
"receiver.name" = ""
"receiver.kind" = ""
"receiver.min_severity" = "warning"
"receiver.send_resolved" = true
"receiver.causes" = []
"receiver.to" = []
"receiver.from" = ""
"receiver.smtp" = ""
"receiver.tls" = "auto"
"receiver.user" = ""
"receiver.password_file" = ""
"receiver.ca_file" = ""
"receiver.format" = ""
"receiver.url" = ""
"receiver.url_file" = ""
"receiver.secret_file" = ""
"receiver.allow_http" = false
"#;

/// Keys with the origins of their values: `log.level`, `the environment variable RUST_LOG`.
pub(super) type Origins = Vec<(&'static str, String)>;

/// The environment variables with their keys.
const VARIABLES: [(&str, &str); 4] = [
    ("MSSQL_USER", "store.user"),
    ("MSSQL_SERVER", "store.server"),
    ("MSSQL_DATABASE", "store.database"),
    ("THINGSBOARD_URL", "thingsboard.fallback_url"),
];

/// Returns the name of an environment variable that the daemon reads, if this is one.
pub(super) fn variable(name: &str) -> Option<&'static str> {
    let others = ["MSSQL_PASSWORD", "RUST_LOG"];
    VARIABLES.iter().map(|(variable, _)| *variable).chain(others).find(|variable| *variable == name)
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
        let mut given: Table = toml::from_str(text.unwrap_or_default()).map_err(not_toml)?;
        let defaults: Table = toml::from_str(RECEIVER_DEFAULTS).map_err(not_toml)?;
        let list = given.get_mut("notify").and_then(|notify| notify.as_table_mut()?.remove("receiver"));
        let list = list.unwrap_or_else(|| Value::Array(Vec::new()));
        let receivers = receivers(&list, &defaults, file)?;
        let says_kind = given.get("store").and_then(|store| store.get("kind")).is_some();
        overlay(&mut table, given, file)?;
        table.get_mut("notify").and_then(|notify| notify.as_table_mut()?.insert("receiver".to_owned(), list));
        let mut settings = Self { table, says_kind, origins: Origins::new(), receivers };
        let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let origin = |name: &str| format!("the environment variable {name}");
        for (name, key) in VARIABLES {
            if let Some(value) = given(name) {
                settings.set(key, value, origin(name));
            }
        }
        if let Some(level) = given("RUST_LOG").and_then(|text| level_of(text)) {
            settings.set("log.level", level, origin("RUST_LOG"));
        }
        if !says_kind && given("MSSQL_SERVER").is_some() {
            settings.set("store.kind", "mssql", origin("MSSQL_SERVER"));
            settings.says_kind = true;
        }
        if let Some(socket) = &overrides.socket {
            settings.set("control.socket", &socket.to_string_lossy(), "--socket".to_owned());
        }
        if let Some(level) = &overrides.log_level {
            settings.set("log.level", level, "--log-level".to_owned());
        }
        Ok(settings)
    }

    /// Replaces a text.
    fn set(&mut self, key: &'static str, value: &str, origin: String) {
        let known = key.split_once('.').and_then(|(section, key)| self.table.get_mut(section)?.get_mut(key));
        if let Some(known) = known {
            *known = Value::from(value);
        }
        self.origins.push((key, origin));
    }

    /// Returns the value of a key, such as `store.path`.
    fn get<'a, T>(
        &'a self,
        key: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let value = key.split_once('.').and_then(|(section, key)| self.table.get(section)?.get(key));
        value.and_then(read).ok_or_else(|| {
            ConfigError::Setting(format!("{key} has no default of its type; this is a bug, please report it"))
        })
    }

    /// Returns a text with its key.
    pub(super) fn text(&self, key: &'static str) -> Result<Text<'_>, ConfigError> {
        Ok(Text { key, value: self.get(key, Value::as_str)? })
    }

    /// Returns a value that is true or false.
    pub(super) fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        self.get(key, Value::as_bool)
    }

    /// Whether the file gives a receiver this key with another value than the default.
    pub(super) fn is_given(&self, key: &'static str) -> Result<bool, ConfigError> {
        let defaults: Table = toml::from_str(RECEIVER_DEFAULTS).unwrap_or_default();
        let default = key.split_once('.').and_then(|(section, key)| defaults.get(section)?.get(key));
        self.get(key, |value| Some(Some(value) != default))
    }

    /// Returns a whole number from 1 to `most`.
    pub(super) fn number(&self, key: &'static str, most: u32, why: &str) -> Result<u32, ConfigError> {
        let number = self.get(key, Value::as_integer)?;
        let in_range = u32::try_from(number).ok().filter(|number| (1..=most).contains(number));
        in_range
            .ok_or_else(|| bad_value(key, &number.to_string(), format!("use a number from 1 to {most}{why}")))
    }

    /// Returns a list of texts.
    pub(super) fn list(&self, key: &'static str) -> Result<Vec<&str>, ConfigError> {
        self.get(key, |value| value.as_array()?.iter().map(Value::as_str).collect())
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
            if let Some(other) = value.as_array().and_then(|list| list.iter().find(|one| !one.is_str())) {
                return Err(wrong_type(file, &format!("a value in {path}"), &Value::from(""), other));
            }
            *known = value;
        }
    }
    Ok(())
}

/// Adds the defaults to each receiver.
fn receivers(list: &Value, defaults: &Table, file: &str) -> Result<Vec<Settings>, ConfigError> {
    let wrong = |found: &Value| wrong_type(file, "notify.receiver", &Value::Table(Table::new()), found);
    let receiver = |receiver: &Value| {
        let keys = receiver.as_table().ok_or_else(|| wrong(receiver))?.clone().into_iter();
        let keys: Table = keys.map(|(key, value)| (format!("receiver.{key}"), value)).collect();
        let mut table = defaults.clone();
        overlay(&mut table, Table::from_iter([("notify".to_owned(), Value::Table(keys))]), file)?;
        Ok(Settings { table, says_kind: false, origins: Origins::new(), receivers: Vec::new() })
    };
    list.as_array().ok_or_else(|| wrong(list))?.iter().map(receiver).collect()
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
