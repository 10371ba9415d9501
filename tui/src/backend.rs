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
    /// Where the terminal will write next, if that is sure.
    here: Option<(u16, u16)>,
    /// For how many frames more that is trusted.
    trust: u8,
    /// How wide the terminal is; 0 until it was asked.
    columns: std::cell::Cell<u16>,
}

/// After so many frames the cursor is put where it should be, whatever is believed of it: with one frame a second, this
/// bounds how long a stray message on the terminal leads the counters astray.
const TRUSTED_FRAMES: u8 = 8;

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
        Self { out, style: PLAIN, cursor: None, here: None, trust: 0, columns: std::cell::Cell::new(0) }
    }

    /// Moves the cursor to where a cell is to be written, the shortest way.
    fn go(&mut self, (x, y): (u16, u16)) -> io::Result<()> {
        let Some((from, line)) = self.here else { return queue!(self.out, MoveTo(x, y)) };
        if line == y && from < x {
            return queue!(self.out, MoveRight(x - from));
        }
        // Counters go on where they stand, and stand below each other. In raw mode a line feed goes straight down. But
        // behind the last column terminals disagree about where the cursor is.
        let near = from.checked_sub(x).filter(|&back| back < 4 && from < self.columns.get());
        match near {
            Some(back) if line == y || line + 1 == y => {
                self.out.write_all(if line == y { b"" } else { b"\n" })?;
                self.out.write_all(&b"\x08\x08\x08"[..usize::from(back)])
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
        self.trust = match self.trust.checked_sub(1) {
            Some(trust) => trust,
            // Somebody else may have written to the terminal and moved the cursor.
            None => {
                self.here = None;
                TRUSTED_FRAMES
            }
        };
        for (x, y, cell) in content {
            if self.here != Some((x, y)) {
                self.go((x, y))?;
            }
            self.set_style((cell.fg, cell.bg, cell.modifier))?;
            queue!(self.out, Print(cell.symbol()))?;
            // After a wide character terminals differ.
            self.here = cell.symbol().is_ascii().then_some((x + 1, y));
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
        self.here = Some((x, y));
        queue!(self.out, MoveTo(x, y))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        // Cleared cells take the current background, and a terminal that comes back may have lost the style.
        queue!(self.out, SetAttribute(Attribute::Reset))?;
        self.style = PLAIN;
        self.here = None;
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
    use chrono::TimeDelta;
    use ratatui::layout::Rect;
    use ratatui::style::Style;
    use ratatui::{Terminal, TerminalOptions, Viewport};

    use super::*;
    use crate::app::App;
    use crate::input::{Effect, Input};
    use crate::support::{noon, status, steady};
    use crate::theme::Theme;

    /// How many bytes each of three minutes takes in which nothing is heard but that the next look at the table has
    /// moved on.
    fn bytes_of_idle_minutes(size: (u16, u16)) -> Vec<usize> {
        let mut app = App::new(Theme::new(true, false), "/run/x.sock".to_owned(), size, noon());
        app.update(Input::Status(Box::new(status(steady(noon()), noon()))), noon());
        let screen = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, size.0, size.1)) };
        let mut terminal = Terminal::with_options(Quiet::new(Vec::new()), screen).unwrap();
        terminal.backend().columns.set(size.0);
        terminal.draw(|frame| crate::render::render(frame, &app)).unwrap();

        let mut minutes = vec![0; 3];
        for second in 1..=180 {
            terminal.backend_mut().out.clear();
            let now = noon() + TimeDelta::seconds(second);
            let mut heard = status(vec![], noon());
            heard.tokens.complete = false;
            heard.tokens.summary = app.scene().picture.overview.as_ref().unwrap().summary;
            heard.cron.next_run_at =
                heard.cron.next_run_at.map(|at| at + TimeDelta::minutes((second + 17) / 60));
            let mut effects = app.update(Input::Status(Box::new(heard)), now);
            effects.extend(app.update(Input::Tick, now));
            if effects.contains(&Effect::Draw) {
                terminal.draw(|frame| crate::render::render(frame, &app)).unwrap();
            }
            minutes[usize::try_from(second - 1).unwrap() / 60] += terminal.backend().out.len();
        }
        minutes
    }

    #[test]
    fn a_minute_of_nothing_but_the_clock_takes_less_than_a_kilobyte() {
        for size in [(200, 50), (100, 30), (80, 24), (60, 16), (40, 10)] {
            let minutes = bytes_of_idle_minutes(size);
            println!("{size:?}: {minutes:?} bytes a minute");
            assert!(minutes.iter().all(|&bytes| (60..1024).contains(&bytes)), "{size:?}: {minutes:?}");
        }
    }

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
        assert_eq!(text, "E[1;10H1E[?25l\u{8}2\u{8}3");
    }

    #[test]
    fn a_cursor_that_somebody_moved_is_put_back_soon() {
        let plain = Style::new();
        let cell: &[_] = &[(9, 0, "1", plain)];
        let text = written(&[cell; 20]);
        assert_eq!(text.matches("E[1;10H").count(), 3);
        assert!(text.split("E[1;10H").all(|run| run.matches('\u{8}').count() <= 8), "{text:?}");
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
        assert_eq!(text, "E[1;1HE[31maE[1mbE[?25l\n\u{8}\u{8}cE[0md");
    }

    #[test]
    fn the_place_behind_a_wide_character_is_not_trusted() {
        let plain = Style::new();
        let text = written(&[&[(0, 0, "日", plain), (2, 0, "x", plain)]]);
        assert_eq!(text, "E[1;1H日E[1;3HxE[?25l");
    }
}
