//! A running daemon, as tests use it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tbtoken_proto::client::Client;
use tbtoken_proto::{
    Answer, Customer, Envelope, Event, Refresh, RefreshReply, Refusal, Reply, Request, StatusQuery,
    StatusReply,
};

use super::process::Process;
use super::{Signal, wait};
use crate::canary;

/// How many lines of its log are shown when a test fails.
const LAST_LINES: usize = 60;

/// A daemon. The drop kills it, if it still runs, and searches its log for canaries.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    socket: PathBuf,
    log: PathBuf,
}

/// The answer to `status`, with access to single customers.
#[derive(Debug, Clone)]
pub struct Status(StatusReply);

impl Deref for Status {
    type Target = StatusReply;

    fn deref(&self) -> &StatusReply {
        &self.0
    }
}

impl Status {
    /// Returns a customer.
    ///
    /// # Panics
    /// If there is no such customer.
    #[must_use]
    pub fn of(&self, id: &str) -> &Customer {
        self.find(id).unwrap_or_else(|| panic!("no customer {id} in {:#?}", self.0.tokens))
    }

    /// Returns a customer, if there is one.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Customer> {
        self.0.tokens.customers.iter().flatten().find(|customer| customer.customer_id == id)
    }
}

impl Daemon {
    pub(super) fn new(process: Process, socket: PathBuf, log: PathBuf) -> Self {
        Self { process, socket, log }
    }

    /// Waits until the daemon answers at its socket.
    ///
    /// # Panics
    /// With its log, if it ends instead, or if it takes too long.
    #[must_use]
    pub fn wait_until_ready(mut self) -> Self {
        let ready = wait::poll(wait::TIMEOUT, || match self.process.exited() {
            Some(status) => Some(Err(status)),
            None => self.try_ask(r#"{"action":"version"}"#).ok().map(Ok),
        });
        match ready {
            Some(Ok(_)) => self,
            Some(Err(status)) => {
                panic!("tbtokend ended ({status}) before it was ready:\n{}", self.last_lines())
            }
            None => panic!("tbtokend is not ready after {:?}:\n{}", wait::TIMEOUT, self.last_lines()),
        }
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Returns the path of the control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Connects to the control socket. The answers on this connection are not searched for canaries; those of
    /// [`request`](Self::request) are.
    ///
    /// # Panics
    /// If the daemon cannot be reached.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.socket, wait::TIMEOUT).expect("the daemon can be reached")
    }

    /// Sends one line on a new connection and returns the answer.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn ask(&self, line: &str) -> String {
        self.try_ask(line)
            .unwrap_or_else(|error| panic!("no answer to {line}: {error}\n{}", self.last_lines()))
    }

    fn try_ask(&self, line: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(wait::TIMEOUT))?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        canary::assert_clean(&format!("the answer to {line}"), answer.as_bytes());
        if answer.ends_with('\n') { Ok(answer) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Sends one request and returns the answer.
    ///
    /// # Errors
    /// The daemon refuses the request.
    ///
    /// # Panics
    /// If there is no answer, or an unknown one.
    pub fn request(&self, request: &Request) -> Result<Reply, Refusal> {
        let envelope = Envelope { id: None, request: request.clone() };
        let line = serde_json::to_string(&envelope).expect("a request can be written");
        let answer = self.ask(&line);
        Answer::parse(&answer, request)
            .unwrap_or_else(|error| panic!("{line} was answered by {answer}: {error}"))
            .outcome
    }

    /// Requests the status.
    ///
    /// # Panics
    /// If the daemon refuses.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.request(&Request::Status(StatusQuery::default())) {
            Ok(Reply::Status(status)) => Status(status),
            other => panic!("no status but {other:?}"),
        }
    }

    /// Refreshes the customers that are due.
    ///
    /// # Panics
    /// If the daemon refuses.
    pub fn refresh(&self) -> RefreshReply {
        self.refresh_as(Refresh::default())
    }

    /// Refreshes exactly this customer.
    ///
    /// # Panics
    /// If the daemon refuses.
    pub fn refresh_customer(&self, id: &str) -> RefreshReply {
        self.refresh_as(Refresh { customers: Some(vec![id.to_owned()]), ..Refresh::default() })
    }

    /// Refreshes any selection of customers.
    ///
    /// # Panics
    /// If the daemon refuses.
    pub fn refresh_as(&self, refresh: Refresh) -> RefreshReply {
        match self.request(&Request::Refresh(refresh)) {
            Ok(Reply::Refresh(reply)) => reply,
            other => panic!("no pass but {other:?}"),
        }
    }

    /// Requests the newest events, oldest first.
    ///
    /// # Panics
    /// If the daemon refuses.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        match self.request(&Request::Events { since: None, limit: tbtoken_proto::MAX_EVENTS }) {
            Ok(Reply::Events(reply)) => reply.events,
            other => panic!("no events but {other:?}"),
        }
    }

    /// Waits until the status satisfies `condition`, and returns it. Before the first poll `condition` is not called.
    ///
    /// # Panics
    /// With `what`, the last status and the log, if it takes too long.
    pub fn until(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let looked = |status: &Status| status.tokens.as_of.is_some() || !status.tokens.success;
        let satisfied = |status: &Status| looked(status) && condition(status);
        let status = wait::poll(wait::TIMEOUT, || Some(self.status()).filter(satisfied));
        status.unwrap_or_else(|| {
            panic!("waited in vain until {what}: {:#?}\n{}", self.status().0, self.last_lines())
        })
    }

    /// Waits until a customer exists and satisfies `condition`, and returns it.
    ///
    /// # Panics
    /// As [`until`](Self::until).
    pub fn until_customer(&self, id: &str, what: &str, condition: impl Fn(&Customer) -> bool) -> Customer {
        let status = self.until(&format!("{id} {what}"), |status| status.find(id).is_some_and(&condition));
        status.of(id).clone()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Kills the daemon.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait()
    }

    /// Waits for the end of the daemon.
    ///
    /// # Panics
    /// With its log, if it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_at_most(wait::TIMEOUT)
    }

    /// Waits for the end of the daemon, at most `timeout`.
    ///
    /// # Panics
    /// With its log if it does not end.
    pub fn wait_at_most(&mut self, timeout: Duration) -> ExitStatus {
        let status = self.process.wait(timeout);
        status.unwrap_or_else(|| panic!("tbtokend does not end in {timeout:?}:\n{}", self.last_lines()))
    }

    /// Returns the log so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until the log contains `text`.
    ///
    /// # Panics
    /// With the log, if it takes too long.
    pub fn wait_for_log(&self, text: &str) {
        wait::poll(wait::TIMEOUT, || self.log().contains(text).then_some(()))
            .unwrap_or_else(|| panic!("waited in vain for {text:?} in the log:\n{}", self.last_lines()));
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let mut tail = format!("the last lines of its log, of {}:\n", lines.len());
        for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
            writeln!(tail, "  | {line}").expect("a string takes everything");
        }
        tail
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(wait::TIMEOUT);
        let report = canary::report("the log of tbtokend", &std::fs::read(&self.log).unwrap_or_default());
        match (std::thread::panicking(), report) {
            (false, None) => {}
            (false, Some(report)) => panic!("{report}"),
            // The test has failed already; a second panic would hide the reason.
            (true, report) => eprintln!("{}\n{}", report.unwrap_or_default(), self.last_lines()),
        }
    }
}
