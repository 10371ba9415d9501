//! The help: the keys, and the meanings of the words.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::popup;
use crate::app::App;
use crate::text::wrap;

/// A line of the help.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry {
    /// The title of the next lines.
    Heading(&'static str),
    /// A key and what it does, or a word and its meaning.
    Key(&'static str, &'static str),
}

use Entry::{Heading, Key};

/// The keys.
pub(crate) const KEYS: &[Entry] = &[
    Heading("Move"),
    Key("arrows j k", "one up or down"),
    Key("PgUp PgDn", "a page (half a page: Ctrl-u Ctrl-d)"),
    Key("g G", "first, last"),
    Heading("See"),
    Key("Enter", "everything about the selected customer"),
    Key("e", "the last events"),
    Key("/", "filter by id, user, server, status or error"),
    Key("s", "sort; choose the same order again to reverse it"),
    Key("p", "show problems only, or all customers"),
    Key("f", "freeze or unfreeze the screen"),
    Key("y", "copy the customer's id to the clipboard (OSC 52)"),
    Key("? F1", "the keys, and what the words mean"),
    Heading("Do"),
    Key("r", "refresh the selected customer now; a parked one asks first"),
    Key("R", "refresh all customers that are due; parked ones stay parked"),
    Key("S", "start or stop the loop; asks first"),
    Key("y n", "in a question: yes, no"),
    Heading("Leave"),
    Key("Esc", "back; then clear the message, the filter, the selection"),
    Key("Ctrl-Z", "suspend; fg in the shell brings it back"),
    Key("q Ctrl-C", "quit; the daemon keeps running"),
];

/// The words on the screen and their meanings.
pub(crate) const WORDS: &[Entry] = &[
    Key("x expired", "the token has ended: applications are refused"),
    Key("- missing", "there is no token yet"),
    Key("! expiring soon", "ends within minutes; the next pass renews it"),
    Key("valid", "needs nothing yet"),
    Key("retrying", "the last attempt failed; NEXT is the time until the next one"),
    Key(
        "parked",
        "not tried, so that ThingsBoard does not lock the account, until its URL, user or password changes in the \
         table; r tries it once",
    ),
    Key("due", "the next pass renews it"),
    Key("LEFT", "time until the token ends; with a minus, time since it ended"),
];

/// The width of the column of keys.
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

/// Returns how far the text can scroll on this screen.
pub(super) fn surplus(app: &App, screen: Rect) -> usize {
    lines(app, popup::columns(screen).into()).len().saturating_sub(screen.height.saturating_sub(2).into())
}

/// Draws the help in a popup; it scrolls if it does not fit.
pub(super) fn render(frame: &mut Frame<'_>, app: &App, scroll: usize, screen: Rect) {
    let columns = popup::columns(screen);
    let lines = lines(app, columns.into());
    let title = if surplus(app, screen) > 0 { "Help (j/k scroll, Esc back)" } else { "Help (Esc back)" };
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX - 2);
    let inside = popup::render(frame, app.theme, title, (columns, height), screen);
    let visible: Vec<Line<'_>> = lines.into_iter().skip(scroll).take(inside.height.into()).collect();
    frame.render_widget(Paragraph::new(visible), inside);
}
