//! Timing and queues, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::message::{Format, Frame, id};
use super::queue::{CAPACITY, Queue, Tried, TryResult};
use super::timing::{Event, Filter, Message, Times, Timing};
use super::webhook::Webhook;
use super::{Channel, LAST_MESSAGES, LONG_STORE_RETRY, Notifier, Settings, attempt, mail};
use crate::clock::Clock;
use crate::engine::pass::{Limits, budget};
use crate::engine::policy::Policy;
use crate::engine::scheduler::{Parts, Scheduler};
use crate::engine::view::{Severity, Trouble};
use crate::model::{NoticeChange, Secret, StoredNotice};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};
use crate::thingsboard::{Client, ClientSettings};

fn start() -> DateTime<Utc> {
    "2026-11-30T00:00:00Z".parse().unwrap()
}

fn times() -> Times {
    Times {
        group_wait: TimeDelta::seconds(30),
        group_interval: TimeDelta::minutes(5),
        resolve_wait: TimeDelta::minutes(5),
        repeat_interval: TimeDelta::hours(4),
    }
}

fn filter() -> Filter {
    Filter { min_severity: Severity::Warning, causes: Vec::new(), send_resolved: true }
}

fn server(name: &str, customers: usize) -> Trouble {
    let lapsed = customers;
    Trouble { customers, lapsed, ..Trouble::of(format!("server:{name}"), Severity::Critical) }
}

/// A receiver, with what it got.
struct Receiver {
    queue: Queue,
    is_away: bool,
    got: Vec<(i64, Event, String, usize)>,
    ids: BTreeSet<String>,
    stored: BTreeMap<String, StoredNotice>,
}

/// Timing and receivers, looked at each second.
struct World {
    filters: Vec<Filter>,
    timing: Timing,
    now: DateTime<Utc>,
    receivers: Vec<Receiver>,
    /// Whether this process has evidence that what it has not seen is over.
    has_evidence: bool,
}

impl World {
    fn new(filters: Vec<Filter>) -> Self {
        let receiver = |(at, filter): (usize, &Filter)| Receiver {
            queue: Queue::new(format!("r{at}"), filter.send_resolved),
            is_away: false,
            got: Vec::new(),
            ids: BTreeSet::new(),
            stored: BTreeMap::new(),
        };
        let receivers = filters.iter().enumerate().map(receiver).collect();
        let timing = Timing::new(times(), filters.clone());
        Self { filters, timing, now: start(), receivers, has_evidence: true }
    }

    /// Another process goes on with what the store holds.
    fn restart(&mut self) {
        self.timing = Timing::new(times(), self.filters.clone());
        for (at, (receiver, filter)) in self.receivers.iter_mut().zip(&self.filters).enumerate() {
            receiver.queue = Queue::new(format!("r{at}"), filter.send_resolved);
            for notice in receiver.stored.values() {
                receiver.queue.restore(notice);
                self.timing.restore(at, notice);
            }
        }
    }

    fn run(&mut self, time: TimeDelta, troubles: &[Trouble]) {
        let end = self.now + time;
        while self.now < end {
            self.now += TimeDelta::seconds(1);
            let (now, receivers, evidence) = (self.now, &mut self.receivers, self.has_evidence);
            let offer = |at: usize, message| receivers[at].queue.push(message);
            self.timing.observe(now, troubles.to_vec(), |_, is_seen| is_seen || evidence, offer);
            for receiver in &mut self.receivers {
                while let Some((message, _)) = receiver.queue.take(now) {
                    let result = match receiver.is_away {
                        true => again(),
                        false => TryResult::Sent(None),
                    };
                    receiver.queue.tried(Tried { said: String::new(), result }, now, 0.5);
                    if !receiver.is_away {
                        receiver.ids.insert(id(&message));
                        let (at, trouble) = ((now - start()).num_seconds(), message.trouble);
                        receiver.got.push((at, message.event, trouble.cause, trouble.customers));
                    }
                }
                for change in receiver.queue.changes.drain(..) {
                    match change {
                        NoticeChange::Known(notice) => {
                            receiver.stored.insert(notice.cause.clone(), notice);
                        }
                        NoticeChange::Over { cause, .. } => {
                            receiver.stored.remove(&cause);
                        }
                    }
                }
            }
        }
    }

    fn events(&self, at: usize) -> Vec<(i64, Event)> {
        self.receivers[at].got.iter().map(|(at, event, ..)| (*at, *event)).collect()
    }
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);

#[test]
fn a_trouble_is_told_once_and_once_when_it_is_over() {
    let mut world = World::new(vec![filter()]);
    world.run(MINUTE * 30, &[server("a", 5_000)]);
    world.run(MINUTE * 30, &[]);
    // Half a minute after the first second, and five minutes after the last.
    assert_eq!(world.events(0), [(31, Event::Firing), (30 * 60 + 301, Event::Resolved)]);
    assert_eq!(world.receivers[0].got[1].3, 5_000, "the end says how bad it was");
    assert!(world.receivers[0].stored.is_empty());
}

