//! `wait`: for which customers, how long, and what it shows meanwhile.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tbtoken_proto::{Customer, ErrorCode, Reply, Request, Revision, Rows, StatusQuery, TokenStatus};

use crate::common::{Fake, GIVE_UP, Lines, Reaction, Told, customers, status, tbctl};

fn with(id: &str, token_status: TokenStatus) -> Customer {
    Customer { customer_id: id.to_owned(), token_status, ..customers().remove(0) }
}

/// A daemon whose answers to `status` follow each other; the last one is repeated.
fn in_turn(answers: Vec<Vec<Customer>>) -> Fake {
    let turn = AtomicUsize::new(0);
    Fake::start(move |request| {
        let Request::Status(query) = request else { panic!("{request:?}") };
        if matches!(query.customers, Rows::Only(_)) {
            return Reaction::Refuse(ErrorCode::UnknownCustomer, "there is no such customer");
        }
        let at = turn.fetch_add(1, Ordering::SeqCst);
        let Reply::Status(mut reply) = status(answers[at.min(answers.len() - 1)].clone()) else {
            unreachable!()
        };
        reply.tokens.complete = query.since.is_none();
        reply.daemon.revision = Revision(u64::try_from(at).unwrap() + 1);
        Reaction::Answer(Reply::Status(reply))
    })
}

use TokenStatus::{Expired, ExpiringSoon, Missing, Valid};

#[test]
fn it_ends_when_all_customers_have_been_valid() {
    let fake = in_turn(vec![
        vec![with("A", Expired), with("B", Valid)],
        vec![],
        // B ends soon again before A is valid, as tokens do.
        vec![with("B", ExpiringSoon)],
        vec![with("A", Valid)],
    ]);
    let (told, asked) = fake.run(&["wait"]);
    assert_eq!((told.exit, told.stdout.as_str()), (Some(0), "all 2 customers are valid\n"));
    assert_eq!(told.stderr, "waiting: 1 of 2 not valid: A (expired)\n");
    let since = |revision| Request::Status(StatusQuery { since: revision, ..StatusQuery::default() });
    assert_eq!(
        asked,
        [since(None), since(Some(Revision(1))), since(Some(Revision(2))), since(Some(Revision(3)))],
        "it asks for all customers once, and then for changes"
    );
}

#[test]
fn only_named_customers_count() {
    let (told, _) =
        in_turn(vec![vec![with("ABCD", Valid), with("B", Missing)]]).run(&["wait", "abcd", "ABCD"]);
    assert_eq!(told.exit, Some(5), "no GUID, so the case matters: {told:?}");
    let (told, _) = in_turn(vec![vec![with("ABCD", Valid), with("B", Missing)]]).run(&["wait", "ABCD"]);
    assert_eq!((told.exit, told.stdout.as_str()), (Some(0), "1 customer is valid\n"), "{told:?}");
    let (told, _) = in_turn(vec![vec![with("ABCD", Valid)]]).run(&["-q", "wait", "ABCD"]);
    assert_eq!((told.exit, told.stdout.as_str(), told.stderr.as_str()), (Some(0), "", ""));
    let later = || in_turn(vec![vec![with("ABCD", Expired)], vec![with("ABCD", Valid)]]);
    let (told, _) = later().run(&["-q", "wait"]);
    assert_eq!((told.exit, told.stdout.as_str(), told.stderr.as_str()), (Some(0), "", ""));
    let (told, _) = in_turn(vec![vec![with("ABCD", Valid)]]).run(&["--json", "wait"]);
    assert_eq!((&told.json()["success"], &told.json()["total"]), (&true.into(), &1.into()));
}

#[test]
fn usable_is_less_than_valid() {
    let soon = || in_turn(vec![vec![with("A", ExpiringSoon)]]);
    assert_eq!(soon().run(&["wait", "--for", "usable"]).0.exit, Some(0));
    assert_eq!(soon().run(&["wait", "--for", "valid", "--timeout", "50ms"]).0.exit, Some(7));
    let gone = || in_turn(vec![vec![with("A", Expired)]]);
    assert_eq!(gone().run(&["wait", "--for", "usable", "-t", "50ms"]).0.exit, Some(7));
}

