//! Lines of pieces; the least important pieces are left out until the rest fits.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// A piece of a line, with its importance.
pub(super) struct Piece<'a> {
    /// Pieces with the highest rank are left out first; rank 0 always stays.
    pub(super) rank: u8,
    pub(super) spans: Vec<Span<'a>>,
}

impl<'a> Piece<'a> {
    pub(super) fn new(rank: u8, text: impl Into<String>, style: Style) -> Self {
        Self { rank, spans: vec![Span::styled(text.into(), style)] }
    }

    /// Creates a piece for a key and what it does.
    pub(super) fn key(rank: u8, key: &'a str, does: &'a str, strong: Style, rest: Style) -> Self {
        Self { rank, spans: vec![Span::styled(key, strong), Span::styled(format!(" {does}"), rest)] }
    }

    pub(super) fn width(&self) -> usize {
        self.spans.iter().map(Span::width).sum()
    }
}

/// Returns the columns that pieces take with `gap` columns between them.
pub(super) fn width(pieces: &[Piece<'_>], gap: usize) -> usize {
    pieces.iter().map(Piece::width).sum::<usize>() + gap * pieces.len().saturating_sub(1)
}

/// Joins pieces to a line of at most `columns`, with the widest of `gaps` that leaves room for all. If there is none, it
/// takes the narrowest and leaves out the least important pieces.
pub(super) fn fit<'a>(mut pieces: Vec<Piece<'a>>, columns: usize, gaps: &[usize]) -> Line<'a> {
    let narrowest = gaps.last().copied().unwrap_or(1);
    let gap = gaps.iter().copied().find(|&gap| width(&pieces, gap) <= columns).unwrap_or(narrowest);
    while width(&pieces, gap) > columns {
        let worst =
            pieces.iter().enumerate().filter(|(_, piece)| piece.rank > 0).max_by_key(|(_, piece)| piece.rank);
        match worst.map(|(at, _)| at) {
            Some(at) => drop(pieces.remove(at)),
            None => break,
        }
    }
    let mut line = Line::default();
    for (at, piece) in pieces.into_iter().enumerate() {
        if at > 0 {
            line.push_span(Span::raw(" ".repeat(gap)));
        }
        line.extend(piece.spans);
    }
    line
}