#[test]
fn an_end_says_how_long_the_trouble_lasted_without_the_wait_after_it() {
    let mut timing = Timing::new(times(), vec![filter()]);
    let mut texts = Vec::new();
    for second in 0..1_000 {
        let troubles = if second < 600 { vec![server("a", 1)] } else { Vec::new() };
        let now = start() + TimeDelta::seconds(second);
        timing.observe(
            now,
            troubles,
            |_, _| true,
            |_, message| {
                texts.push(Frame::default().text(&message));
                true
            },
        );
    }
    assert!(texts[1].contains("Lasted: 10 min 0 s\n"), "{texts:?}");
}

#[test]
fn two_servers_are_two_troubles_and_a_short_one_is_none() {
    let mut world = World::new(vec![filter()]);
    world.run(TimeDelta::seconds(29), &[server("a", 1), server("b", 2), server("short", 3)]);
    world.run(MINUTE, &[server("a", 1), server("b", 2)]);
    let causes: Vec<&str> = world.receivers[0].got.iter().map(|(_, _, cause, _)| cause.as_str()).collect();
    assert_eq!(causes, ["server:a", "server:b"]);
}

#[test]
fn a_trouble_that_comes_back_within_the_wait_is_the_same_one() {
    let mut world = World::new(vec![filter()]);
    for _ in 0..5 {
        world.run(MINUTE, &[server("a", 10)]);
        world.run(MINUTE * 4, &[]);
    }
    world.run(MINUTE * 10, &[]);
    let events: Vec<Event> = world.events(0).into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [Event::Firing, Event::Resolved]);
}

#[test]
fn growth_is_told_once_in_an_interval_and_a_repeat_after_hours() {
    let mut world = World::new(vec![filter()]);
    let warning = Trouble { severity: Severity::Warning, ..server("a", 100) };
    world.run(MINUTE, std::slice::from_ref(&warning));
    // Neither nine more, nor ten more that are less than a fifth.
    world.run(MINUTE * 6, &[Trouble { customers: 119, ..warning.clone() }]);
    world.run(MINUTE * 6, &[Trouble { customers: 120, ..warning.clone() }]);
    world.run(MINUTE * 6, &[Trouble { customers: 500, ..warning }]);
    world.run(MINUTE * 6, &[server("a", 500)]);
    world.run(TimeDelta::hours(9), &[server("a", 500)]);
    let events: Vec<Event> = world.events(0).into_iter().map(|(_, event)| event).collect();
    use Event::{Firing, Grown, Repeat};
    assert_eq!(events, [Firing, Grown, Grown, Grown, Repeat, Repeat]);
    // It shrinks, is told of so, and grows to the same number.
    for customers in [100, 500] {
        world.run(TimeDelta::hours(5), &[server("a", customers)]);
    }
    assert_eq!(world.events(0).last().map(|(_, event)| *event), Some(Repeat));
    assert!(
        world.events(0).iter().filter(|(_, event)| *event == Grown).count() == 4,
        "{:?}",
        world.events(0)
    );
    let told = world.events(0).len();
    assert_eq!(world.receivers[0].ids.len(), told, "no two messages have one id");
    // A warning is repeated once a day.
    let mut world = World::new(vec![filter()]);
    world.run(TimeDelta::hours(25), &[Trouble { severity: Severity::Warning, ..server("a", 1) }]);
    assert_eq!(world.events(0).len(), 2, "{:?}", world.events(0));
}

#[test]
fn a_receiver_that_was_away_gets_one_current_message() {
    let mut world = World::new(vec![filter(), filter()]);
    world.receivers[0].is_away = true;
    world.run(MINUTE * 30, &[server("a", 10)]);
    world.run(MINUTE * 30, &[server("a", 300)]);
    world.receivers[0].is_away = false;
    world.run(MINUTE * 30, &[server("a", 300)]);
    assert_eq!(world.receivers[0].got.len(), 1, "{:?}", world.receivers[0].got);
    let (_, event, _, customers) = &world.receivers[0].got[0];
    assert_eq!((*event, *customers), (Event::Firing, 300), "no beginning was delivered");
    assert_eq!(world.events(1).len(), 2, "the other receiver did not wait");
    // One that was away from the beginning to the end gets nothing.
    world.receivers[0].is_away = true;
    world.run(MINUTE * 30, &[server("a", 300), server("b", 1)]);
    world.run(MINUTE * 30, &[server("a", 300)]);
    world.receivers[0].is_away = false;
    world.run(TimeDelta::hours(1), &[server("a", 300)]);
    assert!(world.receivers[0].got.iter().all(|(_, _, cause, _)| cause == "server:a"));
}

