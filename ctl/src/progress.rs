//! Shows the progress of a manual pass on a terminal, from the events of the pass.
//!
//! Interrupting `tbctl` does not interrupt the pass, which belongs to the daemon. tbctl says so and ends by the same
//! signal, so that a script stops too. Without a terminal no signal is caught.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::{Handle, Signals};
use tbtoken_proto::client::Client;
use tbtoken_proto::{Event, EventKind, EventsReply, MAX_EVENTS, Request, Seq};

use crate::output::signal;

/// Moves to the beginning of the line and clears it.
pub(crate) const CLEAR: &str = "\r\u{1b}[K";

/// The time for an answer with events: it must not delay the end of the pass.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A line that shows the progress until it is dropped.
pub(crate) struct Progress {
    stop: Option<Sender<()>>,
    counter: Option<JoinHandle<()>>,
    signals: Option<Handle>,
}

impl Progress {
    /// Shows the line, once a second.
    pub(crate) fn start(socket: &Path) -> Self {
        let (stop, stopped) = mpsc::channel();
        let signals = watch_for_interrupt();
        // Begins before the pass, so that it counts all events. If that fails, the line shows the time only.
        let mut tally = Tally::begin(socket);
        let counter = std::thread::spawn(move || {
            let begin = Instant::now();
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let tally = tally.as_mut().and_then(Tally::count).unwrap_or_default();
                signal(&format!("{CLEAR}the pass is running, {} s{tally}", begin.elapsed().as_secs()));
            }
            signal(CLEAR);
        });
        Self { stop: Some(stop), counter: Some(counter), signals }
    }
}

/// The attempts since the beginning of the pass.
struct Tally {
    client: Client,
    next: Seq,
    renewed: usize,
    failed: usize,
}

impl Tally {
    fn begin(socket: &Path) -> Option<Self> {
        let mut client = Client::connect(socket, TIMEOUT).ok()?;
        let reply: EventsReply = client.ask(&Request::Events { since: None, limit: 1 }).ok()?;
        Some(Self { client, next: reply.next, renewed: 0, failed: 0 })
    }

    /// Counts the new events: `: 12 renewed, 1 failed`; `None` if the daemon does not answer.
    fn count(&mut self) -> Option<String> {
        let request = Request::Events { since: Some(self.next), limit: MAX_EVENTS };
        let reply: EventsReply = self.client.ask(&request).ok()?;
        self.next = reply.next;
        let (renewed, failed) = outcomes(&reply.events);
        self.renewed += renewed;
        self.failed += failed;
        Some(format!(": {} renewed, {} failed", self.renewed, self.failed))
    }
}

/// Counts the attempts that succeeded and that failed. A customer that recovers has two events, and counts once.
fn outcomes(events: &[Event]) -> (usize, usize) {
    let count = |kinds: &[EventKind]| events.iter().filter(|event| kinds.contains(&event.kind)).count();
    (count(&[EventKind::Renewed]), count(&[EventKind::Failed, EventKind::Parked]))
}

/// Says on SIGINT that the pass continues, and then ends the process by the signal. If the signal cannot be caught, the
/// process ends at once.
fn watch_for_interrupt() -> Option<Handle> {
    let mut signals = Signals::new([SIGINT]).ok()?;
    let handle = signals.handle();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            signal(&format!("{CLEAR}interrupted; the pass continues, tbctl events shows its outcome\n"));
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
