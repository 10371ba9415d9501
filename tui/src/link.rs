//! The threads that talk to the daemon.
//!
//! One polls `status` and `events` once a second over one connection, and goes on trying when the daemon is away. Each
//! action gets a connection and a thread of its own, so that a long refresh neither delays the polling nor a stop.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::time::Duration;

use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::{MAX_EVENTS, Refresh, Reply, Request, Revision, Rows, Seq, StatusQuery};

use crate::input::{Action, ActionError, Input};
use crate::listen::spawn;

/// How often the daemon is asked how things are.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long it may take to answer. A first answer with 100,000 customers takes its time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first pause is when the daemon is away; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// No pause is longer: asking a local socket costs nothing, and somebody is looking.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The way to the daemon.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    inputs: SyncSender<Input>,
    wake: Sender<()>,
}

impl Link {
    /// Starts to poll the daemon at `socket`; what it says comes as [`Input`].
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

    /// Asks the daemon to do something; what comes of it follows as [`Input::Done`].
    pub fn act(&self, action: Action) {
        let (socket, wake) = (self.socket.clone(), self.wake.clone());
        let done = action.clone();
        let started = spawn("action", self.inputs.clone(), move |inputs| {
            let outcome = carry_out(&socket, &action);
            // Only a loop that has ended does not listen.
            let _ = inputs.send(Input::Done(action, outcome));
            let _ = wake.send(());
        });
        if let Err(error) = started {
            let error = ActionError { why: format!("there is no thread for it: {error}"), hint: None };
            // Called by the loop itself, which must not wait for a place in its own queue.
            let _ = self.inputs.try_send(Input::Done(done, Err(error)));
        }
    }
}

fn carry_out(socket: &Path, action: &Action) -> Result<Reply, ActionError> {
    let (request, timeout) = match action {
        Action::Start => (Request::Start {}, Some(TIMEOUT)),
        Action::Stop => (Request::Stop {}, Some(TIMEOUT)),
        // A pass takes as long as it takes.
        Action::Refresh(id) => {
            (Request::Refresh(Refresh { customers: Some(vec![id.clone()]), ..Refresh::default() }), None)
        }
        Action::ForceRefresh(id) => {
            let customers = Some(vec![id.clone()]);
            (Request::Refresh(Refresh { customers, force: true, ..Refresh::default() }), None)
        }
        Action::RefreshDue => (Request::Refresh(Refresh::default()), None),
    };
    Client::connect(socket, TIMEOUT)
        .and_then(|mut client| client.send_within(&request, timeout))
        .map_err(|error| ActionError { why: error.to_string(), hint: error.hint() })
}

/// Why a conversation with the daemon ended.
enum End {
    /// The daemon does not answer, or says no.
    Lost(ClientError),
    /// The loop has ended: there is nobody to poll for.
    Alone,
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Lost(error)
    }
}

/// The polling thread.
struct Poll {
    socket: PathBuf,
    inputs: SyncSender<Input>,
    /// Ends a pause early: an action was done, and its effect should be seen.
    woken: Receiver<()>,
    /// The revision that the dashboard knows.
    revision: Option<Revision>,
    /// The last event that the dashboard knows.
    events: Option<Seq>,
}

impl Poll {
    fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while let Err(End::Lost(error)) = self.converse(&mut pause) {
            let input = Input::Disconnected { why: error.to_string(), hint: error.hint(), retry_in: pause };
            if self.tell(input).and_then(|()| self.pause(pause)).is_err() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Polls over one connection until it breaks. A daemon that answers ends the growth of the pauses.
    fn converse(&mut self, pause: &mut Duration) -> Result<Infallible, End> {
        let mut client = Client::connect(&self.socket, TIMEOUT)?;
        loop {
            self.poll(&mut client)?;
            *pause = FIRST_PAUSE;
            self.pause(INTERVAL)?;
        }
    }

    /// Asks once for everything that is new.
    fn poll(&mut self, client: &mut Client) -> Result<(), End> {
        let query = StatusQuery { customers: Rows::All, since: self.revision };
        if let Reply::Status(mut status) = client.send(&Request::Status(query))? {
            // Asked for without a revision, everything is what comes.
            status.tokens.complete |= self.revision.is_none();
            self.revision = Some(status.daemon.revision);
            self.tell(Input::Status(Box::new(status)))?;
        }
        loop {
            let request = Request::Events { since: self.events, limit: MAX_EVENTS };
            let Reply::Events(reply) = client.send(&request)? else { return Ok(()) };
            // Without a number the newest came, and there are no more. A full answer that leads nowhere is no reason to
            // ask for ever.
            let more = self.events.is_some_and(|last| reply.next > last) && reply.events.len() >= MAX_EVENTS;
            self.events = Some(reply.next);
            if !reply.events.is_empty() {
                self.tell(Input::Events(reply.events))?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn tell(&self, input: Input) -> Result<(), End> {
        self.inputs.send(input).map_err(|_| End::Alone)
    }

    fn pause(&self, length: Duration) -> Result<(), End> {
        match self.woken.recv_timeout(length) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(End::Alone),
        }
    }
}