#[test]
fn a_restart_repeats_nothing_and_ends_a_trouble_on_evidence_alone() {
    let mut world = World::new(vec![filter()]);
    world.run(MINUTE, &[server("a", 10)]);
    world.restart();
    world.has_evidence = false;
    // The new process has not seen the trouble yet, nor that it is over.
    world.run(MINUTE * 20, &[]);
    assert_eq!(world.events(0).len(), 1, "no resolve without evidence");
    world.run(MINUTE * 20, &[server("a", 10)]);
    assert_eq!(world.events(0).len(), 1, "no second beginning");
    world.restart();
    world.has_evidence = true;
    world.run(MINUTE * 20, &[]);
    world.restart();
    world.run(MINUTE * 20, &[]);
    let events: Vec<Event> = world.events(0).into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [Event::Firing, Event::Resolved]);
}

#[test]
fn a_receiver_is_told_only_of_what_it_wants() {
    let critical = Filter { min_severity: Severity::Critical, ..filter() };
    let servers = Filter { causes: vec!["server".to_owned()], send_resolved: false, ..filter() };
    let mut world = World::new(vec![critical, servers]);
    let parked = Trouble::of("parked:bad_url".to_owned(), Severity::Warning);
    world.run(MINUTE, &[parked.clone(), server("a", 1)]);
    world.run(MINUTE * 10, &[parked]);
    let events = |at: usize| {
        world.receivers[at]
            .got
            .iter()
            .map(|(_, event, cause, _)| (*event, cause.as_str()))
            .collect::<Vec<_>>()
    };
    assert_eq!(events(0), [(Event::Firing, "server:a"), (Event::Resolved, "server:a")]);
    assert_eq!(events(1), [(Event::Firing, "server:a")]);
}

#[test]
fn the_database_may_fail_for_half_a_minute() {
    let mut world = World::new(vec![filter()]);
    let store = Trouble {
        least_duration: TimeDelta::seconds(45),
        ..Trouble::of("store".to_owned(), Severity::Critical)
    };
    world.run(TimeDelta::seconds(45), std::slice::from_ref(&store));
    assert_eq!(world.events(0), []);
    world.run(TimeDelta::seconds(5), &[store]);
    assert_eq!(world.events(0), [(46, Event::Firing)]);
}

fn message(event: Event, cause: String, customers: usize) -> Message {
    let trouble = Trouble { customers, ..Trouble::of(cause, Severity::Critical) };
    Message { event, trouble, since: start(), over_since: None, at: start(), number: 0 }
}

fn failed(result: TryResult) -> Tried {
    Tried { said: "no".to_owned(), result }
}

#[test]
fn tries_are_further_and_further_apart_and_a_rejection_ends_them() {
    let mut queue = Queue::new("r".to_owned(), true);
    let mut now = start();
    queue.push(message(Event::Firing, "server:a".to_owned(), 1));
    let mut waits = Vec::new();
    for _ in 0..7 {
        let began = now;
        while queue.take(now).is_none() {
            now += TimeDelta::seconds(1);
        }
        waits.push((now - began).num_seconds());
        queue.tried(failed(again()), now, 0.5);
    }
    assert_eq!(waits, [0, 5, 30, 120, 300, 900, 1_800]);
    // What the receiver says counts, up to an hour.
    for (said, expected) in [(10, 1_800), (2_000, 2_000), (100_000, 3_600)] {
        now += TimeDelta::hours(2);
        assert!(queue.take(now).is_some());
        queue.tried(failed(TryResult::Again(Some(Duration::from_secs(said)), Vec::new())), now, 0.5);
        assert!(queue.take(now + TimeDelta::seconds(expected - 1)).is_none());
        now += TimeDelta::seconds(expected);
        assert!(queue.take(now).is_some());
        queue.tried(failed(again()), now, 0.5);
    }
    // A message that is rejected twice is not tried again by itself, and the next one has its own tries.
    let mut queue = Queue::new("r".to_owned(), true);
    queue.push(message(Event::Firing, "server:a".to_owned(), 1));
    for _ in 0..2 {
        now += TimeDelta::hours(1);
        assert!(queue.take(now).is_some());
        queue.tried(failed(TryResult::Rejected), now, 0.5);
    }
    assert_eq!((queue.len(), queue.dropped, queue.failed), (1, 0, 2));
    // A receiver that is gone gets nothing until a test reaches it.
    queue.push(message(Event::Firing, "server:b".to_owned(), 1));
    assert!(queue.take(now).is_some());
    queue.tried(failed(TryResult::Gone), now, 0.5);
    assert!(queue.take(now + TimeDelta::days(9)).is_none());
    queue.tested(Tried { said: String::new(), result: TryResult::Sent(None) }, now);
    assert!(queue.take(now).is_some());
}

