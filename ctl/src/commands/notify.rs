//! `notify`: the receivers of messages about troubles, and a test of them.

use tbtoken_proto::words::{printable, timestamp};
use tbtoken_proto::{NotifyReply, Receiver, Request};

use super::json;
use crate::args::{NotifyAction, NotifyArgs};
use crate::error::Error;
use crate::exit;
use crate::output::Report;
use crate::session::Session;
use crate::table::Columns;

const LIST: Columns = Columns {
    headings: &["RECEIVER", "KIND", "SERVER", "LAST SENT", "QUEUED", "LAST ERROR"],
    flexible: &[2, 5],
    expendable: &[1, 2],
};

const TEST: Columns =
    Columns { headings: &["RECEIVER", "RESULT", "ANSWER"], flexible: &[2], expendable: &[] };

/// Lists or tests the receivers.
pub(super) fn run(session: &Session<'_>, wanted: &NotifyArgs) -> Result<Report, Error> {
    let is_test = wanted.action == NotifyAction::Test;
    let request = match is_test {
        true => Request::NotifyTest { receiver: wanted.receiver.clone() },
        false => Request::NotifyList {},
    };
    let reply: NotifyReply = session.connect()?.ask(&request)?;
    let is_refused = |receiver: &Receiver| receiver.test.as_ref().is_some_and(|test| !test.accepted);
    let exit = if reply.receivers.iter().any(is_refused) { exit::FAILED } else { exit::DONE };
    if session.args.json {
        return json(reply).map(|report| Report { exit, ..report });
    }
    let (columns, row): (_, fn(&Receiver) -> Vec<String>) = match is_test {
        true => (TEST, test_row),
        false => (LIST, list_row),
    };
    let data = columns.lay_out(reply.receivers.iter().map(row), session.style.width);
    let remarks = match (reply.receivers.is_empty(), is_test, exit) {
        (true, ..) => "No receiver is configured: add a section [[notify.receiver]].\n",
        (_, true, exit::DONE) => "Accepted; look whether the messages appear.\n",
        _ => "",
    };
    Ok(Report { data, remarks: remarks.to_owned(), exit })
}

fn list_row(receiver: &Receiver) -> Vec<String> {
    vec![
        printable(&receiver.name),
        printable(&receiver.kind),
        printable(&receiver.place),
        receiver.last_sent_at.map_or_else(|| "-".to_owned(), timestamp),
        receiver.queued.to_string(),
        printable(receiver.last_error.as_deref().unwrap_or("-")),
    ]
}

fn test_row(receiver: &Receiver) -> Vec<String> {
    let (result, answer) = receiver.test.as_ref().map_or(("not tested", ""), |test| {
        (if test.accepted { "accepted" } else { "failed" }, test.answer.as_str())
    });
    vec![printable(&receiver.name), result.to_owned(), printable(answer)]
}
