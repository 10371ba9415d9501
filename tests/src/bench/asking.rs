//! Clients that request the status and measure the time of the answers.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tbtoken_proto::client::Client;
use tbtoken_proto::{Reply, Request, Revision, Rows, StatusQuery, StatusReply};

use crate::harness::wait::TIMEOUT;

/// A question that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// `status` with all customers.
    Full,
    /// `status` without customers.
    Summary,
    /// `status` with the changes since a revision.
    Delta(Revision),
    /// A request that the loop itself must answer: `start`, while the loop runs.
    Loop,
}

/// The sorted times of the answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    sorted: Vec<Duration>,
    /// The length of the longest answer in bytes.
    pub(super) bytes: usize,
}

impl Latencies {
    pub(super) fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self { sorted: latencies, bytes: 0 }
    }

    /// Returns the time that this percentage of all answers did not exceed.
    pub(super) fn at(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1) - 1;
        self.sorted.get(rank).copied().unwrap_or_default()
    }
}

/// How long a request is repeated: longer than the interval, so that at least one poll happens in this time.
const LONG: Duration = Duration::from_millis(3_500);

/// The pause after each answer.
const PAUSE: Duration = Duration::from_millis(2);

/// The least number of requests, however long they take.
const AT_LEAST: usize = 10;

/// Repeats a request on one connection, and measures until the last byte of each answer.
pub(super) fn latencies(socket: &Path, question: Question) -> Latencies {
    let mut asker = Asker::connect(socket);
    let began = Instant::now();
    let mut taken = Vec::new();
    let mut bytes = 0;
    while taken.len() < AT_LEAST || began.elapsed() < LONG {
        let (latency, length) = asker.ask(question);
        bytes = bytes.max(length);
        taken.push(latency);
        std::thread::park_timeout(PAUSE);
    }
    Latencies { bytes, ..Latencies::of(taken) }
}

/// Does the same while another client requests the full status without a pause.
pub(super) fn latencies_beside_full_status(socket: &Path, question: Question) -> Latencies {
    let mut asker = Asker::connect(socket);
    latencies_beside(socket, question, || {
        asker.ask(Question::Full);
    })
}

/// Does the same while another thread repeats `work` without a pause.
pub(super) fn latencies_beside(
    socket: &Path,
    question: Question,
    mut work: impl FnMut() + Send,
) -> Latencies {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                work();
            }
        });
        let latencies = latencies(socket, question);
        done.store(true, Ordering::Relaxed);
        latencies
    })
}

/// A connection that reads answers without parsing them.
struct Asker {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Asker {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the daemon listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out can be set");
        Self { stream, buffer: vec![0; 256 * 1024] }
    }

    /// Sends a request; returns the time and the length of the answer.
    fn ask(&mut self, question: Question) -> (Duration, usize) {
        let line = question.line();
        let began = Instant::now();
        self.stream.write_all(line.as_bytes()).expect("the daemon reads");
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer).expect("the daemon answers");
            assert!(read > 0, "the daemon hung up on {line}");
            length += read;
            // An answer is one line, and the next answer needs another request.
            if self.buffer[read - 1] == b'\n' {
                return (began.elapsed(), length);
            }
        }
    }
}

impl Question {
    fn line(self) -> String {
        match self {
            Self::Full => "{\"action\":\"status\"}\n".to_owned(),
            Self::Summary => "{\"action\":\"status\",\"customers\":\"none\"}\n".to_owned(),
            Self::Delta(Revision(revision)) => format!("{{\"action\":\"status\",\"since\":{revision}}}\n"),
            Self::Loop => "{\"action\":\"start\"}\n".to_owned(),
        }
    }
}

/// Requests the status and parses it.
pub(super) fn status(client: &mut Client, customers: Rows) -> StatusReply {
    match client.send(&Request::Status(StatusQuery { customers, since: None })) {
        Ok(Reply::Status(status)) => status,
        other => panic!("no status but {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latencies = Latencies::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!([50, 99, 100].map(|percent| latencies.at(percent).as_millis()), [100, 198, 200]);
        let one = Latencies::of(vec![Duration::from_millis(7)]);
        assert_eq!([0, 50, 99].map(|percent| one.at(percent).as_millis()), [7, 7, 7]);
        assert_eq!(Latencies::default().at(50), Duration::ZERO);
    }
}
