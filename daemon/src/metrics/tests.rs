//! The exposition of a snapshot, in both formats.

use super::*;
use crate::engine::credentials::Settings;
use crate::engine::event::{Event, RenewalMethod};
use crate::engine::policy::{Policy, Trigger};
use crate::engine::state::State;
use crate::engine::view::{Identity, Loop};
use crate::model::{Credentials, Customer, CustomerId, Failure, FingerprintKey, LoopState, Secret};
use crate::store::Table;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn table(customers: Vec<Customer>) -> Event {
    Event::TableRead(Table {
        customers,
        ineligible: Vec::new(),
        problems: Vec::new(),
        records: Vec::new(),
        key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
        records_lost: None,
    })
}

/// A customer whose token has so many seconds left.
fn customer(id: usize, url: &str, left: Option<i64>) -> Customer {
    Customer {
        id: CustomerId::new(format!("{id:06}")),
        credentials: Credentials {
            url: url.into(),
            username: "canary-user".to_owned(),
            password: Secret::new("canary-pw-metrics"),
        },
        row_url: url.into(),
        has_token: left.is_some(),
        expiry: left.map(|left| NOW + TimeDelta::seconds(left)),
    }
}

fn state(customers: Vec<Customer>) -> State {
    let mut state = State::new(Policy::of_a_minute(), 100, Settings::of_a_minute());
    state.apply(table(customers), NOW, 0.5);
    state
}

fn text_of(state: &mut State, at: DateTime<Utc>, format: MetricsFormat) -> String {
    state.advance(at);
    state.count_time(at);
    let cycle = Loop { state: LoopState::Running, refreshing: false, next_run_at: None, last_run: None };
    let store = "sqlite customers.db".to_owned();
    let identity = Identity { pid: 1, started_at: NOW, store, config_file: None, http: None };
    let snapshot = Snapshot::new(state, &cycle, &identity, &Policy::of_a_minute(), None, at);
    exposition(Arc::new(snapshot), at, format, false).unwrap()
}

/// The value of this series; `name{label="value"}`, as it is written.
fn value(text: &str, series: &str) -> f64 {
    let of = |line: &str| Some(line.strip_prefix(series)?.strip_prefix(' ')?.parse().unwrap());
    text.lines().find_map(of).unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

fn after(seconds: i64) -> DateTime<Utc> {
    NOW + TimeDelta::seconds(seconds)
}

#[test]
fn customers_are_counted_by_status_state_and_what_is_left() {
    let url = "https://tb.example";
    let customers = [Some(7_300), Some(120), Some(-60), None];
    let customers = customers.into_iter().enumerate().map(|(id, left)| customer(id, url, left)).collect();
    let text = text_of(&mut state(customers), NOW, MetricsFormat::Prometheus);
    for (series, expected) in [
        ("tbtokend_customers", 4.0),
        ("tbtokend_tokens{status=\"valid\"}", 1.0),
        ("tbtokend_tokens{status=\"expiring_soon\"}", 1.0),
        ("tbtokend_tokens{status=\"expired\"}", 1.0),
        ("tbtokend_tokens{status=\"missing\"}", 1.0),
        ("tbtokend_customers_by_state{state=\"due\"}", 3.0),
        ("tbtokend_tokens_outlasting{seconds=\"0\"}", 2.0),
        ("tbtokend_tokens_outlasting{seconds=\"7200\"}", 1.0),
        ("tbtokend_tokens_outlasting{seconds=\"21600\"}", 0.0),
        ("tbtokend_next_token_expiry_timestamp_seconds", 120.0),
        ("tbtokend_longest_lapse_start_timestamp_seconds", -60.0),
        ("tbtokend_server_customers{server=\"https://tb.example\"}", 4.0),
        ("tbtokend_server_customers_lapsed{server=\"https://tb.example\"}", 2.0),
        ("tbtokend_servers{state=\"closed\"}", 1.0),
        ("tbtokend_store_info{kind=\"sqlite\"}", 1.0),
        ("tbtokend_store_up{operation=\"write\"}", 1.0),
        ("tbtokend_renewals_total{method=\"refresh_token\",outcome=\"timeout\"}", 0.0),
    ] {
        assert!((value(&text, series) - expected).abs() < 1e-9, "{series}\n{text}");
    }
    assert!(!text.contains("canary") && !text.contains("process_"), "{text}");
}

/// No series per customer, ever; and per server only where there are few.
#[test]
fn the_number_of_series_does_not_grow_with_the_customers() {
    let lines = |customers: usize, servers: usize| {
        let url = |id: usize| format!("https://tb{}.example", id % servers);
        let all = (0..customers).map(|id| customer(id, &url(id), Some(60))).collect();
        text_of(&mut state(all), NOW, MetricsFormat::Prometheus).lines().count()
    };
    assert_eq!(lines(1, 1), lines(20_000, 1));
    assert!(lines(201, 200) > lines(201, 201), "all servers or none");
    assert_eq!(lines(201, 201), lines(900, 900));
}

#[test]
fn an_empty_table_and_a_hostile_server_make_a_valid_exposition() {
    let hostile = "https://tb.example/\"} 1\n# {";
    for customers in [Vec::new(), vec![customer(1, hostile, Some(60)), customer(2, "no url", None)]] {
        let mut state = state(customers);
        let text = text_of(&mut state, NOW, MetricsFormat::Prometheus);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, number) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with("tbtokend_") && number.parse::<f64>().is_ok(), "{line}");
        }
        let open = text_of(&mut state, NOW, MetricsFormat::Openmetrics);
        assert!(open.ends_with("# EOF\n") && open.contains("tbtokend_renewals_total{"), "{open}");
    }
}