fn settings() -> Settings {
    Settings { times: times(), lead: MINUTE, frame: Frame::default(), receivers: Vec::new() }
}

/// Takes a message, and says what came of it.
fn fail(queue: &mut Queue, now: DateTime<Utc>, result: TryResult) -> (Event, Vec<String>) {
    let (message, recipients) = queue.take(now).unwrap();
    queue.tried(failed(result), now, 0.5);
    (message.event, recipients)
}

fn again() -> TryResult {
    TryResult::Again(None, Vec::new())
}

#[test]
fn only_the_recipients_that_lack_a_mail_get_it_again() {
    let hours = |hours| start() + TimeDelta::hours(hours);
    let mut queue = Queue::new("r".to_owned(), true);
    let left = vec!["b@example.com".to_owned()];
    for (event, at) in [(Event::Firing, 0), (Event::Resolved, 5)] {
        queue.push(message(event, "server:a".to_owned(), 1));
        assert_eq!(fail(&mut queue, hours(at), TryResult::Partly(left.clone())), (event, Vec::new()));
        // The others know of it.
        let stored = queue.changes.pop().map(|change| matches!(change, NoticeChange::Known(_)));
        assert_eq!(stored, Some(event == Event::Firing));
        // A failure in between does not make it a message to all.
        assert_eq!(fail(&mut queue, hours(at + 1), again()), (event, left.clone()));
        assert_eq!(fail(&mut queue, hours(at + 2), TryResult::Sent(None)), (event, left.clone()));
        assert!(queue.is_empty());
    }
}

/// A mail that one recipient refuses for now and the other for good has reached neither.
#[test]
fn a_mail_that_no_recipient_has_is_not_told_and_tried_for_some() {
    let mut queue = Queue::new("r".to_owned(), true);
    queue.push(message(Event::Firing, "server:a".to_owned(), 1));
    let left = vec!["b@example.com".to_owned()];
    fail(&mut queue, start(), TryResult::Again(None, left.clone()));
    assert_eq!(queue.changes, []);
    assert_eq!(fail(&mut queue, start() + TimeDelta::hours(1), TryResult::Sent(None)).1, left);
    assert_eq!(queue.changes.len(), 1);
}

#[test]
fn only_rejections_count_as_such_and_no_message_holds_up_another() {
    let mut queue = Queue::new("r".to_owned(), true);
    queue.push(message(Event::Firing, "server:a".to_owned(), 1));
    queue.push(message(Event::Firing, "server:b".to_owned(), 1));
    fail(&mut queue, start(), again());
    let (second, _) = queue.take(start()).expect("the next message has its turn at once");
    assert_eq!(second.trouble.cause, "server:b");
    queue.tried(Tried { said: String::new(), result: TryResult::Sent(None) }, start(), 0.5);
    fail(&mut queue, start() + TimeDelta::hours(1), TryResult::Rejected);
    assert_eq!((queue.len(), queue.dropped), (1, 0), "it was rejected once");
    fail(&mut queue, start() + TimeDelta::hours(2), TryResult::Rejected);
    assert!(queue.take(start() + TimeDelta::hours(9)).is_none(), "it was rejected twice");
}

/// What was rejected waits for the receiver to be repaired: then it takes another message or a test.
#[test]
fn a_repaired_receiver_hears_at_once_of_what_it_rejected() {
    let hours = |hours| start() + TimeDelta::hours(hours);
    let mut queue = Queue::new("r".to_owned(), true);
    for is_test in [false, true] {
        queue.push(message(Event::Firing, "server:a".to_owned(), 1));
        fail(&mut queue, hours(0), TryResult::Rejected);
        fail(&mut queue, hours(1), TryResult::Rejected);
        assert!(queue.take(hours(9)).is_none(), "it is not tried again by itself");
        if is_test {
            queue.tested(Tried { said: String::new(), result: TryResult::Sent(None) }, hours(9));
        } else {
            queue.push(message(Event::Firing, "server:b".to_owned(), 1));
            assert!(queue.take(hours(9)).is_some_and(|(message, _)| message.trouble.cause == "server:b"));
            queue.tried(Tried { said: String::new(), result: TryResult::Sent(None) }, hours(9), 0.5);
        }
        let (message, _) = queue.take(hours(9)).expect("it is tried again");
        assert_eq!((message.event, message.trouble.cause.as_str()), (Event::Firing, "server:a"));
        queue.tried(Tried { said: String::new(), result: TryResult::Sent(None) }, hours(9), 0.5);
        assert!(queue.is_empty());
    }
}

#[test]
fn a_message_of_growth_that_tells_of_the_beginning_has_its_id() {
    let mut queue = Queue::new("r".to_owned(), true);
    let grown = Message { number: 7, ..message(Event::Grown, "server:a".to_owned(), 1) };
    queue.push(grown);
    let first = message(Event::Firing, "server:a".to_owned(), 1);
    assert_eq!(queue.take(start()).map(|(taken, _)| id(&taken)), Some(id(&first)));
}

