//! Publishes snapshots for the rest of the process: a new one after each change, but not too often.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::policy::Policy;
use crate::engine::state::State;
use crate::engine::view::{HttpListener, Identity, Loop, Snapshot};

/// The shortest time between two snapshots, so that a pass over many customers does not spend its time on snapshots.
const GAP: Duration = Duration::from_millis(50);

/// The longest time between two snapshots, because the counters of time in the metrics must go on.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// The number of customers that adds one gap.
const CUSTOMERS_PER_GAP: usize = 5_000;

/// The publisher of snapshots.
#[derive(Debug)]
pub(super) struct Display {
    identity: Identity,
    snapshots: watch::Sender<Arc<Snapshot>>,
    shown_at: Instant,
    stale: bool,
}

impl Display {
    pub(super) fn new(identity: Identity, snapshots: watch::Sender<Arc<Snapshot>>) -> Self {
        Self { identity, snapshots, shown_at: Instant::now(), stale: false }
    }

    /// Shows the state of the HTTP listener.
    pub(super) fn show_http(&mut self, listener: HttpListener) {
        self.identity.http = Some(listener);
        self.outdate();
    }

    /// The last snapshot is out of date.
    pub(super) fn outdate(&mut self) {
        self.stale = true;
    }

    /// Returns when the next snapshot is to be made.
    pub(super) fn due(&self, customers: usize) -> Instant {
        let gaps = u32::try_from(customers / CUSTOMERS_PER_GAP).unwrap_or(u32::MAX).saturating_add(1);
        self.shown_at + if self.stale { GAP.saturating_mul(gaps) } else { LONGEST_GAP }
    }

    /// Publishes a snapshot of the state.
    pub(super) fn show(
        &mut self,
        state: &State,
        cycle: &Loop,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> Arc<Snapshot> {
        let before = Arc::clone(&self.snapshots.borrow());
        let snapshot = Arc::new(Snapshot::new(state, cycle, &self.identity, policy, Some(&before), now));
        self.snapshots.send_replace(Arc::clone(&snapshot));
        self.shown_at = Instant::now();
        self.stale = false;
        snapshot
    }
}
