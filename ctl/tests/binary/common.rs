//! A daemon that answers as the test tells it, and the real `tbctl` to ask it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tbtoken_proto::{
    Answer, Cron, Customer, Daemon, Envelope, ErrorCode, Event, EventKind, EventsReply, Failure, FailureKind,
    MetricsReply, NotifyReply, Outcome, OutcomeStatus, Phase, Receiver, Refresh, RefreshReply, RefreshResult,
    Refusal, ReloadReply, Reply, Request, Revision, Rows, Seq, StatusReply, SteerReply, Summary, TestResult,
    TokenStatus, Tokens, VersionReply,
};
use tempfile::TempDir;

/// How long the daemon stays silent at most, and how long a test waits for it.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(60);

/// What the daemon does about one request.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Reaction {
    /// Answers.
    Answer(Reply),
    /// Refuses.
    Refuse(ErrorCode, &'static str),
    /// Sends this text.
    Raw(&'static str),
    /// Says nothing until the client hangs up.
    Silence,
}

/// A daemon in threads: one for each connection.
pub(crate) struct Fake {
    folder: TempDir,
    stopped: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: JoinHandle<()>,
}

impl Fake {
    /// Listens, and reacts to each request as told.
    pub(crate) fn start(react: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), react)
    }

    /// The same in the place of one that was [stopped](Self::stop).
    pub(crate) fn start_in(
        folder: TempDir,
        react: impl Fn(&Request) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(folder.path().join("control.sock")).unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (ends, recorded) = (Arc::clone(&stopped), Arc::clone(&requests));
        let thread = std::thread::spawn(move || accept(&listener, &ends, &recorded, &Arc::new(react)));
        Self { folder, stopped, requests, thread }
    }

    /// A daemon that does its job.
    pub(crate) fn healthy() -> Self {
        Self::start(answer)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Runs `tbctl` with these arguments against this daemon; returns what it asked, too.
    pub(crate) fn run(self, arguments: &[&str]) -> (Told, Vec<Request>) {
        let told = Told::by(tbctl().arg("--socket").arg(self.socket()).args(arguments));
        (told, self.requests())
    }

    /// Serves the connected clients to the end; returns the requests.
    pub(crate) fn requests(self) -> Vec<Request> {
        self.end().0
    }

    /// Goes away, with its socket, as a daemon that ends; its clients are hung up on.
    pub(crate) fn stop(self) -> TempDir {
        self.stopped.store(true, Ordering::SeqCst);
        let folder = self.end().1;
        std::fs::remove_file(folder.path().join("control.sock")).unwrap();
        folder
    }

    fn end(self) -> (Vec<Request>, TempDir) {
        self.stopped.store(true, Ordering::SeqCst);
        // This ends the waiting for another client.
        let _ = UnixStream::connect(self.socket());
        self.thread.join().unwrap();
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        (requests, self.folder)
    }
}

fn accept<R: Fn(&Request) -> Reaction + Send + Sync + 'static>(
    listener: &UnixListener,
    stopped: &Arc<AtomicBool>,
    requests: &Arc<Mutex<Vec<Request>>>,
    react: &Arc<R>,
) {
    let mut connections = Vec::new();
    loop {
        let stream = listener.accept().unwrap().0;
        if stopped.load(Ordering::SeqCst) {
            break;
        }
        let (requests, react, stopped) = (Arc::clone(requests), Arc::clone(react), Arc::clone(stopped));
        let spare = stream.try_clone().unwrap();
        let connection = std::thread::spawn(move || {
            let hang_up = stream.try_clone().unwrap();
            serve(stream, &stopped, &requests, &*react);
            let _ = hang_up.shutdown(std::net::Shutdown::Both);
        });
        connections.push((spare, connection));
    }
    for (stream, connection) in connections {
        // Wakes the threads that wait for a request; a request that is being answered still gets its answer.
        let _ = stream.shutdown(std::net::Shutdown::Read);
        connection.join().unwrap();
    }
}

