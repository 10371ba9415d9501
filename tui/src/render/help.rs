//! The keys, and what the signs mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Extent, popup};
use crate::app::App;

/// A key and what it does; a heading where there is no key.
const HELP: &[(&str, &str)] = &[
    ("", "Move"),
    ("arrows j k", "one up or down"),
    ("PgUp PgDn", "a page (half a page: Ctrl-u Ctrl-d)"),
    ("g G", "first, last"),
    ("", "See"),
    ("Enter", "everything about the selected customer"),
    ("e", "events: what happened lately"),
    ("/", "filter by id, user, server, status or error"),
    ("s", "sort; the same order again turns it round"),
    ("p", "problems only, or everyone"),
    ("f", "freeze the screen, or let it go on"),
    ("y", "copy the customer's id to the clipboard (OSC 52)"),
    ("", "Do"),
    ("r", "refresh the selected customer now"),
    ("R", "refresh everyone who is due; parked ones stay parked"),
    ("S", "start or stop the loop"),
    ("", "Leave"),
    ("Esc", "back; then clears the news, the filter, the selection"),
    ("q Ctrl-C", "quit; the daemon goes on without this screen"),
    ("", "What the words mean"),
    ("x expired", "the token has ended: applications are refused"),
    ("- missing", "there is no token yet"),
    ("! expiring soon", "it ends within minutes; renewed in the next pass"),
    ("valid", "needs nothing"),
    ("retrying", "the last attempt failed; NEXT says when it is tried again by itself"),
    (
        "parked",
        "waits for a person, so that no account gets locked: not tried until its URL, user or password changes in \
         the table, or r tries it once",
    ),
    ("due", "to be renewed in the next pass"),
    ("LEFT", "time until the token ends; behind a minus, since it has ended"),
];

/// The width of the names of keys.
const KEY: usize = 16;

fn lines(app: &App, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (key, does) in HELP {
        if key.is_empty() {
            lines.push(Line::styled(*does, app.theme.quiet()));
            continue;
        }
        for (at, piece) in crate::text::wrap(does, columns.saturating_sub(KEY + 1)).into_iter().enumerate() {
            let key = if at == 0 { *key } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!(" {key:<KEY$}"), app.theme.strong()),
                Span::raw(piece),
            ]));
        }
    }
    lines
}

/// How long the text is on this screen, and how much of it is seen.
pub(super) fn extent(app: &App, screen: Rect) -> Extent {
    Extent {
        lines: lines(app, popup::columns(screen).into()).len(),
        height: screen.height.saturating_sub(2).into(),
    }
}

/// The keys in a popup; what does not fit is reached by scrolling.
pub(super) fn render(frame: &mut Frame<'_>, app: &App, scroll: usize, screen: Rect) {
    let columns = popup::columns(screen);
    let lines = lines(app, columns.into());
    let extent = extent(app, screen);
    let title = if extent.surplus() > 0 { "Help (j/k scroll, Esc back)" } else { "Help (Esc back)" };
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX - 2);
    let inside = popup::render(frame, app.theme, title, (columns, height), screen);
    let visible: Vec<Line<'_>> = lines.into_iter().skip(scroll).take(inside.height.into()).collect();
    frame.render_widget(Paragraph::new(visible), inside);
}
