//! The line above the table: the notice on the left; filter, position and order of the table on the right.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::alert::{self, Outage};
use crate::app::{App, Tone};
use crate::input::Action;
use crate::mode::Mode;
use crate::text::width;
use crate::view::{Direction, Scope, Sort};

/// ```text
///  ─ 8f1c02aa renewed, good until 14:18Z. ─────────────────── problems only ─ 3 of 12 ─ sort: LEFT ▲ ─
/// ```
///
/// With `gist`, an outage replaces an absent notice, because there is no alert that explains it in full.
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect, gist: bool) {
    let theme = app.theme;
    let glyph = theme.glyphs.line;
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    frame.render_widget(Line::styled(glyph.repeat(inner.width.into()), theme.quiet()), inner);

    let room = usize::from(inner.width);
    let mut taken = 0;
    let most = room.saturating_sub(4);
    if let Some((text, style)) = message(app, gist, most) {
        let text = theme.clip(&theme.printable(&text), most);
        taken = width(&text) + 4;
        put(frame, inner, 1, &format!(" {text} "), style);
    }
    let mut labels = labels(app);
    // The order is left out first, then the position; a filter that hides rows must stay visible.
    while !labels.is_empty() {
        let label = labels.join(&format!(" {glyph} "));
        let columns = width(&label) + 4;
        if taken + columns <= room {
            put(frame, inner, room - columns + 1, &format!(" {label} "), Style::new());
            break;
        }
        labels.pop();
    }
}

fn put(frame: &mut Frame<'_>, area: Rect, column: usize, text: &str, style: Style) {
    let column = u16::try_from(column).unwrap_or(area.width).min(area.width);
    let area = Rect { x: area.x + column, width: area.width - column, ..area };
    frame.render_widget(Span::styled(text, style), area);
}

/// Returns the message to show: the notice, else the outage, else the running action.
fn message(app: &App, gist: bool, room: usize) -> Option<(String, Style)> {
    let theme = app.theme;
    if let Some(notice) = app.notice() {
        let style = match notice.tone {
            Tone::Plain => theme.strong(),
            Tone::Good => theme.good(),
            Tone::Bad => theme.bad(),
        };
        return Some((notice.text.clone(), style));
    }
    if let Some(outage) = alert::outage(app).filter(|_| gist) {
        return Some((in_one_line(&outage, room), theme.bad()));
    }
    let action = app.running.last()?;
    let text = match action {
        Action::Start => "Starting the loop".to_owned(),
        Action::Stop => "Stopping the loop".to_owned(),
        Action::Refresh(id) | Action::ForceRefresh(id) => format!("Refreshing {}", app.short_id(id)),
        Action::RefreshDue => "Refreshing all due customers".to_owned(),
    };
    Some((format!("{text} {}", theme.glyphs.ellipsis), theme.good()))
}

/// Shortens an outage to `room` columns. It drops the beginning first, because the end names the cause.
fn in_one_line(outage: &Outage, room: usize) -> String {
    let Outage { why, cause, .. } = outage;
    let hint = outage.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let forms = [format!("{why}{hint}"), format!("{cause}{hint}"), why.clone()];
    forms.into_iter().find(|form| width(form) <= room).unwrap_or_else(|| cause.clone())
}

/// Returns filter, position and order, the most important first.
fn labels(app: &App) -> Vec<String> {
    let view = &app.view;
    match &app.mode {
        Mode::Events { .. } => return vec!["events, newest first".to_owned()],
        Mode::Detail { .. } => return vec!["detail".to_owned()],
        _ => {}
    }
    let mut labels = Vec::new();
    if !view.filter.is_empty() {
        labels.push(format!("filter: {}", app.theme.clip(&app.theme.printable(&view.filter), 24)));
    }
    if view.scope == Scope::Problems {
        labels.push("problems only".to_owned());
    }
    let total = app.scene().snapshot.customers().len();
    let shown = view.len();
    if shown < total {
        labels.push(format!("{shown} of {total}"));
    } else if shown > 0 {
        labels.push(format!("{}/{shown}", view.cursor() + 1));
    }
    labels.push(match (view.sort, view.direction) {
        (Sort::Problems, Direction::Ascending) => "sort: problems first".to_owned(),
        (sort, direction) => format!("sort: {} {}", sort.word(), app.theme.arrow(direction)),
    });
    labels
}
