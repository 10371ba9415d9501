//! `events`: the last events, oldest first; with `--follow` new ones too.

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::client::Client;
use tbtoken_proto::words::{printable, timestamp, with_local_times};
use tbtoken_proto::{DEFAULT_EVENTS, Event, EventKind, EventsReply, MAX_EVENTS, Request, Seq};
use unicode_width::UnicodeWidthStr;

use super::{POLL, json};
use crate::args::EventsArgs;
use crate::error::Error;
use crate::link::Link;
use crate::output::{self, Report};
use crate::pause;
use crate::session::{Session, ids};
use crate::table::{self, pad};

/// The remark if there are no events.
const NONE: &str = "tbtokend remembers no such event\n";

/// Shows the newest events. A request for events has no customer and no time, so for these it gets all events.
pub(super) fn run(session: &Session<'_>, wanted: &EventsArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let customer = match &wanted.customer {
        Some(name) => ids(&mut client, std::slice::from_ref(name))?.pop(),
        None => None,
    };
    let lines = match (wanted.lines, wanted.since) {
        (Some(lines), _) => lines,
        (None, Some(_)) => usize::MAX,
        (None, None) => DEFAULT_EVENTS,
    };
    let mut reply = if customer.is_some() || wanted.since.is_some() {
        history(&mut client)?
    } else {
        events(&mut client, None, lines.max(1))?
    };
    let begin =
        wanted.since.and_then(|since| session.now().checked_sub_signed(TimeDelta::from_std(since).ok()?));
    let late = begin.map(|begin| remembered_since(&reply.events, begin)).unwrap_or_default();
    if !session.args.quiet {
        output::remark(&late);
    }
    keep(&mut reply, customer.as_deref(), begin, lines);
    if wanted.follow {
        return follow(session, client, customer.as_deref(), &reply);
    }
    if session.args.json {
        return json(reply);
    }
    let remarks = if reply.events.is_empty() && lines > 0 { NONE } else { "" };
    Ok(Report { remarks: remarks.to_owned(), ..report(&reply.events, session.style.width) })
}

/// Returns all events that the daemon remembers; this may take several requests.
pub(super) fn history(client: &mut Client) -> Result<EventsReply, Error> {
    let mut all = events(client, Some(Seq::default()), MAX_EVENTS)?;
    let mut newest = all.events.len();
    while newest >= MAX_EVENTS {
        let more = events(client, Some(all.next), MAX_EVENTS)?;
        newest = more.events.len();
        all.events.extend(more.events);
        all.next = more.next;
    }
    Ok(all)
}

fn events(client: &mut Client, since: Option<Seq>, limit: usize) -> Result<EventsReply, Error> {
    Ok(client.ask(&Request::Events { since, limit })?)
}

/// Says that the daemon may have forgotten some of the events after `begin`, if so.
fn remembered_since(events: &[Event], begin: DateTime<Utc>) -> String {
    match events.first() {
        Some(first) if first.at > begin => {
            format!("tbtokend remembers nothing from before {}\n", timestamp(first.at))
        }
        _ => String::new(),
    }
}

/// Keeps the newest `lines` events from `begin` on, of `customer` if there is one.
fn keep(reply: &mut EventsReply, customer: Option<&str>, begin: Option<DateTime<Utc>>, lines: usize) {
    reply.events.retain(|event| is_of(event, customer) && begin.is_none_or(|begin| event.at >= begin));
    reply.events.drain(..reply.events.len().saturating_sub(lines));
}

fn is_of(event: &Event, customer: Option<&str>) -> bool {
    customer.is_none_or(|customer| event.customer_id.as_deref() == Some(customer))
}

fn report(events: &[Event], width: Option<u16>) -> Report {
    Report::of(table::lines(events.iter().map(cells), width))
}

fn cells(event: &Event) -> [String; 4] {
    [
        timestamp(event.at),
        event.kind.word().to_owned(),
        event.customer_id.as_deref().map_or_else(|| "-".to_owned(), printable),
        printable(&with_local_times(&event.message)),
    ]
}

/// Shows the first events, and new ones once a second, until standard output has no reader any more.
fn follow(
    session: &Session<'_>,
    client: Client,
    customer: Option<&str>,
    first: &EventsReply,
) -> Result<Report, Error> {
    let mut link = Link::new(&session.socket, Some(client));
    let mut lines = Lines::new(&first.events, session.style.width);
    let mut next = first.next;
    let mut away = None;
    let mut full = false;
    show(session, &mut lines, &first.events)?;
    loop {
        // After a full answer there are more events.
        if !std::mem::take(&mut full) && !pause::wait_while_read(POLL) {
            return Ok(Report::default());
        }
        let request = Request::Events { since: Some(next), limit: MAX_EVENTS };
        match link.ask::<EventsReply>(&request, session.timeout()) {
            Ok(reply) => {
                if away.take().is_some() && !session.args.quiet {
                    output::remark("the daemon is back\n");
                }
                full = reply.events.len() >= MAX_EVENTS;
                next = reply.next;
                let events: Vec<Event> =
                    reply.events.into_iter().filter(|event| is_of(event, customer)).collect();
                show(session, &mut lines, &events)?;
            }
            Err(error) => {
                let error = Error::from(error).text();
                if away.replace(error.clone()) != Some(error.clone()) && !session.args.quiet {
                    output::remark(&format!("DAEMON UNREACHABLE: {error}; trying again\n"));
                }
            }
        }
    }
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

/// Lines in columns. Later events are not known, so a column gets wider when one needs it.
struct Lines {
    id: usize,
    width: Option<u16>,
}

impl Lines {
    fn new(events: &[Event], width: Option<u16>) -> Self {
        let widths = events.iter().map(|event| cells(event)[2].width());
        Self { id: widths.max().unwrap_or(0), width }
    }

    fn line(&mut self, event: &Event) -> String {
        let [at, kind, id, message] = cells(event);
        self.id = self.id.max(id.width());
        let kind = pad(&kind, EventKind::PassFinished.word().len());
        table::line(&format!("{at}  {kind}  {}", pad(&id, self.id)), &message, self.width)
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
        let told = report(
            &[event(1, None, EventKind::PassStarted), event(2, Some("8F1C"), EventKind::Renewed)],
            None,
        );
        assert_eq!(
            told.data,
            "2026-11-23T14:03:00Z  pass started  -     no. 1\u{fffd}\n\
             2026-11-23T14:03:00Z  renewed       8F1C  no. 2\u{fffd}\n"
        );
        assert_eq!((told.remarks.as_str(), report(&[], None)), ("", Report::default()));
    }

    #[test]
    fn the_newest_of_one_customer_are_kept() {
        let renewed = |seq, customer| event(seq, customer, EventKind::Renewed);
        let events =
            vec![renewed(1, Some("a")), renewed(2, None), renewed(3, Some("b")), renewed(4, Some("a"))];
        let kept = |customer: Option<&str>, lines| {
            let mut reply = EventsReply { events: events.clone(), next: Seq(5) };
            keep(&mut reply, customer, None, lines);
            reply.events.iter().map(|event| event.seq.0).collect::<Vec<_>>()
        };
        assert_eq!(kept(Some("a"), 100), [1, 4]);
        assert_eq!(kept(Some("a"), 1), [4]);
        assert_eq!(kept(Some("c"), 1), [0; 0]);
        assert_eq!(kept(None, 2), [3, 4]);
        assert_eq!(kept(None, 0), [0; 0]);
    }
}
