//! The log: one line an event, to the journal with its fields or to stderr as text.
//!
//! What is logged goes through a bounded queue to a thread that writes it (`queue.rs`): a journal or a pipe that nobody
//! reads costs lines, which are counted, and never holds up the loop.

mod journal;
mod lines;
mod queue;
mod record;
mod stderr;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

pub use lines::*;
pub use stderr::complain;

use self::journal::Journal;
use self::lines::panicked;
pub use self::queue::lines_dropped;
use self::queue::{Queue, Sink};
use self::record::Record;
use self::stderr::Stderr;
use crate::clock::Clock;
use crate::model::NoticeKind;

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To the journal when systemd has connected our stderr with it, to stderr otherwise.
    Auto,
    /// To the journal; to stderr if there is none at the start.
    Journald,
    /// To stderr.
    Stderr,
}

impl Target {
    /// The target of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "journald" => Some(Self::Journald),
            "stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// The log of this process.
#[derive(Debug)]
pub struct Log {
    queue: Queue,
    level: reload::Handle<LevelFilter, Registry>,
}

impl Log {
    /// Sets the log of this process up.
    ///
    /// Only our own words are logged, whatever the level: libraries log what they send and receive, and that is where the
    /// secrets are.
    ///
    /// # Errors
    /// No thread or no socket can be had.
    pub fn start(target: Target, level: LevelFilter, clock: Clock) -> std::io::Result<Self> {
        let to_journal = match target {
            Target::Auto => stderr::is_journal(),
            Target::Journald => true,
            Target::Stderr => false,
        };
        let now = clock.now();
        // On the thread of the queue, because a journal that hangs lets it wait.
        let open = move || if to_journal { journal_or_stderr(now) } else { Box::new(Stderr::new()) };
        let queue = Queue::into_sink(open)?;
        let (filter, level) = reload::Layer::new(level);
        let lines = Lines { queue: queue.clone(), clock };
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        // Fails only if a test has set one before.
        let _ = tracing::subscriber::set_global_default(subscriber);
        std::panic::set_hook(Box::new(panicked));
        Ok(Self { queue, level })
    }

    /// Logs from this level on.
    pub fn set_level(&self, level: LevelFilter) {
        // Fails only if the subscriber is gone, which is never.
        let _ = self.level.modify(|now| *now = level);
    }

    /// Waits until what was logged is written, but no longer than `within`.
    pub fn flush(&self, within: Duration) {
        self.queue.flush(within);
    }
}

/// The journal, or stderr where there is none.
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

/// Puts each line that is ours into the queue.
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

/// The level of that name.
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
