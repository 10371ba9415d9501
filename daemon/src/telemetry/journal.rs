//! The journal's native protocol: one datagram a record, so that fields, priority and `MESSAGE_ID` arrive as they are.
//!
//! Described in systemd's `JOURNAL_NATIVE_PROTOCOL.md`. The crate tracing-journald speaks it too, but it derives the
//! priority from the five levels of tracing, which have no *crit* and no *notice*, and it sends from the calling thread.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::queue::Sink;
use super::record::Record;
use super::stderr::Stderr;
use crate::model::NoticeKind;

/// Where systemd-journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// What the journal calls us.
const IDENTIFIER: &str = "tbtokend";

/// The journal, and stderr for as long as it does not take our records.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    instead: Stderr,
    /// It has been said that the journal does not take our records.
    told: bool,
}

impl Journal {
    pub(super) fn new(path: &Path, instead: Stderr) -> io::Result<Self> {
        // Not connected: each record finds the socket anew, also after journald was restarted.
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.to_owned(), instead, told: false })
    }
}

impl Sink for Journal {
    fn write(&mut self, record: &Record) {
        match self.socket.send_to(&datagram(record), &self.path) {
            Ok(_) => self.told = false,
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let path = self.path.display();
                    let message = format!(
                        "The journal at {path} does not take records ({error}); they go to stderr until it does"
                    );
                    self.instead.write(&Record::of(NoticeKind::LinesDropped, record.at, message));
                }
                self.instead.write(record);
            }
        }
    }
}

/// A record in the journal's own form. No value holds a newline, so none needs the form with a length.
fn datagram(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let mut put = |name: &str, value: &str| {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    };
    put("MESSAGE", &record.message);
    put("PRIORITY", record.priority().digit());
    put("SYSLOG_IDENTIFIER", IDENTIFIER);
    if let Some(kind) = record.kind {
        put("MESSAGE_ID", kind.message_id());
    }
    for (name, value) in &record.fields {
        put(name, value);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn record() -> Record {
        let mut record = Record::of(NoticeKind::StoreLost, DateTime::UNIX_EPOCH, "❌ gone".to_owned());
        record.fields.push(("TBTOKEND_CUSTOMER", "a=b".to_owned()));
        record
    }

    #[test]
    fn a_record_in_the_journals_form() {
        let expected = format!(
            "MESSAGE=❌ gone\nPRIORITY=2\nSYSLOG_IDENTIFIER=tbtokend\nMESSAGE_ID={}\nTBTOKEND_CUSTOMER=a=b\n",
            NoticeKind::StoreLost.message_id()
        );
        assert_eq!(String::from_utf8(datagram(&record())).unwrap(), expected);
    }

    #[test]
    fn records_arrive_again_when_the_journal_was_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let file = folder.path().join("stderr");
        let instead = Stderr::to_file(std::fs::File::create(&file).unwrap());
        let mut journal = Journal::new(&path, instead).unwrap();
        journal.write(&record());
        journal.write(&record());
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches("does not take records").count(), 1, "{text}");
        assert_eq!(text.matches("gone").count(), 2, "{text}");

        let journald = UnixDatagram::bind(&path).unwrap();
        journal.write(&record());
        let mut buffer = [0; 1024];
        let length = journald.recv(&mut buffer).unwrap();
        assert!(String::from_utf8_lossy(&buffer[..length]).contains("MESSAGE=❌ gone\n"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "nothing more on stderr");
    }
}
