//! Troubles: each customer in one at most, whatever else is wrong.

use std::collections::BTreeSet;

use super::*;

const LEAD: TimeDelta = TimeDelta::minutes(2);

/// A customer of the server `https://NAME.example`.
fn on(name: &str, server: &str, ends_in: Option<i64>) -> Customer {
    let mut customer = row(name, ends_in);
    customer.credentials.url = format!("https://{server}.example").into();
    customer.row_url.clone_from(&customer.credentials.url);
    customer
}

fn breaker(state: &mut State, server: &str, breaker: Breaker) {
    let server = crate::model::BaseUrl::parse(&format!("https://{server}.example")).unwrap().server_key();
    state.apply(Event::GateMoved { server, limit: 1, breaker }, at(0), 0.5);
}

fn known(causes: &[&str]) -> BTreeSet<String> {
    causes.iter().map(|cause| (*cause).to_owned()).collect()
}

/// Cause, customers and those of them that have no token, at that second.
fn troubles(state: &State, now: i64, causes: &[&str]) -> Vec<(String, usize, usize, Severity)> {
    let snapshot = shown_of(state, &quiet(), None, now);
    let mut found: Vec<_> = snapshot
        .troubles(at(now), LEAD, &known(causes))
        .0
        .into_iter()
        .map(|trouble| (trouble.cause, trouble.customers, trouble.lapsed, trouble.severity))
        .collect();
    found.sort();
    found
}

fn trouble(
    cause: &str,
    customers: usize,
    lapsed: usize,
    severity: Severity,
) -> (String, usize, usize, Severity) {
    (cause.to_owned(), customers, lapsed, severity)
}

fn silent() -> Failure {
    Failure::Timeout { after: Duration::from_secs(10) }
}

#[test]
fn all_customers_of_a_dead_server_are_one_trouble_that_ends_when_none_lacks_a_token() {
    let rows: Vec<Customer> =
        (0..5_000).map(|n| on(&format!("c{n:04}"), "dead", Some(if n == 0 { 100 } else { 900 }))).collect();
    let mut state = state(rows);
    let cause = "server:https://dead.example";
    assert_eq!(troubles(&state, 0, &[]), []);
    breaker(&mut state, "dead", Breaker::Open);
    // The first token ends within the lead.
    assert_eq!(troubles(&state, 0, &[]), [trouble(cause, 5_000, 0, Severity::Warning)]);
    state.apply(Event::Reading, at(0), 0.5);
    assert_eq!(troubles(&state, 0, &[]).len(), 1, "whatever the daemon is doing");
    state.apply(failed("c0000", silent()), at(0), 0.5);
    assert_eq!(troubles(&state, 101, &[]), [trouble(cause, 5_000, 1, Severity::Critical)]);
    let snapshot = shown_of(&state, &quiet(), None, 101);
    let worst = snapshot.troubles(at(101), LEAD, &BTreeSet::new()).0.remove(0);
    assert_eq!((worst.first_lapse, worst.worst.len()), (Some(at(100)), 10));
    assert_eq!(worst.worst[0], ("c0000".to_owned(), "user of c0000".to_owned()));
    assert_eq!(worst.text, "the server did not answer within 10 s");
    // It answers again, and one customer still has no token: the same trouble, not another one.
    breaker(&mut state, "dead", Breaker::Closed);
    assert_eq!(troubles(&state, 101, &[cause]), [trouble(cause, 5_000, 1, Severity::Critical)]);
    assert_eq!(troubles(&state, 101, &[]), [trouble("failing:timeout", 1, 1, Severity::Critical)]);
    state.apply(obtained("c0000", 3_600, RenewalMethod::Login, TimeDelta::zero()), at(102), 0.5);
    state.apply(Event::Saved { id: id("c0000"), expiry: at(3_600) }, at(102), 0.5);
    assert_eq!(troubles(&state, 102, &[cause]), []);
}

/// A customer that fails after its server is back must not keep up the message that the server is down.
#[test]
fn a_server_that_is_back_is_not_down_because_one_customer_fails_on() {
    let rows = vec![on("a", "dead", Some(10)), on("b", "dead", Some(10)), on("c", "dead", Some(900))];
    let mut state = state(rows);
    let (server, failing) = ("server:https://dead.example", "failing:server_error");
    breaker(&mut state, "dead", Breaker::Open);
    state.apply(failed("a", silent()), at(0), 0.5);
    state.apply(failed("b", silent()), at(0), 0.5);
    let key = crate::model::BaseUrl::parse("https://dead.example").unwrap().server_key();
    let closed = Event::GateMoved { server: key, limit: 1, breaker: Breaker::Closed };
    state.apply(closed, at(20), 0.5);
    let of_server = |customers, lapsed| trouble(server, customers, lapsed, Severity::Critical);
    assert_eq!(troubles(&state, 21, &[server]), [of_server(3, 2)], "a and b were not tried again");
    state.apply(failed("b", Failure::ServerError { status: 500, retry_after: None }), at(22), 0.5);
    let fails_on = trouble(failing, 1, 1, Severity::Critical);
    assert_eq!(troubles(&state, 23, &[server]), [fails_on.clone(), of_server(2, 1)]);
    assert!(!ends(&state, 23, server, true), "a has no token");
    renewed(&mut state, "a", 24);
    assert_eq!(troubles(&state, 25, &[server]), [fails_on]);
    assert!(ends(&state, 25, server, true) && !ends(&state, 25, failing, true));
    // It goes down again.
    breaker(&mut state, "dead", Breaker::Open);
    assert_eq!(troubles(&state, 26, &[server]), [of_server(3, 1)]);
}

