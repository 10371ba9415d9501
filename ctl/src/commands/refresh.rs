//! `refresh`: a manual pass, and its outcome for each customer.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tbtoken_proto::client::Client;
use tbtoken_proto::words::{printable, time_left, timestamp};
use tbtoken_proto::{Outcome, OutcomeStatus, Refresh, RefreshReply, RefreshResult, Request};

use super::json;
use crate::args::RefreshArgs;
use crate::error::Error;
use crate::exit;
use crate::output::Report;
use crate::progress::Progress;
use crate::session::{Session, fits, ids, unique};
use crate::table;

/// Requests the pass and, by default, waits until it is over.
pub(super) fn run(session: &Session<'_>, wanted: &RefreshArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let names = unique(wanted.customers.clone());
    let reply = match pass(session, &mut client, names, wanted) {
        // The daemon polls before it refuses, so the name is no id of a new row; it may be another name of a customer.
        Err(error) if error.is_unknown_customer() => {
            let ids = ids(&mut client, &wanted.customers)?;
            pass(session, &mut client, ids, wanted)?
        }
        reply => reply?,
    };
    let is_named = !wanted.customers.is_empty();
    let failed = reply.result.as_ref().is_some_and(|result| has_failed(result, is_named));
    let exit = if failed { exit::FAILED } else { exit::DONE };
    if !session.args.json {
        return Ok(Report {
            exit,
            ..report(&reply, is_named, session.args.quiet, session.now(), session.style.width)
        });
    }
    if !failed {
        return json(reply);
    }
    let document = Failed { success: false, error: &reply.message, code: "failed", reply: &reply };
    Ok(Report { exit, ..Report::json(&document)? })
}

/// Whether a customer failed, or a named one was not renewed.
fn has_failed(result: &RefreshResult, is_named: bool) -> bool {
    let is_left_out = |outcome: &Outcome| is_named && outcome.status != OutcomeStatus::Success;
    result.errors > 0 || !result.success || result.details.iter().any(is_left_out)
}

/// A pass with failures as `--json` prints it: like every other error, with the daemon's answer beside it.
#[derive(Serialize)]
struct Failed<'a> {
    success: bool,
    error: &'a str,
    code: &'static str,
    #[serde(flatten)]
    reply: &'a RefreshReply,
}

/// Requests the pass over these customers; without any, over those of the options.
fn pass(
    session: &Session<'_>,
    client: &mut Client,
    customers: Vec<String>,
    wanted: &RefreshArgs,
) -> Result<RefreshReply, Error> {
    let request = request(customers, wanted)?;
    if wanted.no_wait {
        return Ok(client.ask(&request)?);
    }
    let _progress = session.style.progress.then(|| Progress::start(&session.socket));
    Ok(client.ask_within(&request, session.args.timeout)?)
}

/// Makes the request for a pass over these customers; without any, over those of the options.
///
/// # Errors
/// They are more than a request holds.
fn request(customers: Vec<String>, wanted: &RefreshArgs) -> Result<Request, Error> {
    let request = |customers: &[String]| {
        let customers = Some(customers.to_vec()).filter(|ids| !ids.is_empty());
        Request::Refresh(Refresh { customers, all: wanted.all, force: wanted.force, wait: !wanted.no_wait })
    };
    let whole = request(&customers);
    if fits(&whole) {
        return Ok(whole);
    }
    let counts: Vec<usize> = (1..=customers.len()).collect();
    let most = counts.partition_point(|&count| fits(&request(&customers[..count])));
    Err(Error::TooMany { named: customers.len(), most })
}

fn report(
    reply: &RefreshReply,
    is_named: bool,
    quiet: bool,
    now: DateTime<Utc>,
    width: Option<u16>,
) -> Report {
    let Some(result) = &reply.result else {
        // Without waiting there is only the daemon's promise.
        return if quiet { Report::default() } else { Report::of(printable(&reply.message) + "\n") };
    };
    let is_skipped = |outcome: &&Outcome| outcome.status == OutcomeStatus::Skipped;
    let (skipped, tried): (Vec<_>, Vec<_>) = result.details.iter().partition(is_skipped);
    let lines =
        |outcomes: &[&Outcome]| table::lines(outcomes.iter().map(|outcome| line(outcome, now)), width);
    let remarks = match result.details.len() {
        0 => "no customer is due\n".to_owned(),
        _ => lines(&skipped) + &summary(result, &skipped, is_named),
    };
    Report { remarks, ..Report::of(lines(&tried)) }
}

