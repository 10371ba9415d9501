//! An invented installation, a fake daemon, and a terminal for tests.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]

pub mod fake_daemon;
pub mod pty;
pub mod svg;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::{
    BreakerState, Cron, Customer, Daemon, Event, EventKind, Failure, FailureKind, LastRun, Phase, Revision,
    Seq, Server, StatusReply, Summary, TokenStatus, Tokens, Trigger, host_of, in_trouble,
};

/// The time of all snapshots.
pub fn noon() -> DateTime<Utc> {
    "2026-11-23T14:03:18Z".parse().unwrap()
}

/// A healthy customer whose token ends `left` seconds after `now`.
pub fn customer(id: &str, user: &str, server: &str, left: i64, now: DateTime<Utc>) -> Customer {
    let expiry = now + TimeDelta::seconds(left);
    let token_status = match left {
        ..0 => TokenStatus::Expired,
        0..300 => TokenStatus::ExpiringSoon,
        _ => TokenStatus::Valid,
    };
    Customer {
        customer_id: id.to_owned(),
        tb_username: user.to_owned(),
        tb_url: format!("https://{server}"),
        token_status,
        tbtokenexpiry: Some(expiry),
        check: None,
        minutes_until_expiry: Some(left.div_euclid(60)),
        state: if token_status == TokenStatus::Valid { Phase::Ok } else { Phase::Due },
        last_success_at: Some(expiry - TimeDelta::minutes(15)),
        renewals: 400 + u64::try_from(left.rem_euclid(37)).unwrap(),
        next_attempt_at: Some((expiry - TimeDelta::minutes(5)).max(now + TimeDelta::seconds(42))),
        changes: vec![],
        failure: None,
    }
}

/// Adds a failure to a customer: parked if it is permanent, else tried again after `retry` seconds.
pub fn failing(
    mut customer: Customer,
    kind: FailureKind,
    (message, remedy): (&str, &str),
    (consecutive, ago): (u32, i64),
    retry: Option<i64>,
    now: DateTime<Utc>,
) -> Customer {
    customer.state = if retry.is_some() { Phase::Retrying } else { Phase::Parked };
    customer.next_attempt_at = retry.map(|seconds| now + TimeDelta::seconds(seconds));
    customer.failure = Some(Failure {
        kind,
        message: message.to_owned(),
        remedy: remedy.to_owned(),
        at: now - TimeDelta::seconds(ago),
        consecutive,
        permanent: retry.is_none(),
        waiting: None,
    });
    customer
}

/// The message and remedy for a wrong password.
pub const WRONG_PASSWORD: (&str, &str) = (
    "ThingsBoard says \"Invalid username or password\"",
    "Trying again could lock the account. Correct tb_username or tb_password in the customer's row; the change is \
     picked up by itself.",
);

/// The message and remedy for a server that does not answer.
pub const TIMED_OUT: (&str, &str) = (
    "the server did not answer within 10 s",
    "It is tried again by itself. Check whether the ThingsBoard server is overloaded or a firewall drops the \
     connection.",
);

/// The message and remedy for a user with a second factor.
pub const SECOND_FACTOR: (&str, &str) = (
    "ThingsBoard requires a second factor, which a daemon does not have",
    "In ThingsBoard, use a user without two-factor authentication for this row (Security settings, Two-factor \
     authentication), then refresh this customer by name.",
);

/// A parked customer with a wrong password: it was tried when its token had five minutes left.
pub fn parked(id: &str, user: &str, server: &str, now: DateTime<Utc>) -> Customer {
    let customer = customer(id, user, server, -(12 * 60 + 20), now);
    failing(customer, FailureKind::CredentialsRejected, WRONG_PASSWORD, (1, 17 * 60 + 17), None, now)
}

/// A few dozen plausible names of companies.
const COMPANIES: [&str; 30] = [
    "acme",
    "borealis",
    "cascade",
    "delta-hydro",
    "eastwind",
    "fjordkraft",
    "greenhaus",
    "harbor",
    "isar-tec",
    "juniper",
    "kestrel",
    "lumen",
    "meridian",
    "northgate",
    "oakridge",
    "polaris",
    "quarry",
    "rhein-aqua",
    "solaris",
    "tidewater",
    "umbra",
    "vantage",
    "westfalia",
    "xenon",
    "yellowtail",
    "zephyr",
    "alpenglow",
    "brightwater",
    "copperfield",
    "dunes",
];

