//! The lines of the log. Some keep the words of the earlier service, so that existing searches still match.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::task::JoinError;
use tracing::{debug, error, info, warn};

use crate::engine::history::{FailureDetail, Notice};
use crate::model::{NoticeKind, Priority};
use crate::text::{printable, short};

/// Logs that the daemon has started.
pub fn log_start(socket: &Path) {
    let version = env!("CARGO_PKG_VERSION");
    info!(event = NoticeKind::Running.name(), "tbtokend {version} is running; socket {}", socket.display());
}

/// Warns that the configuration turns off the check of the database's certificate.
pub fn warn_unchecked_certificate(server: &str) {
    warn!(
        event = NoticeKind::CertificateUnchecked.name(),
        "The certificate of {} is not checked (store.trust_server_certificate): an attacker on the network can read and change everything",
        printable(server)
    );
}

/// Logs that the clock of this machine is wrong.
pub fn log_wrong_clock(now: DateTime<Utc>) {
    let now = seconds(now);
    error!(
        event = NoticeKind::ClockWrong.name(),
        "The clock of this machine shows {now}, which is wrong: new tokens get expiries in the past. Set the clock (timedatectl set-ntp true); the next poll then renews all customers"
    );
}

/// Logs that the daemon has ended normally.
pub fn log_end() {
    info!(event = NoticeKind::Ended.name(), "tbtokend has ended");
}

/// Logs why the daemon cannot start.
pub fn log_start_failure(why: &str) {
    error!(event = NoticeKind::CannotStart.name(), "tbtokend cannot start: {why}");
}

/// Logs the begin of a scheduled pass.
pub fn log_scheduled_pass(now: DateTime<Utc>) {
    let now = seconds(now);
    info!(event = NoticeKind::Scheduled.name(), "⏰ [{now}] Running scheduled token refresh...");
}

/// Logs that a scheduled pass is skipped, because the last one is still running.
pub fn log_skipped_pass(now: DateTime<Utc>) {
    let now = seconds(now);
    warn!(
        event = NoticeKind::Skipped.name(),
        "⏰ [{now}] The pass before is still running; this one is skipped"
    );
}

/// Logs that a task ended unexpectedly.
pub fn log_bug(what: &str, error: &JoinError) {
    let end = end_of(error);
    error!(event = NoticeKind::Bug.name(), "{what}: {end}; this is a bug in tbtokend, please report it");
}

/// Says how a task ended. It does not repeat the error's text, because the message of the panic may quote a secret. The
/// panic hook has logged the safe part.
fn end_of(error: &JoinError) -> &'static str {
    if error.is_panic() { "its task panicked, see the line before" } else { "its task was cancelled" }
}

/// Logs a panic.
pub(super) fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let why = panic_message(panic.payload());
    error!(
        event = NoticeKind::Bug.name(),
        "a part of tbtokend panicked at {place}{why}; this is a bug in tbtokend, please report it"
    );
}

/// Returns the message of a panic if it is a literal of the program. A formatted message may quote a secret: slicing
/// quotes the sliced text, `expect` the error. Then the log names only the place.
fn panic_message(payload: &dyn Any) -> String {
    payload.downcast_ref::<&'static str>().map_or_else(String::new, |text| format!(": {}", short(text)))
}

/// Logs that the deadline of the shutdown has passed.
pub fn log_shutdown_timeout() {
    warn!("Ending now although work is still under way; the next start continues it");
}

/// Logs that the database or a pass has made no progress for that long.
pub fn log_stuck(silent: Duration) {
    let seconds = silent.as_secs();
    error!(
        event = NoticeKind::Stuck.name(),
        "The database or a pass has made no progress for {seconds} s, longer than any of its time-outs; tbtokend no longer feeds the watchdog, and systemd restarts it if this goes on"
    );
}

/// Logs that the database and the passes make progress again.
pub fn log_progress() {
    info!("The database and the passes make progress again");
}

/// Logs that the configuration was read again.
pub fn log_reload(what: &str) {
    info!(event = NoticeKind::Reloaded.name(), "The configuration was read again: {what}");
}

/// Logs that a reload has changed the tokens or the names of the HTTP listener.
pub fn log_access_change() {
    info!("HTTP: new tokens or names are in force");
}

/// Logs that the changed configuration is invalid and the old settings stay.
pub fn log_reload_failure(why: &str) {
    error!(
        event = NoticeKind::ReloadRefused.name(),
        "The changed configuration is refused and the old settings stay: {why}"
    );
}

