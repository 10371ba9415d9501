//! `show`: everything about one customer: its state, the cause, what happens next, and what to do.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tbtoken_proto::explain::{self, Emphasis, Explanation, Loop, Ways, Weight};
use tbtoken_proto::fit;
use tbtoken_proto::words::{printable, timestamp, with_local_times};
use tbtoken_proto::{Customer, Event, EventKind, Server, StatusReply, host_of};

use super::events::history;
use super::status::{status_color, trouble_line};
use crate::args::ShowArgs;
use crate::error::Error;
use crate::output::{Color, Report, Style, paint};
use crate::session::{Session, named, status};
use crate::table;

/// The most events that are shown.
const MAX_SHOWN: usize = 20;

/// Describes the customer, and lists its newest events.
pub(super) fn run(session: &Session<'_>, wanted: &ShowArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let name = &wanted.customer;
    let reply = named(&mut |query| status(&mut client, query), std::slice::from_ref(name))?;
    let Some(customer) = reply.tokens.customers.as_ref().and_then(|rows| rows.first()) else {
        return Err(Error::NoCustomer { name: name.clone(), near: Vec::new() });
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
    let server = host_of(&customer.tb_url);
    let server = reply.servers.iter().flatten().find(|known| Some(&known.name) == server.as_ref());
    let trouble = if session.args.quiet { String::new() } else { trouble_line(&reply, session.style, now) };
    let description = description(customer, server, &explanation, session.style, now);
    let history = history_lines(customer, &events, session.style.width);
    Ok(Report::of(trouble + &description + &history))
}

/// The daemon's answer with the explanation and the events.
#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    #[serde(flatten)]
    reply: &'a StatusReply,
    explanation: Words<'a>,
    events: &'a [Event],
}

/// An explanation as `--json` prints it.
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
    Report::json(&Document { success: true, reply, explanation, events })
}

/// Returns the fields with their names; on a terminal wrapped.
fn description(
    customer: &Customer,
    server: Option<&Server>,
    explanation: &Explanation,
    style: Style,
    now: DateTime<Utc>,
) -> String {
    /// The width of a field's name.
    const LABEL: usize = 14;
    let room = style.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(LABEL).max(20));
    let mut text = String::new();
    for field in explain::describe(customer, server, explanation, now) {
        let color = match (field.emphasis, explanation.weight) {
            (Emphasis::Title, _) => Some(Color::Bold),
            (Emphasis::Status, _) => status_color(customer.token_status),
            (Emphasis::Weight, Weight::Bad) => Some(Color::Red),
            (Emphasis::Weight, Weight::Warn) => Some(Color::Yellow),
            (Emphasis::Weight, Weight::Plain) | (Emphasis::Plain, _) => None,
        };
        let color = color.filter(|_| style.color);
        for (at, line) in fit::wrap(&printable(&field.value), room).into_iter().enumerate() {
            let name = if at == 0 { field.name } else { "" };
            let line = color.map_or_else(|| line.clone(), |color| paint(&line, color));
            text.push_str(&format!("{name:<LABEL$}{line}\n"));
        }
    }
    text
}

/// Returns the events, oldest first, below a heading.
fn history_lines(customer: &Customer, events: &[Event], width: Option<u16>) -> String {
    // The changes outlive a restart and the list of events, without their messages.
    let begin = events.first().map(|event| event.at);
    let changes = customer.changes.iter().filter(|change| begin.is_none_or(|begin| change.at < begin));
    let row = |at, kind: EventKind, message: &str| {
        [timestamp(at), kind.word().to_owned(), printable(&with_local_times(message))]
    };
    let changes = changes.map(|change| row(change.at, change.kind, ""));
    let rows: Vec<_> =
        changes.chain(events.iter().map(|event| row(event.at, event.kind, &event.message))).collect();
    if rows.is_empty() {
        return "\nno history among the events that tbtokend remembers\n".to_owned();
    }
    format!("\nhistory, oldest first\n{}", table::lines(rows.into_iter(), width))
}

/// Writes an id as an argument for a shell: an id with special characters is quoted.
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
    fn an_id_with_special_characters_is_quoted() {
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