#[test]
fn an_end_that_is_too_old_is_forgotten_and_a_rejected_one_waits() {
    let mut queue = Queue::new("r".to_owned(), true);
    for too_late in [false, true] {
        queue.push(message(Event::Firing, "server:a".to_owned(), 1));
        fail(&mut queue, start(), TryResult::Sent(None));
        queue.push(message(Event::Resolved, "server:a".to_owned(), 1));
        if too_late {
            assert!(queue.take(start() + TimeDelta::hours(25)).is_none());
        } else {
            fail(&mut queue, start(), TryResult::Rejected);
            fail(&mut queue, start() + TimeDelta::hours(1), TryResult::Rejected);
            queue.hurry();
            fail(&mut queue, start() + TimeDelta::hours(2), TryResult::Sent(None));
        }
        assert!(matches!(queue.changes.pop(), Some(NoticeChange::Over { .. })), "{too_late}");
        assert!(queue.is_empty());
    }
}

#[test]
fn a_receiver_that_is_told_of_no_end_is_told_of_the_next_beginning() {
    let mut world = World::new(vec![Filter { send_resolved: false, ..filter() }]);
    world.receivers[0].is_away = true;
    world.run(MINUTE, &[server("a", 1)]);
    world.run(MINUTE * 10, &[]);
    world.receivers[0].is_away = false;
    world.run(MINUTE * 60, &[]);
    assert_eq!(world.events(0), [], "the trouble is over");
    for beginnings in 1..=2 {
        world.run(MINUTE, &[server("a", 1)]);
        world.run(MINUTE * 10, &[]);
        assert!(world.receivers[0].stored.is_empty());
        world.restart();
        let events: Vec<Event> = world.events(0).into_iter().map(|(_, event)| event).collect();
        assert_eq!(events, vec![Event::Firing; beginnings]);
    }
}

#[test]
fn a_clock_that_steps_backward_silences_nothing() {
    let mut world = World::new(vec![filter()]);
    let mut expect = |time: TimeDelta, troubles: &[Trouble], event: Event| {
        world.now -= TimeDelta::days(1);
        world.run(time, troubles);
        let events: Vec<Event> = world.receivers[0].got.drain(..).map(|(_, event, ..)| event).collect();
        assert_eq!(events, [event]);
        world.run(TimeDelta::seconds(20), troubles);
    };
    let trouble = [server("a", 1)];
    expect(MINUTE, &trouble, Event::Firing);
    expect(MINUTE * 245, &trouble, Event::Repeat);
    expect(MINUTE * 6, &[], Event::Resolved);
    // A trouble that has begun or ended in the time that comes again.
    world.run(TimeDelta::seconds(20), &trouble);
    world.now -= TimeDelta::days(1);
    world.receivers[0].is_away = true;
    world.run(MINUTE, &trouble);
    world.now -= TimeDelta::days(1);
    world.receivers[0].is_away = false;
    world.run(MINUTE, &trouble);
    world.run(MINUTE, &[]);
    world.now -= TimeDelta::days(1);
    world.run(MINUTE * 6, &[]);
    let events: Vec<Event> = world.events(0).into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [Event::Firing, Event::Resolved]);
}

/// A machine without a battery starts in 1970, until a time server corrects its clock.
#[test]
fn a_start_in_1970_repeats_nothing_once_the_clock_is_right() {
    let mut world = World::new(vec![filter()]);
    world.run(MINUTE, &[server("a", 1), server("b", 1)]);
    world.restart();
    let right = world.now;
    world.now = DateTime::UNIX_EPOCH;
    world.run(MINUTE * 10, &[server("a", 1), server("new", 1)]);
    world.receivers[0].is_away = true;
    world.run(MINUTE, &[server("a", 1)]);
    world.now = right;
    world.receivers[0].is_away = false;
    world.run(MINUTE * 10, &[server("a", 1)]);
    let told: Vec<(Event, &str)> =
        world.receivers[0].got.iter().map(|(_, event, cause, _)| (*event, cause.as_str())).collect();
    use Event::{Firing, Resolved};
    let (a, b, new) = ("server:a", "server:b", "server:new");
    assert_eq!(told, [(Firing, a), (Firing, b), (Firing, new), (Resolved, b), (Resolved, new)]);
    world.run(TimeDelta::hours(4), &[server("a", 1)]);
    assert_eq!(world.events(0).last().map(|(_, event)| *event), Some(Event::Repeat));
}

/// Such a clock lets no connection over TLS succeed, so that messages wait for the right time.
#[test]
fn an_end_that_was_decided_in_1970_is_not_too_old() {
    let mut queue = Queue::new("r".to_owned(), true);
    queue.push(message(Event::Firing, "server:a".to_owned(), 1));
    fail(&mut queue, start(), TryResult::Sent(None));
    queue.push(Message { at: DateTime::UNIX_EPOCH, ..message(Event::Resolved, "server:a".to_owned(), 1) });
    assert_eq!(fail(&mut queue, start(), TryResult::Sent(None)).0, Event::Resolved);
}