fn line(outcome: &Outcome, now: DateTime<Utc>) -> [String; 3] {
    let word = match outcome.status {
        OutcomeStatus::Success => "renewed",
        OutcomeStatus::Error => "failed",
        OutcomeStatus::Skipped => "skipped",
        OutcomeStatus::Unknown => "unknown",
    };
    let mut text = String::new();
    if let Some(expiry) = outcome.new_expiry {
        text = format!("until {} ({})", timestamp(expiry), time_left(Some(expiry), now));
    }
    if let Some(kind) = outcome.kind {
        text.push_str(kind.short());
    }
    if let Some(message) = &outcome.message {
        let gap = if text.is_empty() { "" } else { ": " };
        text = format!("{text}{gap}{}", printable(message));
    }
    [word.to_owned(), printable(&outcome.customer_id), text]
}

/// Returns the counts, and what to do.
fn summary(result: &RefreshResult, skipped: &[&Outcome], is_named: bool) -> String {
    let mut text = format!("{} renewed, {} failed", result.updated, result.errors);
    if !skipped.is_empty() {
        text.push_str(&format!(", {} skipped", skipped.len()));
    }
    text.push('\n');
    if result.errors > 0 {
        text.push_str("hint: tbctl show ID says what to do about a failure\n");
    }
    // Customers that are skipped for another reason wait for their server, and are tried automatically.
    let is_parked = |why: &String| why.starts_with("parked");
    if skipped.iter().any(|outcome| outcome.message.as_ref().is_some_and(is_parked)) {
        text.push_str(match is_named {
            false => "hint: to try a parked customer, name it: tbctl refresh ID",
            true => {
                "hint: correct its row, or its user in ThingsBoard; to try it anyway: tbctl refresh --force ID"
            }
        });
        text.push_str(" (one more wrong password may lock its account)\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use tbtoken_proto::FailureKind;

    use super::*;

    fn outcome(id: &str, status: OutcomeStatus) -> Outcome {
        Outcome { customer_id: id.to_owned(), status, new_expiry: None, kind: None, message: None }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-23T14:03:00Z".parse().unwrap()
    }

    fn told(details: Vec<Outcome>, is_named: bool) -> Report {
        let count = |status| details.iter().filter(|outcome| outcome.status == status).count();
        let (updated, errors) = (count(OutcomeStatus::Success), count(OutcomeStatus::Error));
        let result = RefreshResult { success: errors == 0, updated, errors, total: details.len(), details };
        report(
            &RefreshReply { message: "done".to_owned(), result: Some(result) },
            is_named,
            false,
            now(),
            None,
        )
    }

    #[test]
    fn tried_customers_are_data_and_skipped_ones_a_remark() {
        let details = vec![
            Outcome {
                new_expiry: Some("2026-11-23T14:18:00Z".parse().unwrap()),
                ..outcome("8F1C02AA", OutcomeStatus::Success)
            },
            Outcome {
                kind: Some(FailureKind::Timeout),
                message: Some("no answer\nwithin 10 s".to_owned()),
                ..outcome("91BE", OutcomeStatus::Error)
            },
            Outcome {
                message: Some("parked: wrong password".to_owned()),
                ..outcome("C0FF", OutcomeStatus::Skipped)
            },
        ];
        let report = told(details.clone(), false);
        assert_eq!(
            report.data,
            "renewed  8F1C02AA  until 2026-11-23T14:18:00Z (15m)\n\
             failed   91BE      timed out: no answer\u{fffd}within 10 s\n"
        );
        assert_eq!(
            report.remarks,
            "skipped  C0FF  parked: wrong password\n\
             1 renewed, 1 failed, 1 skipped\n\
             hint: tbctl show ID says what to do about a failure\n\
             hint: to try a parked customer, name it: tbctl refresh ID (one more wrong password may lock its account)\n"
        );
        let named = told(details, true).remarks;
        let hint =
            "to try it anyway: tbctl refresh --force ID (one more wrong password may lock its account)\n";
        assert!(named.ends_with(hint) && !named.contains("name it"), "{named}");
    }

    #[test]
    fn a_pass_over_no_customer_says_so() {
        assert_eq!(
            told(vec![], false),
            Report { remarks: "no customer is due\n".to_owned(), ..Report::default() }
        );
    }

    #[test]
    fn a_pass_without_failures_is_one_line() {
        assert_eq!(told(vec![outcome("a", OutcomeStatus::Success)], false).remarks, "1 renewed, 0 failed\n");
    }
}
