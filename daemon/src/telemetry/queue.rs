//! The queue before the log: logging never waits, however slow the reader of the log is.
//!
//! A separate thread writes the lines. If it cannot keep up, the queue fills; further lines are dropped and counted, and
//! the count is written in their place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::record::Record;
use crate::model::NoticeKind;

/// The most waiting lines: one to two megabytes. A working journal never falls so far behind, even if many customers fail
/// at once; for a hanging one this bounds the memory.
const CAPACITY: usize = 4096;

/// The destination of lines.
pub(super) trait Sink {
    /// Writes one line; may block.
    fn write(&mut self, record: &Record);
}

/// The sending end of the queue. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
    written: Condvar,
}

/// Lines dropped since the start, by all queues of the process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Log lines that were dropped since the start.
pub fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Record>,
    dropped: u64,
    dropped_at: DateTime<Utc>,
    /// Whether a line is being written.
    busy: bool,
}

impl Queue {
    /// Creates a queue, and a thread that opens a sink and writes the lines to it until the process ends.
    pub(super) fn into_sink(open: impl FnOnce() -> Box<dyn Sink> + Send + 'static) -> std::io::Result<Self> {
        let queue = Self::default();
        let shared = queue.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut sink = open();
            loop {
                let record = shared.next();
                sink.write(&record);
            }
        })?;
        Ok(queue)
    }

    /// Adds a line, or counts it as dropped. Never waits for the writer.
    pub(super) fn push(&self, record: Record) {
        let mut waiting = self.lock();
        if waiting.records.len() >= CAPACITY {
            waiting.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            waiting.dropped_at = record.at;
            return;
        }
        // The count takes the place of the dropped lines.
        let note = waiting.note();
        waiting.records.extend(note);
        waiting.records.push_back(record);
        self.0.came.notify_one();
    }

    /// Waits until all lines are written, but no longer than `within`. Returns whether they are.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let unwritten =
            |waiting: &mut Waiting| waiting.busy || !waiting.records.is_empty() || waiting.dropped > 0;
        let result = self.0.written.wait_timeout_while(self.lock(), within, unwritten);
        !result.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits for the next line.
    fn next(&self) -> Record {
        let mut waiting = self.lock();
        waiting.busy = false;
        self.0.written.notify_all();
        loop {
            if let Some(record) = waiting.take() {
                waiting.busy = true;
                return record;
            }
            waiting = self.0.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Locks the queue, also after a panic of another thread: the lines stay valid.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Record> {
        self.records.pop_front().or_else(|| self.note())
    }

    /// Makes a line that says how many lines were dropped.
    fn note(&mut self) -> Option<Record> {
        let dropped = std::mem::take(&mut self.dropped);
        let lines = if dropped == 1 { "log line was" } else { "log lines were" };
        let message = format!("{dropped} {lines} dropped: the reader of the log is too slow");
        (dropped > 0).then(|| Record::of(NoticeKind::LinesDropped, self.dropped_at, message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A sink that writes a line when the test allows it, and reports it.
    struct Slow {
        go: Receiver<()>,
        written: Sender<String>,
    }

    impl Sink for Slow {
        fn write(&mut self, record: &Record) {
            if self.go.recv().is_ok() {
                self.written.send(record.message.clone()).unwrap();
            }
        }
    }

    fn line(text: impl Into<String>) -> Record {
        Record::of(NoticeKind::Renewed, DateTime::UNIX_EPOCH, text.into())
    }

    #[test]
    fn logging_never_waits_for_a_slow_reader_and_dropped_lines_are_counted() {
        let (go, allowed) = channel();
        let (written, lines) = channel();
        let queue = Queue::into_sink(|| Box::new(Slow { go: allowed, written })).unwrap();
        let all = CAPACITY + 1000;
        for number in 0..all {
            queue.push(line(number.to_string()));
        }
        assert!(!queue.flush(Duration::ZERO), "nothing is written yet");
        go.send(()).unwrap();
        let mut written = vec![lines.recv().unwrap()];
        for _ in 0..all {
            let _ = go.send(());
        }
        assert!(queue.flush(Duration::from_secs(30)));
        written.extend(lines.try_iter());
        let (notes, lines): (Vec<_>, Vec<_>) = written.iter().partition(|line| line.contains("dropped"));
        let dropped: usize =
            notes.iter().map(|note| note.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(lines.len() + dropped, all, "{notes:?}");
        assert!((999..=1000).contains(&dropped), "{notes:?}");
        assert!(written.last().unwrap().contains("dropped"), "the last lines found no room");
        assert!(notes[0].ends_with("log lines were dropped: the reader of the log is too slow"), "{notes:?}");
        assert!(lines.iter().map(|line| line.parse::<usize>().unwrap()).is_sorted());
    }

    #[test]
    fn a_flush_waits_for_the_line_being_written_but_not_too_long() {
        let (go, allowed) = channel();
        let (written, lines) = channel();
        let queue = Queue::into_sink(|| Box::new(Slow { go: allowed, written })).unwrap();
        assert!(queue.flush(Duration::ZERO), "an empty queue is written");
        queue.push(line("the last words"));
        assert!(!queue.flush(Duration::from_millis(1)));
        go.send(()).unwrap();
        assert!(queue.flush(Duration::from_secs(30)));
        assert_eq!(lines.try_recv().unwrap(), "the last words");
    }
}