#[test]
fn attempts_and_the_store_are_counted_and_timed() {
    let mut state = state(vec![customer(1, "https://tb.example", Some(60))]);
    let id = CustomerId::new("000001");
    let took = std::time::Duration::from_millis(300);
    let failure = Failure::RateLimited { retry_after: None };
    for event in [
        Event::PassStarted { trigger: Trigger::Manual, attempts: 1 },
        Event::Answered { method: RenewalMethod::RefreshToken, took, failure: None },
        Event::RefreshTokenRefused(id.clone()),
        Event::Answered { method: RenewalMethod::Login, took, failure: Some(failure.kind()) },
        Event::Failed { id, failure },
        Event::StoreCalled { operation: crate::engine::counters::Operation::Records, took },
        Event::TickSkipped,
    ] {
        state.apply(event, NOW, 0.5);
    }
    state.apply(Event::PassFinished, after(2), 0.5);
    let text = text_of(&mut state, after(2), MetricsFormat::Prometheus);
    for (series, expected) in [
        ("tbtokend_renewals_total{method=\"login\",outcome=\"rate_limited\"}", 1.0),
        ("tbtokend_refresh_token_refusals_total", 1.0),
        ("tbtokend_thingsboard_request_duration_seconds_bucket{method=\"login\",le=\"0.25\"}", 0.0),
        ("tbtokend_thingsboard_request_duration_seconds_bucket{method=\"login\",le=\"0.5\"}", 1.0),
        ("tbtokend_thingsboard_request_duration_seconds_bucket{method=\"login\",le=\"+Inf\"}", 1.0),
        ("tbtokend_thingsboard_request_duration_seconds_count{method=\"refresh_token\"}", 1.0),
        ("tbtokend_store_operation_duration_seconds_sum{operation=\"records\"}", 0.3),
        ("tbtokend_passes_total{trigger=\"manual\"}", 1.0),
        ("tbtokend_pass_duration_seconds_bucket{le=\"5\"}", 1.0),
        ("tbtokend_ticks_skipped_total", 1.0),
        ("tbtokend_customers_failing{kind=\"rate_limited\"}", 1.0),
    ] {
        assert!((value(&text, series) - expected).abs() < 1e-9, "{series}\n{text}");
    }
}

