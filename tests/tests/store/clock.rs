//! Virtual time beside real sockets.

use std::time::Duration;

use tbtokend::store::StoreError;

use crate::stores::words;

/// Time that stands still until it is moved on. Tokio moves a paused clock on by itself when nothing is left to do, as it
/// seems while the other end of a socket thinks; it does not while a blocking task runs.
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

/// Does it again every virtual second until it works, which must be within a minute: as the engine does at its wakes.
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
