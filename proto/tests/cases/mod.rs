//! One example of each message of the protocol, under the name of its golden file.

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::{
    Answer, BreakerState, Change, Check, CheckFound, Cron, Customer, Daemon, Envelope, ErrorCode, Event,
    EventKind, EventsReply, Failure, FailureKind, HttpListener, Id, Ineligible, LastRun, Match,
    MetricsFormat, MetricsReply, NotifyReply, Outcome, OutcomeStatus, Phase, Receiver, Refresh, RefreshReply,
    RefreshResult, Refusal, ReloadReply, Reply, Request, Revision, Rows, Seq, Server, Sort, StatusQuery,
    StatusReply, SteerReply, Summary, TestResult, TokenStatus, Tokens, Trigger, VersionReply,
};

/// Lists the variants of an enumeration, all but `Unknown`. The match fails to compile when one is forgotten.
macro_rules! every {
    ($kind:ident: $($variant:ident)*) => {{
        fn complete(value: $kind) {
            match value {
                $($kind::$variant => {})*
                $kind::Unknown => {}
            }
        }
        complete($kind::Unknown);
        [$($kind::$variant),*]
    }};
}

fn triggers() -> [Trigger; 4] {
    every!(Trigger: Start Schedule Early Manual)
}

fn token_statuses() -> [TokenStatus; 4] {
    every!(TokenStatus: Expired Missing ExpiringSoon Valid)
}

fn phases() -> [Phase; 5] {
    every!(Phase: Ok Due Refreshing Retrying Parked)
}

fn failure_kinds() -> [FailureKind; 16] {
    every!(FailureKind:
        CredentialsRejected AttemptsExhausted AccountDisabled AccountLocked PasswordExpired PasswordViolatesPolicy
        SecondFactorRequired RateLimited ServerError Unreachable Timeout UnexpectedResponse BadUrl InsecureUrl
        TokenTooLong Database)
}

fn event_kinds() -> [EventKind; 15] {
    every!(EventKind:
        Renewed Failed Parked Unparked Recovered Expired TokenDead TokenDisputed Ineligible PassStarted PassFinished StoreLost StoreBack Started
        Stopped)
}

fn breaker_states() -> [BreakerState; 3] {
    every!(BreakerState: Closed HalfOpen Open)
}

fn outcome_statuses() -> [OutcomeStatus; 3] {
    every!(OutcomeStatus: Success Error Skipped)
}

fn error_codes() -> [ErrorCode; 13] {
    every!(ErrorCode:
        BadRequest UnknownAction UnknownCustomer IneligibleCustomer ReadOnly Busy StoreUnavailable BadConfiguration ShuttingDown
        Unauthorized Forbidden Misdirected Internal)
}

/// The field and the word of every variant of every enumeration.
pub(crate) fn enum_words() -> Vec<(&'static str, String)> {
    fn words<T: serde::Serialize>(field: &'static str, variants: &[T]) -> Vec<(&'static str, String)> {
        let word = |variant| serde_json::to_value(variant).unwrap().as_str().unwrap().to_owned();
        variants.iter().map(|variant| (field, word(variant))).collect()
    }
    [
        words("reason", &triggers()),
        words("token_status", &token_statuses()),
        words("state", &phases()),
        words("breaker", &breaker_states()),
        words("kind", &failure_kinds()),
        words("kind", &event_kinds()),
        words("status", &outcome_statuses()),
        words("code", &error_codes()),
    ]
    .concat()
}

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

fn ids(list: &[&str]) -> Vec<String> {
    list.iter().map(|&id| id.to_owned()).collect()
}

fn plain(request: Request) -> Envelope {
    Envelope { id: None, request }
}

fn events(since: Option<u64>, limit: usize) -> Request {
    Request::Events { since: since.map(Seq), limit }
}

fn status(customers: Rows, since: Option<u64>) -> Request {
    Request::Status(StatusQuery { customers, since: since.map(Revision) })
}

