//! The table: one line per customer.

use chrono::{DateTime, Utc};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use tbtoken_proto::{Customer, Phase, words};

use super::columns::{Column, Columns, margin};
use crate::app::{App, Link};
use crate::explain::{Loop, countdown_clock, expiry_clock};
use crate::snapshot::server;
use crate::text::{sentence, width, wrap};
use crate::view::Scope;

/// ```text
///    STATUS         CUSTOMER  USER               THINGSBOARD      LEFT   NEXT    LAST ERROR
///  ▶ x expired      8f1c02aa  ops@acme-north.de  tb.acme.example  -12m   parked  wrong password
///      valid        1b2c9d00  ops@acme-hq.de     hq.acme.example  14m    in 9m
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect) {
    if app.view.len() == 0 {
        render_empty(frame, app, area);
        return;
    }
    let scene = app.scene();
    let Columns { columns, gap } = Columns::fit(area.width.into(), scene.snapshot.widths());

    // The table measures every row that it gets, so it gets only the visible ones.
    let height = usize::from(area.height.saturating_sub(1));
    let before = margin(gap);
    let rows = app.view.visible(scene.snapshot.customers(), height).map(|(selected, customer)| {
        let pointer = if selected { app.theme.glyphs.pointer } else { " " };
        let cells = columns.iter().enumerate().map(|(at, &(column, width))| {
            let (text, style) = cell(app, customer, column, width);
            let text = app.theme.clip(&text, width);
            let text = if at == 0 { format!("{pointer:>0$} {text}", before - 1) } else { text };
            // Colours on a reversed line are harder to read than the words alone.
            if selected { Cell::new(text) } else { Cell::new(Text::styled(text, style)) }
        });
        let row = Row::new(cells);
        if selected { row.style(app.theme.reverse()) } else { row }
    });
    let rows: Vec<Row<'_>> = rows.collect();

    let indent = |at: usize| if at == 0 { before } else { 0 };
    let headings = columns.iter().enumerate().map(|(at, &(column, width))| {
        format!("{:indent$}{}", "", app.theme.clip(column.into(), width), indent = indent(at))
    });
    let headings = Row::new(headings).style(app.theme.strong());
    let widths = columns
        .iter()
        .enumerate()
        .map(|(at, &(_, width))| Constraint::Length(u16::try_from(indent(at) + width).unwrap_or(u16::MAX)));
    let table = Table::new(rows, widths).header(headings).column_spacing(u16::try_from(gap).unwrap_or(1));
    frame.render_widget(table, area);
}

fn cell(app: &App, customer: &Customer, column: Column, room: usize) -> (String, Style) {
    let theme = app.theme;
    let now = app.scene_time();
    let parked = customer.state == Phase::Parked;
    match column {
        Column::Status => {
            let status = customer.token_status;
            (format!("{} {}", status.sign(), status.word()), theme.status(status))
        }
        Column::Customer => {
            let id = theme.printable(&customer.customer_id);
            let id = if width(&id) <= room { id } else { app.short_id(&customer.customer_id) };
            (id, Style::new())
        }
        Column::User => (theme.printable(&customer.tb_username), Style::new()),
        Column::Server => (theme.printable(server(&customer.tb_url)), Style::new()),
        Column::Left => {
            // The status may be old while the daemon is unreachable, but an expiry in the past is certain.
            let style = match customer.tbtokenexpiry {
                Some(expiry) if expiry < now => theme.bad(),
                _ => theme.status(customer.token_status),
            };
            (words::time_left(customer.tbtokenexpiry, expiry_clock(customer, now)), style)
        }
        Column::Next if parked => (words::next_step(customer, now), theme.bad()),
        Column::Next => match app.loop_state() {
            Loop::Running => (next_step(customer, now), Style::new()),
            Loop::Stopped => ("-".to_owned(), Style::new()),
            Loop::Unknown => ("?".to_owned(), Style::new()),
        },
        Column::Error => (words::last_error(customer), if parked { theme.bad() } else { theme.warn() }),
    }
}

/// Returns when a customer is tried next. A healthy one shows no seconds, because the header counts them; one in trouble
/// counts down in [steps](countdown_clock).
fn next_step(customer: &Customer, now: DateTime<Utc>) -> String {
    let left = customer.next_attempt_at.map(|at| (at - now).num_seconds());
    match (left, customer.state) {
        (Some(0..60), Phase::Ok | Phase::Due) if customer.failure.is_none() => "in <1m".to_owned(),
        _ => words::next_step(customer, countdown_clock(customer, now)),
    }
}

/// Draws why there are no rows, and what to do.
fn render_empty(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let sentences = match (&app.scene().snapshot.overview, &app.link) {
        (None, Link::Down { why, hint, .. }) => {
            let mut sentences = vec![sentence(why)];
            sentences.extend(hint.as_ref().map(|hint| format!("What to do: {hint}")));
            sentences.push("This screen continues as soon as the daemon answers.".to_owned());
            sentences
        }
        (None, _) => vec![format!("Connecting to tbtokend at {}.", app.socket)],
        (Some(_), _) if !app.scene().snapshot.customers().is_empty() => {
            let mut sentences = Vec::new();
            if !app.view.filter.is_empty() {
                sentences
                    .push(format!("No customer matches \"{}\". Esc clears the filter.", app.view.filter));
            }
            if app.view.scope == Scope::Problems {
                let begin =
                    if app.view.filter.is_empty() { "No problems. " } else { "Only problems are shown. " };
                sentences.push(format!("{begin}p shows all customers."));
            }
            sentences
        }
        (Some(overview), _) if overview.trouble.is_some() && overview.as_of.is_none() => {
            vec!["The daemon has not been able to read its table yet.".to_owned()]
        }
        (Some(overview), _) => vec![
            "There are no customers.".to_owned(),
            sentence(words::how_to_add_a_customer(&overview.daemon.store)),
        ],
    };
    let room = usize::from(area.width.saturating_sub(4));
    let wrapped = sentences.iter().flat_map(|sentence| wrap(&app.theme.printable(sentence), room));
    let lines: Vec<Line<'_>> = wrapped.map(Line::raw).collect();
    let above = u16::from(usize::from(area.height) > lines.len());
    let inside = Rect {
        x: area.x + 2,
        y: area.y + above,
        width: area.width.saturating_sub(4),
        height: area.height - above,
    };
    frame.render_widget(Paragraph::new(lines), inside);
}
