//! Writes the log as text to stderr.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;

use chrono::SecondsFormat;
use tracing::Level;

use super::queue::Sink;
use super::record::Record;

/// The style of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineStyle {
    Plain,
    /// Colours, for a terminal.
    Coloured,
    /// With the priority as `<4>`, which systemd reads and removes.
    Numbered,
}

/// Standard error with its own descriptor, so that other output does not wait for a blocked line.
#[derive(Debug)]
pub(super) struct Stderr {
    file: Option<File>,
    style: LineStyle,
}

impl Stderr {
    pub(super) fn new() -> Self {
        let style = match (is_journal(), std::io::stderr().is_terminal()) {
            (true, _) => LineStyle::Numbered,
            (false, true) => LineStyle::Coloured,
            (false, false) => LineStyle::Plain,
        };
        Self { file: own_descriptor(), style }
    }
}

fn own_descriptor() -> Option<File> {
    std::io::stderr().as_fd().try_clone_to_owned().ok().map(File::from)
}

impl Sink for Stderr {
    fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        // One write per line, so that lines of several processes do not mix. An error has nowhere to go.
        let _ = file.write_all(line(record, self.style).as_bytes());
    }
}

fn line(record: &Record, style: LineStyle) -> String {
    let at = record.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let level = record.level.as_str();
    let message = &record.message;
    match style {
        LineStyle::Plain => format!("{at} {level:>5} {message}\n"),
        LineStyle::Numbered => format!("<{}>{message}\n", record.priority() as u8),
        LineStyle::Coloured => {
            let colour = match record.level {
                Level::ERROR => 31,
                Level::WARN => 33,
                Level::INFO => 32,
                _ => 34,
            };
            format!("\x1b[2m{at}\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m {message}\n")
        }
    }
}

/// Whether systemd has connected stderr to the journal: `JOURNAL_STREAM` must name exactly this stream, because a child
/// process may inherit the variable with another stderr.
pub(super) fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let ours = own_descriptor().and_then(|file| file.metadata().ok());
    match (named, ours) {
        (Some(named), Some(ours)) => named == format!("{}:{}", ours.st_dev(), ours.st_ino()),
        _ => false,
    }
}

/// Prints an error that ends the process before there is a log.
pub fn print_error(text: &str) {
    let number = if is_journal() { "<2>" } else { "" };
    eprintln!("{number}error: {text}");
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::model::NoticeKind;

    #[test]
    fn a_line_in_each_style() {
        let record = Record::of(NoticeKind::Parked, DateTime::UNIX_EPOCH, "❌ no".to_owned());
        assert_eq!(line(&record, LineStyle::Plain), "1970-01-01T00:00:00.000Z ERROR ❌ no\n");
        assert_eq!(line(&record, LineStyle::Numbered), "<3>❌ no\n");
        assert!(line(&record, LineStyle::Coloured).contains("\x1b[31mERROR\x1b[0m ❌ no\n"));
    }
}