/// Every form of every request.
pub(crate) fn requests() -> Vec<(&'static str, Envelope)> {
    let named = Some(ids(&["8F1C02AA", "Kunde ä \"1\""]));
    vec![
        ("request_status", plain(status(Rows::All, None))),
        ("request_status_none", plain(status(Rows::None, None))),
        ("request_status_in_trouble", plain(status(Rows::InTrouble(20), None))),
        ("request_status_match", plain(status(Rows::Match(Match::default()), None))),
        (
            "request_status_match_all",
            plain(status(
                Rows::Match(Match {
                    text: "acme ä".to_owned(),
                    status: vec![TokenStatus::Expired, TokenStatus::Missing],
                    state: vec![Phase::Parked],
                    sort: Sort::Left,
                    limit: 20,
                }),
                None,
            )),
        ),
        ("request_status_customers", plain(status(Rows::Only(ids(&["8F1C02AA", "91BE77C0"])), None))),
        ("request_status_customers_empty", plain(status(Rows::Only(vec![]), None))),
        ("request_status_since", plain(status(Rows::All, Some(981)))),
        ("request_status_none_since", plain(status(Rows::None, Some(0)))),
        ("request_start", plain(Request::Start {})),
        ("request_stop", plain(Request::Stop {})),
        ("request_refresh", plain(Request::Refresh(Refresh::default()))),
        (
            "request_refresh_customers",
            plain(Request::Refresh(Refresh { customers: named.clone(), ..Refresh::default() })),
        ),
        ("request_refresh_all", plain(Request::Refresh(Refresh { all: true, ..Refresh::default() }))),
        ("request_refresh_no_wait", plain(Request::Refresh(Refresh { wait: false, ..Refresh::default() }))),
        (
            "request_refresh_customers_no_wait",
            plain(Request::Refresh(Refresh { customers: named.clone(), wait: false, ..Refresh::default() })),
        ),
        (
            "request_refresh_customers_force",
            plain(Request::Refresh(Refresh { customers: named, force: true, ..Refresh::default() })),
        ),
        ("request_events", plain(events(None, 100))),
        ("request_events_since", plain(events(Some(17), 1000))),
        ("request_version", plain(Request::Version {})),
        ("request_metrics", plain(Request::Metrics { format: MetricsFormat::Openmetrics })),
        ("request_reload", plain(Request::Reload {})),
        ("request_notify_list", plain(Request::NotifyList {})),
        ("request_notify_test", plain(Request::NotifyTest { receiver: Some("chat".to_owned()) })),
        (
            "request_id_number",
            Envelope { id: Some(Id::Number(7.into())), request: status(Rows::None, Some(981)) },
        ),
        ("request_id_text", Envelope { id: Some(Id::Text("a-1".to_owned())), request: Request::Stop {} }),
    ]
}

fn cron(reason: Trigger) -> Cron {
    Cron {
        running: true,
        description: "ThingsBoard Token Refresh (runs every minute)".to_owned(),
        stopped_since: None,
        interval_seconds: 60,
        refreshing: false,
        next_run_at: Some(at("2026-11-23T14:04:00Z")),
        last_run: Some(LastRun {
            reason,
            started_at: at("2026-11-23T14:03:00Z"),
            finished_at: at("2026-11-23T14:03:00.412Z"),
            duration_ms: 412,
            total: 5,
            updated: 4,
            errors: 1,
        }),
    }
}

fn daemon() -> Daemon {
    Daemon {
        version: "0.1.0".to_owned(),
        protocol: 1,
        pid: 4711,
        started_at: at("2026-11-22T09:00:00Z"),
        revision: Revision(981),
        store: "mssql sql01/app".to_owned(),
        store_ok: true,
        store_error: None,
        ledger: None,
        key_mismatch: None,
        config_file: None,
        http: None,
        failing_receivers: Vec::new(),
        renewals_by_login: 12,
        renewals_by_refresh_token: 400,
    }
}

