//! `events`: what happened lately, oldest first.

use tbtoken_proto::words::printable;
use tbtoken_proto::{Event, EventsReply, MAX_EVENTS, Reply, Request, Rows, StatusQuery};

use super::{Session, json, time};
use crate::args::EventsArgs;
use crate::error::Error;
use crate::exit;
use crate::output::Report;
use crate::table;

/// Asks for the newest events. The protocol knows no customer there, so for one customer all are asked for.
pub(super) fn run(session: &mut Session<'_>, wanted: &EventsArgs) -> Result<Report, Error> {
    let limit = if wanted.customer.is_some() { MAX_EVENTS } else { wanted.lines };
    let Reply::Events(mut reply) = session.client.send(&Request::Events { since: None, limit })? else {
        return Err(Error::Mismatch);
    };
    if let Some(customer) = &wanted.customer {
        keep(&mut reply, customer, wanted.lines);
        if reply.events.is_empty() {
            // Nothing happened to it, or there is no such customer: the daemon knows which, and refuses the latter.
            let customers = Rows::Only(vec![customer.clone()]);
            session.client.send(&Request::Status(StatusQuery { customers, since: None }))?;
        }
    }
    if session.args.json { json(Reply::Events(reply)) } else { Ok(report(&reply.events)) }
}

/// Keeps the newest `lines` events of `customer`.
fn keep(reply: &mut EventsReply, customer: &str, lines: usize) {
    reply.events.retain(|event| event.customer_id.as_deref() == Some(customer));
    reply.events.drain(..reply.events.len().saturating_sub(lines));
}

fn report(events: &[Event]) -> Report {
    let rows = events.iter().map(|event| {
        [
            time(event.at),
            event.kind.word().to_owned(),
            event.customer_id.as_deref().map_or_else(|| "-".to_owned(), printable),
            printable(&event.message),
        ]
    });
    let remarks = if events.is_empty() { "nothing happened yet\n" } else { "" };
    Report { data: table::lines(rows), remarks: remarks.to_owned(), exit: exit::DONE }
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
        assert_eq!(told.remarks, "");
        assert_eq!(report(&[]), Report { remarks: "nothing happened yet\n".to_owned(), ..Report::default() });
    }

    #[test]
    fn the_newest_of_one_customer_are_kept() {
        let renewed = |seq, customer| event(seq, customer, EventKind::Renewed);
        let events =
            vec![renewed(1, Some("a")), renewed(2, None), renewed(3, Some("b")), renewed(4, Some("a"))];
        let kept = |customer, lines| {
            let mut reply = EventsReply { events: events.clone(), next: Seq(5) };
            keep(&mut reply, customer, lines);
            reply.events.iter().map(|event| event.seq.0).collect::<Vec<_>>()
        };
        assert_eq!(kept("a", 100), [1, 4]);
        assert_eq!(kept("a", 1), [4]);
        assert_eq!(kept("c", 1), [0; 0]);
    }
}
