//! The summary: the number of customers of each status.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;
use tbtoken_proto::TokenStatus;

use super::line::{self, Piece};
use crate::app::App;
use crate::snapshot::Overview;
use crate::theme::Theme;

/// ```text
///  128 total   119 valid   5 expiring soon   3 expired   1 missing   2 parked   1 retrying
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(overview) = &app.scene().snapshot.overview else { return };
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area };
    let line = line::fit(pieces(app.theme, overview), area.width.into(), &[3, 2]);
    frame.render_widget(line, area);
}

/// Returns the counts with their importance. Zeros are left out first, then counts that others imply, then valid ones.
pub(super) fn pieces(theme: Theme, overview: &Overview) -> Vec<Piece<'static>> {
    let (summary, receivers) = (&overview.summary, overview.daemon.failing_receivers.len());
    let counts = [
        (5, summary.total, "total", Style::new()),
        (4, summary.valid, "valid", Style::new()),
        (3, summary.expiring_soon, "expiring soon", theme.status(TokenStatus::ExpiringSoon)),
        (0, summary.expired, "expired", theme.status(TokenStatus::Expired)),
        (1, summary.missing, "missing", theme.status(TokenStatus::Missing)),
        (1, summary.parked, "parked", theme.bad()),
        (6, summary.retrying, "retrying", theme.warn()),
    ];
    let piece = |(rank, count, word, style): (u8, usize, &str, Style)| {
        let (rank, style) = if count == 0 { (rank + 10, Style::new()) } else { (rank, style) };
        Piece {
            rank,
            spans: vec![
                Span::styled(count.to_string(), style.patch(theme.strong())),
                Span::styled(format!(" {word}"), style),
            ],
        }
    };
    // These are rare, so the count is shown only if there are any.
    let rare = [
        (1, summary.ineligible, "ineligible", theme.warn()),
        (2, receivers, if receivers == 1 { "receiver fails" } else { "receivers fail" }, theme.warn()),
    ];
    counts.into_iter().chain(rare.into_iter().filter(|it| it.1 > 0)).map(piece).collect()
}