/// Each cause of a lapse, with its exact seconds: a token that ends 60 s from now, looked at after 100 s.
#[test]
fn p01_a_lapse_is_counted_to_the_second_and_attributed_to_its_cause() {
    use crate::store::StoreError;
    let away = || StoreError::Locked { place: "customers.db".to_owned() };
    let id = || CustomerId::new("000001");
    let failed = |failure| vec![Event::Failed { id: id(), failure }];
    let cases: Vec<(&str, Vec<Event>, i64)> = vec![
        ("daemon", Vec::new(), 60),
        ("row", failed(Failure::CredentialsRejected), 60),
        ("server", failed(Failure::ServerError { status: 502, retry_after: None }), 60),
        ("store", vec![Event::TableUnreadable(away())], 60),
        ("store", vec![Event::LedgerFailed(away())], 60),
        ("operator", vec![Event::LoopStopped], 60),
        (
            "operator",
            vec![Event::LoopStopped, Event::RecordsFailed { records: Vec::new(), error: away() }],
            60,
        ),
        ("clock", vec![Event::ClockStepped(TimeDelta::seconds(5))], 55),
        ("down", vec![table(vec![customer(1, "https://tb.example", Some(-1))])], 0),
    ];
    for (cause, events, ends_at) in cases {
        let mut state = state(vec![customer(1, "https://tb.example", Some(60))]);
        for event in events {
            state.apply(event, NOW, 0.5);
        }
        let text = text_of(&mut state, after(100), MetricsFormat::Prometheus);
        let lapsed =
            |of: &str| value(&text, &format!("tbtokend_customer_lapsed_seconds_total{{cause=\"{of}\"}}"));
        let expected = f64::from(u32::try_from(100 - ends_at).unwrap());
        assert!((lapsed(cause) - expected).abs() < 1e-9, "{cause}: {}", lapsed(cause));
        let all = ["row", "store", "operator", "server", "clock", "down", "daemon"];
        assert!((all.map(lapsed).iter().sum::<f64>() - expected).abs() < 1e-9, "{cause} alone\n{text}");
        assert!((value(&text, "tbtokend_customer_seconds_total") - 100.0).abs() < 1e-9);
        if cause != "down" {
            let lapses = format!("tbtokend_lapses_total{{cause=\"{cause}\"}}");
            assert!((value(&text, &lapses) - 1.0).abs() < 1e-9, "{cause}");
        }
    }
}

/// What was true while the time passed counts, not what is true when it is counted. The cause that was there before has the
/// time until the renewal, but not for longer than a renewal may take.
#[test]
fn a_lapse_that_changes_its_cause_is_split_at_the_change() {
    let mut state = state(vec![customer(1, "https://tb.example", Some(60))]);
    state.apply(Event::LoopStopped, after(10), 0.5);
    state.apply(Event::LoopStarted, after(90), 0.5);
    let id = CustomerId::new("000001");
    state.apply(Event::Failed { id, failure: Failure::CredentialsRejected }, after(92), 0.5);
    let text = text_of(&mut state, after(100), MetricsFormat::Prometheus);
    let lapsed =
        |of: &str| value(&text, &format!("tbtokend_customer_lapsed_seconds_total{{cause=\"{of}\"}}"));
    assert_eq!(["operator", "daemon", "row"].map(|of| lapsed(of).to_string()), ["32", "0", "8"]);
    let mut forgotten = self::state(vec![customer(1, "https://tb.example", Some(60))]);
    forgotten.apply(Event::LoopStopped, after(10), 0.5);
    forgotten.apply(Event::LoopStarted, after(90), 0.5);
    (0..7).for_each(|n| forgotten.count_time(after(90 + 50 * n)));
    let text = text_of(&mut forgotten, after(400), MetricsFormat::Prometheus);
    let lapsed =
        |of: &str| value(&text, &format!("tbtokend_customer_lapsed_seconds_total{{cause=\"{of}\"}}"));
    assert_eq!(["operator", "daemon"].map(|of| lapsed(of).to_string()), ["330", "10"]);
    // A row that never had a token and has not failed counts nowhere.
    state.apply(table(vec![customer(2, "https://tb.example", None)]), after(100), 0.5);
    let text = text_of(&mut state, after(400), MetricsFormat::Prometheus);
    assert!((value(&text, "tbtokend_customer_seconds_total") - 100.0).abs() < 1e-9);
}
