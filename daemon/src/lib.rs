//! **tbtokend** keeps the ThingsBoard tokens of many customers fresh.
//!
//! This crate is the daemon; `main.rs` only reads the command line. `ARCHITECTURE.md` shows the modules and the flow of
//! data between them.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod doctor;
pub mod engine;
pub mod hardening;
pub mod http;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod service;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod text;
pub mod thingsboard;
pub mod tls;

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Config, Source, StoreConfig};
use crate::control::{Access, BindError, Orders, Reload, Socket, refuse_unclaimed_sockets};
use crate::engine::scheduler::{Parts, Scheduler};
use crate::service::Service;
use crate::store::Store;
use crate::store::mssql::{MssqlStore, Trust};
use crate::store::sqlite::SqliteStore;
use crate::systemd::Notifier;
use crate::telemetry::Log;
use crate::thingsboard::Client;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// ThingsBoard's client could not be built.
    #[error("failed to set up the ThingsBoard client")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store could not be set up.
    #[error("failed to set up the store")]
    Store(#[source] io::Error),
}

/// The parts that the process provides.
#[derive(Debug)]
pub struct Process {
    /// The sources of the configuration, to be read again.
    pub source: Arc<Source>,
    /// The log.
    pub log: Arc<Log>,
    /// The clock.
    pub clock: Clock,
    /// The sockets that systemd passed.
    pub inherited: Vec<UnixListener>,
    /// The sender and the receiver of orders to read the configuration again.
    pub reload: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
    /// Cancelled to end the daemon.
    pub shutdown: CancellationToken,
}

/// Runs the daemon until `shutdown`.
///
/// # Errors
/// [`StartError`], before the daemon does anything.
pub async fn run(config: Config, process: Process) -> Result<(), StartError> {
    raise_descriptor_limit();
    let client = Client::new(&config.client).map_err(|error| StartError::Client(error.into()))?;
    match &config.store {
        StoreConfig::Sqlite { path, table } => {
            let store =
                SqliteStore::new(path, table, config.fallback_url.clone()).map_err(StartError::Store)?;
            serve(config, store, client, process).await
        }
        StoreConfig::Mssql(settings) => {
            if settings.trust == Trust::AnyCertificate {
                telemetry::warn_unchecked_certificate(&settings.server);
            }
            let store = MssqlStore::new(settings.clone());
            serve(config, store, client, process).await
        }
    }
}

/// Returns the name of this process in the ledger: the machine and the process id.
fn daemon_name() -> Arc<str> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("localhost"), std::process::id()).into()
}

/// Wires the parts together and waits for their end.
async fn serve<S: Store>(
    config: Config,
    store: S,
    logins: Client,
    mut process: Process,
) -> Result<(), StartError> {
    // The sockets come first, because a second daemon must not touch the table.
    let sockets = sockets(&config, &mut process.inherited)?;
    let clock = process.clock.clone();
    let (scheduler, handle) = Scheduler::new(Parts {
        store,
        logins,
        clock: clock.clone(),
        policy: config.policy,
        limits: config.limits,
        autostart: config.autostart,
        config_file: config.file.as_ref().map(|file| file.display().to_string()),
        seed: rand::random(),
        name: daemon_name(),
    });
    telemetry::log_start(&config.control.path);
    if !Clock::is_credible(clock.now()) {
        telemetry::log_wrong_clock(clock.now());
    }

    // Clients are served until the scheduler has ended, so that `status` also answers during the shutdown.
    let the_end = CancellationToken::new();
    let tasks = TaskTracker::new();
    let mut listeners = JoinSet::new();
    let (receivers, notifying) = config
        .notify
        .map(|settings| {
            let (receivers, orders) = mpsc::channel(1);
            let (store, handle, clock) = (scheduler.store(), handle.clone(), clock.clone());
            let task = notify::run(settings, store, handle, clock, orders, process.shutdown.clone());
            (receivers, tokio::spawn(task))
        })
        .unzip();
    for (access, socket) in sockets {
        let (handle, clock, end) = (handle.clone(), clock.clone(), the_end.clone());
        let orders = Orders { reload: process.reload.0.clone(), receivers: receivers.clone() };
        listeners.spawn(control::serve(socket, access, handle, clock, orders, end, tasks.clone()));
    }
    let watchdog = systemd::watchdog();
    let (alive, seen_alive) = watch::channel(Instant::now());
    let access_rules =
        watch::Sender::new(config.http.as_ref().map(|http| http.access_rules.clone()).unwrap_or_default());
    if let Some(settings) = config.http {
        listeners.spawn(http::serve(http::Parts {
            settings,
            access_rules: access_rules.subscribe(),
            handle: handle.clone(),
            clock,
            alive: seen_alive,
            stuck_after: service::stuck_after(watchdog),
            shutdown: process.shutdown.clone(),
        }));
    }
    // The sockets answer now, so systemd is notified.
    let service = Service {
        systemd: Notifier::from_env(),
        watchdog,
        alive,
        access_rules,
        receivers,
        renewal: 2 * config.client.request_timeout,
        handle,
        log: process.log,
        source: process.source,
        keys: config.keys,
        clock: process.clock,
        reload: process.reload.1,
    };
    tasks.spawn(service.run(process.shutdown.clone(), the_end.clone()));
    scheduler.run(process.shutdown).await;
    if let Some(mut notifying) = notifying
        && tokio::time::timeout(notify::LAST_MESSAGES, &mut notifying).await.is_err()
    {
        notifying.abort();
    }
    // From here on the sockets are gone, and no client is accepted; clients that wait for an answer get it.
    the_end.cancel();
    while listeners.join_next().await.is_some() {}
    tasks.close();
    let _ = tokio::time::timeout(LAST_ANSWERS, tasks.wait()).await;
    telemetry::log_end();
    Ok(())
}

/// Makes the sockets of the configuration, each with its access.
fn sockets(config: &Config, inherited: &mut Vec<UnixListener>) -> Result<Vec<(Access, Socket)>, BindError> {
    let mut sockets = vec![(Access::Control, config.control.claim(inherited)?)];
    if let Some(monitor) = &config.monitor {
        sockets.push((Access::Monitor, monitor.claim(inherited)?));
    }
    refuse_unclaimed_sockets(inherited)?;
    Ok(sockets)
}

/// The time for sending the last answers.
const LAST_ANSWERS: std::time::Duration = std::time::Duration::from_millis(300);

/// Raises the limit of descriptors: each login needs one, and the usual limit of 1024 is too low.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536).max(soft), hard)
    {
        tracing::warn!("The limit of open files stays at {soft}: {error}");
    }
}