/// A customer in phase number `n`, with the token status and the failure of the same number.
fn customer(n: usize) -> Customer {
    let status = token_statuses()[n % 4];
    let state = phases()[n % 5];
    let failing = matches!(state, Phase::Parked | Phase::Retrying);
    let minutes = match status {
        TokenStatus::Missing => None,
        TokenStatus::Expired => Some(-12),
        TokenStatus::ExpiringSoon => Some(4),
        TokenStatus::Valid | TokenStatus::Unknown => Some(11),
    };
    let now = at("2026-11-23T14:03:00Z");
    Customer {
        customer_id: format!("8F1C{n:04}"),
        tb_username: format!("ops{n}@acme.example"),
        tb_url: "https://tb.acme.example".to_owned(),
        token_status: status,
        tbtokenexpiry: minutes.map(|minutes| now + TimeDelta::minutes(minutes)),
        check: n
            .is_multiple_of(5)
            .then_some(Check { at: at("2026-11-23T14:02:20Z"), found: CheckFound::Works }),
        minutes_until_expiry: minutes,
        state,
        last_success_at: (status != TokenStatus::Missing).then(|| at("2026-11-23T13:21:00Z")),
        renewals: 40 + n as u64,
        next_attempt_at: (state != Phase::Parked).then(|| at("2026-11-23T14:04:00Z")),
        changes: match state {
            Phase::Parked => vec![
                Change { at: at("2026-11-23T13:30:00Z"), kind: EventKind::Failed },
                Change { at: at("2026-11-23T13:36:21Z"), kind: EventKind::Parked },
            ],
            _ => vec![],
        },
        failure: failing.then(|| Failure {
            kind: failure_kinds()[n % 15],
            message: "ThingsBoard says \"Invalid username or password\"".to_owned(),
            remedy: "fix tb_password in customer_settings; it is picked up by itself".to_owned(),
            at: at("2026-11-23T13:36:21Z"),
            consecutive: 1 + n as u32,
            permanent: state == Phase::Parked,
            waiting: (state == Phase::Retrying).then(|| "waiting: its server is in doubt".to_owned()),
        }),
    }
}

fn tokens(customers: Option<Vec<Customer>>) -> Tokens {
    Tokens {
        success: true,
        error: None,
        as_of: Some(at("2026-11-23T14:03:00Z")),
        customers,
        ineligible: vec![],
        removed: vec![],
        matched: None,
        complete: false,
        summary: Summary {
            total: 20,
            valid: 5,
            expiring_soon: 5,
            expired: 5,
            missing: 5,
            parked: 4,
            retrying: 4,
            in_trouble: 12,
            ineligible: 2,
        },
    }
}

fn outcome(customer_id: &str, status: OutcomeStatus) -> Outcome {
    Outcome { customer_id: customer_id.to_owned(), status, new_expiry: None, kind: None, message: None }
}

/// One entry for a renewed customer, one for each kind of failure, one for a customer that was not tried.
fn result() -> RefreshResult {
    let mut details = vec![Outcome {
        new_expiry: Some(at("2026-11-23T14:18:00Z")),
        ..outcome("8F1C0000", OutcomeStatus::Success)
    }];
    details.extend(failure_kinds().iter().enumerate().map(|(n, &kind)| Outcome {
        kind: Some(kind),
        message: Some("no answer within 10 s".to_owned()),
        ..outcome(&format!("8F1D{n:04}"), OutcomeStatus::Error)
    }));
    details.push(Outcome {
        message: Some("parked: wrong password".to_owned()),
        ..outcome("8F1E0000", OutcomeStatus::Skipped)
    });
    RefreshResult { success: false, updated: 1, errors: details.len() - 2, total: details.len(), details }
}

fn all_events() -> EventsReply {
    let events = event_kinds().into_iter().enumerate().map(|(n, kind)| Event {
        seq: Seq(17 + n as u64),
        at: at("2026-11-23T14:03:00.5Z") + TimeDelta::seconds(n as i64),
        kind,
        customer_id: (n < 7).then(|| "8F1C02AA".to_owned()),
        message: "new token until 14:18:00Z".to_owned(),
    });
    EventsReply { events: events.collect(), next: Seq(29) }
}

fn done(request: Request, reply: Reply) -> (Request, Answer) {
    (request, Answer { id: None, outcome: Ok(reply) })
}

fn servers() -> Vec<Server> {
    let server =
        |name: &str, skew_ms, limit, breaker| Server { name: name.to_owned(), skew_ms, limit, breaker };
    vec![
        server("http://10.0.0.9:8080", None, 1, BreakerState::Open),
        server("https://tb.acme.example", Some(300), 64, BreakerState::Closed),
        server("https://tb.slow.example", Some(-7_200_400), 1, BreakerState::HalfOpen),
    ]
}

fn status_reply(tokens: Tokens) -> StatusReply {
    let servers = tokens.customers.as_ref().map(|_| servers());
    StatusReply { cron: cron(Trigger::Schedule), tokens, servers, daemon: daemon() }
}

