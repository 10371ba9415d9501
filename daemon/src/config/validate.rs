//! Validates the settings: texts become values.

use std::time::Duration;

use chrono::TimeDelta;

use super::file::Settings;
use super::text::{Text, delta};
use super::{
    Config, ConfigError, Environment, Keys, StoreConfig, bad_value, http, mssql, named_file, notify,
};
use crate::control::Binding;
use crate::engine::pass::{LONGEST_REQUEST, Limits, budget};
use crate::engine::policy::Policy;
use crate::model::{BaseUrl, Lifetime, VerifyTokens};
use crate::store::schema::Dialect;
use crate::telemetry;
use crate::text::with_causes;
use crate::thingsboard::ClientSettings;

pub(super) fn config(settings: Settings, environment: &Environment) -> Result<Config, ConfigError> {
    let policy = policy(&settings)?;
    let target = settings.text("log.target")?;
    let level = settings.text("log.level")?;
    let control = binding(&settings, "control.socket", "control.mode")?
        .ok_or_else(|| bad_value("control.socket", "", "give the path of the socket"))?;
    let monitor = binding(&settings, "control.monitor_socket", "control.monitor_mode")?;
    if monitor.as_ref().is_some_and(|monitor| monitor.path == control.path) {
        return Err(settings.text("control.monitor_socket")?.bad("it must differ from control.socket"));
    }
    let client = client(&settings)?;
    let fallback_url = fallback_url(&settings)?;
    Ok(Config {
        policy,
        autostart: settings.flag("schedule.autostart")?,
        store: store(&settings, environment, fallback_url.clone())?,
        fallback_url,
        limits: limits(&settings, client.request_timeout)?,
        client,
        http: http::settings(&settings, &control)?,
        notify: notify::settings(&settings)?,
        control,
        monitor,
        log_target: target.value.parse().map_err(|_| target.bad("use auto, stderr or journald"))?,
        log_level: telemetry::level(level.value)
            .ok_or_else(|| level.bad("use off, error, warn, info, debug or trace"))?,
        file: None,
        password_in_environment: mssql::given_password(environment).is_some(),
        effective: effective(&settings, environment)?,
        keys: Keys::of(&settings.table),
    })
}

fn policy(settings: &Settings) -> Result<Policy, ConfigError> {
    let budget_limit = ", below the limit at which ThingsBoard locks an account";
    let budget = settings.number("thingsboard.wrong_password_budget", 5, budget_limit)?;
    Ok(Policy {
        interval: interval(settings.text("schedule.interval")?)?,
        window: delta(settings.text("schedule.refresh_window")?.positive()?),
        lifetime: lifetime(settings.text("schedule.token_lifetime")?)?,
        require_https: settings.flag("thingsboard.require_https")?,
        wrong_password_budget: u8::try_from(budget).unwrap_or(u8::MAX),
        verify_tokens: verify_tokens(settings.text("thingsboard.verify_tokens")?)?,
    })
}

fn interval(text: Text<'_>) -> Result<TimeDelta, ConfigError> {
    let interval = text.duration()?;
    if interval < Duration::from_secs(1) {
        return Err(text.bad("it must be at least 1s"));
    }
    if interval > Duration::from_secs(86_400) {
        return Err(text.bad("it must be at most one day"));
    }
    Ok(delta(interval))
}

fn lifetime(text: Text<'_>) -> Result<Lifetime, ConfigError> {
    match text.value {
        "jwt" => Ok(Lifetime::Jwt),
        _ => Ok(Lifetime::AtMost(delta(text.positive()?))),
    }
}

fn verify_tokens(text: Text<'_>) -> Result<VerifyTokens, ConfigError> {
    match text.value {
        "sample" => Ok(VerifyTokens::Sample),
        "off" => Ok(VerifyTokens::Off),
        _ => match text.duration() {
            Ok(every) if every >= Duration::from_secs(60) => Ok(VerifyTokens::Every(delta(every))),
            _ => Err(text.bad("use sample, off, or a time of at least 1m")),
        },
    }
}

/// The most bytes that the address of a Unix socket holds (`sun_path` in unix(7), without its last zero).
pub(super) const LONGEST_SOCKET_PATH: usize = 107;

/// Returns the socket of these keys; none if its path is empty.
fn binding(
    settings: &Settings,
    path: &'static str,
    mode: &'static str,
) -> Result<Option<Binding>, ConfigError> {
    let (socket, mode, group) = (settings.text(path)?, settings.text(mode)?, settings.text("control.group")?);
    let Some(path) = socket.path() else { return Ok(None) };
    if socket.value.len() > LONGEST_SOCKET_PATH {
        let most = format!("a socket's path has at most {LONGEST_SOCKET_PATH} bytes; choose a shorter one");
        return Err(socket.bad(most));
    }
    let bits = u32::from_str_radix(mode.value, 8).ok().filter(|bits| *bits <= 0o777);
    let bits = bits.ok_or_else(|| mode.bad("write it as for chmod, for example \"0660\""))?;
    let binding = Binding { path, mode: bits, group: group.given().map(str::to_owned) };
    binding.group().map_err(|why| group.bad(with_causes(&why)))?;
    Ok(Some(binding))
}

