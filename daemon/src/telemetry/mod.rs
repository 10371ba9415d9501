//! The log: one line per event, to the journal with fields or to stderr as text.
//!
//! Lines go through a bounded queue to a thread that writes them (`queue.rs`). A journal or a pipe without a reader costs
//! lines, which are counted, but never holds up the loop.

mod journal;
mod lines;
mod queue;
mod record;
mod stderr;

use std::time::Duration;

use chrono::{DateTime, Utc};
use strum::EnumString;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

pub use lines::*;
pub use stderr::print_error;

use self::journal::Journal;
use self::lines::log_panic;
pub use self::queue::lines_dropped;
use self::queue::{Queue, Sink};
use self::record::Record;
use self::stderr::Stderr;
use crate::clock::Clock;
use crate::model::NoticeKind;

/// The target of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Target {
    /// The journal if systemd has connected stderr to it, else stderr.
    Auto,
    /// The journal; stderr if there is none at the start.
    Journald,
    /// Standard error.
    Stderr,
}

/// The log of this process.
#[derive(Debug)]
pub struct Log {
    queue: Queue,
    level: reload::Handle<LevelFilter, Registry>,
}

impl Log {
    /// Sets up the log of this process.
    ///
    /// It logs only lines of the daemon, at every level: libraries log what they send and receive, which includes secrets.
    ///
    /// # Errors
    /// The thread or the socket cannot be made.
    pub fn start(target: Target, level: LevelFilter, clock: Clock) -> std::io::Result<Self> {
        let to_journal = match target {
            Target::Auto => stderr::is_journal(),
            Target::Journald => true,
            Target::Stderr => false,
        };
        let now = clock.now();
        // Runs on the thread of the queue, because a hanging journal blocks it.
        let open = move || if to_journal { journal_or_stderr(now) } else { Box::new(Stderr::new()) };
        let queue = Queue::into_sink(open)?;
        let (filter, level) = reload::Layer::new(level);
        let lines = Lines { queue: queue.clone(), clock };
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        // Fails only if a test has set a subscriber before.
        let _ = tracing::subscriber::set_global_default(subscriber);
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self { queue, level })
    }

    /// Logs from this level on.
    pub fn set_level(&self, level: LevelFilter) {
        // Fails only if the subscriber is gone, which never happens.
        let _ = self.level.modify(|now| *now = level);
    }

    /// Waits until all lines are written, but no longer than `within`.
    pub fn flush(&self, within: Duration) {
        self.queue.flush(within);
    }
}

/// Opens the journal, or stderr if there is none.
fn journal_or_stderr(now: DateTime<Utc>) -> Box<dyn Sink> {
    match Journal::open() {
        Ok(journal) => Box::new(journal),
        Err(error) => {
            let mut stderr = Stderr::new();
            let message =
                format!("There is no journal ({error}): tbtokend logs to stderr until it is restarted");
            stderr.write(&Record::of(NoticeKind::LinesDropped, now, message));
            Box::new(stderr)
        }
    }
}

/// Puts each line of the daemon into the queue.
struct Lines {
    queue: Queue,
    clock: Clock,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        if target == "tbtokend" || target.starts_with("tbtokend::") {
            self.queue.push(Record::from_event(event, self.clock.now()));
        }
    }
}

/// Returns the level of that name.
pub fn level(name: &str) -> Option<LevelFilter> {
    match name.to_ascii_lowercase().as_str() {
        "off" => Some(LevelFilter::OFF),
        "error" => Some(Level::ERROR.into()),
        "warn" | "warning" => Some(Level::WARN.into()),
        "info" => Some(Level::INFO.into()),
        "debug" => Some(Level::DEBUG.into()),
        "trace" => Some(Level::TRACE.into()),
        _ => None,
    }
}