#[test]
fn the_missing_customers_are_named_when_the_time_is_over() {
    let parked = Customer { customer_id: "P".to_owned(), ..customers().remove(1) };
    let mut rows: Vec<_> = (0..7).map(|at| with(&format!("E{at}"), Expired)).collect();
    rows.push(parked);
    let begin = Instant::now();
    let (told, asked) = in_turn(vec![rows.clone(), vec![]]).run(&["wait", "--timeout", "1s"]);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(told.exit, Some(7));
    assert_eq!(
        told.stderr.lines().nth(1).unwrap(),
        "error: gave up after 1 s: 8 of 8 not valid: P (parked: wrong password), E0 (expired), E1 (expired), \
         E2 (expired), E3 (expired) and 3 more"
    );
    assert!(asked.len() <= 6, "it does not spin: {} questions in a second", asked.len());
    let (told, _) = in_turn(vec![rows, vec![]]).run(&["wait", "--json", "--timeout", "50ms"]);
    assert_eq!((told.exit, &told.json()["code"]), (Some(7), &"timed_out".into()));
}

#[test]
fn a_customer_that_leaves_is_an_error_if_it_was_named_and_forgotten_if_not() {
    let fake = |named: bool| {
        let turn = AtomicUsize::new(0);
        let fake = Fake::start(move |_| {
            let rows = vec![with("ABCD", Expired), with("B", Valid)];
            let Reply::Status(mut reply) = status(rows) else { unreachable!() };
            if turn.fetch_add(1, Ordering::SeqCst) > 0 {
                reply.tokens.customers = Some(vec![]);
                reply.tokens.removed = vec!["ABCD".to_owned()];
            }
            Reaction::Answer(Reply::Status(reply))
        });
        fake.run(if named { &["wait", "ABCD"] } else { &["wait"] }).0
    };
    assert_eq!(fake(false).exit, Some(0));
    let told = fake(true);
    assert_eq!(told.exit, Some(5));
    assert!(told.stderr.contains("customer ABCD has left the table"), "{told:?}");
}

/// `systemctl start tbtokend && tbctl wait`: the daemon may still be starting, or ending.
#[test]
fn a_daemon_that_is_not_there_yet_is_waited_for() {
    let folder = Fake::healthy().stop();
    let socket = folder.path().join("control.sock");
    let mut child = tbctl();
    child.arg("--socket").arg(&socket).args(["wait"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The daemon starts when tbctl says that it waits.
    let mut stderr = Lines::of(child.stderr.take().unwrap());
    let first = stderr.line();
    assert!(first.starts_with("waiting: ") && first.ends_with("there is no such socket"), "{first}");
    let fake = Fake::start_in(folder, |_| Reaction::Answer(status(vec![with("A", Valid)])));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    fake.requests();
}

#[test]
fn a_daemon_that_never_comes_is_unreachable_and_one_that_is_silent_is_late() {
    let told = Told::by(tbctl().args(["wait", "--timeout", "50ms", "--socket", "/nowhere/x.sock"]));
    assert_eq!(told.exit, Some(3), "{told:?}");
    let begin = Instant::now();
    let (told, _) = Fake::start(|_| Reaction::Silence).run(&["wait", "--timeout", "0.05"]);
    assert_eq!(told.exit, Some(7), "{told:?}");
    assert!(told.stderr.contains("did not answer within 0.05 s"), "{told:?}");
    assert!(begin.elapsed() < GIVE_UP / 2);
    // An error that does not pass is not waited for.
    let (told, _) = Fake::start(|_| Reaction::Raw("HTTP/1.1 400\r\n")).run(&["wait"]);
    assert_eq!(told.exit, Some(1), "{told:?}");
    // An error that may pass is shown at the end, even if the last answer comes too late.
    let asked = AtomicUsize::new(0);
    let busy = Fake::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reaction::Refuse(ErrorCode::Busy, "64 clients"),
        _ => Reaction::Silence,
    });
    let (told, asked) = busy.run(&["wait", "--timeout", "2s"]);
    assert_eq!((told.exit, asked.len()), (Some(1), 1), "{told:?}");
    assert!(told.stderr.contains("error: 64 clients\n"), "{told:?}");
}

