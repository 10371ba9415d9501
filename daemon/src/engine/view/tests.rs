//! Tests of the snapshot: each state in the words of the protocol.

mod troubles;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;

use super::super::credentials::Settings;
use super::super::deferral::Deferral;
use super::super::event::{Event, RenewalMethod};
use super::super::outcome::{Outcome, RefreshRefusal};
use super::super::policy::Policy;
use super::super::state::State;
use super::*;
use crate::model::{
    Credentials, Customer, Failure, FailureKind, FingerprintKey, Lifetime, LoopState, Renewal, Secret, Skew,
    Token,
};
use crate::store::{LedgerPlace, LedgerRead, Stamp, StoreError, Table};
use crate::thingsboard::gate::Breaker;

const START: i64 = 1_780_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(START + seconds, 0).unwrap()
}

fn id(name: &str) -> CustomerId {
    CustomerId::new(name)
}

fn policy() -> Policy {
    Policy::of_a_minute()
}

/// A customer on its own server. Its token ends after this many seconds.
fn row(name: &str, ends_in: Option<i64>) -> Customer {
    let url = format!("https://{name}.example");
    Customer {
        id: id(name),
        credentials: Credentials {
            url: url.clone().into(),
            username: format!("user of {name}"),
            password: Secret::new("p"),
        },
        row_url: url.into(),
        has_token: ends_in.is_some(),
        expiry: ends_in.map(at),
    }
}

fn read(customers: Vec<Customer>) -> Event {
    let key = FingerprintKey::new(&[7; FingerprintKey::BYTES]);
    Event::TableRead(Table {
        customers,
        ineligible: Vec::new(),
        problems: Vec::new(),
        records: Vec::new(),
        key,
        records_lost: None,
    })
}

fn failed(name: &str, failure: Failure) -> Event {
    Event::Failed { id: id(name), failure }
}

fn strained() -> Failure {
    Failure::ServerError { status: 503, retry_after: None }
}

fn gone() -> StoreError {
    StoreError::Gone { place: "customers.db".to_owned() }
}

fn obtained(name: &str, life: i64, method: RenewalMethod, ahead: TimeDelta) -> Event {
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":0,"exp":{life}}}"#));
    let token = Token::parse(&format!("a.{claims}.c")).unwrap();
    Event::Obtained {
        renewal: Box::new(Renewal::new(&row(name, None), token, at(0), Lifetime::Jwt)),
        refresh_token: None,
        method,
        latency: Duration::ZERO,
        skew: Skew { ahead, uncertain: TimeDelta::zero() },
    }
}

fn state(customers: Vec<Customer>) -> State {
    let mut state = State::new(policy(), 100, Settings::of_a_minute());
    state.apply(read(customers), at(0), 0.5);
    state
}

fn quiet() -> Loop {
    Loop { state: LoopState::Running, refreshing: false, next_run_at: None, last_run: None }
}

fn shown_of(state: &State, cycle: &Loop, before: Option<&Snapshot>, now: i64) -> Snapshot {
    let identity =
        Identity { pid: 7, started_at: at(-60), store: "sqlite".to_owned(), config_file: None, http: None };
    Snapshot::new(state, cycle, &identity, &policy(), before, at(now))
}

fn shown(state: &State) -> Snapshot {
    shown_of(state, &quiet(), None, 0)
}

fn status(snapshot: &Snapshot, customers: proto::Rows, since: Option<u64>) -> proto::StatusReply {
    let query = proto::StatusQuery { customers, since: since.map(proto::Revision) };
    snapshot.status(&query, at(0)).unwrap()
}

/// The customers in an answer.
fn names(status: &proto::StatusReply) -> Vec<&str> {
    status.tokens.customers.iter().flatten().map(|customer| customer.customer_id.as_str()).collect()
}

fn servers(status: &proto::StatusReply) -> Vec<&str> {
    status.servers.iter().flatten().map(|server| server.name.as_str()).collect()
}

