//! A backend of ratatui that writes nothing that the terminal knows already.
//!
//! ratatui's own hides the cursor and resets all styles with every frame, changed or not. Over a slow line, and with a
//! clock that moves each second, that is most of what is written.

use std::io::{self, Write};

use crossterm::cursor::{Hide, MoveRight, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, Clear};
use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

/// Writes frames to `W`, with the least that shows them.
pub(crate) struct Quiet<W: Write> {
    out: W,
    /// The style that the terminal writes in now.
    style: (Color, Color, Modifier),
    /// Whether the cursor is seen; unknown at first.
    cursor: Option<bool>,
    /// How wide the terminal is; 0 until it was asked.
    columns: std::cell::Cell<u16>,
}

const PLAIN: (Color, Color, Modifier) = (Color::Reset, Color::Reset, Modifier::empty());

/// The modifiers that the dashboard uses, each with what turns it on.
const ATTRIBUTES: [(Modifier, Attribute); 3] = [
    (Modifier::BOLD, Attribute::Bold),
    (Modifier::DIM, Attribute::Dim),
    (Modifier::REVERSED, Attribute::Reverse),
];

impl<W: Write> Quiet<W> {
    /// A backend for a terminal that writes in its plain style.
    pub(crate) fn new(out: W) -> Self {
        Self { out, style: PLAIN, cursor: None, columns: std::cell::Cell::new(0) }
    }

    /// Moves the cursor to where a cell is to be written, the shortest way from `here`, if that is known.
    fn go(&mut self, here: Option<(u16, u16)>, (x, y): (u16, u16)) -> io::Result<()> {
        match here {
            Some((from, line)) if line == y && from < x => queue!(self.out, MoveRight(x - from)),
            // Counters stand below each other. In raw mode a line feed goes straight down; but behind the last column
            // terminals disagree about where the cursor is.
            Some((from, line)) if line + 1 == y && x <= from && from - x < 4 && from < self.columns.get() => {
                self.out.write_all(b"\n")?;
                self.out.write_all(&b"\x08\x08\x08"[..usize::from(from - x)])
            }
            _ => queue!(self.out, MoveTo(x, y)),
        }
    }

    fn set_style(&mut self, style: (Color, Color, Modifier)) -> io::Result<()> {
        if self.style == style {
            return Ok(());
        }
        // There is no "not bold" that all terminals agree on, so less than before begins from nothing.
        if !style.2.contains(self.style.2) {
            queue!(self.out, SetAttribute(Attribute::Reset))?;
            self.style = PLAIN;
        }
        for (modifier, attribute) in ATTRIBUTES {
            if style.2.contains(modifier) && !self.style.2.contains(modifier) {
                queue!(self.out, SetAttribute(attribute))?;
            }
        }
        if style.0 != self.style.0 {
            write!(self.out, "\u{1b}[{}m", 30 + ansi(style.0))?;
        }
        if style.1 != self.style.1 {
            write!(self.out, "\u{1b}[{}m", 40 + ansi(style.1))?;
        }
        self.style = style;
        Ok(())
    }
}

/// The last part of the code of one of the sixteen ANSI colours: 30 more for the foreground, 40 for the background.
/// crossterm would write the longer codes of 256 colours, which not every terminal knows.
fn ansi(color: Color) -> u8 {
    match color {
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 60,
        Color::LightRed => 61,
        Color::LightGreen => 62,
        Color::LightYellow => 63,
        Color::LightBlue => 64,
        Color::LightMagenta => 65,
        Color::LightCyan => 66,
        Color::White => 67,
        // The theme has no others.
        Color::Reset | Color::Rgb(..) | Color::Indexed(_) => 9,
    }
}