#[test]
fn a_refusal_that_passes_is_waited_for() {
    for code in [ErrorCode::Busy, ErrorCode::ShuttingDown] {
        let turn = AtomicUsize::new(0);
        let fake = Fake::start(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => Reaction::Refuse(code, "not now"),
            _ => Reaction::Answer(status(vec![with("A", Valid)])),
        });
        let (told, asked) = fake.run(&["wait"]);
        assert_eq!((told.exit, asked.len()), (Some(0), 2), "{told:?}");
        assert_eq!(told.stderr, "waiting: not now\n");
    }
}

/// A script that continues because no customer is missing has no token at all.
#[test]
fn an_empty_table_is_waited_for_like_a_customer() {
    let fake = in_turn(vec![vec![], vec![with("A", Expired)], vec![with("A", Valid)]]);
    let (told, _) = fake.run(&["wait", "-t", "9"]);
    assert_eq!((told.exit, told.stdout.as_str()), (Some(0), "1 customer is valid\n"), "{told:?}");
    assert!(told.stderr.starts_with("waiting: no row of the table"), "{told:?}");

    let (told, _) = in_turn(vec![vec![]]).run(&["wait", "-t", "300ms"]);
    assert_eq!((told.exit, told.stdout.as_str()), (Some(7), ""), "{told:?}");
    assert!(told.stderr.contains("error: gave up after 0.3 s: no row"), "{told:?}");
    assert!(told.stderr.contains("hint: is it the right table? sudo tbtokend doctor"), "{told:?}");
}

/// A restarted daemon lists all customers again, and does not mention those that left the table meanwhile.
#[test]
fn a_customer_that_left_the_table_over_a_restart_is_not_waited_for() {
    let fake = |named: bool| {
        let turn = AtomicUsize::new(0);
        let fake = Fake::start(move |_| {
            let first = turn.fetch_add(1, Ordering::SeqCst) == 0;
            let rows =
                if first { vec![with("ABCD", Expired), with("B", Valid)] } else { vec![with("B", Valid)] };
            let Reply::Status(mut reply) = status(rows) else { unreachable!() };
            reply.tokens.complete = !first;
            Reaction::Answer(Reply::Status(reply))
        });
        fake.run(if named { &["wait", "-t", "9", "ABCD"] } else { &["wait", "-t", "9"] }).0
    };
    assert_eq!(fake(false).exit, Some(0));
    assert_eq!(fake(true).exit, Some(5));
}

#[test]
fn an_unread_table_is_not_empty() {
    let turn = AtomicUsize::new(0);
    let fake = Fake::start(move |_| {
        let first = turn.fetch_add(1, Ordering::SeqCst) == 0;
        let rows = if first { vec![] } else { vec![with("ABCD", Valid)] };
        let Reply::Status(mut reply) = status(rows) else { unreachable!() };
        reply.tokens.as_of = reply.tokens.as_of.filter(|_| !first);
        Reaction::Answer(Reply::Status(reply))
    });
    let (told, asked) = fake.run(&["wait", "ABCD"]);
    let all = || Request::Status(StatusQuery::default());
    assert_eq!((told.exit, asked), (Some(0), vec![all(), all()]), "a name is looked up among all");
    assert_eq!(told.stderr, "waiting: tbtokend has not read its table\n");
}

#[test]
fn a_table_that_is_never_read_is_late_and_says_why() {
    let unread = |why: Option<&'static str>| {
        let fake = Fake::start(move |_| {
            let Reply::Status(mut reply) = status(vec![]) else { unreachable!() };
            (reply.tokens.as_of, reply.tokens.error) = (None, why.map(str::to_owned));
            Reaction::Answer(Reply::Status(reply))
        });
        fake.run(&["wait", "-t", "300ms"]).0
    };
    let told = unread(Some("no way to sql01"));
    assert_eq!(told.exit, Some(7), "{told:?}");
    assert_eq!(
        told.stderr,
        "waiting: tbtokend has not read its table: no way to sql01\n\
         error: gave up after 0.3 s: tbtokend has not read its table: no way to sql01\n\
         hint: tbctl status shows the state of the database ; wait longer with --timeout\n"
    );
    assert!(unread(None).stderr.contains("error: gave up after 0.3 s: tbtokend has not read its table\n"));
}
