//! The commands that keep running, `status --watch` and `events --follow`: over a restart of the daemon, and until standard
//! output has no reader any more.

use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};

use tbtoken_proto::{
    Customer, ErrorCode, EventKind, EventsReply, Reply, Request, Revision, Seq, StatusQuery, TokenStatus,
};

use crate::common::{Fake, GIVE_UP, Lines, Reaction, answer, customers, event, status, tbctl};

/// A `tbctl` that keeps running.
struct Running {
    child: Child,
    lines: Lines<ChildStdout>,
}

impl Running {
    fn start(fake: &Fake, arguments: &[&str]) -> Self {
        let mut command = tbctl();
        command.arg("--socket").arg(fake.socket()).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.line()
    }

    /// The line without the time at its beginning.
    fn change(&mut self) -> String {
        let line = self.line();
        let (time, change) = line.split_once("  ").unwrap();
        assert!(time.ends_with('Z'), "{line}");
        change.to_owned()
    }

    /// Stops reading; tbctl must then end normally. Returns its standard error.
    fn stop_reading(mut self) -> String {
        drop(self.lines);
        // One that does not end is ended, so that its test fails instead of hangs.
        let id = self.child.id().to_string();
        let (ended, has_ended) = std::sync::mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            if has_ended.recv_timeout(GIVE_UP).is_err_and(|error| error == RecvTimeoutError::Timeout) {
                let _ = std::process::Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        let mut stderr = String::new();
        if let Some(mut rest) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut rest, &mut stderr).unwrap();
        }
        let code = self.child.wait().unwrap().code();
        drop(ended);
        guard.join().unwrap();
        assert_eq!(code, Some(0), "{stderr}");
        stderr
    }
}

/// A daemon whose first customer has the state that the test sets.
#[derive(Clone, Default)]
struct Stage {
    /// Counts the changes.
    revision: Arc<AtomicUsize>,
    expired: Arc<AtomicBool>,
    pid: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Stage {
    fn open(&self) -> impl Fn(&Request) -> Reaction + Send + Sync + 'static {
        let stage = self.clone();
        move |request| {
            let Request::Status(StatusQuery { since, .. }) = request else { return answer(request) };
            let revision = Revision(stage.revision.load(Ordering::SeqCst) as u64 + 1);
            let expired = stage.expired.load(Ordering::SeqCst);
            let token_status = if expired { TokenStatus::Expired } else { TokenStatus::Valid };
            let row = Customer { token_status, ..customers().remove(0) };
            let unchanged = *since == Some(revision);
            let Reply::Status(mut reply) = status(if unchanged { vec![] } else { vec![row] }) else {
                unreachable!()
            };
            reply.daemon.revision = revision;
            reply.daemon.pid = u32::try_from(stage.pid.load(Ordering::SeqCst)).unwrap();
            reply.cron.running = !stage.stopped.load(Ordering::SeqCst);
            reply.tokens.complete = since.is_some_and(|since| since > revision);
            Reaction::Answer(Reply::Status(reply))
        }
    }

    fn expire(&self, expired: bool) {
        self.expired.store(expired, Ordering::SeqCst);
        self.revision.fetch_add(1, Ordering::SeqCst);
    }
}

const VALID: &str = "valid          1B2C9D00  ops@acme-hq.example  ";
const EXPIRED: &str = "expired        1B2C9D00  ops@acme-hq.example  ";

#[test]
fn a_watch_has_a_line_for_each_change_over_restarts_too() {
    let stage = Stage::default();
    let fake = Fake::start(stage.open());
    let mut watch = Running::start(&fake, &["status", "--watch"]);
    assert!(watch.line().starts_with("loop running "));
    let table: Vec<String> = (0..4).map(|_| watch.line()).collect();
    assert!(table[3].starts_with("valid   1B2C9D00  "), "{table:?}");
    stage.expire(true);
    assert_eq!(watch.change(), format!("{EXPIRED}was valid"));

    let socket = fake.socket();
    let folder = fake.stop();
    let gone = format!("cannot reach tbtokend at {}: there is no such socket", socket.display());
    assert_eq!(watch.change(), format!("DAEMON UNREACHABLE: {gone}; trying again"));
    stage.pid.store(4711, Ordering::SeqCst);
    stage.revision.store(0, Ordering::SeqCst);
    stage.expired.store(false, Ordering::SeqCst);
    let fake = Fake::start_in(folder, stage.open());
    assert_eq!(watch.change(), "the daemon is back");
    assert_eq!(watch.change(), "tbtokend 9.8.7 was restarted, pid 4711");
    assert_eq!(watch.change(), format!("{VALID}was expired"));

    // It asks for changes, not for all customers each time.
    stage.expire(true);
    assert_eq!(watch.change(), format!("{EXPIRED}was valid"));
    stage.expire(false);
    assert_eq!(watch.change(), format!("{VALID}was expired"));
    assert_eq!(watch.stop_reading(), "");
    let asked_since = |revision| {
        let since = Some(Revision(revision));
        Request::Status(StatusQuery { since, ..StatusQuery::default() })
    };
    let asked = fake.requests();
    assert!(asked.contains(&asked_since(1)) && asked.contains(&asked_since(2)), "{asked:?}");
}