#[test]
fn the_database_takes_the_lapses_of_all_but_parked_customers() {
    let rows = vec![on("a", "dead", Some(10)), on("b", "fine", Some(10)), on("c", "fine", None)];
    let mut state = state(rows);
    breaker(&mut state, "dead", Breaker::Open);
    state.apply(failed("a", silent()), at(0), 0.5);
    state.apply(failed("b", silent()), at(0), 0.5);
    state.apply(failed("c", Failure::CredentialsRejected), at(0), 0.5);
    let parked = trouble("parked:credentials_rejected", 1, 1, Severity::Warning);
    let server = trouble("server:https://dead.example", 1, 1, Severity::Critical);
    let failing = trouble("failing:timeout", 1, 1, Severity::Critical);
    assert_eq!(troubles(&state, 11, &[]), [failing, parked.clone(), server]);
    state.apply(Event::TableUnreadable(gone()), at(12), 0.5);
    assert_eq!(troubles(&state, 12, &[]), [parked.clone(), trouble("store", 2, 2, Severity::Critical)]);
    let denied = StoreError::ReadOnly { place: "customers.db".to_owned() };
    state.apply(Event::TableUnreadable(denied), at(13), 0.5);
    assert_eq!(troubles(&state, 13, &[]), [parked, trouble("permission", 2, 2, Severity::Critical)]);
}

#[test]
fn a_stopped_loop_is_told_of_when_it_costs_a_token_and_until_it_runs() {
    let mut state = state(vec![row("a", Some(100))]);
    state.apply(Event::LoopStopped, at(0), 0.5);
    assert_eq!(troubles(&state, 99, &[]), []);
    assert_eq!(troubles(&state, 101, &[]), [trouble("loop_stopped", 1, 1, Severity::Critical)]);
    assert_eq!(troubles(&state, 99, &["loop_stopped"]), [trouble("loop_stopped", 0, 0, Severity::Critical)]);
    state.apply(Event::LoopStarted, at(102), 0.5);
    assert_eq!(troubles(&state, 102, &["loop_stopped"]), []);
}

#[test]
fn a_step_of_the_clock_and_refused_tokens_are_warnings() {
    let mut state = state(vec![row("a", Some(900))]);
    state.apply(Event::ClockStepped(TimeDelta::hours(1)), at(0), 0.5);
    let clock = |troubles: Vec<(String, usize, usize, Severity)>| troubles.iter().any(|it| it.0 == "clock");
    assert!(clock(troubles(&state, 1, &[])) && !clock(troubles(&state, 700, &[])));
    let refused = crate::model::TokenAnswer::Dead(crate::model::DeadCause::Outdated);
    let mut state = super::state(vec![row("a", Some(900))]);
    state.apply(Event::Checked { id: id("a"), answer: refused }, at(10), 0.5);
    let dead = trouble("dead_tokens:https://a.example", 1, 1, Severity::Warning);
    assert_eq!(troubles(&state, 11, &[]), [dead]);
}

#[test]
fn only_evidence_of_this_process_ends_what_an_earlier_one_told() {
    let mut state = State::new(policy(), 100, Settings::of_a_minute());
    let causes = ["server:https://a.example", "server:https://gone.example", "parked:bad_url", "store"];
    let proven = |state: &State, cycle: &Loop| {
        let snapshot = shown_of(state, cycle, None, 0);
        let (_, evidence) = snapshot.troubles(at(0), LEAD, &known(&causes));
        causes.map(|cause| evidence.proves_end(cause, false))
    };
    assert_eq!(proven(&state, &quiet()), [false; 4], "the table was not read");
    state.apply(read(vec![row("a", Some(900))]), at(0), 0.5);
    // A server that no customer names any more is no trouble.
    assert_eq!(proven(&state, &quiet()), [false, true, false, false]);
    let counts = PassCounts::default();
    let run = LastRun { trigger: Trigger::Start, started_at: at(0), finished_at: at(1), counts };
    let cycle = Loop { last_run: Some(run), ..quiet() };
    assert_eq!(proven(&state, &cycle), [false, true, true, false]);
    state.apply(obtained("a", 900, RenewalMethod::Login, TimeDelta::zero()), at(2), 0.5);
    assert_eq!(proven(&state, &cycle), [true, true, true, false]);
    for operation in [Operation::Read, Operation::Write] {
        state.apply(Event::StoreCalled { operation, took: Duration::ZERO }, at(3), 0.5);
    }
    assert_eq!(proven(&state, &cycle), [true; 4]);
}

