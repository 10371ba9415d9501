//! `tbtokend doctor` examines an installation from the daemon's side, changes nothing, and prints a remedy for each
//! finding. It sends no password to ThingsBoard and prints no secret.
//!
//! `look` gathers facts, `judge` and `clocks` turn them into findings, `report` prints them.

mod clocks;
mod judge;
mod look;
pub(crate) mod owner;
mod report;
mod sockets;

pub use self::report::{Finding, Level, Report};

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::{Config, DEFAULT_FILE, StoreConfig};
use crate::store::facts::{Examine, Examined, NoLedger};
use crate::store::mssql::{ExpiryClock, MssqlStore, Trust};
use crate::store::sqlite::{LEDGER_FILE, SqliteStore, become_owner};
use crate::store::{Store, StoreError};

/// The unit's `WorkingDirectory`.
const WORKING_FOLDER: &str = "/var/lib/tbtokend";

/// What the daemon at the control socket says of itself.
#[derive(Debug)]
pub struct RunningDaemon {
    /// The configuration file that it has read.
    pub config_file: Option<String>,
    /// Its store: the kind and the place.
    pub store: String,
    /// The receivers of messages that did not take the last one, each with the error.
    pub failing: Vec<(String, String)>,
}

/// Examines everything in this configuration. `running` is the daemon at its control socket.
pub async fn examine(config: &Config, clock: &Clock, running: Option<&RunningDaemon>) -> Report {
    let read = match &config.file {
        Some(file) => format!("valid; read from {}", file.display()),
        None => format!("valid; there is no {DEFAULT_FILE}"),
    };
    let mut findings = vec![Finding::ok("configuration", read)];
    findings.extend(running.map(|daemon| compare(config, daemon.config_file.as_deref())));
    if config.password_in_environment {
        findings.push(Finding::warning(
            "password",
            "MSSQL_PASSWORD holds the password of the database: the user of the daemon and root can read it while the process runs",
            "Write it to a file of mode 0600, name that file in store.password_file (or make it the systemd credential mssql-password), and unset MSSQL_PASSWORD.",
        ));
    }
    // Must run before root becomes the owner of the file.
    findings.extend(sockets::check(config, running.is_some()));
    let now = clock.now();
    if !Clock::is_credible(now) {
        findings.push(Finding::error(
            "clock",
            format!("this machine's clock shows {}, which is wrong", now.format("%Y-%m-%d %H:%M:%SZ")),
            "Set it: timedatectl set-ntp true",
        ));
    }
    let store = match &config.store {
        StoreConfig::Sqlite { path, table } => {
            let is_in_use =
                running.is_some_and(|daemon| daemon.store == format!("sqlite {}", path.display()));
            let path = &as_the_service_sees(path);
            match missing_file(path, is_in_use) {
                Some(finding) => findings.push(finding),
                None => examine_file(config, clock, path, table, &mut findings).await,
            }
            format!("sqlite {}", path.display())
        }
        StoreConfig::Mssql(settings) => {
            if settings.trust == Trust::AnyCertificate {
                findings.push(Finding::warning(
                    "certificate",
                    "the server's certificate is not checked: an attacker on the network can read and change everything",
                    "Add the certificate of its authority to store.ca_file, and remove store.trust_server_certificate.",
                ));
            }
            let store = MssqlStore::for_examination(settings.clone());
            examine_store(config, clock, &store, &mut findings).await;
            store.describe()
        }
    };
    if let Some(http) = config.http.as_ref().filter(|http| http.exposed) {
        findings.push(Finding::warning(
            "http",
            format!("other machines can reach http.listen = {}, which has no TLS", http.address),
            "Allow only your proxy to reach it; if the proxy runs on this machine, use 127.0.0.1.",
        ));
    }
    findings.extend(look::receivers(config, running.map_or(&[], |daemon| &daemon.failing)).await);
    Report { store, findings }
}

/// Checks that the running daemon has read the same configuration.
fn compare(config: &Config, read: Option<&str>) -> Finding {
    let found = format!("the running daemon has read {}", crate::text::printable(read.unwrap_or("no file")));
    match config.file.as_ref().map(|file| file.to_string_lossy()).as_deref() == read {
        true => Finding::ok("configuration", found),
        false => Finding::warning(
            "configuration",
            found,
            "Name the daemon's file with --config, or restart the daemon with this one.",
        ),
    }
}

/// Returns a finding if there is no file to examine. `is_in_use` says whether the running daemon uses it.
fn missing_file(path: &Path, is_in_use: bool) -> Option<Finding> {
    let check = "database";
    let place = path.display();
    if let Some(folder) = missing_folder(path) {
        return Some(Finding::error(
            check,
            format!("the folder {} does not exist", folder.display()),
            "Make it and give it to the daemon's user, or change store.path.",
        ));
    }
    let Ok(there) = path.metadata() else {
        if is_in_use {
            let gone = StoreError::Gone { place: place.to_string() };
            return Some(Finding::error(check, format!("{gone}, but the daemon runs"), gone.remedy()));
        }
        return Some(Finding::note(
            check,
            format!("{place} does not exist yet; the daemon makes it at its first start"),
        ));
    };
    let (what, example) = match (there.is_file(), there.is_dir()) {
        (true, _) => return None,
        (false, true) => ("a folder", format!(", for example {place}/customers.db")),
        (false, false) => ("not a file", String::new()),
    };
    Some(Finding::error(check, format!("{place} is {what}"), format!("Name a file in store.path{example}.")))
}

