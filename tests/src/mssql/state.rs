//! The state of a fake SQL Server, without its sockets.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::counters::Stats;
use super::faults::{Direction, Faults, Layer};
use super::meter::Gate;
use super::settings::Settings;
use super::sql::{Database, ticks_of_unix};
use super::tls::Tls;
use crate::clock;

/// The most bytes of received messages that are kept.
const MOST_RECEIVED: usize = 64 << 20;

pub(super) struct Shared {
    pub(super) tls: Tls,
    state: Mutex<State>,
    changed: Condvar,
    /// Signals each change to tasks that wait without blocking.
    pub(super) ticks: watch::Sender<()>,
}

pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) database: Database,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    /// The bodies of all received messages, decrypted.
    pub(super) received: Vec<u8>,
    pub(super) sessions: Vec<Live>,
    /// A cut for the next connection.
    pub(super) next_cut: Option<(Layer, Direction, u64)>,
    /// The bytes of connections that have ended.
    ended: (u64, u64),
}

/// An open connection.
pub(super) struct Live {
    pub(super) task: AbortHandle,
    pub(super) wire: Weak<Gate>,
    pub(super) tds: Weak<Gate>,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let mut database = Database::new(&settings.database);
        (database.zone, database.is_old) = (settings.zone, settings.is_old);
        let state = State {
            database,
            faults: Faults::default(),
            stats: Stats::default(),
            received: Vec::new(),
            sessions: Vec::new(),
            next_cut: None,
            ended: (0, 0),
            settings: settings.clone(),
        };
        Arc::new(Self {
            tls: Tls::new(settings.certificate, settings.address),
            state: Mutex::new(state),
            changed: Condvar::new(),
            ticks: watch::Sender::new(()),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes the state and wakes all threads and tasks that wait for a change.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        self.ticks.send_replace(());
        result
    }

    /// Blocks until `condition` holds. Returns false if it does not in time.
    pub(super) fn wait(
        &self,
        timeout: std::time::Duration,
        mut condition: impl FnMut(&Stats) -> bool,
    ) -> bool {
        let state = self.lock();
        let (_state, result) =
            self.changed.wait_timeout_while(state, timeout, |state| !condition(&state.stats_now())).unwrap();
        !result.timed_out()
    }
}

impl State {
    /// Returns the server's own time, in ticks of 100 ns since 0001-01-01.
    pub(super) fn now(&self) -> i64 {
        let now = clock::now();
        ticks_of_unix(now.timestamp() + self.settings.skew, now.timestamp_subsec_nanos())
    }

    /// Returns the counters, including the bytes of open connections.
    pub(super) fn stats_now(&self) -> Stats {
        let mut stats = self.stats.clone();
        (stats.received, stats.sent) = self.ended;
        for gate in self.sessions.iter().filter_map(|live| live.wire.upgrade()) {
            let (received, sent) = gate.counts();
            stats.received += received;
            stats.sent += sent;
        }
        stats
    }

    pub(super) fn note_received(&mut self, body: &[u8]) {
        if self.received.len() + body.len() <= MOST_RECEIVED {
            self.received.extend(body);
        }
    }

    /// Applies a waiting cut to a new connection.
    pub(super) fn arm(&mut self, wire: &Gate, tds: &Gate) {
        if let Some((layer, direction, bytes)) = self.next_cut.take() {
            match layer {
                Layer::Wire => wire.cut_after(direction, bytes),
                Layer::Tds => tds.cut_after(direction, bytes),
            }
        }
    }

    /// Counts a connection as gone.
    pub(super) fn gone(&mut self, wire: &Arc<Gate>) {
        let (received, sent) = wire.counts();
        self.ended.0 += received;
        self.ended.1 += sent;
        self.stats.connections -= 1;
        self.sessions.retain(|live| live.wire.upgrade().is_some_and(|gate| !Arc::ptr_eq(&gate, wire)));
    }
}
