//! Colours and drawing characters: the sixteen ANSI colours on the terminal's own background, or none.
//!
//! Colour only repeats a sign and a word. There is no green: blue, yellow and red differ also for a person that cannot
//! tell red from green.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use tbtoken_proto::{TokenStatus, words};

use crate::view::Direction;

/// Colours and drawing characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Whether colours are used; without them, bold and reverse still are.
    pub color: bool,
    /// The drawing characters.
    pub glyphs: Glyphs,
}

/// The drawing characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyphs {
    /// Before the selected row.
    pub pointer: &'static str,
    /// A horizontal line.
    pub line: &'static str,
    /// In place of text that was cut.
    pub ellipsis: &'static str,
    /// After the column that the table is sorted by, ascending.
    pub ascending: &'static str,
    /// After the column that the table is sorted by, descending.
    pub descending: &'static str,
    /// The name of the Enter key.
    pub enter: &'static str,
    /// The place of the next letter of the filter.
    pub cursor: &'static str,
    /// In place of a character that must not be shown.
    pub replacement: char,
    /// Boxes.
    pub border: border::Set<'static>,
}

const UNICODE: Glyphs = Glyphs {
    pointer: "▶",
    line: "─",
    ellipsis: "…",
    ascending: "▲",
    descending: "▼",
    enter: "⏎",
    cursor: "█",
    replacement: '\u{fffd}',
    border: border::PLAIN,
};

const ASCII: Glyphs = Glyphs {
    pointer: ">",
    line: "-",
    ellipsis: "~",
    ascending: "^",
    descending: "v",
    enter: "Enter",
    cursor: "_",
    replacement: '?',
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
};

impl Theme {
    /// Creates a theme with or without colours, with Unicode or ASCII characters.
    pub fn new(color: bool, ascii: bool) -> Self {
        Self { color, glyphs: if ascii { ASCII } else { UNICODE } }
    }

    fn paint(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// The style of present trouble.
    pub fn bad(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// The style of possible trouble.
    pub fn warn(self) -> Style {
        self.paint(Color::Yellow)
    }

    /// The style of success.
    pub fn good(self) -> Style {
        self.paint(Color::Blue).add_modifier(Modifier::BOLD)
    }

    /// The style of lines and labels: the terminal's own faint text. Dark grey or blue of the sixteen colours is invisible
    /// on some backgrounds.
    pub fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The style of keys and titles.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The style of the selected row, the focused button, and lines that must be noticed.
    pub fn reverse(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The style of a line that reports an outage.
    pub fn alarm(self) -> Style {
        self.bad().add_modifier(Modifier::REVERSED)
    }

    /// The style of a status.
    pub fn status(self, status: TokenStatus) -> Style {
        match status {
            TokenStatus::Expired => self.bad(),
            TokenStatus::Missing | TokenStatus::ExpiringSoon | TokenStatus::Unknown => self.warn(),
            TokenStatus::Valid => Style::new(),
        }
    }

    /// The arrow for a direction of the table.
    pub(crate) fn arrow(self, direction: Direction) -> &'static str {
        match direction {
            Direction::Ascending => self.glyphs.ascending,
            Direction::Descending => self.glyphs.descending,
        }
    }

    /// Makes text from a server or a table safe to show.
    pub fn printable(self, text: &str) -> String {
        let text = words::printable(text);
        match self.glyphs.replacement {
            char::REPLACEMENT_CHARACTER => text,
            other => text.replace(char::REPLACEMENT_CHARACTER, other.encode_utf8(&mut [0; 4])),
        }
    }

    /// Clips `text` to at most `columns`.
    pub fn clip(self, text: &str, columns: usize) -> String {
        crate::text::clip(text, columns, self.glyphs.ellipsis)
    }
}
