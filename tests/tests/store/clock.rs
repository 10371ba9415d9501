//! Virtual time beside real sockets.

use std::time::Duration;

use tbtokend::store::StoreError;

use crate::stores::words;

/// A clock that stands still until a test advances it. Tokio advances a paused clock by itself when no task is ready, also
/// while it waits for a socket. A running blocking task prevents that.
pub(crate) struct StoppedClock {
    _stop: std::sync::mpsc::Sender<()>,
}

impl StoppedClock {
    pub(crate) fn new() -> Self {
        tokio::time::pause();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || stopped.recv()));
        Self { _stop: stop }
    }

    pub(crate) async fn advance(&self, seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

/// Repeats the work every virtual second until it succeeds, at most for a minute, as the engine does at its wakes.
pub(crate) async fn until_it_works<T>(mut work: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let clock = StoppedClock::new();
    let mut said = String::new();
    for _ in 0..60 {
        match work().await {
            Ok(result) => return result,
            Err(error) => said = words(&error),
        }
        clock.advance(1).await;
    }
    panic!("it does not work within a minute: {said}");
}
