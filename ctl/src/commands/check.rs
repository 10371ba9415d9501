//! `check`: a plugin for Nagios, Icinga and compatible programs, by the
//! [Monitoring Plugins guidelines](https://www.monitoring-plugins.org/doc/guidelines.html).

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use strum::IntoStaticStr;
use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::words::{duration, how_to_add_a_customer, last_error, printable, stopped, time_left};
use tbtoken_proto::{Customer, ErrorCode, Phase, Rows, StatusQuery, StatusReply};

use crate::args::{CHECK_TIMEOUT, CheckArgs, Threshold};
use crate::error::Error;
use crate::exit;
use crate::output::Report;
use crate::session::{Session, status};

/// The table is stale when it was not read for this time, or for [`STALE_INTERVALS`] intervals if they are longer.
const STALE_AFTER: TimeDelta = TimeDelta::minutes(5);
/// See [`STALE_AFTER`].
const STALE_INTERVALS: i32 = 5;

/// The most customers in trouble that are named below the first line.
const MAX_NAMED: usize = 20;

/// Gets the status and judges it. A failure to get it is a judgement too, not an error.
pub(super) fn run(session: &Session<'_>, wanted: &CheckArgs) -> Result<Report, Error> {
    let judgement = match get_status(session) {
        Ok((reply, rows)) => judge(&reply, &rows, wanted, session.now()),
        Err(error) => judge_failure(&error),
    };
    judgement.report(session.args.json, session.args.quiet)
}

/// Reports a wrong command line.
pub(crate) fn report_bad_arguments(why: &str, json: bool) -> Report {
    let judgement = Judgement { state: State::Unknown, text: why.to_owned(), ..Judgement::default() };
    let silent = Report { exit: State::Unknown as u8, ..Report::default() };
    judgement.report(json, true).unwrap_or(silent)
}

/// Requests the counts, and only the customers that are named, so that the cost does not grow with the table.
fn get_status(session: &Session<'_>) -> Result<(StatusReply, Vec<Customer>), Error> {
    let timeout = session.args.timeout.unwrap_or(CHECK_TIMEOUT);
    let mut client = Client::connect(&session.socket, timeout)?;
    let query = StatusQuery { customers: Rows::InTrouble(MAX_NAMED), since: None };
    let mut reply = status(&mut client, query)?;
    let rows = reply.tokens.customers.take().unwrap_or_default();
    Ok((reply, rows))
}

/// The states of a plugin with their exit codes, in the order of their exit codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub(crate) enum State {
    /// All is well.
    #[default]
    Ok = 0,
    /// A person should examine it.
    Warning = 1,
    /// A person must examine it now.
    Critical = 2,
    /// There is no result.
    Unknown = 3,
}

/// The result of a check.
#[derive(Debug, Default, PartialEq)]
struct Judgement {
    state: State,
    text: String,
    measured: Vec<Measured>,
    /// The customers in trouble, a line each.
    trouble: Vec<String>,
    /// The configuration file of the daemon.
    configuration: Option<String>,
}

/// A value of the performance data, with its thresholds.
#[derive(Debug, PartialEq)]
struct Measured {
    label: &'static str,
    value: String,
    limits: Option<(Threshold, Threshold)>,
    max: Option<usize>,
}

/// Judges a failure to get the status.
fn judge_failure(error: &Error) -> Judgement {
    let state = match (error, error.exit()) {
        (_, exit::UNREACHABLE | exit::TIMED_OUT) => State::Critical,
        (Error::Client(ClientError::Refused(refusal)), _)
            if matches!(refusal.code, ErrorCode::ShuttingDown | ErrorCode::Internal) =>
        {
            State::Critical
        }
        _ => State::Unknown,
    };
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    Judgement { state, text: format!("{}{hint}", error.text()), ..Judgement::default() }
}

