//! The detail of one customer: a few lines below the table, or in full.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use tbtoken_proto::{BreakerState, Customer, words};

use super::events;
use super::line::{self, Piece};
use crate::app::App;
use crate::explain::{self, Emphasis, Explanation, Weight};
use crate::text::{time, width, wrap};

/// ```text
/// ┌ 8f1c02aa  ops@acme-north.de  https://tb.acme.example ───────────────────────────────────────┐
/// │ PARKED since 13:36Z: ThingsBoard says "Invalid username or password". Trying again could    │
/// │ lock the account. Correct tb_password in the customer's row. r tries it once now.           │
/// │ renewals 412   last success 13:21Z   token ended 13:51Z   skew +0.3s                        │
/// │ 13:36:21Z  parked  wrong password                                                           │
/// └─────────────────────────────────────────────────────────────────────────────────────────────┘
/// ```
///
/// Without room for a box it shows only the shortest explanation.
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(customer) = app.subject() else { return };
    if area.height < 3 {
        let explanation = explain::explain_briefly(customer, app.loop_state(), app.scene_time());
        let inside = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
        let lines = paragraph(app, &explanation, inside.width.into(), area.height.into());
        frame.render_widget(Paragraph::new(lines), inside);
        return;
    }
    let theme = app.theme;
    let explanation = explain::explain_in_steps(customer, app.loop_state(), app.scene_time());
    // A long id must leave room for user and server.
    let title = format!(
        " {}  {}  {} ",
        theme.clip(&app.short_id(&customer.customer_id), 36),
        theme.clip(&theme.printable(&customer.tb_username), 40),
        theme.printable(&customer.tb_url)
    );
    let title = theme.clip(&title, usize::from(area.width).saturating_sub(2));
    let block = Block::bordered()
        .border_set(theme.glyphs.border)
        .border_style(theme.quiet())
        .title(Span::styled(title, Style::reset().patch(theme.strong())));
    let inside = block.inner(area);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    frame.render_widget(block, area);

    let (columns, room) = (usize::from(inside.width), usize::from(inside.height));
    let mut lines = paragraph(app, &explanation, columns, room);
    if lines.len() < room {
        lines.push(facts(app, customer, columns));
    }
    let left = room.saturating_sub(lines.len());
    lines.extend(events::history(app, &customer.customer_id, columns).take(left));
    frame.render_widget(Paragraph::new(lines), inside);
}

/// Returns everything about the customer with this id, in lines of at most `columns`.
pub(super) fn lines(app: &App, id: &str, columns: usize) -> Vec<Line<'static>> {
    let theme = app.theme;
    let now = app.scene_time();
    let columns = columns.saturating_sub(2);
    let Some(customer) = app.scene().snapshot.find(id) else {
        let gone = format!(
            "{} is no longer a customer: its row is gone or has lost its URL, user or password.",
            theme.printable(id)
        );
        return wrap(&gone, columns).into_iter().map(|line| Line::raw(format!(" {line}"))).collect();
    };
    let explanation = explain::explain(customer, app.loop_state(), now);
    let server = app.scene().snapshot.server_of(customer);
    let mut lines = Vec::new();
    for field in explain::describe(customer, server, &explanation, now) {
        let style = match field.emphasis {
            Emphasis::Title => theme.strong(),
            Emphasis::Status => theme.status(customer.token_status),
            Emphasis::Weight => weight(app, explanation.weight),
            Emphasis::Plain => Style::new(),
        };
        let value = wrap(&theme.printable(&field.value), columns.saturating_sub(LABEL));
        for (at, piece) in value.into_iter().enumerate() {
            let name = if at == 0 { field.name } else { "" };
            let label = Span::styled(format!(" {name:<LABEL$}"), theme.quiet());
            lines.push(Line::from(vec![label, Span::styled(piece, style)]));
        }
    }

    lines.push(Line::default());
    let mut history = events::history(app, id, columns).peekable();
    let heading =
        if history.peek().is_some() { " history, newest first" } else { " no history since tbtui started" };
    lines.push(Line::styled(heading, theme.quiet()));
    lines.extend(history.map(|mut line| {
        line.spans.insert(0, Span::raw(" "));
        line
    }));
    lines
}

/// The width of a field's name.
const LABEL: usize = 14;

fn weight(app: &App, weight: Weight) -> Style {
    match weight {
        Weight::Bad => app.theme.bad(),
        Weight::Warn => app.theme.warn().patch(app.theme.strong()),
        Weight::Plain => Style::new(),
    }
}

/// Wraps an explanation into at most `room` lines of at most `columns`, its headline in its own style.
fn paragraph(app: &App, explanation: &Explanation, columns: usize, room: usize) -> Vec<Line<'static>> {
    let theme = app.theme;
    let headline = match explanation.headline.as_str() {
        "" => String::new(),
        headline => format!("{headline}: "),
    };
    let sentences = explanation.sentences().collect::<Vec<_>>().join(" ");
    let text = theme.printable(&format!("{headline}{sentences}"));
    let wrapped = wrap(&text, columns);
    let cut = wrapped.len() > room;
    let mut lines = Vec::new();
    for (at, line) in wrapped.into_iter().take(room).enumerate() {
        // The last line ends with the ellipsis, even if it is not full.
        let more = if cut && at + 1 == room { theme.glyphs.ellipsis } else { "" };
        let line = theme.clip(&line, columns.saturating_sub(width(more)));
        lines.push(Line::raw(format!("{}{more}", line.trim_end_matches(theme.glyphs.ellipsis))));
    }
    // The headline is in the first line, unless the screen is narrower than it.
    let headline = headline.trim_end();
    if let Some(first) = lines.first_mut() {
        let text = first.to_string();
        if let Some(rest) = text.strip_prefix(headline)
            && !headline.is_empty()
        {
            *first = Line::from(vec![
                Span::styled(headline.to_owned(), weight(app, explanation.weight)),
                Span::raw(rest.to_owned()),
            ]);
        }
    }
    lines
}

/// Returns the line of other facts; the least important are left out where there is no room.
fn facts(app: &App, customer: &Customer, columns: usize) -> Line<'static> {
    let now = app.scene_time();
    let last = customer.last_success_at.map_or_else(|| "never".to_owned(), |at| time(at, now));
    let token = match customer.tbtokenexpiry {
        None => "no token".to_owned(),
        Some(expiry) if expiry < now => format!("token ended {}", time(expiry, now)),
        Some(expiry) => format!("token good until {}", time(expiry, now)),
    };
    let plain = Style::new();
    let mut pieces = vec![
        Piece::new(2, format!("renewals {}", customer.renewals), plain),
        Piece::new(0, format!("last success {last}"), plain),
        Piece::new(1, token, plain),
    ];
    let server = app.scene().snapshot.server_of(customer);
    if let Some(server) = server {
        if matches!(server.breaker, BreakerState::HalfOpen | BreakerState::Open) {
            pieces.push(Piece::new(3, "server down", app.theme.warn()));
        }
        pieces.extend(server.skew_ms.map(|skew| Piece::new(4, format!("skew {}", words::skew(skew)), plain)));
    }
    line::fit(pieces, columns, &[3, 2])
}