#[test]
fn a_client_with_a_revision_gets_the_changes_since_it() {
    let mut state = state(["a", "b", "c"].map(|name| row(name, None)).into());
    let first = shown(&state);
    let known = first.daemon.revision.0;
    let server = crate::model::BaseUrl::parse("https://a.example").unwrap().server_key();
    state.apply(Event::GateMoved { server, limit: 9, breaker: Breaker::Closed }, at(1), 0.5);
    state.apply(failed("c", strained()), at(1), 0.5);
    state.apply(read(["a", "c"].map(|name| row(name, None)).into()), at(2), 0.5);
    let second = shown_of(&state, &quiet(), Some(&first), 2);
    let current = second.daemon.revision.0;

    let new = status(&second, proto::Rows::All, Some(known));
    assert_eq!((names(&new), servers(&new)), (vec!["c"], vec!["https://a.example"]));
    assert_eq!((&*new.tokens.removed, new.tokens.complete), (&["b".to_owned()][..], false));
    let (at_the_removal, _) = state.removed().0[0];
    assert!(status(&second, proto::Rows::All, Some(at_the_removal)).tokens.removed.is_empty());
    let nothing = status(&second, proto::Rows::All, Some(current));
    assert_eq!((names(&nothing), servers(&nothing)), (vec![], vec![]));
    assert_eq!((nothing.tokens.removed.len(), nothing.tokens.complete), (0, false));
    // Of another life of the daemon, or of none.
    for (since, is_complete) in [(Some(current + 1), true), (None, false)] {
        let all = status(&second, proto::Rows::All, since);
        assert_eq!(names(&all), ["a", "c"], "{since:?}");
        assert_eq!(servers(&all), ["https://a.example", "https://c.example"], "{since:?}");
        assert_eq!((all.tokens.removed.len(), all.tokens.complete), (0, is_complete), "{since:?}");
    }
}

#[test]
fn a_revision_before_the_oldest_removal_that_is_known_means_nothing() {
    let many = (0..10_001).map(|n| row(&format!("c{n:05}"), None)).collect();
    let mut state = state(many);
    let known = state.revision();
    state.apply(read(vec![row("new", None)]), at(1), 0.5);
    let snapshot = shown(&state);
    let all = status(&snapshot, proto::Rows::All, Some(known));
    assert_eq!((names(&all), all.tokens.complete, all.tokens.removed.len()), (vec!["new"], true, 0));
}

#[test]
fn the_servers_of_those_asked_for_are_listed() {
    let snapshot = shown(&state(vec![row("a", Some(-60)), row("b", Some(-120)), row("c", Some(9_000))]));
    let listed = |rows| servers(&status(&snapshot, rows, None)).join(" ");
    assert_eq!(listed(proto::Rows::All), "https://a.example https://b.example https://c.example");
    assert_eq!(listed(proto::Rows::InTrouble(1)), "https://b.example");
    assert_eq!(listed(proto::Rows::Only(vec!["c".to_owned()])), "https://c.example");
    assert_eq!(status(&snapshot, proto::Rows::None, None).servers, None);
}

