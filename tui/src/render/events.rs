//! The last events.

use chrono::{DateTime, Utc};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use tbtoken_proto::{Event, EventKind, Seq};

use crate::app::App;
use crate::text::{time, time_exact, width, with_local_times};
use crate::theme::Theme;

/// The width of the longest word for a kind of event.
const KIND: usize = 13;

/// Returns how many lines all events take.
pub(super) fn count(app: &App) -> usize {
    app.scene().events.len().max(1)
}

/// Returns `height` events after the newest `skip`, newest first, in lines of at most `columns`:
///
/// ```text
///  14:03:01Z  renewed        1b2c9d00  good until 14:18Z
///  14:03:00Z  pass started             5 due
/// ```
pub(super) fn lines(app: &App, columns: usize, skip: usize, height: usize) -> Vec<Line<'static>> {
    let events = &app.scene().events;
    if events.is_empty() {
        return vec![Line::styled(" No events yet.", app.theme.quiet())];
    }
    let id_width = app.scene().snapshot.widths().cut_id();
    let columns = columns.saturating_sub(2);
    let line = |event: &Event| {
        let id = event.customer_id.as_deref().map(|id| app.short_id(id)).unwrap_or_default();
        let id = app.theme.clip(&id, id_width);
        let label = match (is_narrow(columns), id.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!("{id} "),
            (false, _) => format!("{id}{}", " ".repeat(id_width.saturating_sub(width(&id)) + 2)),
        };
        let mut line = line(app.theme, event, app.scene_time(), &label, columns);
        line.spans.insert(0, Span::raw(" "));
        line
    };
    events.iter().rev().skip(skip).take(height).map(line).collect()
}

/// Whether the screen has no room for seconds and aligned columns.
fn is_narrow(columns: usize) -> bool {
    columns < 60
}

/// Returns the events of one customer, newest first, in lines of at most `columns`.
pub(super) fn history<'a>(
    app: &'a App,
    id: &'a str,
    columns: usize,
) -> impl Iterator<Item = Line<'static>> + 'a {
    let of_customer = move |event: &&Event| event.customer_id.as_deref() == Some(id);
    let events = app.scene().events.iter().rev().filter(of_customer);
    let begin = app.scene().events.iter().find(of_customer).map(|event| event.at);
    // A customer's changes outlive a restart and the list of events, but have no message.
    let changes =
        app.scene().snapshot.find(id).into_iter().flat_map(|customer| customer.changes.iter().rev());
    let before = changes.filter(move |change| begin.is_none_or(|begin| change.at < begin));
    let before = before.map(|change| Event {
        seq: Seq::default(),
        at: change.at,
        kind: change.kind,
        customer_id: None,
        message: String::new(),
    });
    let shown = move |event: &Event| line(app.theme, event, app.scene_time(), "", columns);
    events.map(shown).chain(before.map(move |event| shown(&event)))
}

fn line(theme: Theme, event: &Event, now: DateTime<Utc>, label: &str, columns: usize) -> Line<'static> {
    let (at, kind) = if is_narrow(columns) {
        (format!("{} ", time(event.at, now)), format!("{} ", event.kind.word()))
    } else {
        (format!("{}  ", time_exact(event.at, now)), format!("{:<KIND$}  ", event.kind.word()))
    };
    let rest = columns.saturating_sub(width(&at) + width(&kind));
    let message = theme.clip(&format!("{label}{}", theme.printable(&with_local_times(&event.message))), rest);
    Line::from(vec![
        Span::styled(at, theme.quiet()),
        Span::styled(kind, style(theme, event.kind)),
        Span::raw(message),
    ])
}

fn style(theme: Theme, kind: EventKind) -> Style {
    match kind {
        EventKind::Parked | EventKind::Expired | EventKind::StoreLost => theme.bad(),
        EventKind::Failed
        | EventKind::TokenDead
        | EventKind::TokenDisputed
        | EventKind::Ineligible
        | EventKind::Stopped
        | EventKind::Unknown => theme.warn(),
        EventKind::Recovered | EventKind::StoreBack | EventKind::Started | EventKind::Unparked => {
            theme.good()
        }
        EventKind::Renewed | EventKind::PassStarted | EventKind::PassFinished => Style::new(),
    }
}
