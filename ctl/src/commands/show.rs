//! `show`: everything about one customer, why it stands so, what happens next, and what to do.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tbtoken_proto::explain::{self, Explanation, Loop, Ways, Weight};
use tbtoken_proto::fit;
use tbtoken_proto::words::{duration, last_error, printable, timestamp, with_local_times};
use tbtoken_proto::{Customer, Event, Host, StatusReply, TokenStatus, host_of};

use super::events::history;
use super::status::{status_color, trouble_line};
use crate::args::ShowArgs;
use crate::error::Error;
use crate::exit;
use crate::output::{Color, Report, Style, paint};
use crate::session::{Session, named, status};
use crate::table;

/// So many of the newest events are shown.
const MAX_SHOWN: usize = 20;

/// Asks for the customer and its history, and tells its story.
pub(super) fn run(session: &Session<'_>, wanted: &ShowArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let reply = named(&mut |query| status(&mut client, query), std::slice::from_ref(&wanted.customer))?;
    let Some(customer) = reply.tokens.customers.as_ref().and_then(|rows| rows.first()) else {
        return Err(Error::Mismatch);
    };
    let mut events = history(&mut client)?.events;
    events.retain(|event| event.customer_id.as_deref() == Some(&customer.customer_id));
    events.drain(..events.len().saturating_sub(MAX_SHOWN));

    let id = as_argument(&customer.customer_id);
    let (refresh, force) = (format!("tbctl refresh {id}"), format!("tbctl refresh --force {id}"));
    let ways = Ways { refresh: &refresh, force: &force, start: "tbctl start" };
    let cron = if reply.cron.running { Loop::Running } else { Loop::Stopped };
    let now = session.now();
    let explanation = explain::explain(customer, cron, &ways, now);
    if session.args.json {
        return json(&reply, &explanation, &events);
    }
    let mut data = String::new();
    if !session.args.quiet {
        data.push_str(&trouble_line(&reply, session.style, now));
    }
    let host = host_of(&customer.tb_url);
    let host =
        reply.hosts.as_ref().and_then(|hosts| hosts.iter().find(|known| Some(&known.host) == host.as_ref()));
    data.push_str(&story(customer, host, &explanation, session.style, now));
    data.push_str(&told(customer, &events, session.style.width));
    Ok(Report { data, remarks: String::new(), exit: exit::DONE })
}

/// The daemon's answer, with what `show` makes of it.
#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    #[serde(flatten)]
    reply: &'a StatusReply,
    explanation: Words<'a>,
    events: &'a [Event],
}

/// An explanation for programs that show it to people.
#[derive(Serialize)]
struct Words<'a> {
    headline: &'a str,
    why: &'a str,
    what_to_do: &'a str,
    what_next: String,
}

fn json(reply: &StatusReply, explanation: &Explanation, events: &[Event]) -> Result<Report, Error> {
    let Explanation { headline, why, remedy, .. } = explanation;
    let explanation = Words { headline, why, what_to_do: remedy, what_next: explanation.what_next() };
    let document = Document { success: true, reply, explanation, events };
    let data = serde_json::to_string(&document)? + "\n";
    Ok(Report { data, remarks: String::new(), exit: exit::DONE })
}

/// The width of a field's name.
const LABEL: usize = 14;

/// The fields, each with its name; on a terminal broken into lines that fit.
fn story(
    customer: &Customer,
    host: Option<&Host>,
    explanation: &Explanation,
    style: Style,
    now: DateTime<Utc>,
) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str, color: Option<Color>| {
        if value.is_empty() {
            return;
        }
        let room = style.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(LABEL).max(20));
        for (at, line) in fit::wrap(&printable(value), room).iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let line = match color.filter(|_| style.color) {
                Some(color) => paint(line, color),
                None => line.clone(),
            };
            let _ = writeln!(text, "{name:<LABEL$}{line}");
        }
    };
    let status = customer.token_status;
    field("customer", &customer.customer_id, Some(Color::Bold));
    field("user", &customer.tb_username, None);
    field("ThingsBoard", &customer.tb_url, None);
    field("", &host.map(explain::describe_server).unwrap_or_default(), None);
    field("token", &token(customer, now), status_color(status));
    field("checked", &explain::describe_check(customer, now), None);
    let color = match explanation.weight {
        Weight::Bad => Some(Color::Red),
        Weight::Warn => Some(Color::Yellow),
        Weight::Plain => None,
    };
    field("state", headline(customer, explanation), color);
    if let Some(failure) = &customer.failure {
        // The machine's word for it is what a script, the log and the documentation call it.
        let kind = serde_json::to_value(failure.kind).ok();
        let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        field(
            "last error",
            &format!("{} [{kind}], at {}", last_error(customer), timestamp(failure.at)),
            None,
        );
        field("why", &explanation.why, None);
    }
    field("what to do", &explanation.remedy, None);
    field("what next", &explanation.what_next(), None);
    field("renewals", &customer.renewals.to_string(), None);
    let last = customer.last_success_at.map(|at| format!("{}, {} ago", timestamp(at), duration(now - at)));
    field("last success", last.as_deref().unwrap_or("never"), None);
    text
}

/// The state in a word or two.
fn headline<'a>(customer: &Customer, explanation: &'a Explanation) -> &'a str {
    match explanation.headline.as_str() {
        "" => customer.state.word(),
        headline => headline,
    }
}

/// `x expired. The token ended 12m ago, at 13:51Z.`
fn token(customer: &Customer, now: DateTime<Utc>) -> String {
    let status = match customer.token_status {
        TokenStatus::Valid => "valid".to_owned(),
        status => format!("{} {}", status.sign(), status.word()),
    };
    format!("{status}. {}", explain::describe_token(customer, now))
}

/// What happened, oldest first, below a heading.
fn told(customer: &Customer, events: &[Event], width: Option<u16>) -> String {
    // The changes outlive a restart and the list of events, without their words.
    let begin = events.first().map(|event| event.at);
    let before = customer.changes.iter().filter(|change| begin.is_none_or(|begin| change.at < begin));
    let before = before.map(|change| [timestamp(change.at), change.kind.word().to_owned(), String::new()]);
    let message = |event: &Event| printable(&with_local_times(&event.message));
    let events =
        events.iter().map(|event| [timestamp(event.at), event.kind.word().to_owned(), message(event)]);
    let rows: Vec<_> = before.chain(events).collect();
    if rows.is_empty() {
        return "\nno history among the events that tbtokend remembers\n".to_owned();
    }
    format!("\nhistory, oldest first\n{}", table::lines(rows.into_iter(), width))
}

/// An id as an argument of a command that somebody copies into a shell: whatever a shell would heed stands in quotes.
fn as_argument(id: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "@%+=:,./_-".contains(c);
    let end_of_options = if id.starts_with('-') { "-- " } else { "" };
    if id.chars().all(is_plain) {
        return format!("{end_of_options}{id}");
    }
    format!("{end_of_options}'{}'", id.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::as_argument;

    #[test]
    fn what_a_shell_would_heed_is_quoted() {
        for (id, argument) in [
            ("8F1C02AA-33D1", "8F1C02AA-33D1"),
            ("株式会社", "株式会社"),
            ("spa ce", "'spa ce'"),
            ("x; reboot", "'x; reboot'"),
            ("it's $(reboot)", r"'it'\''s $(reboot)'"),
            ("--all", "-- --all"),
        ] {
            assert_eq!(as_argument(id), argument);
        }
    }
}