#[test]
fn events_are_those_since_a_number_or_the_newest() {
    let mut state = state(vec![row("a", None)]);
    assert_eq!(shown(&state).events(Some(proto::Seq(5)), 10).next, proto::Seq(5), "there are none");
    for _ in 0..5 {
        state.apply(Event::LoopStopped, at(1), 0.5);
        state.apply(Event::LoopStarted, at(1), 0.5);
    }
    let seqs = |reply: &proto::EventsReply| reply.events.iter().map(|event| event.seq.0).collect::<Vec<_>>();
    let all = shown(&state).events(None, 1_000);
    let (first, last) = (all.events[0].seq, all.events[9].seq);
    assert_eq!(seqs(&all), (first.0..=last.0).collect::<Vec<_>>(), "oldest first");
    let newest = shown(&state).events(None, 3);
    assert_eq!((seqs(&newest), newest.next), (vec![last.0 - 2, last.0 - 1, last.0], last));
    let since = shown(&state).events(Some(first), 2);
    assert_eq!((seqs(&since), since.next), (vec![first.0 + 1, first.0 + 2], proto::Seq(first.0 + 2)));
    assert_eq!(seqs(&shown(&state).events(Some(last), 2)), Vec::<u64>::new());
    // A warning is for the log alone, but its number is used up.
    state.apply(Event::Superseded(id("a")), at(2), 0.5);
    let none = shown(&state).events(Some(last), 2);
    assert_eq!((seqs(&none), none.next), (vec![], proto::Seq(last.0 + 1)));
    state.apply(failed("a", Failure::AccountLocked), at(3), 0.5);
    let parked = shown(&state).events(Some(last), 9).events;
    let about: Vec<_> = parked.iter().map(|event| (event.kind, event.customer_id.as_deref())).collect();
    assert!(about.contains(&(proto::EventKind::Parked, Some("a"))), "{about:?}");
}

#[test]
fn a_snapshot_shares_unchanged_rows_and_shows_the_changes() {
    let mut state = state(["a", "b", "c"].map(|name| row(name, None)).into());
    let before = shown(&state);
    let server = crate::model::BaseUrl::parse("https://b.example").unwrap().server_key();
    state.apply(Event::GateMoved { server, limit: 9, breaker: Breaker::Open }, at(1), 0.5);
    state.apply(failed("b", strained()), at(1), 0.5);
    state.apply(read(["b", "c", "d"].map(|name| row(name, None)).into()), at(2), 0.5);
    let (with, without) = (shown_of(&state, &quiet(), Some(&before), 0), shown_of(&state, &quiet(), None, 0));
    for since in [None, Some(before.daemon.revision.0)] {
        let status = |snapshot| status(snapshot, proto::Rows::All, since);
        assert_eq!(status(&with), status(&without));
    }
    let c = |snapshot: &Snapshot| snapshot.rows.iter().find(|row| row.id() == "c").map(Arc::as_ptr).unwrap();
    assert_eq!(c(&with), c(&before));
    let again = shown_of(&state, &quiet(), Some(&with), 0);
    assert!(Arc::ptr_eq(&again.removed, &with.removed) && Arc::ptr_eq(&again.servers[0], &with.servers[0]));
}

