//! `events`: what happened lately, oldest first; with `--follow` also what happens from now on.

use tbtoken_proto::client::Client;
use tbtoken_proto::words::printable;
use tbtoken_proto::{Event, EventKind, EventsReply, MAX_EVENTS, Reply, Request, Seq};
use unicode_width::UnicodeWidthStr;

use super::{POLL, json, time};
use crate::args::EventsArgs;
use crate::error::Error;
use crate::exit;
use crate::link::Link;
use crate::output::{self, Report};
use crate::pause::{self, Reader};
use crate::session::{Session, ids};
use crate::table::{self, pad};

/// What is said when there is nothing to show.
const NONE: &str = "tbtokend remembers no such event\n";

/// Asks for the newest events. The protocol knows no customer there, so for one customer all are asked for.
pub(super) fn run(session: &Session<'_>, wanted: &EventsArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let customer = match &wanted.customer {
        Some(name) => ids(&mut client, std::slice::from_ref(name))?.pop(),
        None => None,
    };
    let limit = if customer.is_some() { MAX_EVENTS } else { wanted.lines.max(1) };
    let mut reply = match client.send(&Request::Events { since: None, limit })? {
        Reply::Events(reply) => reply,
        _ => return Err(Error::Mismatch),
    };
    keep(&mut reply, customer.as_deref(), wanted.lines);
    if wanted.follow {
        return follow(session, client, customer.as_deref(), &reply);
    }
    if session.args.json {
        return json(Reply::Events(reply));
    }
    // Who asks for no event is not told that there are none.
    let remarks = if reply.events.is_empty() && wanted.lines > 0 { NONE } else { "" };
    Ok(Report { remarks: remarks.to_owned(), ..report(&reply.events) })
}

/// Keeps the newest `lines` events, of `customer` if there is one.
fn keep(reply: &mut EventsReply, customer: Option<&str>, lines: usize) {
    reply.events.retain(|event| is_of(event, customer));
    reply.events.drain(..reply.events.len().saturating_sub(lines));
}

fn is_of(event: &Event, customer: Option<&str>) -> bool {
    customer.is_none_or(|customer| event.customer_id.as_deref() == Some(customer))
}

fn report(events: &[Event]) -> Report {
    Report { data: table::lines(events.iter().map(cells)), remarks: String::new(), exit: exit::DONE }
}

fn cells(event: &Event) -> [String; 4] {
    [
        time(event.at),
        event.kind.word().to_owned(),
        event.customer_id.as_deref().map_or_else(|| "-".to_owned(), printable),
        printable(&event.message),
    ]
}

/// Shows what there is, and then each second what has come, until nobody reads it any more.
fn follow(
    session: &Session<'_>,
    client: Client,
    customer: Option<&str>,
    first: &EventsReply,
) -> Result<Report, Error> {
    let mut link = Link::new(&session.socket, Some(client));
    let mut lines = Lines::new(&first.events);
    let mut next = first.next;
    let mut away = None;
    let mut full = false;
    show(session, &mut lines, &first.events)?;
    loop {
        // A full answer means that there is more.
        if !std::mem::take(&mut full) && pause::while_somebody_reads(POLL) == Reader::Gone {
            return Ok(Report::default());
        }
        match link.ask(&since(next), session.timeout()) {
            Ok(Reply::Events(reply)) => {
                if away.take().is_some() && !session.args.quiet {
                    output::remark("the daemon is back\n");
                }
                full = reply.events.len() >= MAX_EVENTS;
                next = reply.next;
                let events: Vec<Event> =
                    reply.events.into_iter().filter(|event| is_of(event, customer)).collect();
                show(session, &mut lines, &events)?;
            }
            Ok(_) => return Err(Error::Mismatch),
            Err(error) => {
                let error = Error::from(error).text();
                if away.replace(error.clone()) != Some(error.clone()) && !session.args.quiet {
                    output::remark(&format!("DAEMON UNREACHABLE: {error}; trying again\n"));
                }
            }
        }
    }
}

fn since(next: Seq) -> Request {
    Request::Events { since: Some(next), limit: MAX_EVENTS }
}

fn show(session: &Session<'_>, lines: &mut Lines, events: &[Event]) -> Result<(), Error> {
    let mut text = String::new();
    for event in events {
        if session.args.json {
            text.push_str(&serde_json::to_string(event)?);
            text.push('\n');
        } else {
            text.push_str(&lines.line(event));
        }
    }
    output::data(&text, session.args.json).map_err(Error::Output)
}

/// Lines in columns, though nobody knows what is to come: a column grows with what was in it.
struct Lines {
    id: usize,
}

impl Lines {
    fn new(events: &[Event]) -> Self {
        let widths = events.iter().map(|event| cells(event)[2].width());
        Self { id: widths.max().unwrap_or(0) }
    }

    fn line(&mut self, event: &Event) -> String {
        let [at, kind, id, message] = cells(event);
        self.id = self.id.max(id.width());
        let kind = pad(&kind, EventKind::PassFinished.word().len());
        format!("{at}  {kind}  {}  {message}\n", pad(&id, self.id))
    }
}

#[cfg(test)]
mod tests {
    use tbtoken_proto::{EventKind, Seq};

    use super::*;

    fn event(seq: u64, customer: Option<&str>, kind: EventKind) -> Event {
        Event {
            seq: Seq(seq),
            at: "2026-11-23T14:03:00.5Z".parse().unwrap(),
            kind,
            customer_id: customer.map(str::to_owned),
            message: format!("no. {seq}\u{7}"),
        }
    }

    #[test]
    fn events_are_lines_in_columns() {
        let told =
            report(&[event(1, None, EventKind::PassStarted), event(2, Some("8F1C"), EventKind::Renewed)]);
        assert_eq!(
            told.data,
            "2026-11-23T14:03:00Z  pass started  -     no. 1\u{fffd}\n\
             2026-11-23T14:03:00Z  renewed       8F1C  no. 2\u{fffd}\n"
        );
        assert_eq!((told.remarks.as_str(), report(&[])), ("", Report::default()));
    }

    #[test]
    fn the_newest_of_one_customer_are_kept() {
        let renewed = |seq, customer| event(seq, customer, EventKind::Renewed);
        let events =
            vec![renewed(1, Some("a")), renewed(2, None), renewed(3, Some("b")), renewed(4, Some("a"))];
        let kept = |customer: Option<&str>, lines| {
            let mut reply = EventsReply { events: events.clone(), next: Seq(5) };
            keep(&mut reply, customer, lines);
            reply.events.iter().map(|event| event.seq.0).collect::<Vec<_>>()
        };
        assert_eq!(kept(Some("a"), 100), [1, 4]);
        assert_eq!(kept(Some("a"), 1), [4]);
        assert_eq!(kept(Some("c"), 1), [0; 0]);
        assert_eq!(kept(None, 2), [3, 4]);
        assert_eq!(kept(None, 0), [0; 0]);
    }
}
