//! A screen as an SVG picture, for pages that cannot show a terminal.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

/// The size of a cell in the unit of the picture.
const CELL: (f32, f32) = (8.4, 16.5);

/// The room around the screen.
const MARGIN: f32 = 12.0;

/// The distance of a letter from the lower edge of its cell.
const BASELINE: f32 = 4.0;

const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d6d9de";

/// The style that all cells of a run share.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    color: &'static str,
    modifier: Modifier,
}

impl Look {
    fn of(cell: &Cell) -> Self {
        Self { color: color(cell.fg), modifier: cell.modifier }
    }

    fn is(self, modifier: Modifier) -> bool {
        self.modifier.contains(modifier)
    }
}

/// # Panics
/// For a colour that the dashboard does not use: it needs a value here.
fn color(color: Color) -> &'static str {
    match color {
        Color::Reset => FOREGROUND,
        Color::Red => "#ff7b72",
        Color::Yellow => "#e3b341",
        Color::Blue => "#6cb6ff",
        other => panic!("no value for {other:?}"),
    }
}

/// Draws the screen as it looks on a dark terminal.
pub fn svg(screen: &Buffer) -> String {
    let (columns, rows) = (screen.area.width, screen.area.height);
    let width = f32::from(columns) * CELL.0 + 2.0 * MARGIN;
    let height = f32::from(rows) * CELL.1 + 2.0 * MARGIN;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" role=\"img\" \
         font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <title>The dashboard of tbtoken</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for y in 0..rows {
        for (x, look, text) in runs(screen, y) {
            draw(&mut picture, (x, y), look, &text);
        }
    }
    picture.push_str("</svg>\n");
    picture
}

/// Splits a line into pieces of equal style, with the columns at which they begin.
fn runs(screen: &Buffer, y: u16) -> Vec<(u16, Look, String)> {
    let mut runs: Vec<(u16, Look, String)> = Vec::new();
    let mut x = 0;
    while x < screen.area.width {
        let cell = &screen[(x, y)];
        match runs.last_mut() {
            Some((_, look, text)) if *look == Look::of(cell) => text.push_str(cell.symbol()),
            _ => runs.push((x, Look::of(cell), cell.symbol().to_owned())),
        }
        x += columns(cell.symbol()).max(1);
    }
    runs
}

fn columns(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap()
}

fn draw(picture: &mut String, (x, y): (u16, u16), look: Look, text: &str) {
    let (left, top) = (MARGIN + f32::from(x) * CELL.0, MARGIN + f32::from(y) * CELL.1);
    let mut color = look.color;
    if look.is(Modifier::REVERSED) {
        let width = f32::from(columns(text)) * CELL.0;
        let height = CELL.1;
        writeln!(
            picture,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{color}\"/>"
        )
        .unwrap();
        color = BACKGROUND;
    }
    // Blanks at the edges are left out: not every viewer keeps them.
    let left = left + f32::from(columns(text) - columns(text.trim_start())) * CELL.0;
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    let (baseline, length) = (top + CELL.1 - BASELINE, f32::from(columns(text)) * CELL.0);
    let weight = if look.is(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let faint = if look.is(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    // A given length keeps a run at its place in every font.
    writeln!(
        picture,
        "<text x=\"{left:.1}\" y=\"{baseline:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\" fill=\"{color}\"{weight}{faint}>{}</text>",
        escaped(text)
    )
    .unwrap();
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
