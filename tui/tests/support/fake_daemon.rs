//! A fake daemon: it answers `status` and `events` with the data of the test, and records all other requests.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tbtoken_proto::{
    Answer, Envelope, Event, EventsReply, Outcome, OutcomeStatus, RefreshReply, RefreshResult, Reply,
    Request, Seq, StatusReply, SteerReply,
};

/// A fake daemon that a test can change.
pub struct FakeDaemon {
    path: PathBuf,
    world: Arc<Mutex<World>>,
    /// Every request that is not a poll, in order.
    pub asked: Receiver<Request>,
    accepting: Option<JoinHandle<()>>,
}

/// The state of the fake daemon.
pub struct World {
    pub status: StatusReply,
    pub events: Vec<Event>,
    /// How many polls asked for everything, without a revision.
    pub full_polls: usize,
    /// While this is locked, refreshes wait.
    pub refresh_gate: Arc<Mutex<()>>,
    open: bool,
    connections: Vec<UnixStream>,
}

impl FakeDaemon {
    /// Listens at `path`.
    pub fn start(path: &Path, status: StatusReply, events: Vec<Event>) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (asking, asked) = channel();
        let world = Arc::new(Mutex::new(World {
            status,
            events,
            full_polls: 0,
            refresh_gate: Arc::new(Mutex::new(())),
            open: true,
            connections: vec![],
        }));
        let shared = Arc::clone(&world);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                {
                    let mut world = shared.lock().unwrap();
                    if !world.open {
                        return;
                    }
                    world.connections.push(stream.try_clone().unwrap());
                }
                let (world, asking) = (Arc::clone(&shared), asking.clone());
                thread::spawn(move || serve(&stream, &world, &asking));
            }
        });
        Self { path: path.to_owned(), world, asked, accepting: Some(accepting) }
    }

    /// Changes the state of the fake daemon.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    /// Closes all connections and leaves the socket behind, as a killed daemon does.
    pub fn kill(mut self) -> StatusReply {
        let status = {
            let mut world = self.world.lock().unwrap();
            world.open = false;
            for stream in world.connections.drain(..) {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            world.status.clone()
        };
        // Wakes the accepting thread, which then closes the listener. A dashboard that connects again may have done so already.
        let _ = UnixStream::connect(&self.path);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        status
    }
}

fn serve(stream: &UnixStream, world: &Mutex<World>, asking: &Sender<Request>) {
    let mut out = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let envelope = Envelope::parse(&line).unwrap();
        let outcome = Ok(answer(&envelope.request, world, asking));
        let mut text = serde_json::to_string(&Answer { id: envelope.id, outcome }).unwrap();
        text.push('\n');
        if out.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, world: &Mutex<World>, asking: &Sender<Request>) -> Reply {
    if !matches!(request, Request::Status(_) | Request::Events { .. }) {
        let _ = asking.send(request.clone());
    }
    match request {
        Request::Status(query) => {
            let mut world = world.lock().unwrap();
            world.full_polls += usize::from(query.since.is_none());
            let mut status = world.status.clone();
            // Only an answer to a request with a revision says whether it is complete.
            status.tokens.complete = query.since.is_some_and(|since| since > status.daemon.revision);
            if query.since == Some(status.daemon.revision) {
                status.tokens.customers = Some(vec![]);
            }
            Reply::Status(status)
        }
        Request::Events { since, .. } => {
            let world = world.lock().unwrap();
            let since = since.unwrap_or_default();
            let events: Vec<Event> = world.events.iter().filter(|event| event.seq > since).cloned().collect();
            let next = events.last().map_or(since, |event| event.seq);
            Reply::Events(EventsReply { events, next: next.max(Seq(0)) })
        }
        Request::Start {} | Request::Stop {} => {
            let mut world = world.lock().unwrap();
            let running = matches!(request, Request::Start {});
            world.status.cron.running = running;
            let message = if running { "the loop runs" } else { "the loop is stopped" };
            Reply::Steer(SteerReply { message: message.to_owned(), cron: world.status.cron.clone() })
        }
        Request::Refresh(refresh) => {
            let gate = Arc::clone(&world.lock().unwrap().refresh_gate);
            drop(gate.lock().unwrap());
            let ids = refresh.customers.clone().unwrap_or_default();
            let detail = |id: &String| Outcome {
                customer_id: id.clone(),
                status: OutcomeStatus::Success,
                new_expiry: Some(super::noon()),
                kind: None,
                message: None,
            };
            let details: Vec<Outcome> = ids.iter().map(detail).collect();
            let result = RefreshResult {
                success: true,
                updated: details.len(),
                errors: 0,
                total: details.len(),
                details,
            };
            Reply::Refresh(RefreshReply { message: "no customer was due".to_owned(), result: Some(result) })
        }
        Request::Metrics { .. }
        | Request::Reload {}
        | Request::NotifyList {}
        | Request::NotifyTest { .. } => unreachable!("the dashboard sends none of them"),
        Request::Version {} => Reply::Version(tbtoken_proto::VersionReply {
            daemon: world.lock().unwrap().status.daemon.clone(),
        }),
    }
}