/// The installation in docs/dashboard.svg: 128 customers, most of them healthy.
pub fn busy(now: DateTime<Utc>) -> Vec<Customer> {
    let id = |n: u32| {
        let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b1);
        format!(
            "{mixed:08X}-{:04X}-4{:03X}-9C1D-{:08X}{:04X}",
            n * 977 % 65536,
            n * 31 % 4096,
            mixed ^ 0x5bd1_e995,
            n
        )
    };
    let mut customers: Vec<Customer> = (0..121)
        .map(|n| {
            let company = COMPANIES[n as usize % COMPANIES.len()];
            let (user, server) = match n / 30 {
                0 => (format!("ops@{company}.example"), format!("tb.{company}.example")),
                1 => (format!("telemetry@{company}.example"), "iot-eu.thingsboard.example".to_owned()),
                2 => (format!("svc-tokens@{company}.example"), format!("things.{company}.example:8443")),
                _ => (format!("plant{n}@{company}.example"), "iot-us.thingsboard.example".to_owned()),
            };
            let left = if n < 5 { 190 + 17 * i64::from(n) } else { 330 + i64::from(n * 53 % 560) };
            customer(&id(n), &user, &server, left, now)
        })
        .collect();
    customers.push(parked(&id(200), "ops@acme-north.example", "tb.acme.example", now));
    let slow = customer(&id(201), "lab@isar-tec.example", "lab.isar-tec.example", -190, now);
    customers.push(failing(slow, FailureKind::Timeout, TIMED_OUT, (4, 80), Some(40), now));
    let slow = customer(&id(202), "field@isar-tec.example", "lab.isar-tec.example", -95, now);
    customers.push(failing(slow, FailureKind::Timeout, TIMED_OUT, (3, 75), Some(45), now));
    let mut new = customer(&id(203), "onboarding@harbor.example", "new.harbor.example", 0, now);
    (new.tbtokenexpiry, new.minutes_until_expiry, new.last_success_at) = (None, None, None);
    (new.token_status, new.renewals) = (TokenStatus::Missing, 0);
    customers.push(failing(new, FailureKind::SecondFactorRequired, SECOND_FACTOR, (1, 3 * 3600), None, now));
    let unreachable = customer(&id(204), "ops@dunes.example", "tb.dunes.example", 250, now);
    let words = (
        "the server cannot be reached: connection refused",
        "It is tried again by itself. Check tb_url in the customer's row, the server, its DNS name, its certificate \
         and the firewall.",
    );
    customers.push(failing(unreachable, FailureKind::Unreachable, words, (2, 61), Some(18), now));
    let limited = customer(&id(205), "meters@yellowtail.example", "iot-us.thingsboard.example", 410, now);
    let words = (
        "ThingsBoard limits the rate of requests (HTTP 429)",
        "It is tried again by itself, more slowly. If this stays, raise the rate limits of the tenant profile in \
         ThingsBoard.",
    );
    customers.push(failing(limited, FailureKind::RateLimited, words, (1, 18), Some(55), now));
    customers.push(customer(&id(206), "ops@copperfield.example", "tb.copperfield.example", 880, now));
    customers
}

/// Adds healthy customers until there are `count`.
pub fn crowd(mut customers: Vec<Customer>, count: usize, now: DateTime<Utc>) -> Vec<Customer> {
    for n in customers.len()..count {
        let user = format!("meter{n}@tidewater.example");
        let left = 330 + (n as i64 * 53) % 560;
        let id = format!("{:08X}-0000-4000-8000-{n:012X}", (n as u32).wrapping_mul(0x85eb_ca6b));
        customers.push(customer(&id, &user, "iot-eu.thingsboard.example", left, now));
    }
    customers.truncate(count);
    customers
}

/// 1000 customers, some of them in trouble, none of them due in the next minutes: only the clock changes.
pub fn steady(now: DateTime<Utc>) -> Vec<Customer> {
    let stays = |customer: &Customer| customer.failure.is_some() || customer.minutes_until_expiry >= Some(9);
    crowd(busy(now), 1600, now).into_iter().filter(stays).take(1000).collect()
}