#[test]
fn a_watch_says_once_that_the_daemon_is_away_and_why() {
    let turn = AtomicUsize::new(0);
    let fake = Fake::start(move |request| match turn.fetch_add(1, Ordering::SeqCst) {
        1..=3 => Reaction::Refuse(ErrorCode::Busy, "64 clients"),
        4 => Reaction::Refuse(ErrorCode::ShuttingDown, "bye"),
        _ => answer(request),
    });
    let mut watch = Running::start(&fake, &["status", "--watch", "--status", "expired"]);
    for _ in 0..3 {
        watch.line();
    }
    assert_eq!(watch.change(), "DAEMON UNREACHABLE: 64 clients; trying again");
    assert_eq!(watch.change(), "DAEMON UNREACHABLE: bye; trying again");
    assert_eq!(watch.change(), "the daemon is back");
    watch.stop_reading();
    fake.requests();
}

/// Its connection is idle most of the time, and another client may get its place: that is no trouble.
#[test]
fn a_watch_that_loses_its_place_connects_again() {
    let stage = Stage::default();
    let (turn, react) = (AtomicUsize::new(0), stage.open());
    let fake = Fake::start(move |request| match turn.fetch_add(1, Ordering::SeqCst) {
        1 => Reaction::Refuse(ErrorCode::Busy, "another client has got this place"),
        _ => react(request),
    });
    let mut watch = Running::start(&fake, &["status", "--watch"]);
    for _ in 0..5 {
        watch.line();
    }
    stage.expire(true);
    assert_eq!(watch.change(), format!("{EXPIRED}was valid"));
    watch.stop_reading();
    fake.requests();
}

#[test]
fn a_watch_as_json_is_an_object_a_line() {
    let stage = Stage::default();
    let fake = Fake::start(stage.open());
    let mut watch = Running::start(&fake, &["--json", "status", "-w"]);
    let mut json = || serde_json::from_str::<serde_json::Value>(&watch.line()).unwrap();
    assert_eq!(json()["success"], true, "it begins as status does");
    stage.expire(true);
    let change = json();
    assert_eq!(change["change"], "customer_changed");
    assert_eq!(change["customer"]["token_status"], "expired");
    assert_eq!(change["was"]["token_status"], "valid");
    drop(fake.stop());
    assert_eq!(json()["change"], "daemon_lost");
    assert_eq!(watch.stop_reading(), "");
}

#[test]
fn a_watch_shows_only_wanted_customers() {
    let stage = Stage::default();
    let fake = Fake::start(stage.open());
    let mut watch = Running::start(&fake, &["status", "--watch", "--status", "missing"]);
    for _ in 0..3 {
        watch.line();
    }
    stage.stopped.store(true, Ordering::SeqCst);
    stage.expire(true);
    assert_eq!(watch.change(), "the loop was STOPPED: nothing is renewed");
    drop(fake.stop());
    // The expired customer would come before it.
    assert!(watch.change().starts_with("DAEMON UNREACHABLE: "));
    watch.stop_reading();
}

/// `tbctl events -f | grep -m1 parked` must end with grep, though nothing else happens.
#[test]
fn following_shows_what_comes_over_restarts_too_and_ends_with_its_reader() {
    let happened = Arc::new(Mutex::new(vec![
        event(1, None, EventKind::PassStarted),
        event(2, Some("1B2C9D00"), EventKind::Renewed),
    ]));
    let react = {
        let happened = Arc::clone(&happened);
        move |request: &Request| {
            let Request::Events { since, limit } = request else { return answer(request) };
            let mut events = happened.lock().unwrap().clone();
            let next = events.last().unwrap().seq;
            events.retain(|event| since.is_none_or(|since| event.seq > since));
            events.drain(..events.len().saturating_sub(*limit));
            Reaction::Answer(Reply::Events(EventsReply { events, next }))
        }
    };
    let fake = Fake::start(react.clone());
    let mut follow = Running::start(&fake, &["events", "-f", "-n", "1"]);
    let mut one = Running::start(&fake, &["--json", "events", "-f", "-n", "0", "1B2C9D00"]);
    assert_eq!(follow.change(), "renewed        1B2C9D00  no. 2");
    happened.lock().unwrap().extend([event(3, Some("C0FFEE12"), EventKind::Parked)]);
    assert_eq!(follow.change(), "parked         C0FFEE12  no. 3");
    let folder = fake.stop();
    happened.lock().unwrap().extend([event(4, None, EventKind::Started)]);
    happened.lock().unwrap().extend([event(5, Some("1B2C9D00"), EventKind::Renewed)]);
    // Both have noticed that it is away when they have asked in vain; then it comes back.
    let mut said = Lines::of(follow.child.stderr.take().unwrap());
    let away = said.line();
    assert!(away.starts_with("DAEMON UNREACHABLE: ") && away.ends_with("; trying again"), "{away}");
    let fake = Fake::start_in(folder, react);
    assert_eq!(follow.change(), "started        -         no. 4");
    assert_eq!(follow.change(), "renewed        1B2C9D00  no. 5");
    assert_eq!(said.line(), "the daemon is back");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&one.line()).unwrap()["seq"], Seq(5).0);

    // Put back, so that its last lines are read too.
    follow.child.stderr = Some(said.into_pipe());
    assert_eq!(follow.stop_reading(), "");
    one.stop_reading();
    fake.requests();
}
