//! The keys, and what the signs mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Extent, popup};
use crate::app::App;
use crate::text::wrap;

/// A line of the help.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry {
    /// What the next lines are about.
    Heading(&'static str),
    /// A key or a word, and what it does or means.
    Key(&'static str, &'static str),
}

use Entry::{Heading, Key};

/// What each key does.
pub(crate) const KEYS: &[Entry] = &[
    Heading("Move"),
    Key("arrows j k", "one up or down"),
    Key("PgUp PgDn", "a page (half a page: Ctrl-u Ctrl-d)"),
    Key("g G", "first, last"),
    Heading("See"),
    Key("Enter", "everything about the selected customer"),
    Key("e", "events: what happened lately"),
    Key("/", "filter by id, user, server, status or error"),
    Key("s", "sort; the same order again turns it round"),
    Key("p", "problems only, or everyone"),
    Key("f", "freeze the screen, or let it go on"),
    Key("y", "copy the customer's id to the clipboard (OSC 52)"),
    Key("? F1", "the keys, and what the words mean"),
    Heading("Do"),
    Key("r", "refresh the selected customer now; a parked one asks first"),
    Key("R", "refresh everyone who is due; parked ones stay parked"),
    Key("S", "start or stop the loop; asks first"),
    Key("y n", "in a question: yes, no"),
    Heading("Leave"),
    Key("Esc", "back; then clears the news, the filter, the selection"),
    Key("Ctrl-Z", "suspend; fg in the shell brings it back"),
    Key("q Ctrl-C", "quit; the daemon goes on without this screen"),
];

/// What the words mean.
pub(crate) const WORDS: &[Entry] = &[
    Key("x expired", "the token has ended: applications are refused"),
    Key("- missing", "there is no token yet"),
    Key("! expiring soon", "it ends within minutes; renewed in the next pass"),
    Key("valid", "needs nothing"),
    Key("retrying", "the last attempt failed; NEXT says when it is tried again by itself"),
    Key(
        "parked",
        "waits for a person, so that no account gets locked: not tried until its URL, user or password changes in \
         the table, or r tries it once",
    ),
    Key("due", "to be renewed in the next pass"),
    Key("LEFT", "time until the token ends; behind a minus, since it has ended"),
];

/// The width of the names of keys.
const KEY: usize = 16;

fn lines(app: &App, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for entry in KEYS.iter().chain(&[Heading("What the words mean")]).chain(WORDS) {
        let (key, does) = match entry {
            Heading(heading) => {
                lines.push(Line::styled(*heading, app.theme.quiet()));
                continue;
            }
            Key(key, does) => (key, does),
        };
        for (at, piece) in wrap(does, columns.saturating_sub(KEY + 1)).into_iter().enumerate() {
            let key = if at == 0 { key } else { "" };
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