#[tokio::test(start_paused = true)]
async fn a_try_ends_even_if_it_panics_or_hangs() {
    let panics = async { unreachable!("a test") };
    for (tried, said) in [
        (attempt(panics).await, "a fault in tbtokend ended the try"),
        (attempt(std::future::pending()).await, "no answer within 15 s"),
    ] {
        assert_eq!(tried, Tried { said: said.to_owned(), result: again() });
    }
    let long = attempt(async { Tried { said: "x".repeat(9_000), result: TryResult::Sent(None) } }).await;
    assert!(long.said.len() < 300, "{}", long.said);
}

/// A server that repeats what it gets, as a broken proxy does, must not get the password into a log.
#[tokio::test]
async fn no_answer_of_a_mail_server_is_quoted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 a\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 99]).await;
        stream.write_all(b"250-a\r\n250 AUTH PLAIN\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 99]).await;
        stream.write_all(b"AUTH PLAIN canary\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 99]).await;
    });
    let address: lettre::message::Mailbox = "a@example.com".parse().unwrap();
    let mail = mail::Settings {
        host: "127.0.0.1".to_owned(),
        port,
        protection: mail::Protection::None,
        login: Some(("u".to_owned(), Secret::new("canary"))),
        from: address.clone(),
        to: vec![address],
        authorities: Vec::new(),
    };
    let frame = Frame { host: "h".to_owned(), names: false, link: String::new() };
    let tried = mail.send(&message(Event::Firing, "server:a".to_owned(), 1), &frame, &[]).await;
    assert_eq!(tried, Tried { said: "AUTH: unreadable answer".to_owned(), result: again() });
    server.await.unwrap();
}

/// An error that a person can end is tried again, rarely; of each trouble only the last change waits.
#[tokio::test(start_paused = true)]
async fn an_error_of_the_store_ends_no_storing() {
    let mut notifier = Notifier::new(&settings(), Clock::from_fn(start));
    notifier.is_restored = Some(true);
    let change =
        |receiver: &str| NoticeChange::Over { receiver: receiver.to_owned(), cause: "store".to_owned() };
    let batch = |receiver: &str| ((receiver.to_owned(), "store".to_owned()), change(receiver));
    notifier.unstored = [batch("a")].into();
    let error = || Err(StoreError::ReadOnly { place: "x".to_owned() });
    notifier.stored(([batch("a"), batch("b")].into(), error()));
    assert_eq!((notifier.is_restored, notifier.unstored.len()), (Some(true), 2));
    assert_eq!(notifier.store_at, Instant::now() + LONG_STORE_RETRY);
    assert!(notifier.said_why);
    notifier.stored((BTreeMap::new(), Ok(Some(Vec::new()))));
    assert!(!notifier.said_why, "the next failure is said again");
}

#[tokio::test(start_paused = true)]
async fn what_was_told_is_stored_at_the_end_though_a_receiver_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("customers.db");
    let store = Arc::new(SqliteStore::new(&path, "customer_settings", None).unwrap());
    assert_eq!(store.read_notices().await.unwrap(), Some(Vec::new()));
    // It accepts connections, and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let channel = Channel::Webhook(Box::new(webhook(url)));
    let mut settings = settings();
    settings.receivers.push(super::Receiver { name: "a".to_owned(), filter: filter(), channel });
    let mut notifier = Notifier::new(&settings, Clock::from_fn(start));
    notifier.is_restored = Some(true);
    notifier.queues[0].push(message(Event::Firing, "server:a".to_owned(), 1));
    fail(&mut notifier.queues[0], start(), TryResult::Sent(None));
    notifier.queues[0].push(message(Event::Firing, "server:b".to_owned(), 1));
    let began = Instant::now();
    notifier.finish(&store).await;
    assert!(began.elapsed() < LAST_MESSAGES);
    assert_eq!(store.read_notices().await.unwrap().unwrap().len(), 1);
}

