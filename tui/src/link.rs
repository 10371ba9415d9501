//! The threads that talk to the daemon.
//!
//! One thread polls `status` and `events` once a second over one connection, and reconnects when the daemon is
//! unreachable. Each action has its own connection and thread, so that a long refresh delays neither the poll nor a stop.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::time::Duration;

use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::{
    EventsReply, MAX_EVENTS, Refresh, Reply, Request, Revision, Rows, Seq, StatusQuery, StatusReply,
};

use crate::input::{Action, ActionError, Input};
use crate::listen::spawn;

/// The time between two polls.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest time for an answer: the first one may hold 100,000 customers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause while the daemon is unreachable; each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: connecting to a local socket is cheap, and an operator is watching.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The connection to the daemon.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    inputs: SyncSender<Input>,
    wake: Sender<()>,
}

impl Link {
    /// Starts to poll the daemon at `socket`; its answers come as [`Input`].
    ///
    /// # Errors
    /// The operating system refuses to start a thread.
    pub fn open(socket: PathBuf, inputs: SyncSender<Input>) -> io::Result<Self> {
        let (wake, woken) = channel();
        let path = socket.clone();
        spawn("poll", inputs.clone(), move |inputs| {
            Poll { socket: path, inputs, woken, revision: None, events: None }.run();
        })?;
        Ok(Self { socket, inputs, wake })
    }

    /// Sends an action to the daemon; its outcome comes as [`Input::Done`].
    pub fn act(&self, action: Action) {
        let (socket, wake) = (self.socket.clone(), self.wake.clone());
        let done = action.clone();
        let started = spawn("action", self.inputs.clone(), move |inputs| {
            let outcome = carry_out(&socket, &action);
            // Sending fails only if the loop has ended.
            let _ = inputs.send(Input::Done(action, outcome));
            let _ = wake.send(());
        });
        if let Err(error) = started {
            let error = ActionError { why: format!("cannot start a thread: {error}"), hint: None };
            // The caller is the loop itself, which must not wait for a place in its own queue.
            let _ = self.inputs.try_send(Input::Done(done, Err(error)));
        }
    }
}

fn carry_out(socket: &Path, action: &Action) -> Result<Reply, ActionError> {
    let named = |id: &String| Refresh { customers: Some(vec![id.clone()]), ..Refresh::default() };
    let (request, timeout) = match action {
        Action::Start => (Request::Start {}, Some(TIMEOUT)),
        Action::Stop => (Request::Stop {}, Some(TIMEOUT)),
        // The length of a pass has no bound.
        Action::Refresh(id) => (Request::Refresh(named(id)), None),
        Action::ForceRefresh(id) => (Request::Refresh(Refresh { force: true, ..named(id) }), None),
        Action::RefreshDue => (Request::Refresh(Refresh::default()), None),
    };
    Client::connect(socket, TIMEOUT)
        .and_then(|mut client| client.send_within(&request, timeout))
        .map_err(|error| ActionError { why: error.to_string(), hint: error.hint() })
}

/// Why polling over one connection ended: the daemon does not answer or refuses, or, without an error, the event loop has
/// ended.
type End = Option<ClientError>;

/// The polling thread.
struct Poll {
    socket: PathBuf,
    inputs: SyncSender<Input>,
    /// Ends a pause early: an action ended, and its effect should be visible.
    woken: Receiver<()>,
    /// The last revision that the dashboard has.
    revision: Option<Revision>,
    /// The last event that the dashboard has.
    events: Option<Seq>,
}

impl Poll {
    fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while let Err(Some(error)) = self.poll_until_failure(&mut pause) {
            let input = Input::Disconnected { why: error.to_string(), hint: error.hint(), retry_in: pause };
            if self.send(input).and_then(|()| self.pause(pause)).is_err() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Polls over one connection until it fails. An answer resets the length of the pauses.
    fn poll_until_failure(&mut self, pause: &mut Duration) -> Result<Infallible, End> {
        let mut client = Client::connect(&self.socket, TIMEOUT)?;
        loop {
            self.poll(&mut client)?;
            *pause = FIRST_PAUSE;
            self.pause(INTERVAL)?;
        }
    }

    /// Requests all changes since the last poll.
    fn poll(&mut self, client: &mut Client) -> Result<(), End> {
        let query = StatusQuery { customers: Rows::All, since: self.revision };
        let mut status: StatusReply = client.ask(&Request::Status(query))?;
        // Without a revision the answer holds everything.
        status.tokens.complete |= self.revision.is_none();
        self.revision = Some(status.daemon.revision);
        self.send(Input::Status(Box::new(status)))?;
        loop {
            let request = Request::Events { since: self.events, limit: MAX_EVENTS };
            let reply: EventsReply = client.ask(&request)?;
            // Without `since` the answer holds the newest events, and there are no more. A full answer whose `next`
            // does not grow must not lead to an endless loop.
            let more = self.events.is_some_and(|last| reply.next > last) && reply.events.len() >= MAX_EVENTS;
            self.events = Some(reply.next);
            if !reply.events.is_empty() {
                self.send(Input::Events(reply.events))?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn send(&self, input: Input) -> Result<(), End> {
        self.inputs.send(input).map_err(|_| None)
    }

    fn pause(&self, length: Duration) -> Result<(), End> {
        match self.woken.recv_timeout(length) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(None),
        }
    }
}
