//! Validates the settings: texts become values.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use super::file::{Control, Settings, Thingsboard};
use super::{Config, ConfigError, Environment, Keys, StoreConfig, bad_value, delta, http, mssql, named_file};
use crate::control::Binding;
use crate::engine::pass::{LONGEST_REQUEST, Limits, budget};
use crate::engine::policy::Policy;
use crate::model::{BaseUrl, Lifetime, VerifyTokens};
use crate::store::schema::Dialect;
use crate::telemetry;
use crate::text::with_causes;
use crate::thingsboard::ClientSettings;

pub(super) fn config(settings: Settings, environment: &Environment) -> Result<Config, ConfigError> {
    let policy = Policy {
        interval: interval(&settings.schedule.interval)?,
        window: delta(positive("schedule.refresh_window", &settings.schedule.refresh_window)?),
        lifetime: lifetime(&settings.schedule.token_lifetime)?,
        require_https: settings.thingsboard.require_https,
        wrong_password_budget: wrong_password_budget(settings.thingsboard.wrong_password_budget)?,
        verify_tokens: verify_tokens(&settings.thingsboard.verify_tokens)?,
    };
    let log_target = telemetry::Target::from_name(&settings.log.target)
        .ok_or_else(|| bad_value("log.target", &settings.log.target, "use auto, stderr or journald"))?;
    let log_level = telemetry::level(&settings.log.level).ok_or_else(|| {
        bad_value("log.level", &settings.log.level, "use off, error, warn, info, debug or trace")
    })?;
    let monitor = (!settings.control.monitor_socket.is_empty())
        .then(|| {
            binding(
                ("control.monitor_socket", "control.monitor_mode"),
                &settings.control.monitor_socket,
                &settings.control.monitor_mode,
                &settings.control,
            )
        })
        .transpose()?;
    let control = binding(
        ("control.socket", "control.mode"),
        &settings.control.socket,
        &settings.control.mode,
        &settings.control,
    )?;
    if control.path.as_os_str().is_empty() {
        return Err(bad_value("control.socket", "", "give the path of the socket"));
    }
    if monitor.as_ref().is_some_and(|monitor| monitor.path == control.path) {
        return Err(bad_value(
            "control.monitor_socket",
            &settings.control.monitor_socket,
            "it must differ from control.socket",
        ));
    }
    let http = http::settings(&settings.http, &control)?;
    let fallback_url = fallback_url(&settings.thingsboard)?;
    let client = client(&settings.thingsboard)?;
    Ok(Config {
        policy,
        autostart: settings.schedule.autostart,
        store: store(&settings, environment, fallback_url.clone())?,
        fallback_url,
        limits: limits(&settings.thingsboard, client.request_timeout)?,
        client,
        control,
        monitor,
        http,
        log_target,
        log_level,
        file: None,
        password_in_environment: mssql::given_password(environment).is_some(),
        effective: effective(&settings, environment),
        keys: Keys::of(&settings.table),
    })
}

fn duration(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| bad_value(key, text, "it is not a time; write for example \"60s\", \"5m\" or \"2h\""))?;
    // Date arithmetic overflows for very long times, and no setting needs 100 years.
    if duration > Duration::from_secs(100 * 366 * 86_400) {
        return Err(bad_value(key, text, "it must be at most 100 years"));
    }
    Ok(duration)
}

fn positive(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    match duration(key, text)? {
        Duration::ZERO => Err(bad_value(key, text, "it must be longer than 0s")),
        duration => Ok(duration),
    }
}

fn interval(text: &str) -> Result<TimeDelta, ConfigError> {
    let key = "schedule.interval";
    let interval = duration(key, text)?;
    if interval < Duration::from_secs(1) {
        return Err(bad_value(key, text, "it must be at least 1s"));
    }
    if interval > Duration::from_secs(86_400) {
        return Err(bad_value(key, text, "it must be at most one day"));
    }
    Ok(delta(interval))
}