/// Each look goes through all rows, and a trouble such as a parked customer may last for weeks.
#[tokio::test]
async fn a_trouble_that_lasts_is_looked_at_every_few_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let store = || SqliteStore::new(&folder.path().join("customers.db"), "customer_settings", None).unwrap();
    let readings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&readings);
    let clock = Clock::from_fn(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        // This is a trouble.
        DateTime::UNIX_EPOCH
    });
    let timeout = Duration::from_secs(10);
    let client =
        ClientSettings { connect_timeout: timeout, request_timeout: timeout, ca_file: None, proxy: None };
    let (_scheduler, handle) = Scheduler::new(Parts {
        store: store(),
        logins: Client::new(&client).unwrap(),
        clock: clock.clone(),
        policy: Policy::of_a_minute(),
        limits: Limits { in_flight: 8, per_server: 8, budget: budget(timeout), request_timeout: timeout },
        autostart: true,
        config_file: None,
        seed: 1,
        name: "test".into(),
    });
    let (_orders, orders) = tokio::sync::mpsc::channel(1);
    readings.store(0, Ordering::Relaxed);
    let shutdown = CancellationToken::new();
    let (store, end) = (Arc::new(store()), shutdown.clone());
    let notifier = tokio::spawn(super::run(settings(), store, handle, clock, orders, end));
    // The task reads the clock to look, and whenever it may have to send; the second time when it has read the store.
    while readings.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let readings = readings.load(Ordering::Relaxed);
    assert!((30..60).contains(&readings), "{readings}");
    shutdown.cancel();
    notifier.await.unwrap();
}

fn webhook(url: url::Url) -> Webhook {
    let tls = crate::tls::client_config(crate::tls::Trusted::AnyCertificate).unwrap();
    Webhook::new(url, Format::Slack, Vec::new(), tls).unwrap()
}

/// What follows from an answer is decided by its status and `Retry-After` alone.
#[tokio::test]
async fn an_answer_of_a_webhook_says_what_follows() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = webhook(format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap());
    let date = "Date: Mon, 30 Nov 2026 10:00:00 GMT\r\n";
    let later = |seconds| TryResult::Again(Some(Duration::from_secs(seconds)), Vec::new());
    for (status, headers, result) in [
        (200, String::new(), TryResult::Sent(None)),
        (202, String::new(), TryResult::Sent(None)),
        // It is not followed.
        (307, "Location: /elsewhere\r\n".to_owned(), TryResult::Rejected),
        (404, String::new(), TryResult::Rejected),
        (408, String::new(), again()),
        (410, String::new(), TryResult::Gone),
        (429, "Retry-After: 17\r\n".to_owned(), later(17)),
        (503, format!("{date}Retry-After: Mon, 30 Nov 2026 10:05:00 GMT\r\n"), later(300)),
        (503, format!("{date}Retry-After: Mon, 30 Nov 2026 09:00:00 GMT\r\n"), again()),
    ] {
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 9_999]).await.unwrap();
            let answer = format!("HTTP/1.1 {status} It\r\n{headers}Content-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let message = message(Event::Firing, "server:a".to_owned(), 1);
        let frame = Frame::default();
        let (tried, ()) = tokio::join!(webhook.send(&message, &frame, start()), answer);
        assert_eq!(tried, Tried { said: format!("HTTP {status}"), result }, "{headers}");
    }
}

#[test]
fn a_receiver_that_wants_no_message_says_so_until_a_test() {
    let mut queue = Queue::new("chat".to_owned(), true);
    queue.push(message(Event::Firing, "server:a".to_owned(), 1));
    fail(&mut queue, start(), TryResult::Gone);
    assert!(queue.is_stopped && queue.last_error.as_ref().unwrap().contains("tbctl notify test chat"));
    queue.tested(Tried { said: String::new(), result: TryResult::Sent(None) }, start());
    assert!(!queue.is_stopped && queue.last_error.is_none());
}

#[tokio::test]
async fn the_rows_of_a_receiver_that_is_gone_from_the_configuration_are_deleted() {
    let mut notifier = Notifier::new(&settings(), Clock::from_fn(start));
    let notice = StoredNotice {
        receiver: "former".to_owned(),
        cause: "store".to_owned(),
        began: start(),
        last_sent: start(),
        severity: "critical".to_owned(),
        customers: 0,
        lapsed: 0,
    };
    notifier.stored((BTreeMap::new(), Ok(Some(vec![notice]))));
    let over = NoticeChange::Over { receiver: "former".to_owned(), cause: "store".to_owned() };
    assert_eq!(notifier.unstored.into_values().collect::<Vec<_>>(), [over]);
}

#[test]
fn a_mail_server_gets_a_full_name_or_an_address() {
    for (name, hello) in
        [("tb.example.com", "tb.example.com"), ("tb", "[127.0.0.1]"), ("a b.example", "[127.0.0.1]")]
    {
        assert_eq!(mail::hello(name).to_string(), hello);
    }
}

