//! Polling for something that cannot be awaited: the state of another process.

use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails. It is long, because only a failing test waits for so long.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The time between two calls of the question.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `question` until it returns an answer; returns `None` if `timeout` is over first.
pub fn poll<T>(timeout: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // No event in this process marks the change, so the thread can only pause.
        std::thread::park_timeout(PAUSE);
    }
}
