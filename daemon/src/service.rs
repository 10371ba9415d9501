//! The daemon as a service: tells systemd how it stands, and takes over a configuration that has changed.

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
use crate::http::Door;
use crate::systemd::Notifier;
use crate::telemetry::{self, Log};
use crate::text::with_causes;

/// The shortest time between two texts for `systemctl status`: a pass over many customers changes it all the time.
const STATUS_GAP: Duration = Duration::from_secs(1);

/// How often it is asked whether the loop gets on when nobody watches, and how long something may be silent then.
const UNWATCHED: Duration = Duration::from_secs(120);

/// What the service is made of.
#[derive(Debug)]
pub struct Service {
    /// The way to systemd.
    pub systemd: Notifier,
    /// How long systemd waits for a sign of life.
    pub watchdog: Option<Duration>,
    /// Told whenever the loop was seen to get on.
    pub alive: watch::Sender<Instant>,
    /// Which clients the HTTP listener lets in.
    pub door: watch::Sender<Door>,
    /// The longest time for which a pass that gets on may be silent: the two requests that one renewal can take.
    pub renewal: Duration,
    /// The way to the loop.
    pub handle: Handle,
    /// The log, whose level can change.
    pub log: Arc<Log>,
    /// Where the configuration comes from.
    pub source: Arc<Source>,
    /// The settings in force.
    pub keys: Keys,
    /// What time it is.
    pub clock: Clock,
    /// The orders to read the configuration again.
    pub reload: mpsc::Receiver<Reload>,
}

impl Service {
    /// Says that the daemon is ready, and keeps systemd informed until `end`. `shutdown` is the order to end.
    pub async fn run(mut self, shutdown: CancellationToken, end: CancellationToken) {
        let mut snapshots = self.handle.watch();
        let mut refused = None;
        let mut shown = self.sentence(refused);
        self.systemd.ready(&shown).await;
        let mut next_status = Instant::now();
        let mut health = Health::new(self.watchdog, self.renewal);
        let mut beats = interval(health.every());
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
                    if health.look(&self.handle).await {
                        self.alive.send_replace(Instant::now());
                        self.systemd.alive().await;
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

    /// What `systemctl status` shows.
    fn sentence(&self, refused: Option<DateTime<Utc>>) -> String {
        let mut sentence = self.handle.snapshot().sentence();
        if let Some(at) = refused {
            let at = at.format("%H:%M:%SZ");
            sentence.push_str(&format!("; the configuration was refused at {at}, the old settings stay"));
        }
        sentence
    }

    /// Reads the configuration again. Says what it changes, or why it is refused.
    async fn reload(&mut self) -> Result<String, String> {
        self.systemd.reloading().await;
        let source = Arc::clone(&self.source);
        match tokio::task::spawn_blocking(move || source.load()).await {
            Ok(Ok(config)) => Ok(self.take_over(config).await),
            Ok(Err(error)) => {
                let why = with_causes(&error);
                telemetry::reload_refused(&why);
                Err(format!("the changed configuration is refused and the old settings stay: {why}"))
            }
            Err(error) => {
                telemetry::bug("the configuration could not be read again", &error);
                Err("the configuration could not be read again; this is a bug, see the log".to_owned())
            }
        }
    }

    async fn take_over(&mut self, config: Config) -> String {
        let changes = self.keys.take_over(&config.keys).to_string();
        if let Some(http) = config.http
            && self.door.send_if_modified(|door| {
                let is_new = *door != http.door;
                *door = http.door;
                is_new
            })
        {
            telemetry::door_changed();
        }
        self.log.set_level(config.log_level);
        // The loop is gone only when the process ends at once.
        let _ = self.handle.reconfigure(config.policy, config.limits).await;
        telemetry::reloaded(&changes);
        format!("the configuration was read again: {changes}")
    }
}

/// For how long the loop is not seen to get on when something is wrong: two looks in a row have failed.
pub fn silence(watchdog: Option<Duration>) -> Duration {
    watchdog.unwrap_or(UNWATCHED) / 2
}

/// Whether the loop gets on.
///
/// It does if it answers, and if whatever is under way has been heard of lately: a call of the store within the period
/// of the watchdog; a pass within that and the time that one renewal can take. When nothing is under way there is
/// nothing to hear of: a loop that an operator has stopped is well.
struct Health {
    period: Duration,
    patience: Duration,
    was_stuck: bool,
}

impl Health {
    fn new(watchdog: Option<Duration>, renewal: Duration) -> Self {
        let period = watchdog.unwrap_or(UNWATCHED);
        Self { period, patience: period + renewal, was_stuck: false }
    }

    /// Several times within a period, so that one late answer does no harm.
    fn every(&self) -> Duration {
        (self.period / 4).max(Duration::from_millis(10))
    }

    async fn look(&mut self, handle: &Handle) -> bool {
        let silent = match timeout(self.every(), handle.silence()).await {
            Ok(Ok(silent)) => silent,
            // The loop has ended, and the process is about to.
            Ok(Err(_)) => return true,
            Err(_) => return false,
        };
        let stuck = silent > self.patience;
        match (stuck, std::mem::replace(&mut self.was_stuck, stuck)) {
            (true, false) => telemetry::stuck(silent),
            (false, true) => telemetry::no_longer_stuck(),
            _ => {}
        }
        !stuck
    }
}