/// Examines a SQLite file. Root becomes the file's owner for that, and stays it.
async fn examine_file(config: &Config, clock: &Clock, path: &Path, table: &str, findings: &mut Vec<Finding>) {
    // These checks need root, so they run first.
    let (open_to_all, ownership) = (look::file(path), owner::look(path));
    let path = &match become_owner(path) {
        Ok(real) => real,
        Err(error) => {
            findings.push(Finding::error("database", error.to_string(), error.remedy()));
            return findings.extend(ownership);
        }
    };
    // Changing the mode of a file that is not a database could break this machine.
    let is_a_database = look::may_be_a_database(path);
    findings.extend(open_to_all.filter(|_| is_a_database));
    match SqliteStore::new(path, table, config.fallback_url.clone()) {
        Ok(store) => examine_store(config, clock, &store, findings).await,
        Err(error) => findings.push(Finding::error(
            "database",
            error.to_string(),
            "Raise the limit of threads of this user.",
        )),
    }
    findings.extend(ownership.into_iter().filter(|_| is_a_database));
}

/// Returns the folder of this file if it is missing. systemd makes the service's own folder.
fn missing_folder(path: &Path) -> Option<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    (!folder.exists() && folder != Path::new(WORKING_FOLDER)).then_some(folder)
}

/// Resolves a relative path as the service does: the doctor usually runs in another folder.
pub(crate) fn as_the_service_sees(path: &Path) -> PathBuf {
    let in_service = Path::new(WORKING_FOLDER).join(path);
    if !path.exists() && in_service.exists() { in_service } else { path.to_owned() }
}

/// Whether this is the service's configuration.
fn is_of_service(config: &Config) -> bool {
    config.file.as_deref().is_none_or(|file| file == Path::new(DEFAULT_FILE))
}

/// Returns the file of the ledger if SQL Server has no table for it. The service has its own state folder; the environment
/// of the doctor's user may name another one.
fn ledger_file(config: &Config) -> Option<PathBuf> {
    let StoreConfig::Mssql(settings) = &config.store else { return None };
    let folder = match is_of_service(config) && Path::new(WORKING_FOLDER).is_dir() {
        true => Some(Path::new(WORKING_FOLDER)),
        false => settings.state_folder.as_deref(),
    };
    folder.map(|folder| folder.join(LEDGER_FILE))
}

fn schema_command(config: &Config) -> String {
    match &config.store {
        StoreConfig::Sqlite { .. } => "tbtokend schema --dialect sqlite".to_owned(),
        StoreConfig::Mssql(settings) => {
            format!(
                "tbtokend schema --dialect mssql --table '{}' --grants '{}'",
                settings.table, settings.user
            )
        }
    }
}

async fn examine_store<S: Store + Examine>(
    config: &Config,
    clock: &Clock,
    store: &S,
    findings: &mut Vec<Finding>,
) {
    let began = clock.now();
    let Examined { facts, customers, problems } = match store.examine().await {
        Ok(examined) => examined,
        Err(error) => return findings.push(Finding::error("database", error.to_string(), error.remedy())),
    };
    let now = began + (clock.now() - began) / 2;
    let read = if facts.rows.is_some() { "readable" } else { "reachable" };
    let protection = facts.protection.as_ref().map_or(String::new(), |protection| format!("; {protection}"));
    findings.push(Finding::ok("database", format!("{read}{protection}")));
    let types: Vec<String> = facts.types.iter().map(|(column, kind)| format!("{column} {kind}")).collect();
    if !types.is_empty() {
        findings.push(Finding::ok("table", types.join(", ")));
    }
    findings.push(judge::capacity(facts.capacity, &facts.widen));
    findings.extend(facts.permissions.iter().map(judge::permission));
    findings.push(judge::records(facts.records.as_deref(), &schema_command(config)));
    let ledger_file = ledger_file(config);
    findings.push(judge::ledger(facts.no_ledger.as_ref(), ledger_file.as_deref(), &schema_command(config)));
    if let Some(file) = ledger_file.filter(|_| matches!(facts.no_ledger, Some(NoLedger::Missing(_)))) {
        findings.extend(owner::look(&file));
    }
    findings.extend(facts.key_readers.as_ref().map(judge::key_readers));
    if let Some(server) = facts.clock {
        findings.push(clocks::skew(server, now));
    }
    let is_local = matches!(&config.store, StoreConfig::Mssql(settings) if settings.expiry_clock == ExpiryClock::ServerLocal);
    if let Some(rows) = facts.rows {
        findings.extend(clocks::expiry_clock(&facts, is_local));
        findings.extend(judge::rows(rows, &facts.ineligible, customers.len(), &store.describe()));
    }
    for problem in &problems {
        findings.push(Finding::warning(
            "rows",
            format!("{}: {}", problem.row, problem.what),
            "Correct this row.",
        ));
    }
    let (urls, about_urls) = judge::urls(&customers, config.policy.require_https);
    findings.extend(about_urls);
    findings.extend(look::servers(config, &urls).await);
}
