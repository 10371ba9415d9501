//! Shows on a terminal how far a manual pass is, by the events that it leaves behind.
//!
//! Interrupting `tbctl` does not interrupt the pass, which is the daemon's. Who interrupts it is told so, and then
//! the process ends by the very signal, so that a shell that runs a script sees it and stops, too. Without a terminal
//! nothing is caught at all.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::{Handle, Signals};
use tbtoken_proto::client::Client;
use tbtoken_proto::{Event, EventKind, MAX_EVENTS, Reply, Request, Seq};

use crate::output::signal;

/// Back to the beginning of the line, and the line emptied.
pub(crate) const CLEAR: &str = "\r\u{1b}[K";

/// A look at the events must not hold up the end of the pass.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line that counts until it is dropped.
pub(crate) struct Progress {
    stop: Option<Sender<()>>,
    counter: Option<JoinHandle<()>>,
    signals: Option<Handle>,
}

impl Progress {
    /// Begins to count.
    pub(crate) fn start(socket: &Path) -> Self {
        let (stop, stopped) = mpsc::channel();
        let signals = watch_for_interrupt();
        // Asked before the pass is, so that none of its events is missed. Where that fails, only the time is counted.
        let mut tally = Tally::begin(socket);
        let counter = std::thread::spawn(move || {
            let begin = Instant::now();
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let tally = tally.as_mut().and_then(Tally::look).unwrap_or_default();
                signal(&format!("{CLEAR}the pass is under way, {} s{tally}", begin.elapsed().as_secs()));
            }
            signal(CLEAR);
        });
        Self { stop: Some(stop), counter: Some(counter), signals }
    }
}

/// What has happened since the beginning.
struct Tally {
    client: Client,
    next: Seq,
    renewed: usize,
    failed: usize,
}

impl Tally {
    fn begin(socket: &Path) -> Option<Self> {
        let mut client = Client::connect(socket, PATIENCE).ok()?;
        let request = Request::Events { since: None, limit: 1 };
        let Ok(Reply::Events(reply)) = client.send(&request) else { return None };
        Some(Self { client, next: reply.next, renewed: 0, failed: 0 })
    }

    /// `: 12 renewed, 1 failed`; nothing where the daemon does not say.
    fn look(&mut self) -> Option<String> {
        let request = Request::Events { since: Some(self.next), limit: MAX_EVENTS };
        let Ok(Reply::Events(reply)) = self.client.send(&request) else { return None };
        self.next = reply.next;
        let (renewed, failed) = outcomes(&reply.events);
        self.renewed += renewed;
        self.failed += failed;
        Some(format!(": {} renewed, {} failed", self.renewed, self.failed))
    }
}

/// How many attempts went well, and how many did not. Who has recovered was renewed as well: that is told twice.
fn outcomes(events: &[Event]) -> (usize, usize) {
    let count = |kinds: &[EventKind]| events.iter().filter(|event| kinds.contains(&event.kind)).count();
    (count(&[EventKind::Renewed]), count(&[EventKind::Failed, EventKind::Parked]))
}

/// Says on SIGINT what becomes of the pass, and then lets the signal have its way. Where the signal cannot be caught,
/// it has its way at once.
fn watch_for_interrupt() -> Option<Handle> {
    let mut signals = Signals::new([SIGINT]).ok()?;
    let handle = signals.handle();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            signal(&format!("{CLEAR}interrupted; the pass goes on, tbctl events shows how it ends\n"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_counts_once() {
        let event = |(seq, kind)| Event {
            seq: Seq(seq),
            at: chrono::DateTime::UNIX_EPOCH,
            kind,
            customer_id: Some("1B2C9D00".to_owned()),
            message: String::new(),
        };
        let kinds = [
            EventKind::Unparked,
            EventKind::Recovered,
            EventKind::Renewed,
            EventKind::Failed,
            EventKind::Parked,
            EventKind::Expired,
        ];
        assert_eq!(outcomes(&(0..).zip(kinds).map(event).collect::<Vec<_>>()), (1, 2));
    }
}