fn ends(state: &State, now: i64, cause: &str, is_seen: bool) -> bool {
    let snapshot = shown_of(state, &quiet(), None, now);
    snapshot.troubles(at(now), LEAD, &known(&[cause])).1.proves_end(cause, is_seen)
}

fn renewed(state: &mut State, name: &str, now: i64) {
    state.apply(obtained(name, 3_600, RenewalMethod::Login, TimeDelta::zero()), at(now), 0.5);
    state.apply(Event::Saved { id: id(name), expiry: at(3_600) }, at(now), 0.5);
}

/// The next process must not say that a server is back whose other customers still wait for a token.
#[test]
fn a_server_that_an_earlier_process_told_of_is_over_when_all_of_its_customers_have_tokens() {
    let mut state = state(vec![on("a", "dead", None), on("b", "dead", None), on("c", "dead", Some(900))]);
    let cause = "server:https://dead.example";
    renewed(&mut state, "a", 1);
    assert!(!ends(&state, 2, cause, false), "b has no token");
    renewed(&mut state, "b", 3);
    assert!(ends(&state, 4, cause, false));
    // An answer without a token is one as well.
    let mut state = super::state(vec![on("c", "dead", Some(900))]);
    assert!(!ends(&state, 0, cause, false));
    let server = crate::model::BaseUrl::parse("https://dead.example").unwrap().server_key();
    state.apply(Event::ServerRecovered(server), at(1), 0.5);
    assert!(ends(&state, 1, cause, false));
}

#[test]
fn refused_tokens_are_over_for_the_next_process_when_each_was_replaced_or_found_to_work() {
    let mut state = state(vec![on("a", "keys", Some(900)), on("b", "keys", Some(900)), row("c", Some(900))]);
    let cause = "dead_tokens:https://keys.example";
    assert!(!ends(&state, 0, cause, false));
    let works = crate::model::TokenAnswer::Works;
    state.apply(Event::Checked { id: id("a"), answer: works }, at(1), 0.5);
    assert!(!ends(&state, 2, cause, false), "nothing is known of b");
    renewed(&mut state, "b", 3);
    assert!(ends(&state, 4, cause, false));
}

/// Customers that belong to another trouble for a while still have no token.
#[test]
fn a_trouble_whose_customers_move_to_another_one_is_not_over() {
    let mut state = state(vec![on("a", "dead", Some(10))]);
    let (server, failing) = ("server:https://dead.example", "failing:timeout");
    breaker(&mut state, "dead", Breaker::Open);
    state.apply(failed("a", silent()), at(0), 0.5);
    assert!(!ends(&state, 11, failing, true), "the server has them");
    breaker(&mut state, "dead", Breaker::Closed);
    state.apply(Event::TableUnreadable(gone()), at(12), 0.5);
    assert_eq!(troubles(&state, 12, &[server]), [trouble("store", 1, 1, Severity::Critical)]);
    for cause in [server, failing] {
        assert!(!ends(&state, 12, cause, true), "{cause}: the database has them");
    }
    // One kind of trouble of the database becomes another.
    assert!(!ends(&state, 12, "schema", true));
    state.apply(read(vec![on("a", "dead", Some(10))]), at(13), 0.5);
    state.apply(Event::LoopStopped, at(13), 0.5);
    assert!(!ends(&state, 14, server, true), "the operator has them");
    state.apply(Event::LoopStarted, at(15), 0.5);
    renewed(&mut state, "a", 15);
    for cause in [server, failing, "schema"] {
        assert!(ends(&state, 16, cause, true), "{cause}");
    }
}

#[test]
fn every_cause_has_a_title() {
    for (cause, words) in [
        ("server:https://tb.acme.example", "server tb.acme.example is down"),
        ("server:http://tb:8080", "server http://tb:8080 is down"),
        ("parked:credentials_rejected", "customers are parked: wrong password"),
        ("failing:timeout", "renewals fail: timed out"),
        ("dead_tokens:https://a.example", "server a.example refuses live tokens"),
    ] {
        assert_eq!(title(cause), words);
    }
}

/// A store keeps 200 characters of a cause, and two long names differ at their ends alone.
#[test]
fn a_cause_is_short_and_still_one_of_its_own() {
    let cause = |name: &str| crate::engine::view::troubles::cause(("server", Some(name), None));
    let long = |end: &str| format!("https://{}{end}", "ä".repeat(300));
    assert_eq!(cause(&long("a")).chars().count(), 200);
    assert_ne!(cause(&long("a")), cause(&long("b")));
    let mut state = State::new(policy(), 100, Settings::of_a_minute());
    let name = "a".repeat(250);
    state.apply(read(vec![row(&name, Some(900))]), at(0), 0.5);
    let snapshot = shown_of(&state, &quiet(), None, 0);
    let cause = cause(&format!("https://{name}.example"));
    let (_, evidence) = snapshot.troubles(at(0), LEAD, &known(&[&cause]));
    assert!(!evidence.proves_end(&cause, false), "the server has not answered");
}
