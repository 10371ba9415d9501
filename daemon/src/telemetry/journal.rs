//! Writes to the journal through tracing-journald, so that fields, priority and `MESSAGE_ID` arrive unchanged.
//!
//! The layer of that crate writes from the calling thread, so the thread behind the queue calls it. The levels of tracing
//! have no *crit* and no *notice*, so each priority has its own layer.

use std::collections::BTreeMap;
use std::io;

use strum::IntoEnumIterator;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, dispatcher};
use tracing_journald as journald;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::queue::Sink;
use super::record::Record;
use crate::model::{NoticeKind, Priority};

/// The identifier of the daemon in the journal.
const IDENTIFIER: &str = "tbtokend";

/// The journal: one subscriber for each priority.
#[derive(Debug)]
pub(super) struct Journal(BTreeMap<Priority, Dispatch>);

impl Journal {
    /// Connects to the journal; waits while the journal hangs.
    ///
    /// # Errors
    /// There is no journal.
    pub(super) fn open() -> io::Result<Self> {
        let subscribers = Priority::iter().map(|priority| Ok((priority, subscriber(priority)?)));
        subscribers.collect::<io::Result<_>>().map(Self)
    }
}

impl Sink for Journal {
    fn write(&mut self, record: &Record) {
        dispatcher::with_default(&self.0[&record.priority()], || emit(record));
    }
}

fn subscriber(priority: Priority) -> io::Result<Dispatch> {
    let error = match priority {
        Priority::Crit => journald::Priority::Critical,
        Priority::Err => journald::Priority::Error,
        Priority::Warning => journald::Priority::Warning,
        Priority::Notice => journald::Priority::Notice,
        Priority::Info => journald::Priority::Informational,
        Priority::Debug => journald::Priority::Debug,
    };
    let layer = journald::layer()?
        .with_priority_mappings(journald::PriorityMappings { error, ..journald::PriorityMappings::new() })
        .with_syslog_identifier(IDENTIFIER.to_owned())
        .with_field_prefix(None);
    // Without a filter tracing evaluates the calls of all libraries at every level.
    Ok(Dispatch::new(tracing_subscriber::registry().with(layer.with_filter(LevelFilter::ERROR))))
}

/// Writes a record. The layer writes field names in capitals and omits fields that are `None`.
fn emit(record: &Record) {
    tracing::error!(
        target: IDENTIFIER,
        message_id = record.kind.map(NoticeKind::message_id),
        tbtokend_customer = record.field("customer"),
        tbtokend_url = record.field("url"),
        tbtokend_kind = record.field("kind"),
        tbtokend_attempt = record.field("attempt"),
        tbtokend_next_at = record.field("next_at"),
        tbtokend_latency_ms = record.field("latency_ms"),
        message = record.message.as_str()
    );
}
