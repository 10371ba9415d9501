//! What the log says, in the words of the service that came before, so that existing searches still match.

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

/// The daemon has started.
pub fn running(socket: &Path) {
    let version = env!("CARGO_PKG_VERSION");
    info!(event = NoticeKind::Running.name(), "tbtokend {version} is running; socket {}", socket.display());
}

/// The database's certificate is not checked, because the configuration says so.
pub fn certificate_unchecked(server: &str) {
    warn!(
        event = NoticeKind::CertificateUnchecked.name(),
        "The certificate of {} is not checked (store.trust_server_certificate): whoever is between here and there can read and change everything",
        printable(server)
    );
}

/// The clock of this machine cannot be right.
pub fn clock_wrong(now: DateTime<Utc>) {
    let now = seconds(now);
    error!(
        event = NoticeKind::ClockWrong.name(),
        "The clock of this machine shows {now}, which cannot be: tokens are written with expiries that are over. Set it (timedatectl set-ntp true); everyone is renewed at the next poll then"
    );
}

/// The daemon has ended as it was asked to.
pub fn ended() {
    info!(event = NoticeKind::Ended.name(), "tbtokend has ended");
}

/// The daemon cannot start.
pub fn cannot_start(why: &str) {
    error!(event = NoticeKind::CannotStart.name(), "tbtokend cannot start: {why}");
}

/// The interval came round.
pub fn scheduled(now: DateTime<Utc>) {
    let now = seconds(now);
    info!(event = NoticeKind::Scheduled.name(), "⏰ [{now}] Running scheduled token refresh...");
}

/// The interval came round while a pass was still under way.
pub fn skipped(now: DateTime<Utc>) {
    let now = seconds(now);
    warn!(
        event = NoticeKind::Skipped.name(),
        "⏰ [{now}] The pass before is still running; this one is skipped"
    );
}

/// A task broke, which should not be possible.
pub fn bug(what: &str, error: &JoinError) {
    let end = end_of(error);
    error!(event = NoticeKind::Bug.name(), "{what}: {end}; this is a bug in tbtokend, please report it");
}

/// How a task ended. Its own words are not repeated: they hold the message of its panic, which may quote anything, and which
/// has been told as far as it may be.
fn end_of(error: &JoinError) -> &'static str {
    if error.is_panic() { "its task panicked, see the line before" } else { "its task was cancelled" }
}

/// The same, where it was noticed by a panic.
pub(super) fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let why = words(panic.payload());
    error!(
        event = NoticeKind::Bug.name(),
        "a part of tbtokend panicked at {place}{why}; this is a bug in tbtokend, please report it"
    );
}

/// What a panic says, if that stands in the program. A text that was put together may quote a secret, wherever the panic
/// comes from: slicing quotes the text that was sliced, `expect` the error. The place has to do then.
fn words(payload: &dyn Any) -> String {
    payload.downcast_ref::<&'static str>().map_or_else(String::new, |text| format!(": {}", short(text)))
}

/// The deadline of the shutdown is over.
pub fn gave_up_waiting() {
    warn!("Ending now, although something was still under way; the next start goes on with it");
}

/// Something that was begun has not come to an end for that long.
pub fn stuck(silent: Duration) {
    let seconds = silent.as_secs();
    error!(
        event = NoticeKind::Stuck.name(),
        "The database or a pass has not been heard of for {seconds} s, longer than any of its time-outs; the watchdog is no longer told that all is well, and systemd restarts tbtokend if this goes on"
    );
}

/// It has come to an end after all.
pub fn no_longer_stuck() {
    info!("What had not been heard of goes on");
}

/// The configuration was read again.
pub fn reloaded(what: &str) {
    info!(event = NoticeKind::Reloaded.name(), "The configuration was read again: {what}");
}

/// A reload has changed the tokens or the names of the HTTP listener.
pub fn door_changed() {
    info!("HTTP: other tokens or names are in force");
}

/// The configuration cannot be used; the settings stay.
pub fn reload_refused(why: &str) {
    error!(
        event = NoticeKind::ReloadRefused.name(),
        "The changed configuration is refused and the old settings stay: {why}"
    );
}

/// Writes one notice, unless it is only more of the same.
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
        NoticeKind::Started | NoticeKind::Stopped => format!("An operator's order: {message}"),
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
        // Its refresh token, or its daily try; a person must act all the same.
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

    /// What is logged of a panic with this word at hand.
    fn logged(panic: fn(&str)) -> String {
        let secret = ["hun", "ter2"].concat();
        words(&*std::panic::catch_unwind(|| panic(&secret)).unwrap_err())
    }

    #[tokio::test]
    async fn p05_a_task_that_panics_does_not_quote_either() {
        let secret = ["hun", "ter2"].concat();
        let broken = tokio::spawn(async move { panic!("of {secret}") }).await.unwrap_err();
        assert!(broken.to_string().contains("hunter2"), "its own words do: {broken}");
        assert_eq!(end_of(&broken), "its task panicked, see the line before");
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
