//! The script of the demo: the events that happen to its customers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cast::Cast;
use crate::canary;
use crate::harness::Table;
use crate::thingsboard::{Behaviour, ThingsBoard};

/// The length of the script; then it begins again.
const LENGTH: Duration = Duration::from_secs(120);

/// The running script. The drop ends it.
#[derive(Debug)]
pub(super) struct Script {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An event: the second of the script at which it happens, and its action, which gets the number of the round.
type Act = (u64, Box<dyn FnMut(u32) + Send>);

impl Script {
    /// Starts the script.
    pub(super) fn play(cast: &Cast, table: &Table) -> Self {
        let mut acts = acts(cast, table);
        acts.sort_by_key(|(at, _)| *at);
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || play(&mut acts, &stopped));
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn play(acts: &mut [Act], stopped: &Receiver<()>) {
    let mut began = Instant::now();
    for round in 0.. {
        for (at, act) in &mut *acts {
            let wait = (began + Duration::from_secs(*at)).saturating_duration_since(Instant::now());
            match stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => act(round),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        began += LENGTH;
    }
}

fn acts(cast: &Cast, table: &Table) -> Vec<Act> {
    let becomes = |at: u64, server: &Arc<ThingsBoard>, behaviour: Behaviour| -> Act {
        let server = Arc::clone(server);
        (at, Box::new(move |_| server.set(behaviour.clone())))
    };
    let (fix, table) = (cast.forgetful.clone(), table.clone());
    let (change, cloud) = (cast.forgetful.clone(), Arc::clone(&cast.cloud));
    vec![
        becomes(15, &cast.limited, Behaviour::RateLimit { retry_after: None }),
        becomes(20, &cast.flaky, Behaviour::DatabaseError),
        becomes(30, &cast.away, Behaviour::Refuse),
        becomes(35, &cast.flaky, Behaviour::Page(503)),
        becomes(45, &cast.limited, Behaviour::Normal),
        becomes(50, &cast.flaky, Behaviour::Normal),
        becomes(60, &cast.away, Behaviour::Normal),
        // An operator sees the parked customer in the dashboard and corrects its row …
        (
            70,
            Box::new(move |round| {
                table.set(&fix.customer_id, "tb_password", Some(&password(&fix.password, round)));
            }),
        ),
        // … and later the customer changes its password again, but not its row.
        (
            100,
            Box::new(move |round| {
                cloud.set_password(&change.username, &password(&change.password, round + 1));
            }),
        ),
    ]
}

/// Returns the password of the forgetful customer in the n-th round.
fn password(first: &str, round: u32) -> String {
    if round == 0 { first.to_owned() } else { canary::password(&format!("changed-{round}")) }
}