/// Each customer in a state of its own: the counts, and what is shown of each.
#[test]
fn each_customer_is_counted_and_shown_by_its_status() {
    let mut state = state(vec![
        row("deferred", Some(-1)),
        row("due", None),
        row("now", Some(-60)),
        row("parked", Some(60)),
        row("retrying", Some(61)),
        row("unsaved", Some(-3_600)),
        row("well", Some(9_000)),
        row("well too", Some(8_000)),
    ]);
    state.apply(failed("retrying", strained()), at(-100), 0.5);
    for event in [
        Event::Attempting(id("now")),
        failed("parked", Failure::AccountLocked),
        failed("retrying", strained()),
        Event::Deferred { id: id("deferred"), why: Deferral::Server(strained()) },
        obtained("unsaved", 600, RenewalMethod::Login, TimeDelta::milliseconds(-1_500)),
        Event::SaveFailed { ids: vec![id("unsaved")], error: gone() },
    ] {
        state.apply(event, at(0), 0.5);
    }
    let snapshot = shown(&state);
    let expected = proto::Summary {
        total: 8,
        valid: 2,
        expiring_soon: 2,
        expired: 3,
        missing: 1,
        parked: 1,
        retrying: 2,
        in_trouble: 5,
        ineligible: 0,
    };
    assert_eq!(snapshot.tokens.summary, expected);
    let status = status(&snapshot, proto::Rows::All, None);
    let of = |name: &str| {
        let customers = status.tokens.customers.as_ref().unwrap();
        customers.iter().find(|customer| customer.customer_id == name).unwrap()
    };
    let phases =
        ["deferred", "due", "now", "parked", "retrying", "unsaved", "well"].map(|name| of(name).state);
    use proto::Phase::{Due, Ok, Parked, Refreshing, Retrying};
    assert_eq!(phases, [Due, Due, Refreshing, Parked, Retrying, Retrying, Ok]);

    let parked = of("parked").failure.as_ref().unwrap();
    assert_eq!(
        (parked.kind, parked.permanent, parked.consecutive),
        (proto::FailureKind::AccountLocked, true, 1)
    );
    assert_eq!(parked.remedy, FailureKind::AccountLocked.remedy());
    let retrying = of("retrying").failure.as_ref().unwrap();
    assert_eq!((retrying.permanent, retrying.consecutive), (false, 2));
    assert!(of("retrying").next_attempt_at.unwrap() > at(0));
    assert_eq!(of("well").next_attempt_at, Some(at(8_700) + TimeDelta::milliseconds(1)));
    assert_eq!((of("due").next_attempt_at, of("parked").next_attempt_at), (None, None));
    let deferred = of("deferred").failure.as_ref().unwrap();
    assert_eq!(deferred.message, Deferral::Server(strained()).to_string());
    assert_eq!((deferred.at, deferred.consecutive), (at(0), 0));
    // Whole minutes, rounded down.
    let minutes = ["deferred", "now", "retrying", "due"].map(|name| of(name).minutes_until_expiry);
    assert_eq!(minutes, [Some(-1), Some(-1), Some(1), None]);
    assert_eq!(of("well").tb_username, "user of well");
    let server = |name: &str| {
        let servers = status.servers.as_ref().unwrap();
        servers.iter().find(|server| server.name == format!("https://{name}.example")).unwrap()
    };
    assert_eq!((server("unsaved").skew_ms, server("due").skew_ms), (Some(-1_500), None));
}

/// `tbtoken` is NULL, but `tbtokenexpiry` is not.
#[test]
fn an_expiry_without_a_token_is_none() {
    for left in [600, -600] {
        let mut row = row("a", Some(left));
        row.has_token = false;
        let customers = status(&shown(&state(vec![row])), proto::Rows::All, None).tokens.customers.unwrap();
        assert_eq!(customers[0].token_status, proto::TokenStatus::Missing);
        assert_eq!((customers[0].tbtokenexpiry, customers[0].minutes_until_expiry), (None, None));
        assert_eq!(proto::words::time_left(customers[0].tbtokenexpiry, at(0)), "-");
    }
}

#[test]
fn a_failed_customer_is_not_just_due_when_its_wait_is_over() {
    let mut state = state(vec![row("a", None)]);
    state.apply(failed("a", strained()), at(0), 0.5);
    let later = shown_of(&state, &quiet(), None, 3_600);
    let customers = status(&later, proto::Rows::All, None).tokens.customers.unwrap();
    assert_eq!((customers[0].state, customers[0].next_attempt_at), (proto::Phase::Retrying, None));
}

/// It waits for a person.
#[test]
fn parked_customers_come_before_customers_with_a_later_expiry() {
    let mut state = state(vec![row("a", Some(-60)), row("b", Some(-30))]);
    state.apply(failed("b", Failure::AccountLocked), at(0), 0.5);
    assert_eq!(names(&status(&shown(&state), proto::Rows::InTrouble(1), None)), ["b"]);
}

/// The row's expiry was calculated before a clock step.
#[test]
fn the_end_of_a_token_is_shown_less_the_clock_step() {
    let mut state = state(vec![row("a", Some(9_000))]);
    state.apply(Event::ClockStepped(TimeDelta::hours(1)), at(0), 0.5);
    let status = status(&shown(&state), proto::Rows::All, None);
    assert_eq!(status.tokens.customers.unwrap()[0].tbtokenexpiry, Some(at(5_400)));
}