fn serve(
    stream: UnixStream,
    stopped: &AtomicBool,
    requests: &Mutex<Vec<Request>>,
    react: &dyn Fn(&Request) -> Reaction,
) {
    let mut writer = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    // A client that ends before it has read its answer resets the connection.
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        let Envelope { id, request } = Envelope::parse(line.trim_end()).unwrap();
        line.clear();
        let outcome = match react(&request) {
            Reaction::Answer(reply) => Ok(reply),
            Reaction::Refuse(code, error) => Err(Refusal { error: error.to_owned(), code }),
            Reaction::Raw(text) => return writer.write_all(text.as_bytes()).unwrap(),
            Reaction::Silence => {
                // Not for ever, so that a tbctl that does not give up makes its test fail instead of hang.
                writer.set_read_timeout(Some(GIVE_UP)).unwrap();
                let _ = lines.read_to_end(&mut Vec::new());
                return;
            }
        };
        requests.lock().unwrap().push(request);
        let answer = serde_json::to_string(&Answer { id, outcome }).unwrap();
        // A client that is interrupted does not wait for its answer.
        let _ = writer.write_all((answer + "\n").as_bytes());
        if stopped.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// `tbctl` in an environment that says nothing about sockets and colours, in UTC.
pub(crate) fn tbctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tbctl"));
    command.env_remove("TBTOKEND_SOCKET").env_remove("NO_COLOR").env("TERM", "xterm").env("TZ", "UTC");
    command
}

/// The lines of a child that goes on, each of which must come in time.
pub(crate) struct Lines<R> {
    pipe: R,
    read: Vec<u8>,
}

impl<R: Read + AsFd> Lines<R> {
    pub(crate) fn of(pipe: R) -> Self {
        Self { pipe, read: Vec::new() }
    }

    /// The pipe, all of whose lines so far were taken.
    pub(crate) fn into_pipe(self) -> R {
        assert_eq!(String::from_utf8_lossy(&self.read), "");
        self.pipe
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let deadline = Instant::now() + GIVE_UP / 2;
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line = self.read.drain(..=end).collect::<Vec<_>>();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
            assert!(ready > 0, "no line came; so far: {:?}", String::from_utf8_lossy(&self.read));
            let mut buffer = [0; 4096];
            let count = self.pipe.read(&mut buffer).unwrap();
            assert!(count > 0, "it has ended: {:?}", String::from_utf8_lossy(&self.read));
            self.read.extend(&buffer[..count]);
        }
    }
}

