//! One line of the log, taken from a call of a `tracing` macro.

use std::fmt::{Debug, Write as _};

use chrono::{DateTime, Utc};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::model::{NoticeKind, Priority};
use crate::text::printable;

/// The longest message or field, in bytes: what comes from elsewhere must not fill the log.
const LONGEST: usize = 8 * 1024;

/// The fields of ours that the journal gets, and what they are called there.
const FIELDS: [(&str, &str); 6] = [
    ("customer", "TBTOKEND_CUSTOMER"),
    ("url", "TBTOKEND_URL"),
    ("kind", "TBTOKEND_KIND"),
    ("attempt", "TBTOKEND_ATTEMPT"),
    ("next_at", "TBTOKEND_NEXT_AT"),
    ("latency_ms", "TBTOKEND_LATENCY_MS"),
];

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: DateTime<Utc>,
    pub(super) level: Level,
    pub(super) kind: Option<NoticeKind>,
    /// For people; on one line.
    pub(super) message: String,
    /// For programs: the journal's names, and values on one line.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Record {
    /// A line of our own, not from a macro.
    pub(super) fn of(kind: NoticeKind, at: DateTime<Utc>, message: String) -> Self {
        let level = match kind.priority() {
            Priority::Crit | Priority::Err => Level::ERROR,
            Priority::Warning => Level::WARN,
            Priority::Notice | Priority::Info => Level::INFO,
            Priority::Debug => Level::DEBUG,
        };
        Self { at, level, kind: Some(kind), message, fields: Vec::new() }
    }

    pub(super) fn from_event(event: &Event<'_>, at: DateTime<Utc>) -> Self {
        let level = *event.metadata().level();
        let mut record = Self { at, level, kind: None, message: String::new(), fields: Vec::new() };
        event.record(&mut record);
        record
    }

    /// The kind's own; a call without a kind has that of its level. What is said for the sake of detail is never urgent.
    pub(super) fn priority(&self) -> Priority {
        match (self.level, self.kind) {
            (Level::DEBUG | Level::TRACE, _) => Priority::Debug,
            (_, Some(kind)) => kind.priority(),
            (Level::ERROR, None) => Priority::Err,
            (Level::WARN, None) => Priority::Warning,
            (_, None) => Priority::Info,
        }
    }

    fn take(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = bounded(value),
            "event" => self.kind = NoticeKind::from_name(value),
            name => {
                let known = FIELDS.iter().find(|(ours, _)| *ours == name);
                if let Some((_, theirs)) = known.filter(|_| !value.is_empty()) {
                    self.fields.push((theirs, bounded(value)));
                }
            }
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // A string takes everything.
        let _ = write!(text, "{value:?}");
        self.take(field, &text);
    }
}

/// On one line, and not without end.
fn bounded(text: &str) -> String {
    let mut text = printable(text);
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}
