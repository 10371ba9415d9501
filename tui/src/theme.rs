//! Colours and drawing characters: the sixteen ANSI colours on the terminal's own background, or none.
//!
//! Colour only repeats what a sign and a word say already. Blue, yellow and red can be told apart without seeing
//! red and green differently, so there is no green.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use tbtoken_proto::{TokenStatus, words};

/// How things look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Whether colours are used; without them, bold and reverse still are.
    pub color: bool,
    /// Which characters lines are drawn with.
    pub glyphs: Glyphs,
}

/// The characters that are not letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyphs {
    /// Before the selected row.
    pub pointer: &'static str,
    /// A horizontal line.
    pub line: &'static str,
    /// Stands for text that was left out.
    pub ellipsis: &'static str,
    /// Behind the column that the table is sorted by, smallest first.
    pub ascending: &'static str,
    /// The same, largest first.
    pub descending: &'static str,
    /// The name of the Enter key.
    pub enter: &'static str,
    /// Where the next letter of the filter will stand.
    pub cursor: &'static str,
    /// What a character that must not be shown is replaced by.
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
    /// The look with or without colours, with or without characters beyond ASCII.
    pub fn new(color: bool, ascii: bool) -> Self {
        Self { color, glyphs: if ascii { ASCII } else { UNICODE } }
    }

    fn paint(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// Trouble that has come.
    pub fn bad(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Trouble that may come.
    pub fn warn(self) -> Style {
        self.paint(Color::Yellow)
    }

    /// Good news.
    pub fn good(self) -> Style {
        self.paint(Color::Blue).add_modifier(Modifier::BOLD)
    }

    /// Lines, labels: there, but quiet. The terminal's own faint text, because a dark grey or blue of sixteen
    /// colours vanishes on some backgrounds.
    pub fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Names of keys, titles.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row, the focused button, the line that must be seen.
    pub fn reverse(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A line that must be seen because something is wrong.
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

    /// Text of others, made safe to show.
    pub fn foreign(self, text: &str) -> String {
        let text = words::printable(text);
        match self.glyphs.replacement {
            char::REPLACEMENT_CHARACTER => text,
            other => text.replace(char::REPLACEMENT_CHARACTER, other.encode_utf8(&mut [0; 4])),
        }
    }

    /// `text` in at most `columns`.
    pub fn clip(self, text: &str, columns: usize) -> String {
        crate::text::clip(text, columns, self.glyphs.ellipsis)
    }
}