fn store(
    settings: &Settings,
    environment: &Environment,
    fallback_url: Option<String>,
) -> Result<StoreConfig, ConfigError> {
    let (dialect, table) = table(settings, environment)?;
    // Checked even if the kind of store does not use them, because a wrong value is a mistake.
    named_file::is_secret_file(settings.text("store.password_file")?)?;
    named_file::is_absolute(settings.text("store.ca_file")?)?;
    mssql::encryption(settings)?;
    mssql::expiry_clock(settings)?;
    let server = settings.text("store.server")?;
    if !server.value.trim().is_empty() {
        mssql::address(server.value)?;
        // Otherwise the daemon would make an empty SQLite file and report no trouble.
        if !settings.says_kind {
            let why =
                "without store.kind = \"mssql\" no SQL Server is used; set the kind, or remove this key";
            return Err(server.bad(why));
        }
    }
    let path = settings.text("store.path")?;
    match dialect {
        Dialect::Sqlite => {
            let path = path.path().ok_or_else(|| path.bad("give the path of the SQLite file"))?;
            Ok(StoreConfig::Sqlite { path, table })
        }
        Dialect::Mssql => mssql::settings(settings, environment, fallback_url).map(StoreConfig::Mssql),
    }
}

/// Returns the kind of the store and its table.
pub(super) fn table(
    settings: &Settings,
    environment: &Environment,
) -> Result<(Dialect, String), ConfigError> {
    let (table, kind) = (settings.text("store.table")?, settings.text("store.kind")?);
    table_name(table)?;
    let dialect = kind.value.parse().map_err(|_| kind.bad("use sqlite or mssql"))?;
    // Otherwise the daemon would make an empty SQLite file and report no trouble.
    let is_sql_server = |(name, value): &(&String, &String)| name.starts_with("MSSQL_") && !value.is_empty();
    if let (Dialect::Sqlite, Some((name, _))) = (dialect, environment.iter().find(is_sql_server)) {
        let why = format!(
            "{name} in the environment means a SQL Server; set store.kind = \"mssql\", or unset all variables MSSQL_*"
        );
        return Err(kind.bad(why));
    }
    Ok((dialect, table.value.to_owned()))
}

/// Checks that a name can be quoted: `table`, or for SQL Server `schema.table`.
fn table_name(table: Text<'_>) -> Result<(), ConfigError> {
    let part_is_fine = |part: &str| {
        !part.is_empty()
            && part.len() <= 128
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@' | ' ' | '-'))
    };
    if table.value.split('.').count() <= 2 && table.value.split('.').all(part_is_fine) {
        return Ok(());
    }
    Err(table.bad("write table or schema.table, without quotes or brackets"))
}

fn fallback_url(settings: &Settings) -> Result<Option<String>, ConfigError> {
    let Text { key, value } = settings.text("thingsboard.fallback_url")?;
    let url = value.trim();
    if url.is_empty() {
        return Ok(None);
    }
    BaseUrl::parse(url).map_err(|why| {
        // The value may hold a password, so the error does not show it.
        let why = why.to_string().replace("tb_url", "it");
        bad_value(key, "***", format!("{why}; write for example https://tb.example.com"))
    })?;
    Ok(Some(url.to_owned()))
}

fn client(settings: &Settings) -> Result<ClientSettings, ConfigError> {
    let ca_file = settings.text("thingsboard.ca_file")?;
    named_file::is_absolute(ca_file)?;
    let client = ClientSettings {
        connect_timeout: settings.text("thingsboard.connect_timeout")?.positive()?,
        request_timeout: request_timeout(settings.text("thingsboard.request_timeout")?)?,
        ca_file: ca_file.path(),
        proxy: settings.text("thingsboard.proxy")?.given().map(str::to_owned),
    };
    // A configuration that passes the check must not fail at a later restart.
    client.check()?;
    Ok(client)
}

fn request_timeout(text: Text<'_>) -> Result<Duration, ConfigError> {
    let timeout = text.positive()?;
    if timeout > LONGEST_REQUEST {
        let most = LONGEST_REQUEST.as_secs();
        let why =
            "while a server does not answer, a longer time-out would let short tokens of other servers end";
        return Err(text.bad(format!("it must be at most {most}s: {why}")));
    }
    Ok(timeout)
}

fn limits(settings: &Settings, request_timeout: Duration) -> Result<Limits, ConfigError> {
    let in_flight = settings.number("thingsboard.max_in_flight", 10_000, "")? as usize;
    let per_server = settings.number("thingsboard.max_in_flight_per_host", 1_000, "")?;
    Ok(Limits { in_flight, per_server, budget: budget(request_timeout), request_timeout })
}

/// Prints the settings as a file, with `***` in place of possible secrets.
fn effective(settings: &Settings, environment: &Environment) -> Result<String, ConfigError> {
    let mut table = settings.table.clone();
    if let Some(toml::Value::Table(thingsboard)) = table.get_mut("thingsboard")
        && settings.text("thingsboard.proxy")?.given().is_some()
    {
        thingsboard.insert("proxy".to_owned(), toml::Value::String("***".to_owned()));
    }
    notify::hide_urls(&mut table);
    let mut text = toml::to_string(&table).unwrap_or_default();
    if mssql::given_password(environment).is_some() {
        text.push_str("\n# MSSQL_PASSWORD = \"***\"\n");
    }
    Ok(text)
}
