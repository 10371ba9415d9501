//! Shows on a terminal that a manual pass is still under way.
//!
//! Interrupting `tbctl` does not interrupt the pass, which is the daemon's. Who interrupts it is told so, and then
//! the process ends by the very signal, so that a shell that runs a script sees it and stops, too. Without a terminal
//! nothing is caught at all.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::{Handle, Signals};

use crate::output::remark;

/// Back to the beginning of the line, and the line emptied.
const CLEAR: &str = "\r\u{1b}[K";

/// A line that counts the seconds until it is dropped.
pub(crate) struct Progress {
    stop: Option<Sender<()>>,
    counter: Option<JoinHandle<()>>,
    signals: Option<Handle>,
}

impl Progress {
    /// Begins to count.
    pub(crate) fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        let counter = std::thread::spawn(move || {
            let begin = Instant::now();
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                remark(&format!("{CLEAR}the pass is under way, {} s", begin.elapsed().as_secs()));
            }
            remark(CLEAR);
        });
        Self { stop: Some(stop), counter: Some(counter), signals: watch_for_interrupt() }
    }
}

/// Says on SIGINT what becomes of the pass, and then lets the signal have its way. Where the signal cannot be caught,
/// it has its way at once.
fn watch_for_interrupt() -> Option<Handle> {
    let mut signals = Signals::new([SIGINT]).ok()?;
    let handle = signals.handle();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            remark(&format!("{CLEAR}interrupted; the pass goes on, tbctl events shows how it ends\n"));
            let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
        }
    });
    Some(handle)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(signals) = &self.signals {
            signals.close();
        }
        drop(self.stop.take());
        if let Some(counter) = self.counter.take() {
            let _ = counter.join();
        }
    }
}