fn status_answers() -> Vec<(&'static str, Request, Answer)> {
    let stopped = Cron { running: false, next_run_at: None, last_run: None, ..cron(Trigger::Start) };
    let store_lost = StatusReply {
        tokens: Tokens {
            success: false,
            error: Some("the database does not answer: connection refused".to_owned()),
            ..tokens(Some(vec![customer(3)]))
        },
        daemon: Daemon {
            store_ok: false,
            store_error: Some("the database does not answer: connection refused".to_owned()),
            ..daemon()
        },
        servers: Some(servers()),
        ..status_reply(tokens(None))
    };
    let never_read = StatusReply {
        cron: stopped,
        tokens: Tokens {
            success: false,
            error: Some("table customer_settings does not exist".to_owned()),
            as_of: None,
            customers: Some(vec![]),
            summary: Summary::default(),
            ..tokens(None)
        },
        servers: Some(vec![]),
        daemon: Daemon { store_ok: false, ..daemon() },
    };
    let changed_server = Some(servers().split_off(2));
    let delta = Tokens { removed: ids(&["91BE77C0"]), ..tokens(Some(vec![customer(4)])) };
    let too_old = Tokens { complete: true, ..tokens(Some(vec![customer(4), customer(8)])) };
    let lost = |customer_id: &str, reason: &str, tbtokenexpiry| Ineligible {
        customer_id: customer_id.to_owned(),
        reason: reason.to_owned(),
        since: at("2026-11-23T14:01:00Z"),
        tbtokenexpiry,
    };
    let ineligible = vec![
        lost("8F1B0001", "its tb_password is blank", Some(at("2026-11-23T14:09:00Z"))),
        lost("8F1B0002", "its row is gone", None),
    ];
    let all = tokens(Some((0..20).map(customer).collect()));
    let all = status_reply(Tokens { ineligible, ..all });
    [
        ("answer_status", status(Rows::All, None), all),
        ("answer_status_none", status(Rows::None, None), status_reply(tokens(None))),
        (
            "answer_status_customers",
            status(Rows::Only(ids(&["8F1C0004"])), None),
            status_reply(tokens(Some(vec![customer(4)]))),
        ),
        (
            "answer_status_in_trouble",
            status(Rows::InTrouble(2), None),
            status_reply(tokens(Some(vec![customer(4), customer(0)]))),
        ),
        (
            "answer_status_match",
            status(Rows::Match(Match { limit: 1, ..Match::default() }), None),
            status_reply(Tokens { matched: Some(7), ..tokens(Some(vec![customer(4)])) }),
        ),
        (
            "answer_status_since",
            status(Rows::All, Some(980)),
            StatusReply { servers: changed_server, ..status_reply(delta) },
        ),
        ("answer_status_complete", status(Rows::All, Some(3)), status_reply(too_old)),
        ("answer_status_store_lost", status(Rows::All, None), store_lost),
        ("answer_status_never_read", status(Rows::All, None), never_read),
    ]
    .into_iter()
    .map(|(name, request, reply)| {
        let (request, answer) = done(request, Reply::Status(reply));
        (name, request, answer)
    })
    .collect()
}