/// How a run of `tbctl` ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Told {
    pub(crate) fn by(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    /// The only line on standard output, as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.matches('\n').count(), 1, "one line, one document: {}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "tbctl reads the clock, too")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

pub(crate) fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

pub(crate) fn cron(running: bool) -> Cron {
    Cron {
        running,
        description: "ThingsBoard Token Refresh (runs every minute)".to_owned(),
        stopped_since: None,
        interval_seconds: 60,
        refreshing: false,
        next_run_at: None,
        last_run: None,
    }
}

pub(crate) fn daemon() -> Daemon {
    Daemon {
        version: "9.8.7".to_owned(),
        protocol: 1,
        pid: 4711,
        started_at: at("2026-11-22T09:00:00Z"),
        revision: Revision(981),
        store: "sqlite /tmp/x.db".to_owned(),
        store_ok: true,
        store_error: None,
        ledger: None,
        key_mismatch: None,
        config_file: None,
        http: None,
        failing_receivers: Vec::new(),
        renewals_by_login: 0,
        renewals_by_refresh_token: 0,
    }
}

/// A valid customer, and a parked one without a token.
pub(crate) fn customers() -> Vec<Customer> {
    let valid = Customer {
        customer_id: "1B2C9D00".to_owned(),
        tb_username: "ops@acme-hq.example".to_owned(),
        tb_url: "https://hq.acme.example".to_owned(),
        token_status: TokenStatus::Valid,
        tbtokenexpiry: Some(at("2100-01-01T00:00:00Z")),
        check: None,
        minutes_until_expiry: Some(11),
        state: Phase::Ok,
        last_success_at: None,
        renewals: 42,
        next_attempt_at: None,
        changes: vec![],
        failure: None,
    };
    let parked = Customer {
        customer_id: "C0FFEE12".to_owned(),
        tb_username: "株式会社\u{1b}[2J".to_owned(),
        token_status: TokenStatus::Missing,
        tbtokenexpiry: None,
        check: None,
        minutes_until_expiry: None,
        state: Phase::Parked,
        changes: vec![],
        failure: Some(Failure {
            kind: FailureKind::CredentialsRejected,
            message: "ThingsBoard says no".to_owned(),
            remedy: "fix tb_password".to_owned(),
            at: at("2026-11-23T13:36:21Z"),
            consecutive: 1,
            permanent: true,
            waiting: None,
        }),
        ..valid.clone()
    };
    vec![valid, parked]
}

pub(crate) fn status(customers: Vec<Customer>) -> Reply {
    let summary = Summary { total: 2, valid: 1, missing: 1, parked: 1, ..Summary::default() };
    Reply::Status(StatusReply {
        servers: None,
        cron: cron(true),
        tokens: Tokens {
            success: true,
            error: None,
            as_of: Some(at("2026-11-23T14:03:00Z")),
            customers: Some(customers),
            ineligible: vec![],
            removed: vec![],
            matched: None,
            complete: false,
            summary,
        },
        daemon: daemon(),
    })
}

pub(crate) fn refreshed(details: Vec<Outcome>) -> Reply {
    let count = |status| details.iter().filter(|outcome| outcome.status == status).count();
    let (updated, errors) = (count(OutcomeStatus::Success), count(OutcomeStatus::Error));
    let result = RefreshResult { success: errors == 0, updated, errors, total: details.len(), details };
    Reply::Refresh(RefreshReply { message: "the pass is over".to_owned(), result: Some(result) })
}

pub(crate) fn outcome(id: &str, status: OutcomeStatus) -> Outcome {
    let (new_expiry, kind, message) = match status {
        OutcomeStatus::Success => (Some(at("2100-01-01T00:00:00Z")), None, None),
        OutcomeStatus::Error => (None, Some(FailureKind::Timeout), Some("no answer within 10 s".to_owned())),
        _ => (None, None, Some("parked: wrong password".to_owned())),
    };
    Outcome { customer_id: id.to_owned(), status, new_expiry, kind, message }
}

pub(crate) fn event(seq: u64, customer: Option<&str>, kind: EventKind) -> Event {
    Event {
        seq: Seq(seq),
        at: at("2026-11-23T14:03:00Z"),
        kind,
        customer_id: customer.map(str::to_owned),
        message: format!("no. {seq}"),
    }
}

/// What a healthy daemon answers.
pub(crate) fn answer(request: &Request) -> Reaction {
    Reaction::Answer(match request {
        Request::Status(query) => match &query.customers {
            Rows::Only(ids) => {
                let rows: Vec<Customer> =
                    customers().into_iter().filter(|row| ids.contains(&row.customer_id)).collect();
                if rows.len() < ids.len() {
                    return Reaction::Refuse(
                        ErrorCode::UnknownCustomer,
                        "there is no customer \"no-such-id\"",
                    );
                }
                status(rows)
            }
            Rows::All | Rows::None | Rows::InTrouble(_) | Rows::Match(_) => status(customers()),
        },
        Request::Start {} => {
            Reply::Steer(SteerReply { message: "the loop is running already".to_owned(), cron: cron(true) })
        }
        Request::Stop {} => Reply::Steer(SteerReply {
            message: "the loop is stopped; a running pass still ends".to_owned(),
            cron: cron(false),
        }),
        Request::Refresh(Refresh { customers: Some(ids), .. })
            if !ids.iter().all(|id| customers().iter().any(|row| row.customer_id == *id)) =>
        {
            return Reaction::Refuse(ErrorCode::UnknownCustomer, "there is no such customer");
        }
        Request::Refresh(refresh) if !refresh.wait => {
            Reply::Refresh(RefreshReply { message: "the pass is asked for".to_owned(), result: None })
        }
        Request::Refresh(_) => refreshed(vec![
            outcome("1B2C9D00", OutcomeStatus::Success),
            outcome("C0FFEE12", OutcomeStatus::Skipped),
        ]),
        Request::Events { .. } => Reply::Events(EventsReply {
            events: vec![
                event(1, None, EventKind::PassStarted),
                event(2, Some("1B2C9D00"), EventKind::Renewed),
                event(3, Some("1B2C9D00"), EventKind::Expired),
            ],
            next: Seq(3),
        }),
        Request::Version {} => Reply::Version(VersionReply { daemon: daemon() }),
        Request::Metrics { .. } => Reply::Metrics(MetricsReply {
            content_type: "text/plain".to_owned(),
            text: "# TYPE tbtokend_customers gauge\ntbtokend_customers 2\n".to_owned(),
        }),
        Request::NotifyList {} | Request::NotifyTest { .. } => {
            let is_test = matches!(request, Request::NotifyTest { .. });
            let receiver = |name: &str, accepted: bool, answer: &str| Receiver {
                name: name.to_owned(),
                kind: "webhook".to_owned(),
                place: "https://chat.example.com".to_owned(),
                queued: 2,
                last_sent_at: None,
                last_error: (!accepted).then(|| answer.to_owned()),
                test: is_test.then(|| TestResult { accepted, answer: answer.to_owned() }),
            };
            let receivers = vec![receiver("chat", true, "HTTP 200"), receiver("pager", false, "HTTP 503")];
            Reply::Notify(NotifyReply { receivers })
        }
        Request::Reload {} => {
            Reply::Reload(ReloadReply { message: "the configuration was read again".to_owned() })
        }
    })
}
