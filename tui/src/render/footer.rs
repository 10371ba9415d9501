//! The footer: the keys of the current mode, or the filter while the operator types it.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::header;
use super::line::{self, Piece};
use crate::app::App;
use crate::input::Action;
use crate::mode::Mode;
use crate::text::clip_start;

/// ```text
///  r refresh  R refresh due  S start/stop  / filter  s sort  p problems  e events  ⏎ detail  q quit
///  filter: acme█   ⏎ keep  Esc clear
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let columns = usize::from(area.width);
    let line = if app.mode == Mode::Filter {
        filter(app, columns)
    } else {
        line::fit(keys(app, columns), columns, &[2])
    };
    frame.render_widget(line, area);
}

fn filter(app: &App, columns: usize) -> Line<'static> {
    let theme = app.theme;
    let hints = vec![
        Piece::key(2, theme.glyphs.enter, "keep", theme.strong(), Style::new()),
        Piece::key(1, "Esc", "clear", theme.strong(), Style::new()),
    ];
    let hints = line::fit(hints, columns / 2, &[2]);
    // The operator types at the end of the filter, so the end stays visible.
    let room = columns.saturating_sub("filter: ".len() + 1 + 3 + hints.width());
    let typed = clip_start(&theme.printable(&app.view.filter), room, theme.glyphs.ellipsis);
    let mut spans = vec![
        Span::styled("filter: ", theme.strong()),
        Span::raw(typed),
        Span::raw(theme.glyphs.cursor),
        Span::raw("   "),
    ];
    spans.extend(hints.spans);
    Line::from(spans)
}

fn keys(app: &App, columns: usize) -> Vec<Piece<'static>> {
    let theme = app.theme;
    let key = |rank, key, does| Piece::key(rank, key, does, theme.strong(), Style::new());
    // The key of an action that is impossible now is faint.
    let act = |action: &Action, rank, key, does| {
        let (strong, rest) = match app.is_possible(action) {
            true => (theme.strong(), Style::new()),
            false => (theme.quiet(), theme.quiet()),
        };
        Piece::key(rank, key, does, strong, rest)
    };
    // The footer must name the help key if the header has no room for it.
    let help = if header::names_help_key(columns) { 9 } else { 1 };
    let enter = theme.glyphs.enter;
    match &app.mode {
        Mode::Detail { .. } => vec![
            key(0, "Esc", "back"),
            act(&Action::RefreshDue, 2, "r", "refresh"),
            key(3, "y", "copy id"),
            key(1, "j/k", "scroll"),
            key(4, "f", "freeze"),
            key(4, "?", "help"),
        ],
        Mode::Events { .. } => {
            vec![key(0, "Esc", "back"), key(1, "j/k", "scroll"), key(2, "f", "freeze"), key(3, "?", "help")]
        }
        Mode::Help { .. } => vec![key(0, "Esc", "back"), key(1, "j/k", "scroll")],
        Mode::SortMenu { .. } => {
            vec![key(0, enter, "choose"), key(1, "Esc", "back"), key(2, "j/k", "move")]
        }
        Mode::Confirm { .. } => {
            vec![
                key(0, "y", "yes"),
                key(0, "Esc", "cancel"),
                key(1, enter, "press"),
                key(1, "Tab", "other button"),
            ]
        }
        Mode::Table | Mode::Filter => vec![
            act(&Action::RefreshDue, 2, "r", "refresh"),
            act(&Action::RefreshDue, 6, "R", "refresh due"),
            act(&Action::Stop, 5, "S", "start/stop"),
            key(3, "/", "filter"),
            key(8, "s", "sort"),
            key(7, "p", "problems"),
            key(4, "e", "events"),
            key(1, enter, "detail"),
            key(10, "f", "freeze"),
            key(11, "y", "copy id"),
            key(help, "?", "help"),
            key(0, "q", "quit"),
        ],
    }
}
