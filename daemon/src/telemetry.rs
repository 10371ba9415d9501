//! The log: one line an event, in the words of the service that came before, so that existing searches still match.

use std::fmt;
use std::io::IsTerminal;

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber, debug, error, info, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::engine::history::{FailureDetail, Notice, NoticeKind};
use crate::text::printable;

/// Sends the log of this process to stderr, from now on.
///
/// Only our own words are logged, whatever the level: libraries log what they send and receive, and that is where the
/// secrets are.
pub fn init(level: LevelFilter, clock: Clock) {
    let subscriber = tracing_subscriber::registry().with(stderr(level, clock));
    // Fails only if a test has set one before.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn stderr<S: Subscriber + for<'a> LookupSpan<'a>>(level: LevelFilter, clock: Clock) -> impl Layer<S> {
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_timer(Timer(clock))
        .with_filter(level)
        .with_filter(filter_fn(is_ours))
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == "tbtokend" || target.starts_with("tbtokend::")
}

struct Timer(Clock);

impl FormatTime for Timer {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&self.0.now().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// The interval came round.
pub fn scheduled(now: DateTime<Utc>) {
    info!("⏰ [{}] Running scheduled token refresh...", now.to_rfc3339_opts(SecondsFormat::Secs, true));
}

/// The interval came round while a pass was still under way.
pub fn skipped(now: DateTime<Utc>) {
    let now = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    warn!("⏰ [{now}] The pass before is still running; this one is skipped");
}

/// Something that should not be possible.
pub fn bug(what: &str, error: &dyn std::error::Error) {
    error!("{what}: {error}; this is a bug in tbtokend, please report it");
}

/// The deadline of the shutdown is over.
pub fn gave_up_waiting() {
    warn!("Ending now, although something was still under way; the next start goes on with it");
}

/// Writes one notice, unless it is only more of the same.
pub fn log(notice: &Notice) {
    let customer = notice.customer.as_ref().map(|id| printable(id.as_str())).unwrap_or_default();
    let message = printable(&notice.message);
    match notice.kind {
        NoticeKind::Renewed => {
            info!("✅ Successfully updated token for customer {customer} ({message})");
        }
        NoticeKind::Recovered => info!("Customer {customer} has recovered: {message}"),
        NoticeKind::Failed | NoticeKind::Parked => log_failure(notice, &customer, &message),
        NoticeKind::Unparked => info!("Customer {customer} is no longer parked: {message}"),
        NoticeKind::Expired => error!("Customer {customer}: {message}"),
        NoticeKind::StoreLost => error!("The database cannot be used: {message}"),
        NoticeKind::StoreBack => info!("The database is back: {message}"),
        NoticeKind::PassStarted | NoticeKind::PassFinished => debug!("Pass: {message}"),
        NoticeKind::Started | NoticeKind::Stopped => info!("An operator's order: {message}"),
        NoticeKind::Warning if customer.is_empty() => warn!("{message}"),
        NoticeKind::Warning => warn!("Customer {customer}: {message}"),
    }
}

fn log_failure(notice: &Notice, customer: &str, message: &str) {
    let Some(FailureDetail { kind, attempt, next_at, url }) = &notice.failure else { return };
    let next = match next_at {
        Some(at) => format!("next attempt at {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        None if notice.kind == NoticeKind::Parked => format!("parked. {}", kind.remedy()),
        None => "it is kept for the next attempt".to_owned(),
    };
    let (kind, url) = (kind.as_str(), printable(url));
    let line = format!(
        "❌ Failed to update token for customer {customer}: {message} [{kind}, attempt {attempt}, {url}]; {next}"
    );
    match (notice.kind, notice.quiet) {
        (NoticeKind::Parked, _) => error!("{line}"),
        (_, false) => warn!("{line}"),
        (_, true) => debug!("{line}"),
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