/// Logs one notice; a repeated failure is logged at level debug.
pub fn log(notice: &Notice) {
    let customer = notice.customer.as_ref().map(|id| printable(id.as_str())).unwrap_or_default();
    let message = printable(&notice.message);
    let line = match notice.kind {
        NoticeKind::Renewed => return log_renewed(notice, &customer, &message),
        NoticeKind::Failed | NoticeKind::Parked => return log_failure(notice, &customer, &message),
        NoticeKind::Recovered => format!("Customer {customer} has recovered: {message}"),
        NoticeKind::Ineligible => format!("Customer {customer} is ineligible: {message}"),
        NoticeKind::Unparked => format!("Customer {customer} is no longer parked: {message}"),
        NoticeKind::StoreLost => format!("The database cannot be used: {message}"),
        NoticeKind::StoreBack => "The database is back".to_owned(),
        NoticeKind::PassStarted | NoticeKind::PassFinished => format!("Pass: {message}"),
        NoticeKind::Started | NoticeKind::Stopped => format!("Operator: {message}"),
        _ if customer.is_empty() => message,
        _ => format!("Customer {customer}: {message}"),
    };
    let event = notice.kind.name();
    let priority = if notice.quiet { Priority::Debug } else { notice.kind.priority() };
    match priority {
        Priority::Crit | Priority::Err => error!(event, customer, "{line}"),
        Priority::Warning => warn!(event, customer, "{line}"),
        Priority::Notice | Priority::Info => info!(event, customer, "{line}"),
        Priority::Debug => debug!(event, customer, "{line}"),
    }
}

fn log_renewed(notice: &Notice, customer: &str, message: &str) {
    let renewal = notice.renewal.as_ref();
    info!(
        event = NoticeKind::Renewed.name(),
        customer,
        url = renewal.map(|renewal| printable(&renewal.url)),
        latency_ms = renewal.and_then(|renewal| renewal.latency).map(milliseconds),
        "✅ Successfully updated token for customer {customer} ({message})"
    );
}

fn log_failure(notice: &Notice, customer: &str, message: &str) {
    let Some(FailureDetail { kind, attempt, next_at, url }) = &notice.failure else { return };
    let next_at = next_at.map(seconds);
    let next = match &next_at {
        // It may have a next attempt (refresh token, daily try), but the remedy matters more.
        _ if notice.kind == NoticeKind::Parked => format!("parked. {}", kind.remedy()),
        Some(at) => format!("next attempt at {at}"),
        None => "it is kept for the next attempt".to_owned(),
    };
    let (kind, url) = (kind.as_str(), printable(url));
    let line = format!(
        "❌ Failed to update token for customer {customer}: {message} [{kind}, attempt {attempt}, {url}]; {next}"
    );
    match (notice.kind, notice.quiet) {
        (NoticeKind::Parked, _) => {
            error!(event = NoticeKind::Parked.name(), customer, url, kind, attempt, "{line}");
        }
        (_, false) => {
            warn!(event = NoticeKind::Failed.name(), customer, url, kind, attempt, next_at, "{line}");
        }
        (_, true) => {
            debug!(event = NoticeKind::Failed.name(), customer, url, kind, attempt, next_at, "{line}");
        }
    }
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the logged message of a panic in a function that gets a secret.
    fn logged(panic: fn(&str)) -> String {
        let secret = ["hun", "ter2"].concat();
        panic_message(&*std::panic::catch_unwind(|| panic(&secret)).unwrap_err())
    }

    #[tokio::test]
    async fn p05_a_task_that_panics_does_not_quote_either() {
        let secret = ["hun", "ter2"].concat();
        let panicked = tokio::spawn(async move { panic!("of {secret}") }).await.unwrap_err();
        assert!(panicked.to_string().contains("hunter2"), "the error itself does: {panicked}");
        assert_eq!(end_of(&panicked), "its task panicked, see the line before");
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        assert_eq!(end_of(&cancelled.await.unwrap_err()), "its task was cancelled");
    }

    #[test]
    fn p05_a_panic_that_quotes_is_not_repeated() {
        assert_eq!(logged(|secret| drop(secret[..99].to_owned())), "");
        assert_eq!(logged(|secret| drop(std::fs::read(secret).map_err(|_| secret.to_owned()).unwrap())), "");
        assert_eq!(logged(|secret| std::panic::panic_any(secret.to_owned())), "");
        assert_eq!(logged(|secret| panic!("of {secret}")), "");
        assert_eq!(logged(|_| panic!("the words of the program")), ": the words of the program");
        assert_eq!(logged(|_| std::panic::panic_any(7)), "");
        let none = logged(|secret| drop(secret.strip_prefix('x').unwrap().to_owned()));
        assert_eq!(none, ": called `Option::unwrap()` on a `None` value");
    }
}
