//! Validates the settings of a SQL Server.

use super::error::missing;
use super::file::Settings as Unchecked;
use super::text::Text;
use super::{ConfigError, Environment, bad_value, named_file};
use crate::model::Secret;
use crate::store::mssql::{Address, Encryption, ExpiryClock, Password, Settings, Trust};
use crate::systemd;
use crate::tls;

/// The variable that may hold the password.
const PASSWORD_VARIABLE: &str = "MSSQL_PASSWORD";

/// Makes the settings of the store.
pub(super) fn settings(
    unchecked: &Unchecked,
    environment: &Environment,
    fallback_url: Option<String>,
) -> Result<Settings, ConfigError> {
    let require = |key: &'static str, what: &str| match unchecked.text(key)?.value.trim() {
        "" => Err(missing(key, what)),
        value => Ok(value.to_owned()),
    };
    let server = require("store.server", "write host, host,port or host\\instance, or set MSSQL_SERVER")?;
    Ok(Settings {
        address: address(&server)?,
        server,
        database: require("store.database", "name the database, or set MSSQL_DATABASE")?,
        user: require("store.user", "name the login, or set MSSQL_USER")?,
        password: password(unchecked, environment)?,
        encryption: encryption(unchecked)?,
        trust: trust(unchecked)?,
        multi_subnet_failover: unchecked.flag("store.multi_subnet_failover")?,
        table: unchecked.text("store.table")?.value.to_owned(),
        expiry_clock: expiry_clock(unchecked)?,
        fallback_url,
        state_folder: systemd::state_folder(),
    })
}

/// Reads the address of the server. The error does not quote the value, which may be a connection string with a password.
pub(super) fn address(server: &str) -> Result<Address, ConfigError> {
    Address::parse(server).map_err(|why| bad_value("store.server", Address::shown(server), why.to_string()))
}

/// Reads the mode of encryption.
pub(super) fn encryption(unchecked: &Unchecked) -> Result<Encryption, ConfigError> {
    let meanings = [("required", Encryption::Required), ("strict", Encryption::Strict)];
    unchecked.text("store.encrypt")?.choose(&meanings, "use required or strict")
}

/// Reads the clock of the expiries.
pub(super) fn expiry_clock(unchecked: &Unchecked) -> Result<ExpiryClock, ConfigError> {
    let meanings = [("utc", ExpiryClock::Utc), ("server-local", ExpiryClock::ServerLocal)];
    unchecked.text("store.expiry_clock")?.choose(&meanings, "use utc or server-local")
}

fn trust(unchecked: &Unchecked) -> Result<Trust, ConfigError> {
    let text = unchecked.text("store.ca_file")?;
    let ca_file = text.path();
    match (unchecked.flag("store.trust_server_certificate")?, &ca_file) {
        (true, Some(_)) => Err(text.bad(
            "with store.trust_server_certificate = true no certificate is checked; set one or the other",
        )),
        (true, None) => Ok(Trust::AnyCertificate),
        (false, None) => Ok(Trust::Authorities { ca_file }),
        (false, Some(file)) => {
            // An error must show at the start, not at the first connection.
            let pem =
                std::fs::read(file).map_err(|error| text.bad(format!("the file cannot be read: {error}")))?;
            tls::certificates(&pem).ok_or_else(|| text.bad("the file holds no certificate in PEM form"))?;
            Ok(Trust::Authorities { ca_file })
        }
    }
}

/// Returns the password from the environment, if there is one.
pub(super) fn given_password(environment: &Environment) -> Option<&String> {
    environment.get(PASSWORD_VARIABLE).filter(|password| !password.is_empty())
}

/// Finds the password: the environment overrides the file, and systemd's credential is used if no file is set. The file is
/// read again at each connection to SQL Server, so that a new password needs no restart.
fn password(unchecked: &Unchecked, environment: &Environment) -> Result<Password, ConfigError> {
    if let Some(password) = given_password(environment) {
        if password.contains(['\r', '\n']) {
            let why = "it holds a line break; set it without one";
            return Err(bad_value(PASSWORD_VARIABLE, "***", why));
        }
        return Ok(Password::fixed(Secret::new(password.as_str())));
    }
    let text = unchecked.text("store.password_file")?;
    let Text { key, .. } = text;
    let file = text.path().or_else(|| systemd::credential("mssql-password")).ok_or_else(|| {
        missing(key, "write the password into /etc/tbtokend/mssql-password (the systemd credential mssql-password), name another file, or set MSSQL_PASSWORD")
    })?;
    named_file::read_secret(key, &file)?;
    Ok(Password::read_with(move || named_file::read_secret(key, &file).map_err(Into::into)))
}
