//! The log as text on stderr.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;

use chrono::SecondsFormat;
use tracing::Level;

use super::queue::Sink;
use super::record::Record;

/// How a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    Plain,
    /// Colours, for a terminal.
    Coloured,
    /// `<4>`, the priority, which systemd takes off again.
    Numbered,
}

/// Standard error, by a descriptor of its own: whoever else prints must not wait for a line that nobody reads.
#[derive(Debug)]
pub(super) struct Stderr {
    file: Option<File>,
    dress: Dress,
}

impl Stderr {
    pub(super) fn new() -> Self {
        let dress = match (is_journal(), std::io::stderr().is_terminal()) {
            (true, _) => Dress::Numbered,
            (false, true) => Dress::Coloured,
            (false, false) => Dress::Plain,
        };
        Self { file: own_descriptor(), dress }
    }
}

fn own_descriptor() -> Option<File> {
    std::io::stderr().as_fd().try_clone_to_owned().ok().map(File::from)
}

impl Sink for Stderr {
    fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        // In one piece, so that lines of several processes on one stderr do not mix. There is nowhere to complain.
        let _ = file.write_all(line(record, self.dress).as_bytes());
    }
}

fn line(record: &Record, dress: Dress) -> String {
    let at = record.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let level = record.level.as_str();
    let message = &record.message;
    match dress {
        Dress::Plain => format!("{at} {level:>5} {message}\n"),
        Dress::Numbered => format!("<{}>{message}\n", record.priority() as u8),
        Dress::Coloured => {
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

/// Whether our stderr goes to the journal, because systemd started us: `JOURNAL_STREAM` names exactly this stream. A
/// process further down may have inherited the variable and been given another stderr.
pub(super) fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let ours = own_descriptor().and_then(|file| file.metadata().ok());
    match (named, ours) {
        (Some(named), Some(ours)) => named == format!("{}:{}", ours.st_dev(), ours.st_ino()),
        _ => false,
    }
}

/// Prints an error that ends the process before there is a log.
pub fn complain(text: &str) {
    let number = if is_journal() { "<2>" } else { "" };
    eprintln!("{number}error: {text}");
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::model::NoticeKind;

    #[test]
    fn a_line_in_each_dress() {
        let record = Record::of(NoticeKind::Parked, DateTime::UNIX_EPOCH, "❌ no".to_owned());
        assert_eq!(line(&record, Dress::Plain), "1970-01-01T00:00:00.000Z ERROR ❌ no\n");
        assert_eq!(line(&record, Dress::Numbered), "<3>❌ no\n");
        assert!(line(&record, Dress::Coloured).contains("\x1b[31mERROR\x1b[0m ❌ no\n"));
    }
}