/// Judges a status. `named` are the worst customers in trouble.
fn judge(reply: &StatusReply, named: &[Customer], wanted: &CheckArgs, now: DateTime<Utc>) -> Judgement {
    let summary = reply.tokens.summary;
    let count = summary.in_trouble;

    let mut causes = find_daemon_trouble(reply, now);
    if wanted.critical.alerts(count, summary.total) {
        causes.push((State::Critical, format!("{count} in trouble")));
    } else if wanted.warning.alerts(count, summary.total) {
        causes.push((State::Warning, format!("{count} in trouble")));
    }
    // The most urgent first; the sort is stable.
    causes.sort_by_key(|(state, _)| std::cmp::Reverse(*state));
    let state = causes.first().map(|(state, _)| *state).unwrap_or_default();
    let mut parts: Vec<String> = causes.into_iter().map(|(_, text)| text).collect();
    parts.push(format!(
        "{} of {} valid, {} expiring soon, {} expired, {} missing, {} parked",
        summary.valid, summary.total, summary.expiring_soon, summary.expired, summary.missing, summary.parked
    ));
    let mut trouble: Vec<String> = named.iter().map(|row| describe_customer(row, now)).collect();
    if count > trouble.len() {
        trouble.push(format!("and {} more: tbctl status --problems", count - trouble.len()));
    }
    let configuration = reply.daemon.config_file.clone();
    Judgement { state, text: parts.join("; "), measured: measure(reply, wanted, now), trouble, configuration }
}

/// Finds what is wrong with the daemon itself.
fn find_daemon_trouble(reply: &StatusReply, now: DateTime<Utc>) -> Vec<(State, String)> {
    let StatusReply { cron, tokens, daemon, .. } = reply;
    let mut causes = Vec::new();
    if !cron.running {
        let text = format!("nothing is renewed, the loop {}", stopped(cron.stopped_since));
        causes.push((State::Critical, text));
    }
    if let Some(mismatch) = &daemon.key_mismatch {
        causes.push((State::Critical, printable(mismatch)));
    }
    if let Some((what, why)) = reply.database_trouble() {
        causes.push((State::Critical, format!("{what}: {}", printable(why))));
    }
    let old = stale_after(cron.interval_seconds);
    // Before the first read, the age of the daemon counts.
    let age = now - tokens.as_of.unwrap_or(daemon.started_at);
    match tokens.as_of {
        _ if age > old => {
            let text =
                format!("the table was not read for {}; see journalctl -u tbtokend -n 20", duration(age));
            causes.push((State::Critical, text));
        }
        None => causes.push((State::Warning, "the table has not been read yet".to_owned())),
        Some(_) if tokens.summary.total == 0 => {
            let how = how_to_add_a_customer(&daemon.store);
            let text =
                format!("no customer in the table has a ThingsBoard URL, a user and a password; {how}");
            causes.push((State::Warning, text));
        }
        Some(_) => {}
    }
    causes
}

fn stale_after(interval_seconds: u64) -> TimeDelta {
    let interval = Duration::from_secs(interval_seconds);
    let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX / STALE_INTERVALS);
    (interval * STALE_INTERVALS).max(STALE_AFTER)
}

/// Describes a customer in trouble: `8F1C02AA ops@acme-north.example https://tb.acme.example: expired, -12m, parked: wrong password`
fn describe_customer(row: &Customer, now: DateTime<Utc>) -> String {
    let mut text = format!(
        "{} {} {}: {}",
        printable(&row.customer_id),
        printable(&row.tb_username),
        printable(&row.tb_url),
        row.token_status.word()
    );
    if row.tbtokenexpiry.is_some() {
        let _ = write!(text, ", {}", time_left(row.tbtokenexpiry, now));
    }
    if row.state == Phase::Parked {
        text.push_str(", parked");
    }
    if row.failure.is_some() {
        let _ = write!(text, ", {}", last_error(row));
    }
    text
}

