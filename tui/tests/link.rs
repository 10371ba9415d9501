//! The threads that talk to the daemon, tested with a fake daemon on a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use support::fake_daemon::FakeDaemon;
use support::{busy, busy_events, noon, status};
use tbtoken_proto::{Refresh, Reply, Request, Revision};
use tbtui::input::{Action, Input};
use tbtui::link::Link;

struct Setup {
    folder: tempfile::TempDir,
    daemon: FakeDaemon,
    inputs: Receiver<Input>,
    link: Link,
}

fn start() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let customers = busy(noon());
    let events = busy_events(&customers, noon());
    let daemon = FakeDaemon::start(&socket, status(customers, noon()), events);
    let (sender, inputs) = sync_channel(8);
    let link = Link::open(socket, sender).unwrap();
    Setup { folder, daemon, inputs, link }
}

/// Returns the next input that `pick` accepts; skips others.
fn next<T>(inputs: &Receiver<Input>, pick: impl Fn(Input) -> Option<T>) -> T {
    loop {
        let input = inputs.recv_timeout(Duration::from_secs(30)).expect("something should have come");
        if let Some(picked) = pick(input) {
            return picked;
        }
    }
}

fn status_of(input: Input) -> Option<tbtoken_proto::StatusReply> {
    match input {
        Input::Status(reply) => Some(*reply),
        _ => None,
    }
}

#[test]
fn the_first_answer_is_complete_and_the_next_only_what_changed() {
    let Setup { folder: _folder, daemon, inputs, link: _link } = start();
    let first = next(&inputs, status_of);
    assert!(first.tokens.complete);
    assert_eq!(first.tokens.customers.unwrap().len(), 128);
    let events = next(&inputs, |input| match input {
        Input::Events(events) => Some(events),
        _ => None,
    });
    assert!(events.is_sorted_by_key(|event| event.seq));

    let second = next(&inputs, status_of);
    assert!(!second.tokens.complete);
    assert_eq!(second.tokens.customers, Some(vec![]));
    daemon.change(|world| assert_eq!(world.full_polls, 1));
}

#[test]
fn a_killed_daemon_is_reported_and_found_again() {
    let Setup { folder, daemon, inputs, link } = start();
    next(&inputs, status_of);
    let mut reply = daemon.kill();
    let lost = |input| match input {
        Input::Disconnected { why, hint, retry_in } => Some((why, hint, retry_in)),
        _ => None,
    };
    next(&inputs, lost);
    let (why, hint, pause) = next(&inputs, lost);
    assert!(why.contains("not running"), "{why}");
    assert!(hint.unwrap().contains("systemctl status tbtokend"));
    assert!(pause <= Duration::from_secs(5));

    // The new daemon does not know the old revision, so it sends everything.
    let socket = folder.path().join("control.sock");
    std::fs::remove_file(&socket).unwrap();
    reply.daemon.revision = Revision(7);
    let daemon = FakeDaemon::start(&socket, reply, vec![]);
    let first = next(&inputs, status_of);
    assert!(first.tokens.complete, "the daemon says so");
    assert_eq!(first.tokens.customers.unwrap().len(), 128);
    drop(link);
    daemon.kill();
}

#[test]
fn a_daemon_that_never_ran_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, inputs) = sync_channel(8);
    let _link = Link::open(folder.path().join("nothing.sock"), sender).unwrap();
    let why = next(&inputs, |input| match input {
        Input::Disconnected { why, .. } => Some(why),
        _ => None,
    });
    assert!(why.contains("no such socket"), "{why}");
}

#[test]
fn a_long_refresh_delays_neither_the_polling_nor_a_stop() {
    let Setup { folder: _folder, daemon, inputs, link } = start();
    let mut gate = None;
    daemon.change(|world| gate = Some(std::sync::Arc::clone(&world.refresh_gate)));
    let gate = gate.unwrap();
    let closed = gate.lock().unwrap();

    link.act(Action::Refresh("some id".to_owned()));
    let asked = daemon.asked.recv_timeout(Duration::from_secs(30)).unwrap();
    let expected = Refresh { customers: Some(vec!["some id".to_owned()]), ..Refresh::default() };
    assert_eq!(asked, Request::Refresh(expected));

    for _ in 0..2 {
        next(&inputs, status_of);
    }
    link.act(Action::Stop);
    let done = |input| match input {
        Input::Done(action, outcome) => Some((action, outcome)),
        _ => None,
    };
    let (action, outcome) = next(&inputs, done);
    assert_eq!(action, Action::Stop);
    assert!(matches!(outcome, Ok(Reply::Steer(reply)) if !reply.cron.running));

    drop(closed);
    let (action, outcome) = next(&inputs, done);
    assert_eq!(action, Action::Refresh("some id".to_owned()));
    assert!(matches!(outcome, Ok(Reply::Refresh(_))), "{outcome:?}");
    link.act(Action::RefreshDue);
    link.act(Action::Start);
    let mut actions = [next(&inputs, done).0, next(&inputs, done).0];
    actions.sort_by_key(|action| *action == Action::Start);
    assert_eq!(actions, [Action::RefreshDue, Action::Start]);
}

#[test]
fn an_action_without_a_daemon_says_why() {
    let Setup { folder: _folder, daemon, inputs, link } = start();
    daemon.kill();
    link.act(Action::Start);
    let error = next(&inputs, |input| match input {
        Input::Done(Action::Start, outcome) => Some(outcome.unwrap_err()),
        _ => None,
    });
    assert!(error.why.contains("not running"), "{error:?}");
}
