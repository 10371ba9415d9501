//! `tbtokend doctor`: looks at an installation from the daemon's side, changes nothing, and says what to do about each
//! finding. No password is sent to a ThingsBoard, and nothing secret is printed.
//!
//! `look` gathers facts, `judge` and `clocks` say what they mean, `report` prints it.

mod clocks;
mod judge;
mod look;
mod owner;
mod report;

pub use self::report::{Finding, Level, Report};

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::store::Store;
use crate::store::facts::{Examine, Examined};
use crate::store::mssql::{ExpiryClock, MssqlStore, Trust};
use crate::store::sqlite::SqliteStore;

/// The unit's `WorkingDirectory`.
const WORKING_FOLDER: &str = "/var/lib/tbtokend";

/// Looks at everything that this configuration speaks of.
pub async fn examine(config: &Config, clock: &Clock) -> Report {
    let mut findings = vec![Finding::ok("configuration", "it can be used")];
    let now = clock.now();
    if !Clock::is_credible(now) {
        findings.push(Finding::error(
            "clock",
            format!("this machine's clock shows {}, which cannot be", now.format("%Y-%m-%d %H:%M:%SZ")),
            "Set it: timedatectl set-ntp true",
        ));
    }
    let store = match &config.store {
        StoreConfig::Sqlite { path, table } => {
            let path = &as_the_service_sees(path);
            let name = format!("sqlite {}", path.display());
            if let Some(folder) = missing_folder(path) {
                findings.push(Finding::error(
                    "database",
                    format!("the folder {} does not exist", folder.display()),
                    "Make it, and give it to the daemon's user; or change store.path.",
                ));
                return Report { store: name, findings };
            }
            if !path.exists() {
                findings.push(Finding::note(
                    "database",
                    format!("{} does not exist yet; it is made at the first start", path.display()),
                ));
                return Report { store: name, findings };
            }
            if path.is_dir() {
                let place = path.display();
                findings.push(Finding::error(
                    "database",
                    format!("{place} is a folder"),
                    format!("Name a file in store.path, for example {place}/customers.db."),
                ));
                return Report { store: name, findings };
            }
            // What is none may be anything, and who takes its rights away may break this machine.
            let is_a_database = look::may_be_a_database(path);
            if is_a_database {
                findings.extend(look::file(path));
            }
            match SqliteStore::new(path, table, config.fallback_url.clone()) {
                Ok(store) => examine_store(config, clock, &store, &mut findings).await,
                Err(error) => findings.push(Finding::error(
                    "database",
                    error.to_string(),
                    "Let the system start one more thread.",
                )),
            }
            if is_a_database {
                findings.extend(owner::look(path));
            }
            name
        }
        StoreConfig::Mssql(settings) => {
            if settings.trust == Trust::Anyone {
                findings.push(Finding::warning(
                    "certificate",
                    "the server's certificate is not checked: whoever is in between can read and change everything",
                    "Put the authority that issued it into store.ca_file and remove store.trust_server_certificate.",
                ));
            }
            let store = MssqlStore::for_examination(settings.clone());
            examine_store(config, clock, &store, &mut findings).await;
            store.describe()
        }
    };
    Report { store, findings }
}

/// The folder of this file, if it is not there. The service's own is made by systemd.
fn missing_folder(path: &Path) -> Option<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    (!folder.exists() && folder != Path::new(WORKING_FOLDER)).then_some(folder)
}

/// A relative path counts from the folder in which the service runs, and whoever asks the doctor sits in another one.
fn as_the_service_sees(path: &Path) -> PathBuf {
    let in_service = Path::new(WORKING_FOLDER).join(path);
    if !path.exists() && in_service.exists() { in_service } else { path.to_owned() }
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

async fn examine_store<S: Examine>(config: &Config, clock: &Clock, store: &S, findings: &mut Vec<Finding>) {
    let began = clock.now();
    let Examined { facts, customers, problems } = match store.examine().await {
        Ok(examined) => examined,
        Err(error) => return findings.push(Finding::error("database", error.to_string(), error.remedy())),
    };
    let now = began + (clock.now() - began) / 2;
    let read = if facts.rows.is_some() { "it can be read" } else { "it can be reached" };
    let protection = facts.protection.as_ref().map_or(String::new(), |protection| format!("; {protection}"));
    findings.push(Finding::ok("database", format!("{read}{protection}")));
    let types: Vec<String> = facts.types.iter().map(|(column, kind)| format!("{column} {kind}")).collect();
    if !types.is_empty() {
        findings.push(Finding::ok("table", types.join(", ")));
    }
    findings.push(judge::capacity(facts.capacity, &facts.widen));
    findings.extend(facts.permissions.iter().map(judge::permission));
    findings.push(judge::records(facts.records.as_deref(), &schema_command(config)));
    if let Some(server) = facts.clock {
        findings.push(clocks::skew(server, now));
    }
    let is_local = matches!(&config.store, StoreConfig::Mssql(settings) if settings.expiry_clock == ExpiryClock::ServerLocal);
    if let Some(rows) = facts.rows {
        findings.extend(clocks::expiry_clock(&facts, is_local));
        findings.extend(judge::rows(rows, &facts.ineligible, customers.len()));
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
