//! Waiting for something that cannot be awaited: the state of another process.

use std::time::{Duration, Instant};

/// How long everything is waited for before a test gives up. Generous: it is only spent when something is broken.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The time between two questions.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `question` again and again until it has an answer; `None` when `timeout` is at its end.
pub fn poll<T>(timeout: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // No event of this process marks the change that is waited for, so there is nothing to wait on.
        std::thread::park_timeout(PAUSE);
    }
}