#[test]
fn the_store_and_the_table_are_shown_separately() {
    let mut state = state(vec![row("a", None)]);
    let shown_values = |state: &State| {
        let status = status(&shown(state), proto::Rows::None, None);
        (status.tokens.success, status.daemon.store_ok)
    };
    assert_eq!(shown_values(&state), (true, true));
    state.apply(Event::RecordsFailed { records: Vec::new(), error: gone() }, at(0), 0.5);
    assert_eq!(shown_values(&state), (true, false), "the table can be read");
    state.apply(Event::TableUnreadable(gone()), at(0), 0.5);
    assert_eq!(shown_values(&state), (false, false));
    let status = status(&shown(&state), proto::Rows::None, None);
    assert!(status.tokens.error.unwrap().contains("customers.db"));
    assert_eq!((status.tokens.as_of, status.tokens.customers), (Some(at(0)), None));
}

#[test]
fn a_ledger_outside_the_database_is_shown_with_the_reason() {
    let mut state = state(vec![row("a", None)]);
    let (path, why) = ("/x/ledger.db".to_owned(), "there is no table".to_owned());
    let shown_values = [LedgerPlace::File { path, why }, LedgerPlace::Database].map(|place| {
        let stamp = Stamp { id: 1, number: 1 };
        let read = LedgerRead { stamp, is_whole: true, place, ..LedgerRead::default() };
        state.apply(Event::LedgerRead { read, seen: Instant::now() }, at(0), 0.5);
        status(&shown(&state), proto::Rows::None, None).daemon.ledger
    });
    assert_eq!(shown_values, [Some("in /x/ledger.db, because there is no table".to_owned()), None]);
}

#[test]
fn renewals_are_counted_by_method() {
    let mut state = state(vec![row("a", None)]);
    for method in [RenewalMethod::Login, RenewalMethod::RefreshToken, RenewalMethod::RefreshToken] {
        state.apply(obtained("a", 600, method, TimeDelta::zero()), at(0), 0.5);
        state.apply(Event::Saved { id: CustomerId::new("a"), expiry: at(600) }, at(0), 0.5);
    }
    let snapshot = shown(&state);
    let daemon = &snapshot.daemon;
    assert_eq!((daemon.renewals_by_login, daemon.renewals_by_refresh_token), (1, 2));
}

#[test]
fn the_loop_is_shown_with_its_interval_and_its_last_pass() {
    let state = state(Vec::new());
    for (milliseconds, seconds, words) in [
        (60_000, 60, "runs every minute"),
        (1_000, 1, "runs every second"),
        (90_000, 90, "runs every 90 seconds"),
        (1_500, 2, "runs every 2 seconds"),
    ] {
        let policy = Policy { interval: TimeDelta::milliseconds(milliseconds), ..policy() };
        let identity = Identity {
            pid: 7,
            started_at: at(-60),
            store: "sqlite".to_owned(),
            config_file: None,
            http: None,
        };
        let snapshot = Snapshot::new(&state, &quiet(), &identity, &policy, None, at(0));
        let cron = &snapshot.cron;
        assert_eq!(cron.interval_seconds, seconds);
        assert!(cron.description.contains(words), "{}", cron.description);
    }
    let counts = PassCounts { total: 3, updated: 2, errors: 1 };
    let last_run = LastRun { trigger: Trigger::Early, started_at: at(0), finished_at: at(4), counts };
    let cycle = Loop { refreshing: true, last_run: Some(last_run), ..quiet() };
    let snapshot = shown_of(&state, &cycle, None, 0);
    let run = snapshot.cron.last_run.clone().unwrap();
    assert_eq!((run.reason, run.duration_ms), (proto::Trigger::Early, 4_000));
    assert_eq!((run.total, run.updated, run.errors), (3, 2, 1));
    assert!(snapshot.cron.running && snapshot.cron.refreshing);
}

