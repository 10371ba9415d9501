//! Validates the settings of a SQL Server.

use std::path::{Path, PathBuf};

use super::error::missing;
use super::file::Store;
use super::{ConfigError, Environment, bad_value, named_file};
use crate::model::Secret;
use crate::store::mssql::{Address, Encryption, ExpiryClock, Password, Settings, Trust};
use crate::systemd;
use crate::tls;

/// The variable that may hold the password.
const PASSWORD_VARIABLE: &str = "MSSQL_PASSWORD";

/// Makes the settings of the store.
pub(super) fn settings(
    store: &Store,
    environment: &Environment,
    fallback_url: Option<String>,
) -> Result<Settings, ConfigError> {
    let server = require_value(
        "store.server",
        &store.server,
        "write host, host,port or host\\instance, or set MSSQL_SERVER",
    )?;
    Ok(Settings {
        address: address(&server)?,
        server,
        database: require_value(
            "store.database",
            &store.database,
            "name the database, or set MSSQL_DATABASE",
        )?,
        user: require_value("store.user", &store.user, "name the login, or set MSSQL_USER")?,
        password: password(store, environment)?,
        encryption: encryption(&store.encrypt)?,
        trust: trust(store)?,
        multi_subnet_failover: store.multi_subnet_failover,
        table: store.table.clone(),
        expiry_clock: expiry_clock(&store.expiry_clock)?,
        fallback_url,
        state_folder: systemd::state_folder(),
    })
}

/// Reads the address of the server. The error does not quote the value, which may be a connection string with a password.
pub(super) fn address(server: &str) -> Result<Address, ConfigError> {
    Address::parse(server).map_err(|why| bad_value("store.server", Address::shown(server), why.to_string()))
}

/// Reads the mode of encryption.
pub(super) fn encryption(text: &str) -> Result<Encryption, ConfigError> {
    match text {
        "required" => Ok(Encryption::Required),
        "strict" => Ok(Encryption::Strict),
        other => Err(bad_value("store.encrypt", other, "use required or strict")),
    }
}

/// Reads the clock of the expiries.
pub(super) fn expiry_clock(text: &str) -> Result<ExpiryClock, ConfigError> {
    match text {
        "utc" => Ok(ExpiryClock::Utc),
        "server-local" => Ok(ExpiryClock::ServerLocal),
        other => Err(bad_value("store.expiry_clock", other, "use utc or server-local")),
    }
}

fn require_value(key: &str, value: &str, what: &str) -> Result<String, ConfigError> {
    match value.trim() {
        "" => Err(missing(key, what)),
        value => Ok(value.to_owned()),
    }
}

fn trust(store: &Store) -> Result<Trust, ConfigError> {
    let ca_file = Some(&store.ca_file).filter(|file| !file.is_empty()).map(PathBuf::from);
    match (store.trust_server_certificate, ca_file) {
        (true, Some(file)) => Err(bad_value(
            "store.ca_file",
            &file.display().to_string(),
            "with store.trust_server_certificate = true no certificate is checked; set one or the other",
        )),
        (true, None) => Ok(Trust::AnyCertificate),
        (false, ca_file) => {
            if let Some(file) = &ca_file {
                // An error must show at the start, not at the first connection.
                let wrong = |why| bad_value("store.ca_file", &file.display().to_string(), why);
                let pem = std::fs::read(file)
                    .map_err(|error| wrong(format!("the file cannot be read: {error}")))?;
                tls::certificates(&pem)
                    .ok_or_else(|| wrong("the file holds no certificate in PEM form".to_owned()))?;
            }
            Ok(Trust::Authorities { ca_file })
        }
    }
}

/// Returns the password from the environment, if there is one.
pub(super) fn given_password(environment: &Environment) -> Option<&String> {
    environment.get(PASSWORD_VARIABLE).filter(|password| !password.is_empty())
}

/// Finds the password: the environment overrides the file, and systemd's credential replaces a missing file. The file is
/// read again at each login, so that a new password needs no restart.
fn password(store: &Store, environment: &Environment) -> Result<Password, ConfigError> {
    let key = "store.password_file";
    if let Some(password) = given_password(environment) {
        if password.contains(['\r', '\n']) {
            let why = "it holds a line break; set it without one";
            return Err(bad_value(PASSWORD_VARIABLE, "***", why));
        }
        return Ok(Password::fixed(Secret::new(password.as_str())));
    }
    let file = match store.password_file.as_str() {
        "" => systemd::credential("mssql-password").ok_or_else(|| {
            missing(key, "write the password into /etc/tbtokend/mssql-password (the systemd credential mssql-password), name another file, or set MSSQL_PASSWORD")
        })?,
        file => Path::new(file).to_owned(),
    };
    named_file::read_secret(key, &file)?;
    Ok(Password::read_with(move || named_file::read_secret(key, &file).map_err(Into::into)))
}
