//! The alert: why the daemon or its database is unreachable, and what to do, in whole sentences.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use crate::app::{App, Link};
use crate::text::{sentence, wrap};

/// ```text
///  Cannot reach tbtokend at /run/tbtokend/control.sock: not running.
///  What to do: systemctl status tbtokend ; journalctl -u tbtokend -n 20
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let inside = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let lines = lines(app, inside.width, area.height);
    let lines = lines.into_iter().map(|(line, style)| Line::styled(line, style));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), inside);
}

/// Returns how many lines the alert takes on a screen of so many columns, at most `most`.
pub(super) fn height(app: &App, columns: u16, most: u16) -> u16 {
    u16::try_from(lines(app, columns.saturating_sub(2), most).len()).unwrap_or(most)
}

/// Returns at most `most` lines. If the alert is longer, it keeps the cause and what to do, and drops the beginning.
fn lines(app: &App, columns: u16, most: u16) -> Vec<(String, Style)> {
    let Some(outage) = outage(app).filter(|_| most > 0) else { return vec![] };
    let (theme, columns, most) = (app.theme, usize::from(columns), usize::from(most));
    let wrapped = |text: &str, style| {
        wrap(&theme.printable(text), columns).into_iter().map(|line| (line, style)).collect::<Vec<_>>()
    };
    let hint = outage.hint.as_ref().map(|hint| format!("What to do: {hint}")).unwrap_or_default();
    let told = |why: &str| [wrapped(why, theme.bad()), wrapped(&hint, Style::new())].concat();
    let whole = told(&outage.why);
    if whole.len() <= most {
        return whole;
    }
    let mut cut = told(&outage.cause);
    if cut.len() > most {
        cut.truncate(most);
        if let Some((last, _)) = cut.last_mut() {
            *last = theme.clip(&format!("{last} {}", theme.glyphs.ellipsis), columns);
        }
    }
    cut
}

/// A daemon or a database that cannot be reached.
pub(super) struct Outage {
    /// What happened, as a sentence.
    pub(super) why: String,
    /// The most important part of it, as a sentence, for where there is little room.
    pub(super) cause: String,
    /// What to do, if the sentence does not say it.
    pub(super) hint: Option<String>,
}

impl Outage {
    fn of(why: &str, socket: &str, hint: Option<String>) -> Self {
        // The end of the sentence names the cause; the header names the daemon.
        let cause = match why.strip_prefix(&format!("tbtokend at {socket} ")) {
            Some(rest) => rest,
            None => why.rsplit_once(": ").map_or(why, |(_, cause)| cause),
        };
        Self { why: sentence(why), cause: sentence(cause), hint }
    }
}

/// Returns the outage if there are rows to show. Without rows the table's panel explains it in full.
pub(super) fn outage(app: &App) -> Option<Outage> {
    let overview = app.scene().snapshot.overview.as_ref()?;
    match (&app.link, &overview.trouble) {
        (Link::Down { why, hint, .. }, _) => Some(Outage::of(why, &app.socket, hint.clone())),
        (_, Some((_, why))) => Some(Outage::of(why, &app.socket, None)),
        // The header says what is known; the poll's error will say what to do.
        (Link::Up { .. } | Link::Silent { .. } | Link::Connecting, None) => None,
    }
}
