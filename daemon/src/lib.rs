//! **tbtokend** keeps the ThingsBoard tokens of many customers fresh.
//!
//! This crate is the daemon; `main.rs` only reads the command line. `ARCHITECTURE.md` shows the rooms and the one way
//! in which data flows through them.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod model;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod text;
pub mod thingsboard;

use std::io;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::control::{Access, BindError, Binding, Bound};
use crate::engine::handle::Handle;
use crate::engine::scheduler::{Parts, Scheduler};
use crate::store::Store;
use crate::store::mssql::MssqlStore;
use crate::store::sqlite::SqliteStore;
use crate::thingsboard::Client;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// ThingsBoard's client could not be built.
    #[error("failed to set up the ThingsBoard client")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store could not be set up.
    #[error("failed to set up the store")]
    Store(#[source] io::Error),
}

/// Runs the daemon until `shutdown`.
///
/// # Errors
/// [`StartError`], before anything was done.
pub async fn run(config: Config, clock: Clock, shutdown: CancellationToken) -> Result<(), StartError> {
    raise_descriptor_limit();
    let client = Client::new(&config.client).map_err(|error| StartError::Client(error.into()))?;
    match &config.store {
        StoreConfig::Sqlite { path, table } => {
            let store =
                SqliteStore::new(path, table, config.fallback_url.clone()).map_err(StartError::Store)?;
            serve(config, store, client, clock, shutdown).await
        }
        StoreConfig::Mssql(settings) => {
            let store = MssqlStore::new(settings.clone());
            serve(config, store, client, clock, shutdown).await
        }
    }
}

/// Wires the parts together and waits for their end.
async fn serve<S: Store>(
    config: Config,
    store: S,
    logins: Client,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    // The sockets first: a second daemon must not touch the table.
    let control = config.control.bind()?;
    let monitor = config.monitor.as_ref().map(Binding::bind).transpose()?;
    let (scheduler, handle) = Scheduler::new(Parts {
        store,
        logins,
        clock: clock.clone(),
        policy: config.policy,
        limits: config.limits,
        autostart: config.autostart,
        seed: rand::random(),
    });
    tracing::info!(
        "tbtokend {} is running; socket {}",
        env!("CARGO_PKG_VERSION"),
        config.control.path.display()
    );

    // Clients are served until the scheduler has ended, so that `status` answers during the shutdown as well.
    let sockets_end = CancellationToken::new();
    let sockets = TaskTracker::new();
    let mut bound = Vec::new();
    let mut listen = |(listener, guard): (tokio::net::UnixListener, Bound), access, handle: Handle| {
        bound.push(guard);
        sockets.spawn(control::serve(listener, access, handle, clock.clone(), sockets_end.clone()));
    };
    listen(control, Access::Control, handle.clone());
    if let Some(monitor) = monitor {
        listen(monitor, Access::Monitor, handle);
    }
    scheduler.run(shutdown).await;
    // From here on nobody is let in; those who wait for an answer get it.
    drop(bound);
    sockets_end.cancel();
    sockets.close();
    let _ = tokio::time::timeout(LAST_ANSWERS, sockets.wait()).await;
    tracing::info!("tbtokend has ended");
    Ok(())
}

/// How long the last answers may take on their way.
const LAST_ANSWERS: std::time::Duration = std::time::Duration::from_millis(300);

/// Each login needs a descriptor, and the usual limit of 1,024 is near.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536).max(soft), hard)
    {
        tracing::warn!("The limit of open files stays at {soft}: {error}");
    }
}