impl<W: Write> Backend for Quiet<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        // Where the terminal will write next, if that is sure: after a wide character terminals differ, and between
        // two frames somebody else may have written to it.
        let mut here = None;
        for (x, y, cell) in content {
            if here != Some((x, y)) {
                self.go(here, (x, y))?;
            }
            self.set_style((cell.fg, cell.bg, cell.modifier))?;
            queue!(self.out, Print(cell.symbol()))?;
            here = cell.symbol().is_ascii().then_some((x + 1, y));
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        if self.cursor.replace(false) != Some(false) {
            queue!(self.out, Hide)?;
        }
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        if self.cursor.replace(true) != Some(true) {
            queue!(self.out, Show)?;
        }
        Ok(())
    }

    /// The dashboard shows no cursor, so it has none to go back to; and asking the terminal would take keys away from
    /// the thread that reads them.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        queue!(self.out, MoveTo(x, y))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        // Cleared cells take the current background, and a terminal that comes back may have lost the style.
        queue!(self.out, SetAttribute(Attribute::Reset))?;
        self.style = PLAIN;
        queue!(
            self.out,
            Clear(match region {
                ClearType::All => terminal::ClearType::All,
                ClearType::AfterCursor => terminal::ClearType::FromCursorDown,
                ClearType::BeforeCursor => terminal::ClearType::FromCursorUp,
                ClearType::CurrentLine => terminal::ClearType::CurrentLine,
                ClearType::UntilNewLine => terminal::ClearType::UntilNewLine,
            })
        )
    }

    fn size(&self) -> io::Result<Size> {
        let (width, height) = terminal::size()?;
        self.columns.set(width);
        Ok(Size { width, height })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn written(frames: &[&[(u16, u16, &str, Style)]]) -> String {
        let mut quiet = Quiet::new(Vec::new());
        quiet.columns.set(80);
        for frame in frames {
            let cells: Vec<(u16, u16, Cell)> = frame
                .iter()
                .map(|(x, y, symbol, style)| {
                    let mut cell = Cell::default();
                    cell.set_symbol(symbol).set_style(*style);
                    (*x, *y, cell)
                })
                .collect();
            quiet.draw(cells.iter().map(|(x, y, cell)| (*x, *y, cell))).unwrap();
            quiet.hide_cursor().unwrap();
        }
        String::from_utf8(quiet.out).unwrap().replace('\u{1b}', "E")
    }

    #[test]
    fn a_tick_of_the_clock_costs_a_few_bytes() {
        let plain = Style::new();
        let second = |digit| [(9, 0, digit, plain)];
        let text = written(&[&second("1"), &second("2"), &second("3")]);
        assert_eq!(text, "E[1;10H1E[?25lE[1;10H2E[1;10H3");
    }

    #[test]
    fn short_ways_take_few_bytes() {
        let plain = Style::new();
        let text =
            written(&[&[(9, 0, "1", plain), (15, 0, "2", plain), (15, 1, "3", plain), (13, 2, "4", plain)]]);
        assert_eq!(text, "E[1;10H1E[5C2\n\u{8}3\n\u{8}\u{8}\u{8}4E[?25l");
        let text =
            written(&[&[(79, 0, "1", plain), (79, 1, "2", plain), (2, 2, "3", plain), (9, 4, "4", plain)]]);
        assert_eq!(
            text, "E[1;80H1E[2;80H2E[3;3H3E[5;10H4E[?25l",
            "the margin is not trusted, far ways are absolute"
        );
    }

    #[test]
    fn styles_are_set_when_they_change_and_last_over_frames() {
        let red = Style::new().fg(Color::Red);
        let bold = red.add_modifier(Modifier::BOLD);
        let text = written(&[
            &[(0, 0, "a", red), (1, 0, "b", bold)],
            &[(0, 1, "c", bold), (1, 1, "d", Style::new())],
        ]);
        assert_eq!(text, "E[1;1HE[31maE[1mbE[?25lE[2;1HcE[0md");
    }

    #[test]
    fn the_place_behind_a_wide_character_is_not_trusted() {
        let plain = Style::new();
        let text = written(&[&[(0, 0, "日", plain), (2, 0, "x", plain)]]);
        assert_eq!(text, "E[1;1H日E[1;3HxE[?25l");
    }
}
