//! Where text goes: data to standard output, everything else to standard error.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};

use tbtoken_proto::fit;
use tbtoken_proto::words::escape_hidden;

use crate::args::{Args, When};

/// What a command has to say, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The data.
    pub(crate) data: String,
    /// What is said about it on standard error; left out with `--quiet`.
    pub(crate) remarks: String,
    /// The exit code.
    pub(crate) exit: u8,
}

/// What the terminals on the other end can do, and what the user wants of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// How many columns standard output has; `None` if it is no terminal.
    pub(crate) width: Option<u16>,
    /// Whether data may be coloured.
    pub(crate) color: bool,
    /// Whether progress can be shown on standard error.
    pub(crate) progress: bool,
}

/// The width of a terminal that does not tell.
const USUAL_WIDTH: u16 = 80;

impl Style {
    /// Looks at the terminals and the environment.
    pub(crate) fn detect(args: &Args) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0);
        Self {
            width: terminal.then(|| width.filter(|&width| width > 0).unwrap_or(USUAL_WIDTH)),
            color: color(args.color, terminal, set("NO_COLOR") || dumb),
            progress: std::io::stderr().is_terminal() && !dumb && !args.quiet,
        }
    }
}

/// What the user says goes before what the environment says (<https://no-color.org>).
fn color(when: When, terminal: bool, unwanted: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal && !unwanted,
    }
}

/// The colours, all of the terminal's own sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// Trouble.
    Red,
    /// Something to look at.
    Yellow,
    /// Something unusual.
    Blue,
    /// A heading.
    Bold,
}

/// `text` in that colour.
pub(crate) fn paint(text: &str, color: Color) -> String {
    let code = match color {
        Color::Red => 31,
        Color::Yellow => 33,
        Color::Blue => 34,
        Color::Bold => 1,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Writes data. A reader that has seen enough (`tbctl | head -1`) is no error. With `--json` what text hides is escaped,
/// whichever command the text comes from.
///
/// # Errors
/// Whatever else keeps the text from being written, such as a full disk.
pub(crate) fn data(text: &str, json: bool) -> std::io::Result<()> {
    let text = if json { Cow::from(escape_hidden(text)) } else { Cow::from(text) };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes sentences to standard error; on a terminal broken into lines that fit.
pub(crate) fn remark(text: &str) {
    match terminal_size::terminal_size_of(std::io::stderr()) {
        Some((width, _)) if width.0 > 0 => signal(&broken(text, width.0.into())),
        _ => signal(text),
    }
}

/// The lines of `text`, each broken between words where it is longer than so many columns.
fn broken(text: &str, columns: usize) -> String {
    let lines = text.lines().flat_map(|line| match fit::width(line) > columns {
        true => fit::wrap(line, columns),
        false => vec![line.to_owned()],
    });
    lines.map(|line| line + "\n").collect()
}

/// Writes to standard error as it is. If even that is closed, no reader is left.
pub(crate) fn signal(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words() {
        let text = "error: tbtokend did not answer\nhint: wait longer\n";
        assert_eq!(broken(text, 30), text);
        assert_eq!(broken(text, 20), "error: tbtokend did\nnot answer\nhint: wait longer\n");
    }

    #[test]
    fn the_user_decides_on_colour_then_the_environment_then_the_terminal() {
        assert!(color(When::Auto, true, false));
        assert!(!color(When::Auto, false, false));
        assert!(!color(When::Auto, true, true));
        assert!(color(When::Always, false, true));
        assert!(!color(When::Never, true, false));
    }
}
