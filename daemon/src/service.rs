//! The daemon as a service: it reports to systemd, and applies a changed configuration.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Keys, Source};
use crate::control::Reload;
use crate::engine::handle::Handle;
use crate::http::AccessRules;
use crate::notify;
use crate::systemd::Notifier;
use crate::telemetry::{self, Log};
use crate::text::with_causes;

/// The shortest time between two texts for `systemctl status`, which a pass over many customers changes often.
const STATUS_GAP: Duration = Duration::from_secs(1);

/// How long the report that the daemon is ready waits for the first read of the table.
const FIRST_READ: Duration = Duration::from_secs(5);

/// The period of the health check if systemd does not watch this process.
const UNWATCHED: Duration = Duration::from_secs(120);

/// The parts of the service.
#[derive(Debug)]
pub struct Service {
    /// The connection to systemd.
    pub systemd: Notifier,
    /// The period of systemd's watchdog.
    pub watchdog: Option<Duration>,
    /// When the loop last made progress.
    pub alive: watch::Sender<Instant>,
    /// The tokens and names that the HTTP listener accepts.
    pub access_rules: watch::Sender<AccessRules>,
    /// To the receivers of messages; none if there is no receiver.
    pub receivers: Option<mpsc::Sender<notify::Order>>,
    /// The longest silence of a healthy pass: the two requests of one renewal.
    pub renewal: Duration,
    /// The handle to the loop.
    pub handle: Handle,
    /// The log, whose level can change.
    pub log: Arc<Log>,
    /// The sources of the configuration.
    pub source: Arc<Source>,
    /// The settings in force.
    pub keys: Keys,
    /// The clock.
    pub clock: Clock,
    /// Receives requests to read the configuration again.
    pub reload: mpsc::Receiver<Reload>,
}

impl Service {
    /// Reports that the daemon is ready, and informs systemd until `end`. `shutdown` starts the shutdown.
    pub async fn run(mut self, shutdown: CancellationToken, end: CancellationToken) {
        let mut snapshots = self.handle.watch();
        let mut refused = None;
        // The first read makes the file and the tables of SQLite, so that commands after the start find them. A database
        // that hangs delays the start for a moment only, and does not delay the end.
        tokio::select! {
            _ = timeout(FIRST_READ, snapshots.wait_for(|snapshot| snapshot.has_read_table())) => {}
            () = shutdown.cancelled() => {}
        }
        let mut shown = self.sentence(refused);
        self.systemd.ready(&shown).await;
        let mut next_status = Instant::now();
        let mut health = Health::new(self.watchdog, self.renewal);
        let mut beats = interval(health.check_interval());
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changed = true;
        let mut stopping = false;
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    self.systemd.stopping("ending; a login that has succeeded is still saved").await;
                }
                _ = beats.tick() => {
                    if health.check(&self.handle).await {
                        self.alive.send_replace(Instant::now());
                        self.systemd.feed_watchdog().await;
                    }
                }
                Some(client) = self.reload.recv(), if !stopping => {
                    let outcome = self.reload().await;
                    refused = outcome.is_err().then(|| self.clock.now());
                    if let Some(client) = client {
                        // It may have gone meanwhile.
                        let _ = client.send(outcome);
                    }
                    shown = self.sentence(refused);
                    self.systemd.ready(&shown).await;
                }
                result = snapshots.changed(), if !changed => match result {
                    Ok(()) => changed = true,
                    // The loop has ended; `end` follows.
                    Err(_) => end.cancelled().await,
                },
                () = sleep_until(next_status), if changed && !stopping => {
                    changed = false;
                    let sentence = self.sentence(refused);
                    if sentence != shown {
                        self.systemd.status(&sentence).await;
                        shown = sentence;
                        next_status = Instant::now() + STATUS_GAP;
                    }
                }
            }
        }
    }

    /// Returns the text for `systemctl status`.
    fn sentence(&self, refused: Option<DateTime<Utc>>) -> String {
        let mut sentence = self.handle.snapshot().sentence();
        if let Some(at) = refused {
            let at = at.format("%H:%M:%SZ");
            sentence.push_str(&format!("; the configuration was refused at {at}, the old settings stay"));
        }
        sentence
    }

    /// Reads the configuration again. Returns the changes, or the reason of the refusal.
    async fn reload(&mut self) -> Result<String, String> {
        self.systemd.reloading().await;
        let source = Arc::clone(&self.source);
        match tokio::task::spawn_blocking(move || source.load()).await {
            Ok(Ok(config)) => Ok(self.apply(config).await),
            Ok(Err(error)) => {
                let why = with_causes(&error);
                telemetry::log_reload_failure(&why);
                Err(format!("the changed configuration is refused and the old settings stay: {why}"))
            }
            Err(error) => {
                telemetry::log_bug("the configuration could not be read again", &error);
                Err("the configuration could not be read again; this is a bug, see the log".to_owned())
            }
        }
    }

    async fn apply(&mut self, config: Config) -> String {
        let changes = self.keys.take_over(&config.keys).to_string();
        if let Some(http) = config.http
            && self.access_rules.send_if_modified(|access_rules| {
                let is_new = *access_rules != http.access_rules;
                *access_rules = http.access_rules;
                is_new
            })
        {
            telemetry::log_access_change();
        }
        if let (Some(settings), Some(receivers)) = (config.notify, &self.receivers) {
            // Fails only at the shutdown.
            let _ = receivers.send(notify::Order::Reload(settings)).await;
        }
        self.log.set_level(config.log_level);
        // Fails only if the loop has ended, which ends the process.
        let _ = self.handle.reconfigure(config.policy, config.limits).await;
        telemetry::log_reload(&changes);
        format!("the configuration was read again: {changes}")
    }
}

/// Returns after how long without progress the loop counts as stuck: two checks in a row have failed.
pub fn stuck_after(watchdog: Option<Duration>) -> Duration {
    watchdog.unwrap_or(UNWATCHED) / 2
}

/// The health check of the loop.
///
/// The loop is healthy if it answers and its work makes progress. A call of the store must end within the period of the
/// watchdog, a pass within that period plus one renewal. A loop without work, such as a stopped one, is healthy.
struct Health {
    period: Duration,
    stuck_after: Duration,
    was_stuck: bool,
}

impl Health {
    fn new(watchdog: Option<Duration>, renewal: Duration) -> Self {
        let period = watchdog.unwrap_or(UNWATCHED);
        Self { period, stuck_after: period + renewal, was_stuck: false }
    }

    /// Returns the time between two checks: several per period, so that one late answer does no harm.
    fn check_interval(&self) -> Duration {
        (self.period / 4).max(Duration::from_millis(10))
    }

    async fn check(&mut self, handle: &Handle) -> bool {
        let silent = match timeout(self.check_interval(), handle.silence()).await {
            Ok(Ok(silent)) => silent,
            // The loop has ended, and the process ends soon.
            Ok(Err(_)) => return true,
            Err(_) => return false,
        };
        let stuck = silent > self.stuck_after;
        match (stuck, std::mem::replace(&mut self.was_stuck, stuck)) {
            (true, false) => telemetry::log_stuck(silent),
            (false, true) => telemetry::log_progress(),
            _ => {}
        }
        !stuck
    }
}