#[test]
fn one_sentence_sums_up_the_state() {
    let well = state(vec![row("a", Some(9_000))]);
    let sentence = |state: &State, cycle: Loop| shown_of(state, &cycle, None, 0).sentence();
    let next = Some(at(0));
    for (cycle, end) in [
        (quiet(), ""),
        (Loop { next_run_at: next, ..quiet() }, "; next run 20:26:40Z"),
        (Loop { next_run_at: next, refreshing: true, ..quiet() }, "; a pass is running"),
        (
            Loop {
                next_run_at: next,
                refreshing: true,
                state: LoopState::Stopped { since: at(0) },
                ..quiet()
            },
            "; loop has been stopped by an operator since 2026-05-28T20:26:40Z; start it with tbctl start",
        ),
    ] {
        assert_eq!(sentence(&well, cycle), format!("1 of 1 valid{end}"));
    }
    let mut state = State::new(policy(), 100, Settings::of_a_minute());
    assert_eq!(sentence(&state, quiet()), "reading the table for the first time");
    state.apply(Event::TableUnreadable(gone()), at(0), 0.5);
    let unread = sentence(&state, quiet());
    assert!(unread.starts_with("database unreachable: customers.db is gone"), "{unread}");
    assert!(!unread.contains("As of") && !unread.ends_with('.'), "{unread}");
    state.apply(read(vec![row("a", Some(9_000))]), at(1), 0.5);
    state.apply(Event::TableUnreadable(gone()), at(2), 0.5);
    let lost = sentence(&state, quiet());
    assert!(lost.starts_with("database unreachable: "), "{lost}");
    assert!(lost.ends_with("As of 2026-05-28T20:26:41Z: 1 of 1 valid"), "{lost}");
}

#[test]
fn a_refresh_is_answered_with_the_outcome_of_each_customer() {
    let outcomes = vec![
        (id("a"), Outcome::Renewed(at(600))),
        (id("b"), Outcome::Failed(FailureKind::ServerError, "no".to_owned())),
        (id("c"), Outcome::Skipped("parked".to_owned())),
        (id("d"), Outcome::Skipped("parked".to_owned())),
    ];
    let reply = refresh_reply(outcomes.clone());
    assert_eq!(reply.message, "1 renewed, 1 failed, 2 skipped");
    let result = reply.result.unwrap();
    assert_eq!((result.success, result.updated, result.errors, result.total), (false, 1, 1, 4));
    let shown_values: Vec<_> =
        result.details.iter().map(|o| (o.status, o.new_expiry, o.kind, o.message.as_deref())).collect();
    use proto::OutcomeStatus::{Error, Skipped, Success};
    assert_eq!(
        shown_values,
        [
            (Success, Some(at(600)), None, None),
            (Error, None, Some(proto::FailureKind::ServerError), Some("no")),
            (Skipped, None, None, Some("parked")),
            (Skipped, None, None, Some("parked")),
        ]
    );
    let idle = refresh_reply(outcomes[2..].to_vec());
    assert_eq!(idle.message, "0 renewed, 0 failed, 2 skipped");
    assert!(idle.result.unwrap().success);
    assert_eq!(refresh_reply(Vec::new()).message, "no customer is due");
    let why = crate::model::Ineligibility::Blank([true, false, true]);
    let refusal = refresh_refusal(RefreshRefusal::Ineligible(vec![(id("acme"), why); 7]));
    assert_eq!(refusal.code, proto::ErrorCode::IneligibleCustomer);
    assert!(refusal.error.starts_with("acme is not renewed: its tb_username and tb_url are blank; acme is"));
    assert!(refusal.error.ends_with("; and 2 more"), "{}", refusal.error);
    let refusal = refresh_refusal(RefreshRefusal::Unknown(vec![id("x"), id("y\u{1b}")]));
    assert_eq!(refusal.code, proto::ErrorCode::UnknownCustomer);
    assert!(refusal.error.contains("x, y") && !refusal.error.contains('\u{1b}'), "{}", refusal.error);
}