fn lifetime(text: &str) -> Result<Lifetime, ConfigError> {
    match text {
        "jwt" => Ok(Lifetime::Jwt),
        text => Ok(Lifetime::AtMost(delta(positive("schedule.token_lifetime", text)?))),
    }
}

/// The most bytes that the address of a Unix socket holds (`sun_path` in unix(7), without its last zero).
pub(super) const LONGEST_SOCKET_PATH: usize = 107;

fn binding(
    (path_key, mode_key): (&'static str, &'static str),
    path: &str,
    mode: &str,
    control: &Control,
) -> Result<Binding, ConfigError> {
    if path.len() > LONGEST_SOCKET_PATH {
        let most = format!("a socket's path has at most {LONGEST_SOCKET_PATH} bytes; choose a shorter one");
        return Err(bad_value(path_key, path, most));
    }
    let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o777);
    let bits =
        bits.ok_or_else(|| bad_value(mode_key, mode, "write it as for chmod, for example \"0660\""))?;
    let group = Some(control.group.clone()).filter(|group| !group.is_empty());
    let binding = Binding { path: PathBuf::from(path), mode: bits, group };
    binding.group().map_err(|why| bad_value("control.group", &control.group, with_causes(&why)))?;
    Ok(binding)
}

fn store(
    settings: &Settings,
    environment: &Environment,
    fallback_url: Option<String>,
) -> Result<StoreConfig, ConfigError> {
    let store = &settings.store;
    let (dialect, _) = table(settings, environment)?;
    // Checked even if the kind of store does not use them, because a wrong value is a mistake.
    named_file::is_secret_file("store.password_file", &store.password_file)?;
    named_file::is_absolute("store.ca_file", &store.ca_file)?;
    mssql::encryption(&store.encrypt)?;
    mssql::expiry_clock(&store.expiry_clock)?;
    if !store.server.trim().is_empty() {
        mssql::address(&store.server)?;
        // Otherwise the daemon would make an empty SQLite file and report no trouble.
        if !settings.says_kind {
            let why =
                "without store.kind = \"mssql\" no SQL Server is used; set the kind, or remove this key";
            return Err(bad_value("store.server", &store.server, why));
        }
    }
    match dialect {
        Dialect::Sqlite if store.path.is_empty() => {
            Err(bad_value("store.path", "", "give the path of the SQLite file"))
        }
        Dialect::Sqlite => {
            Ok(StoreConfig::Sqlite { path: PathBuf::from(&store.path), table: store.table.clone() })
        }
        Dialect::Mssql => mssql::settings(store, environment, fallback_url).map(StoreConfig::Mssql),
    }
}

/// Returns the kind of the store and its table.
pub(super) fn table(
    settings: &Settings,
    environment: &Environment,
) -> Result<(Dialect, String), ConfigError> {
    let store = &settings.store;
    table_name(&store.table)?;
    let dialect = match store.kind.as_str() {
        "sqlite" => Dialect::Sqlite,
        "mssql" => Dialect::Mssql,
        other => return Err(bad_value("store.kind", other, "use sqlite or mssql")),
    };
    // Otherwise the daemon would make an empty SQLite file and report no trouble.
    let is_sql_server = |(name, value): &(&String, &String)| name.starts_with("MSSQL_") && !value.is_empty();
    if let (Dialect::Sqlite, Some((name, _))) = (dialect, environment.iter().find(is_sql_server)) {
        let why = format!(
            "{name} in the environment means a SQL Server; set store.kind = \"mssql\", or unset all variables MSSQL_*"
        );
        return Err(bad_value("store.kind", &store.kind, why));
    }
    Ok((dialect, store.table.clone()))
}

/// Checks that a name can be quoted: `table`, or for SQL Server `schema.table`.
fn table_name(name: &str) -> Result<(), ConfigError> {
    let part_is_fine = |part: &str| {
        !part.is_empty()
            && part.len() <= 128
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@' | ' ' | '-'))
    };
    if name.split('.').count() <= 2 && name.split('.').all(part_is_fine) {
        return Ok(());
    }
    Err(bad_value("store.table", name, "write table or schema.table, without quotes or brackets"))
}