/// Every form of every answer, with the request that it answers.
pub(crate) fn answers() -> Vec<(&'static str, Request, Answer)> {
    let refresh = || Request::Refresh(Refresh::default());
    let steer = |message: &str, cron: Cron| Reply::Steer(SteerReply { message: message.to_owned(), cron });
    let mut list = status_answers();
    let mut add = |name, (request, answer)| list.push((name, request, answer));
    add("answer_start", done(Request::Start {}, steer("the loop is started", cron(Trigger::Start))));
    add(
        "answer_stop",
        done(
            Request::Stop {},
            steer(
                "the loop has been stopped by an operator since 2026-11-23T14:03:00Z; start it with tbctl start. A running pass still finishes",
                Cron {
                    running: false,
                    stopped_since: Some(at("2026-11-23T14:03:00Z")),
                    refreshing: true,
                    next_run_at: None,
                    ..cron(Trigger::Early)
                },
            ),
        ),
    );
    add(
        "answer_refresh",
        done(
            refresh(),
            Reply::Refresh(RefreshReply {
                message: "1 renewed, 15 failed".to_owned(),
                result: Some(result()),
            }),
        ),
    );
    add(
        "answer_refresh_no_wait",
        done(
            Request::Refresh(Refresh { wait: false, ..Refresh::default() }),
            Reply::Refresh(RefreshReply { message: "the pass is under way".to_owned(), result: None }),
        ),
    );
    add("answer_events", done(events(Some(16), 100), Reply::Events(all_events())));
    let no_events = EventsReply { events: vec![], next: Seq(28) };
    add("answer_events_empty", done(events(Some(28), 100), Reply::Events(no_events)));
    let ledger = "in /var/lib/tbtokend/ledger.db, because there is no table tbtokend_account";
    let http = HttpListener {
        listen: "127.0.0.1:9137".to_owned(),
        error: Some("the port is taken".to_owned()),
        warning: Some("there is no TLS".to_owned()),
    };
    let in_file = Daemon {
        ledger: Some(ledger.to_owned()),
        key_mismatch: Some("the key in tbtokend_key does not belong to the fingerprints".to_owned()),
        config_file: Some("/etc/tbtokend/config.toml".to_owned()),
        http: Some(http),
        failing_receivers: vec!["chat".to_owned()],
        ..daemon()
    };
    let (content_type, text) = ("text/plain; version=0.0.4".to_owned(), "tbtokend_customers 20\n".to_owned());
    let metrics = Reply::Metrics(MetricsReply { content_type, text });
    add("answer_metrics", done(Request::Metrics { format: MetricsFormat::Prometheus }, metrics));
    add("answer_version", done(Request::Version {}, Reply::Version(VersionReply { daemon: in_file })));
    let changes = "schedule.interval was \"60s\", is \"30s\"; changed, but needs a restart: store.path";
    let reloaded = ReloadReply { message: format!("the configuration was read again: {changes}") };
    add("answer_reload", done(Request::Reload {}, Reply::Reload(reloaded)));
    let receiver = |name: &str, test| Receiver {
        name: name.to_owned(),
        kind: "webhook".to_owned(),
        place: "https://chat.example.com".to_owned(),
        queued: 1,
        last_sent_at: Some(at("2026-11-23T14:02:11Z")),
        last_error: Some("HTTP 503".to_owned()),
        test,
    };
    let never = Receiver { last_sent_at: None, last_error: None, queued: 0, ..receiver("pager", None) };
    let receivers = NotifyReply { receivers: vec![receiver("chat", None), never] };
    add("answer_notify_list", done(Request::NotifyList {}, Reply::Notify(receivers)));
    let refused = TestResult { accepted: false, answer: "HTTP 503".to_owned() };
    let tested = NotifyReply { receivers: vec![receiver("chat", Some(refused))] };
    add("answer_notify_test", done(Request::NotifyTest { receiver: None }, Reply::Notify(tested)));
    let (request, answer) =
        done(Request::Start {}, steer("the loop is running already", cron(Trigger::Manual)));
    add("answer_id_number", (request.clone(), Answer { id: Some(Id::Number(7.into())), ..answer.clone() }));
    add("answer_id_text", (request, Answer { id: Some(Id::Text("a-1".to_owned())), ..answer }));
    for code in error_codes() {
        let (name, error) = match code {
            ErrorCode::BadRequest => ("refusal_bad_request", "the line is not JSON"),
            ErrorCode::UnknownAction => ("refusal_unknown_action", "unknown action \"refesh\""),
            ErrorCode::UnknownCustomer => ("refusal_unknown_customer", "no customer \"8F1C\""),
            ErrorCode::IneligibleCustomer => {
                ("refusal_ineligible_customer", "8F1C is not renewed: its tb_password is blank")
            }
            ErrorCode::ReadOnly => ("refusal_read_only", "this is the monitor socket"),
            ErrorCode::Busy => ("refusal_busy", "64 clients are connected already"),
            ErrorCode::StoreUnavailable => ("refusal_store_unavailable", "the table cannot be read"),
            ErrorCode::BadConfiguration => (
                "refusal_bad_configuration",
                "the changed configuration is refused and the old settings stay",
            ),
            ErrorCode::ShuttingDown => ("refusal_shutting_down", "the daemon is about to end"),
            ErrorCode::Unauthorized => ("refusal_unauthorized", "a token is needed"),
            ErrorCode::Forbidden => ("refusal_forbidden", "this comes from a page of another site"),
            ErrorCode::Misdirected => ("refusal_misdirected", "set http.allowed_hosts"),
            ErrorCode::Internal => ("refusal_internal", "the pass ended without a result"),
            ErrorCode::Unknown => unreachable!("it is not on the list"),
        };
        // A busy daemon has not read the request, so it knows no id.
        let id = (code != ErrorCode::Busy).then_some(Id::Number(7.into()));
        add(name, (refresh(), Answer { id, outcome: Err(Refusal { error: error.to_owned(), code }) }));
    }
    list
}