/// The events of the busy installation.
pub fn busy_events(customers: &[Customer], now: DateTime<Utc>) -> Vec<Event> {
    let mut happened: Vec<(i64, EventKind, Option<&Customer>, String)> = vec![
        (78, EventKind::PassStarted, None, "5 due".to_owned()),
        (18, EventKind::PassStarted, None, "4 due".to_owned()),
        (17, EventKind::PassFinished, None, "3 renewed, 1 failed".to_owned()),
    ];
    for customer in customers {
        if let Some(failure) = &customer.failure {
            let ago = (now - failure.at).num_seconds();
            let kind = if failure.permanent { EventKind::Parked } else { EventKind::Failed };
            happened.push((ago, kind, Some(customer), failure.message.clone()));
            if failure.permanent {
                let text = "ThingsBoard rejected the refresh token; logging in instead".to_owned();
                happened.push((ago + 1, EventKind::Failed, Some(customer), text));
            }
            if customer.token_status == TokenStatus::Expired {
                let ago = customer.tbtokenexpiry.map_or(0, |expiry| (now - expiry).num_seconds());
                happened.push((
                    ago,
                    EventKind::Expired,
                    Some(customer),
                    "its token has ended without a new one".to_owned(),
                ));
            }
        }
        if let Some(at) = customer.last_success_at {
            let until = customer.tbtokenexpiry.unwrap_or(now).format("%FT%TZ");
            let ago = (now - at).num_seconds();
            happened.push((ago, EventKind::Renewed, Some(customer), format!("good until {until}")));
        }
    }
    happened.sort_by_key(|(ago, ..)| -ago);
    let event =
        |(seq, (ago, kind, customer, message)): (usize, (i64, EventKind, Option<&Customer>, String))| Event {
            seq: Seq(seq as u64 + 1),
            at: now - TimeDelta::seconds(ago),
            kind,
            customer_id: customer.map(|customer| customer.customer_id.clone()),
            message,
        };
    happened.into_iter().enumerate().map(event).collect()
}

/// Creates a complete answer about these customers.
pub fn status(customers: Vec<Customer>, now: DateTime<Utc>) -> StatusReply {
    let summary = summarize(&customers);
    let servers = servers(&customers);
    StatusReply {
        servers: Some(servers),
        cron: Cron {
            running: true,
            description: "ThingsBoard Token Refresh (runs every minute)".to_owned(),
            stopped_since: None,
            interval_seconds: 60,
            refreshing: false,
            next_run_at: Some(now + TimeDelta::seconds(42)),
            last_run: Some(LastRun {
                reason: Trigger::Schedule,
                started_at: now - TimeDelta::seconds(18),
                finished_at: now - TimeDelta::seconds(17),
                duration_ms: 412,
                total: 4,
                updated: 3,
                errors: 1,
            }),
        },
        tokens: Tokens {
            success: true,
            error: None,
            as_of: Some(now - TimeDelta::seconds(18)),
            customers: Some(customers),
            ineligible: vec![],
            removed: vec![],
            matched: None,
            complete: true,
            summary,
        },
        daemon: Daemon {
            version: "0.1.0".to_owned(),
            protocol: 1,
            pid: 4711,
            started_at: now - TimeDelta::days(12),
            revision: Revision(981),
            store: "mssql sql01/app".to_owned(),
            store_ok: true,
            store_error: None,
            ledger: None,
            key_mismatch: None,
            config_file: None,
            http: None,
            failing_receivers: Vec::new(),
            renewals_by_login: 310,
            renewals_by_refresh_token: 51_204,
        },
    }
}

/// Returns the servers of these customers; the circuit breaker of the one that refuses connections is open.
pub fn servers(customers: &[Customer]) -> Vec<Server> {
    let names: BTreeSet<String> = customers.iter().filter_map(|customer| host_of(&customer.tb_url)).collect();
    let server = |name: String| match name.contains("dunes") {
        true => Server { name, skew_ms: None, limit: 4, breaker: BreakerState::Open },
        false => Server { name, skew_ms: Some(300), limit: 8, breaker: BreakerState::Closed },
    };
    names.into_iter().map(server).collect()
}

/// Counts customers as the daemon does.
pub fn summarize(customers: &[Customer]) -> Summary {
    let of_status = |status| customers.iter().filter(|customer| customer.token_status == status).count();
    let of_state = |state| customers.iter().filter(|customer| customer.state == state).count();
    Summary {
        total: customers.len(),
        valid: of_status(TokenStatus::Valid),
        expiring_soon: of_status(TokenStatus::ExpiringSoon),
        expired: of_status(TokenStatus::Expired),
        missing: of_status(TokenStatus::Missing),
        parked: of_state(Phase::Parked),
        retrying: of_state(Phase::Retrying),
        in_trouble: customers.iter().filter(|row| in_trouble(row.token_status, row.state)).count(),
        ineligible: 0,
    }
}