fn fallback_url(thingsboard: &Thingsboard) -> Result<Option<String>, ConfigError> {
    let url = thingsboard.fallback_url.trim();
    if url.is_empty() {
        return Ok(None);
    }
    BaseUrl::parse(url).map_err(|why| {
        // The value may hold a password, so the error does not show it.
        let why = why.to_string().replace("tb_url", "it");
        bad_value(
            "thingsboard.fallback_url",
            "***",
            format!("{why}; write for example https://tb.example.com"),
        )
    })?;
    Ok(Some(url.to_owned()))
}

fn client(thingsboard: &Thingsboard) -> Result<ClientSettings, ConfigError> {
    named_file::is_absolute("thingsboard.ca_file", &thingsboard.ca_file)?;
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let settings = ClientSettings {
        connect_timeout: positive("thingsboard.connect_timeout", &thingsboard.connect_timeout)?,
        request_timeout: request_timeout(&thingsboard.request_timeout)?,
        ca_file: given(&thingsboard.ca_file).map(PathBuf::from),
        proxy: given(&thingsboard.proxy),
    };
    // A configuration that passes the check must not fail at a later restart.
    settings.check()?;
    Ok(settings)
}

fn request_timeout(text: &str) -> Result<Duration, ConfigError> {
    let key = "thingsboard.request_timeout";
    let timeout = positive(key, text)?;
    if timeout > LONGEST_REQUEST {
        let most = LONGEST_REQUEST.as_secs();
        let why =
            "while a server does not answer, a longer time-out would let short tokens of other servers end";
        return Err(bad_value(key, text, format!("it must be at most {most}s: {why}")));
    }
    Ok(timeout)
}

fn limits(thingsboard: &Thingsboard, request_timeout: Duration) -> Result<Limits, ConfigError> {
    let number = |key, value: i64, most| {
        usize::try_from(value)
            .ok()
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| bad_value(key, &value.to_string(), format!("use a number from 1 to {most}")))
    };
    let in_flight = number("thingsboard.max_in_flight", thingsboard.max_in_flight, 10_000)?;
    let per_host = number("thingsboard.max_in_flight_per_host", thingsboard.max_in_flight_per_host, 1_000)?;
    let per_host = u32::try_from(per_host).unwrap_or(u32::MAX);
    Ok(Limits { in_flight, per_host, budget: budget(request_timeout), request_timeout })
}

fn wrong_password_budget(value: i64) -> Result<u8, ConfigError> {
    u8::try_from(value).ok().filter(|budget| (1..=5).contains(budget)).ok_or_else(|| {
        let why = "use a number from 1 to 5, below the limit at which ThingsBoard locks an account";
        bad_value("thingsboard.wrong_password_budget", &value.to_string(), why)
    })
}

fn verify_tokens(text: &str) -> Result<VerifyTokens, ConfigError> {
    let key = "thingsboard.verify_tokens";
    match text {
        "sample" => Ok(VerifyTokens::Sample),
        "off" => Ok(VerifyTokens::Off),
        text => match duration(key, text) {
            Ok(every) if every >= Duration::from_secs(60) => Ok(VerifyTokens::Every(delta(every))),
            _ => Err(bad_value(key, text, "use sample, off, or a time of at least 1m")),
        },
    }
}

/// Prints the settings as a file, with `***` in place of possible secrets.
fn effective(settings: &Settings, environment: &Environment) -> String {
    let mut table = settings.table.clone();
    if let Some(toml::Value::Table(thingsboard)) = table.get_mut("thingsboard")
        && !settings.thingsboard.proxy.is_empty()
    {
        thingsboard.insert("proxy".to_owned(), toml::Value::String("***".to_owned()));
    }
    let mut text = toml::to_string(&table).unwrap_or_default();
    if mssql::given_password(environment).is_some() {
        text.push_str("\n# MSSQL_PASSWORD = \"***\"\n");
    }
    text
}
