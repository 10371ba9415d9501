//! `refresh`: a manual pass, and what became of each customer.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tbtoken_proto::client::Client;
use tbtoken_proto::words::{printable, time_left, timestamp};
use tbtoken_proto::{Outcome, OutcomeStatus, Refresh, RefreshReply, RefreshResult, Reply, Request};

use super::json;
use crate::args::RefreshArgs;
use crate::error::Error;
use crate::exit;
use crate::output::Report;
use crate::progress::Progress;
use crate::session::{Session, fits, ids, unique};
use crate::table;

/// Asks for the pass and, unless told otherwise, waits for it as long as it takes.
pub(super) fn run(session: &Session<'_>, wanted: &RefreshArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let names = unique(wanted.customers.clone());
    let reply = match pass(session, &mut client, names, wanted) {
        // The daemon polls before it says so: a row that is newer than its last poll is none of the customers that the
        // beginning of an id is looked for among.
        Err(error) if error.is_unknown_customer() => {
            let ids = ids(&mut client, &wanted.customers)?;
            pass(session, &mut client, ids, wanted)?
        }
        reply => reply?,
    };
    let failed = reply.result.as_ref().is_some_and(|result| result.errors > 0 || !result.success);
    let exit = if failed { exit::FAILED } else { exit::DONE };
    if !session.args.json {
        return Ok(Report { exit, ..report(&reply, session.args.quiet, session.now(), session.style.width) });
    }
    if !failed {
        return json(Reply::Refresh(reply));
    }
    let document = Failed { success: false, error: &reply.message, code: "failed", reply: &reply };
    Ok(Report { data: serde_json::to_string(&document)? + "\n", remarks: String::new(), exit })
}

/// A pass in which a customer failed, as `--json` tells it: as every other error, with the daemon's answer beside it.
#[derive(Serialize)]
struct Failed<'a> {
    success: bool,
    error: &'a str,
    code: &'static str,
    #[serde(flatten)]
    reply: &'a RefreshReply,
}

/// Asks for the pass over these customers; without any, over those that the command line means otherwise.
fn pass(
    session: &Session<'_>,
    client: &mut Client,
    customers: Vec<String>,
    wanted: &RefreshArgs,
) -> Result<RefreshReply, Error> {
    let request = request(Some(customers).filter(|ids| !ids.is_empty()), wanted)?;
    let reply = if wanted.no_wait {
        client.send(&request)?
    } else {
        let _progress = session.style.progress.then(|| Progress::start(&session.socket));
        client.send_within(&request, session.args.timeout)?
    };
    let Reply::Refresh(reply) = reply else { return Err(Error::Mismatch) };
    Ok(reply)
}

/// The request for a pass over these, or over whom else the command line means.
///
/// # Errors
/// They are more than a request holds.
fn request(customers: Option<Vec<String>>, wanted: &RefreshArgs) -> Result<Request, Error> {
    let over = |customers| {
        Request::Refresh(Refresh { customers, all: wanted.all, force: wanted.force, wait: !wanted.no_wait })
    };
    let Some(ids) = customers else { return Ok(over(None)) };
    let fit = |count: usize| fits(&over(ids.get(..count).map(<[String]>::to_vec)));
    if fit(ids.len()) {
        return Ok(over(Some(ids)));
    }
    // The most that fit lie between those that do and those that do not.
    let (mut most, mut too_many) = (0, ids.len());
    while most + 1 < too_many {
        let middle = usize::midpoint(most, too_many);
        if fit(middle) { most = middle } else { too_many = middle }
    }
    Err(Error::TooMany { named: ids.len(), most })
}

fn report(reply: &RefreshReply, quiet: bool, now: DateTime<Utc>, width: Option<u16>) -> Report {
    match &reply.result {
        // Without waiting there is only the daemon's word that the pass will be done.
        None if quiet => Report::default(),
        None => Report { data: format!("{}\n", printable(&reply.message)), ..Report::default() },
        Some(result) => Report {
            data: table::lines(touched(result).map(|outcome| line(outcome, now)), width),
            remarks: remarks(result, width),
            ..Report::default()
        },
    }
}

fn touched(result: &RefreshResult) -> impl Iterator<Item = &Outcome> {
    result.details.iter().filter(|outcome| outcome.status != OutcomeStatus::Skipped)
}

fn left_alone(result: &RefreshResult) -> impl Iterator<Item = &Outcome> {
    result.details.iter().filter(|outcome| outcome.status == OutcomeStatus::Skipped)
}

fn line(outcome: &Outcome, now: DateTime<Utc>) -> [String; 3] {
    let word = match outcome.status {
        OutcomeStatus::Success => "renewed",
        OutcomeStatus::Error => "failed",
        OutcomeStatus::Skipped => "left alone",
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

/// Who was left alone and why, and the counts.
fn remarks(result: &RefreshResult, width: Option<u16>) -> String {
    if result.details.is_empty() {
        return "nobody is due\n".to_owned();
    }
    // The time is of no use here: nobody who was left alone has a new expiry.
    let mut text = table::lines(left_alone(result).map(|outcome| line(outcome, DateTime::UNIX_EPOCH)), width);
    let skipped = left_alone(result).count();
    let _ = write!(text, "{} renewed, {} failed", result.updated, result.errors);
    if skipped > 0 {
        let _ = write!(text, ", {skipped} left alone");
    }
    text.push('\n');
    if result.errors > 0 {
        text.push_str("hint: tbctl show ID says what to do about a failure\n");
    }
    // Others that were left alone wait for their server, and are tried by themselves.
    if left_alone(result).any(|outcome| outcome.message.as_ref().is_some_and(|why| why.starts_with("parked")))
    {
        text.push_str("hint: a parked customer is tried when it is named: ");
        text.push_str("tbctl refresh ID (a wrong password once more may lock its account)\n");
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

    fn told(details: Vec<Outcome>) -> Report {
        let count = |status| details.iter().filter(|outcome| outcome.status == status).count();
        let (updated, errors) = (count(OutcomeStatus::Success), count(OutcomeStatus::Error));
        let result = RefreshResult { success: errors == 0, updated, errors, total: details.len(), details };
        report(&RefreshReply { message: "done".to_owned(), result: Some(result) }, false, now(), None)
    }

    #[test]
    fn the_touched_are_data_and_the_others_a_remark() {
        let report = told(vec![
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
        ]);
        assert_eq!(
            report.data,
            "renewed  8F1C02AA  until 2026-11-23T14:18:00Z (15m)\n\
             failed   91BE      timed out: no answer\u{fffd}within 10 s\n"
        );
        assert_eq!(
            report.remarks,
            "left alone  C0FF  parked: wrong password\n\
             1 renewed, 1 failed, 1 left alone\n\
             hint: tbctl show ID says what to do about a failure\n\
             hint: a parked customer is tried when it is named: tbctl refresh ID (a wrong password once more may \
             lock its account)\n"
        );
    }

    #[test]
    fn a_pass_over_nobody_says_so() {
        assert_eq!(told(vec![]), Report { remarks: "nobody is due\n".to_owned(), ..Report::default() });
    }

    #[test]
    fn all_renewed_needs_few_words() {
        assert_eq!(told(vec![outcome("a", OutcomeStatus::Success)]).remarks, "1 renewed, 0 failed\n");
    }
}
