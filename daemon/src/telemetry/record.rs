//! One line of the log, made from a call of a `tracing` macro.

use std::fmt::{Debug, Write as _};

use chrono::{DateTime, Utc};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::model::{NoticeKind, Priority};
use crate::text::printable;

/// The longest message or field, in bytes: text from servers must not fill the log.
const LONGEST: usize = 8 * 1024;

/// The fields that the journal gets besides the message.
const FIELDS: [&str; 6] = ["customer", "url", "kind", "attempt", "next_at", "latency_ms"];

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: DateTime<Utc>,
    pub(super) level: Level,
    pub(super) kind: Option<NoticeKind>,
    /// The message for people, on one line.
    pub(super) message: String,
    /// The fields for programs, each value on one line.
    fields: Vec<(&'static str, String)>,
}

impl Record {
    /// Creates a line without a macro.
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

    /// Returns the priority of its kind, or of its level if it has no kind. Debug lines always have priority debug.
    pub(super) fn priority(&self) -> Priority {
        match (self.level, self.kind) {
            (Level::DEBUG | Level::TRACE, _) => Priority::Debug,
            (_, Some(kind)) => kind.priority(),
            (Level::ERROR, None) => Priority::Err,
            (Level::WARN, None) => Priority::Warning,
            (_, None) => Priority::Info,
        }
    }

    /// Returns the value of one of the `FIELDS`.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    fn set_field(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = bounded(value),
            "event" => self.kind = NoticeKind::from_name(value),
            name => {
                if FIELDS.contains(&name) && !value.is_empty() {
                    self.fields.push((name, bounded(value)));
                }
            }
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string never fails.
        let _ = write!(text, "{value:?}");
        self.set_field(field, &text);
    }
}

/// Puts a text on one line, and limits its length.
fn bounded(text: &str) -> String {
    let mut text = printable(text);
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}
