//! A raw client: it sends bytes to a socket and reads lines.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;
use tbtoken_tests::canary;
use tbtoken_tests::harness::wait::TIMEOUT;

pub(crate) struct Wire(BufReader<UnixStream>);

impl Wire {
    pub(crate) fn to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Reads the next line; `None` if the daemon has closed the connection.
    pub(crate) fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        // A peer that closes with unread bytes resets the connection, which counts as closed as well.
        let read = self.0.read_line(&mut line);
        if let Err(error) = &read {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        canary::assert_clean("an answer", line.as_bytes());
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n").as_bytes()).unwrap();
        self.line().unwrap_or_else(|| panic!("no answer to {line}"))
    }
}