#[test]
fn a_chat_makes_no_link_of_what_a_row_or_a_server_says_but_of_the_link() {
    let worst = vec![("http://evil.example & www.evil.example".to_owned(), "ops".to_owned())];
    let text = "see https://evil.example/a".to_owned();
    let trouble = Trouble { worst, text, ..server("https://evil.example", 1) };
    let message =
        Message { event: Event::Firing, trouble, since: start(), over_since: None, at: start(), number: 0 };
    let link = "https://tokens.example.com/?a&b".to_owned();
    let frame = Frame { host: "h".to_owned(), names: false, link: link.clone() };
    let slack = frame.body(&message, Format::Slack)["text"].as_str().unwrap().to_owned();
    assert!(slack.contains(&link.replace('&', "&amp;")), "{slack}");
    let card = frame.body(&message, Format::Teams);
    let card = &card["attachments"][0]["content"];
    assert_eq!(card["actions"][0]["url"], link);
    for text in [slack, card["body"].to_string()] {
        assert!(!text.contains("://evil") && !text.contains("evil.example"), "{text}");
    }
    // A text that is cut ends before an entity, not in it.
    let trouble = Trouble { remedy: "&".repeat(9_000), ..server("a", 1) };
    let message = Message { trouble, ..message };
    let slack = frame.body(&message, Format::Slack)["text"].as_str().unwrap().to_owned();
    assert!(slack.chars().count() <= 2_000 && slack.ends_with("&amp;…"), "{slack}");
}

#[test]
fn no_message_names_a_user_unless_it_may() {
    let worst = vec![("c1".to_owned(), "Ops@example.com".to_owned()), ("c2".to_owned(), "a".to_owned())];
    let text = "no user ops@example.com (ops%40example.com) at a server".to_owned();
    let trouble = Trouble { worst, text, ..server("x", 2) };
    let message =
        Message { event: Event::Firing, trouble, since: start(), over_since: None, at: start(), number: 0 };
    let hidden = Frame::default();
    for text in [hidden.text(&message), hidden.body(&message, Format::Standard).to_string()] {
        assert!(text.contains("no user *** (***) at *** server"), "{text}");
    }
    let named = Frame { names: true, ..Frame::default() };
    assert!(named.text(&message).contains("no user ops@example.com"));
}

proptest! {
    /// However many troubles come and go: never more messages than there is room for, never two about one trouble, and none
    /// about a beginning or an end is lost.
    #[test]
    fn a_queue_is_bounded_and_loses_no_beginning_and_no_end(
        pushes in prop::collection::vec((0..4_u8, 0..90_u16, any::<bool>()), 1..400),
    ) {
        let mut queue = Queue::new("r".to_owned(), true);
        let (mut waiting, mut now) = (BTreeMap::new(), start());
        for (kind, cause, sends) in pushes {
            let event = [Event::Firing, Event::Grown, Event::Repeat, Event::Resolved][usize::from(kind)];
            let cause = format!("server:{cause}");
            if queue.push(message(event, cause.clone(), 1)) {
                waiting.insert(cause, event);
            }
            if sends {
                now += TimeDelta::hours(2);
                if let Some((message, _)) = queue.take(now) {
                    let result = if kind == 0 { again() } else { TryResult::Sent(None) };
                    if result == TryResult::Sent(None) {
                        waiting.remove(&message.trouble.cause);
                    }
                    queue.tried(Tried { said: String::new(), result }, now, 0.5);
                }
            }
            prop_assert!(queue.len() <= CAPACITY);
        }
        let mut left = BTreeSet::new();
        loop {
            now += TimeDelta::hours(2);
            let Some((message, _)) = queue.take(now) else { break };
            prop_assert!(left.insert(message.trouble.cause), "two about one trouble");
            queue.tried(Tried { said: String::new(), result: TryResult::Sent(None) }, now, 0.5);
        }
        for (cause, event) in waiting {
            // The end of a trouble that the receiver was never told of is dropped on purpose.
            prop_assert!(event != Event::Firing || left.contains(&cause), "{cause} is lost");
        }
    }
}

#[test]
fn a_message_is_small_and_its_id_the_same_from_each_daemon() {
    let worst = (0..10).map(|n| ("\u{10ffff}".repeat(900) + &n.to_string(), "@*".repeat(900))).collect();
    let long = Trouble { worst, text: "x\r\n".repeat(9_000), ..server(&"h".repeat(5_000), 312) };
    let message = Message {
        event: Event::Firing,
        trouble: long,
        since: start(),
        over_since: None,
        at: start(),
        number: 0,
    };
    let link = format!("https://tokens.example.com/{}", "a".repeat(470));
    let frame = Frame { host: "h".repeat(64), names: true, link };
    for format in [Format::Standard, Format::Slack, Format::Teams] {
        let body = frame.body(&message, format).to_string();
        assert!(body.len() < 20_000, "{format:?}: {}", body.len());
    }
    let same = Message { at: start() + MINUTE, ..message.clone() };
    assert_eq!(id(&message), id(&same));
    assert_ne!(id(&message), id(&Message { event: Event::Resolved, ..same.clone() }));
    assert_ne!(id(&message), id(&Message { since: start() + MINUTE, ..same }));
    // Without the switch no message names a user.
    let frame = Frame { names: false, ..frame };
    assert!(!frame.text(&message).contains("(u"));
}
