//! The output: data to standard output, everything else to standard error.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};

use clap::ColorChoice;
use serde::Serialize;
use tbtoken_proto::fit;
use tbtoken_proto::words::escape_hidden;

use crate::args::Args;
use crate::error::Error;

/// The output of a command, and its exit code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The data.
    pub(crate) data: String,
    /// Remarks on standard error; left out with `--quiet`.
    pub(crate) remarks: String,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Report {
    /// Makes a report of data only.
    pub(crate) fn of(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// Makes a report of a JSON document on one line.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(crate) fn json(document: &impl Serialize) -> Result<Self, Error> {
        Ok(Self::of(serde_json::to_string(document)? + "\n"))
    }
}

/// The abilities of the terminals that the user wants to use.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// How many columns standard output has; `None` if it is no terminal.
    pub(crate) width: Option<u16>,
    /// Whether data may be coloured.
    pub(crate) color: bool,
    /// Whether progress can be shown on standard error.
    pub(crate) progress: bool,
}

/// The width of a terminal that does not report one.
const USUAL_WIDTH: u16 = 80;

impl Style {
    /// Examines the terminals and the environment.
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

/// Decides about colour: the option goes before the environment (<https://no-color.org>).
fn color(choice: ColorChoice, terminal: bool, unwanted: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && !unwanted,
    }
}

/// The colours, all of the terminal's own sixteen, with their codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// Trouble.
    Red = 31,
    /// Possible trouble.
    Yellow = 33,
    /// An unknown state.
    Blue = 34,
    /// A heading.
    Bold = 1,
}

/// Returns `text` in that colour.
pub(crate) fn paint(text: &str, color: Color) -> String {
    format!("\u{1b}[{}m{text}\u{1b}[0m", color as u8)
}

/// Writes data. A reader that has closed its end (`tbctl | head -1`) is no error. With `--json`, hidden characters are
/// escaped, whichever command the text comes from.
///
/// # Errors
/// The text cannot be written for another reason, such as a full disk.
pub(crate) fn data(text: &str, json: bool) -> std::io::Result<()> {
    let text = if json { Cow::from(escape_hidden(text)) } else { Cow::from(text) };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes sentences to standard error; on a terminal wrapped into lines that fit.
pub(crate) fn remark(text: &str) {
    match terminal_size::terminal_size_of(std::io::stderr()) {
        Some((width, _)) if width.0 > 0 => signal(&wrapped(text, width.0.into())),
        _ => signal(text),
    }
}

/// Wraps each line of `text` that is longer than so many columns.
fn wrapped(text: &str, columns: usize) -> String {
    let lines = text.lines().flat_map(|line| match fit::width(line) > columns {
        true => fit::wrap(line, columns),
        false => vec![line.to_owned()],
    });
    lines.map(|line| line + "\n").collect()
}

/// Writes to standard error without changes. If it is closed, no reader is left.
pub(crate) fn signal(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped_between_words() {
        let text = "error: tbtokend did not answer\nhint: wait longer\n";
        assert_eq!(wrapped(text, 30), text);
        assert_eq!(wrapped(text, 20), "error: tbtokend did\nnot answer\nhint: wait longer\n");
    }

    #[test]
    fn the_user_decides_on_colour_then_the_environment_then_the_terminal() {
        assert!(color(ColorChoice::Auto, true, false));
        assert!(!color(ColorChoice::Auto, false, false));
        assert!(!color(ColorChoice::Auto, true, true));
        assert!(color(ColorChoice::Always, false, true));
        assert!(!color(ColorChoice::Never, true, false));
    }
}
