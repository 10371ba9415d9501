//! The screen: one `render(frame, app, area)` per panel. Rendering changes no state.

mod alert;
mod areas;
mod columns;
mod confirm;
mod counts;
mod detail;
mod events;
mod footer;
mod header;
pub(crate) mod help;
mod line;
mod popup;
mod rule;
mod sort_menu;
mod summary;
mod table;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::Paragraph;

use crate::app::{App, Viewport};
use crate::mode::Mode;
use areas::Areas;

/// Draws the whole screen.
///
/// ```text
///  ________________________________________
/// |                 Header                 |   the daemon, its loop, the time; or an outage
/// |----------------------------------------|
/// |                 Alert                  |   only during an outage: why, and what to do
/// |----------------------------------------|
/// |                Summary                 |   how many of each status
/// |----------------------------------------|
/// |                  Rule                  |   the notice; filter, position and order of the table
/// |----------------------------------------|
/// |                                        |
/// |                 Table                  |   one line per customer
/// |                                        |
/// |----------------------------------------|
/// |                 Detail                 |   the selected customer: why, and what to do
/// |----------------------------------------|
/// |                 Footer                 |   the keys
///  ----------------------------------------
/// ```
///
/// The events and the whole detail replace table and detail; menus, help and questions cover them. A screen that is
/// too small shows only the counts.
pub fn render(frame: &mut Frame<'_>, app: &App) {
    let areas = areas(app, frame.area());
    if areas.counts_only {
        counts::render(frame, app, frame.area());
        return;
    }
    header::render(frame, app, areas.header);
    alert::render(frame, app, areas.alert);
    summary::render(frame, app, areas.summary);
    rule::render(frame, app, areas.rule, areas.alert.is_empty());
    let under = match &app.mode {
        Mode::Help { back, .. } | Mode::Confirm { back, .. } => back,
        mode => mode,
    };
    let (columns, height) = (usize::from(areas.body.width), usize::from(areas.body.height));
    match under {
        Mode::Detail { id, scroll } => {
            let lines = detail::lines(app, id, columns).into_iter().skip(*scroll).take(height);
            frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), areas.body);
        }
        Mode::Events { scroll } => {
            let lines = events::lines(app, columns, *scroll, height);
            frame.render_widget(Paragraph::new(lines), areas.body);
        }
        Mode::Table | Mode::Filter | Mode::SortMenu { .. } | Mode::Help { .. } | Mode::Confirm { .. } => {
            // Without customers there is no detail.
            let table = if app.subject().is_some() { areas.table } else { areas.body };
            table::render(frame, app, table);
            detail::render(frame, app, areas.detail);
        }
    }
    footer::render(frame, app, areas.footer);
    match &app.mode {
        Mode::SortMenu { line } => sort_menu::render(frame, app, *line, areas.whole),
        Mode::Help { scroll, .. } => help::render(frame, app, *scroll, areas.whole),
        Mode::Confirm { question, focus, .. } => confirm::render(frame, app, question, *focus, areas.whole),
        Mode::Table | Mode::Filter | Mode::Detail { .. } | Mode::Events { .. } => {}
    }
}

/// Divides a screen among the panels.
fn areas(app: &App, screen: Rect) -> Areas {
    Areas::of(screen, |most| alert::height(app, screen.width, most))
}

/// Measures the room on a screen of the app's size.
pub(crate) fn viewport(app: &App) -> Viewport {
    let areas = areas(app, Rect::new(0, 0, app.size.0, app.size.1));
    Viewport { rows: areas.rows(), surplus: surplus(app, &areas) }
}

/// Returns how far the mode's text can scroll, so that scrolling ends with the text.
fn surplus(app: &App, areas: &Areas) -> usize {
    let lines = match &app.mode {
        Mode::Help { .. } => return help::surplus(app, areas.whole),
        Mode::Detail { id, .. } => detail::lines(app, id, areas.body.width.into()).len(),
        Mode::Events { .. } => events::count(app),
        Mode::Table | Mode::Filter | Mode::SortMenu { .. } | Mode::Confirm { .. } => 0,
    };
    lines.saturating_sub(areas.body.height.into())
}