fn measure(reply: &StatusReply, wanted: &CheckArgs, now: DateTime<Utc>) -> Vec<Measured> {
    let summary = reply.tokens.summary;
    let total = summary.total;
    let plain = |label, value: String| Measured { label, value, limits: None, max: None };
    let count = |label, value: usize| Measured { max: Some(total), ..plain(label, value.to_string()) };
    let mut measured = vec![
        plain("total", total.to_string()),
        Measured {
            limits: Some((wanted.warning.of(total), wanted.critical.of(total))),
            ..count("in_trouble", summary.in_trouble)
        },
        count("valid", summary.valid),
        count("expiring_soon", summary.expiring_soon),
        count("expired", summary.expired),
        count("missing", summary.missing),
        count("parked", summary.parked),
        count("retrying", summary.retrying),
    ];
    if let Some(at) = reply.tokens.as_of {
        let limit = stale_after(reply.cron.interval_seconds).num_seconds() as f64;
        let limit = Threshold::Outside { low: 0.0, high: limit };
        let age = (now - at).num_seconds().max(0);
        measured.push(Measured { limits: Some((limit, limit)), ..plain("table_age", format!("{age}s")) });
    }
    if let Some(run) = &reply.cron.last_run {
        measured.push(plain("last_run", format!("{:.3}s", run.duration_ms as f64 / 1000.0)));
    }
    // `c` is a counter, which a graph shows by its slope.
    measured.push(plain("logins", format!("{}c", reply.daemon.renewals_by_login)));
    measured.push(plain("token_refreshes", format!("{}c", reply.daemon.renewals_by_refresh_token)));
    measured
}

impl Measured {
    /// `'valid'=119;;;0;128`
    fn text(&self) -> String {
        let limits = self.limits.map(|(warning, critical)| format!("{warning};{critical}"));
        let limits = limits.unwrap_or_else(|| ";".to_owned());
        let max = self.max.map(|max| format!(";{max}")).unwrap_or_default();
        format!("'{}'={};{limits};0{max}", self.label, self.value)
    }
}

/// A judgement as `--json` prints it.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether there is a result.
    success: bool,
    state: State,
    exit: u8,
    text: &'a str,
    performance: serde_json::Map<String, serde_json::Value>,
    trouble: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<&'a str>,
}

impl Judgement {
    fn report(&self, json: bool, quiet: bool) -> Result<Report, Error> {
        let report = if json { self.json()? } else { Report::of(self.lines(quiet)) };
        Ok(Report { exit: self.state as u8, ..report })
    }

    /// `WARNING: text | performance data`, and a line for each customer in trouble.
    fn lines(&self, quiet: bool) -> String {
        // A bar anywhere begins the performance data.
        let plain = |text: &str| text.replace('|', "/");
        let mut text = format!("{}: {}", <&str>::from(self.state), plain(&self.text));
        if !self.measured.is_empty() {
            let measured: Vec<String> = self.measured.iter().map(Measured::text).collect();
            let _ = write!(text, " | {}", measured.join(" "));
        }
        text.push('\n');
        let configuration = self.configuration.as_ref();
        let configuration = configuration.map(|file| format!("tbtokend has read {}", printable(file)));
        for line in self.trouble.iter().chain(&configuration).filter(|_| !quiet) {
            text.push_str(&plain(line));
            text.push('\n');
        }
        text
    }

    fn json(&self) -> Result<Report, Error> {
        let number = |measured: &Measured| {
            let number = measured.value.trim_end_matches(char::is_alphabetic);
            (measured.label.to_owned(), serde_json::from_str(number).unwrap_or_default())
        };
        Report::json(&Document {
            success: self.state != State::Unknown,
            state: self.state,
            exit: self.state as u8,
            text: &self.text,
            performance: self.measured.iter().map(number).collect(),
            trouble: &self.trouble,
            configuration: self.configuration.as_deref(),
        })
    }
}
