//! Servers in trouble: they get fewer requests, other servers are not affected, and afterwards everything works as before.

use std::time::{Duration, Instant};

use tbtoken_proto::{Customer, FailureKind, StatusReply};
use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

const PER_SERVER: usize = 5;

/// The number of customers of the server in trouble.
const CUSTOMERS: usize = 30;

/// Makes the rows of this many customers of the server.
fn rows(server: &ThingsBoard, prefix: &str, count: usize, life: Option<Duration>) -> Vec<Row> {
    let user = |n| {
        let user = User::new(format!("{prefix}-{n:02}"));
        life.map_or(user.clone(), |life| user.access_life(life))
    };
    server.add_many(count, user).iter().map(|account| Row::new(&account.username, account)).collect()
}

/// Returns the most requests within one second.
fn most_in_a_second(times: &[Instant]) -> usize {
    let within =
        |at: &Instant| times.iter().filter(|t| *t >= at && **t < *at + Duration::from_secs(1)).count();
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn p12_a_tenth_of_the_servers_never_answers_and_the_others_do_not_notice() {
    let life = Duration::from_secs(12);
    let servers: Vec<ThingsBoard> = (0..20).map(|_| ThingsBoard::start()).collect();
    let mut all = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        // The first two servers, also in the alphabet, are faulty.
        all.extend(rows(server, &format!("server{number:02}"), PER_SERVER, Some(life)));
    }
    servers[0].set(Behaviour::Silent);
    servers[1].set(Behaviour::BlackHole);
    let is_sick = |id: &str| id.starts_with("server00") || id.starts_with("server01");
    let healthy = 18 * PER_SERVER;
    let installation = Installation::new().with_rows(&all).with("thingsboard.request_timeout", "2s");
    let daemon = installation.start();

    let first = daemon.until("the healthy are fresh", |status| status.tokens.summary.valid == healthy);
    let failed = first.tokens.customers.iter().flatten().filter(|customer| customer.failure.is_some());
    assert!(
        failed.clone().all(|customer| is_sick(&customer.customer_id)),
        "{:?}",
        failed.collect::<Vec<_>>()
    );
    assert!(servers[0].stats().requests <= 4, "{:?}", servers[0].stats());

    // Two more renewals of all customers: the window is the second half of a token's life, and no token lapses.
    let renewed = daemon.until("the healthy are renewed twice", |status| {
        let mut healthy =
            status.tokens.customers.iter().flatten().filter(|customer| !is_sick(&customer.customer_id));
        assert!(status.tokens.summary.expired == 0, "{:?}", status.tokens.summary);
        healthy.all(|customer| customer.renewals >= 3)
    });
    for customer in renewed.tokens.customers.iter().flatten() {
        match customer.failure.as_ref() {
            Some(failure) => {
                assert!(is_sick(&customer.customer_id), "{customer:?}");
                assert!(
                    matches!(failure.kind, FailureKind::Timeout | FailureKind::Unreachable),
                    "{failure:?}"
                );
            }
            None => assert!(customer.renewals == 0 || !is_sick(&customer.customer_id), "{customer:?}"),
        }
    }
    // The first pass sends one password, and each later one only a probe.
    let sick = servers[0].stats();
    assert_eq!(sick.requests - sick.probes, 1, "{sick:?}");

    for server in &servers[..2] {
        server.set(Behaviour::Normal);
    }
    daemon.until("all are fresh", |status| status.tokens.summary.valid == all.len());
}

#[test]
fn p13_a_server_in_trouble_is_asked_less_and_afterwards_as_before() {
    let troubles = [
        (Behaviour::RateLimit { retry_after: None }, FailureKind::RateLimited),
        (Behaviour::Page(503), FailureKind::ServerError),
        (Behaviour::DatabaseError, FailureKind::ServerError),
    ];
    for (trouble, kind) in troubles {
        let thingsboard = ThingsBoard::start();
        let rows = rows(&thingsboard, "ops", CUSTOMERS, None);
        // All requests are for renewals.
        let installation = Installation::new().with_rows(&rows).with("thingsboard.verify_tokens", "off");
        let daemon = installation.start();
        daemon.until("all are valid", |status| status.tokens.summary.valid == CUSTOMERS);
        let before = thingsboard.request_times();
        assert_eq!(before.len(), CUSTOMERS);
        assert!(most_in_a_second(&before) > 8, "{}", most_in_a_second(&before));

        // All customers are due, and the server refuses.
        thingsboard.set(trouble.clone());
        installation.table().execute("UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL");
        // While the limit halves down to one, each customer is tried at most twice; then there is one probe per wake.
        thingsboard.wait_until("it was asked for a while", |tally| {
            let tally = tally.server();
            tally.probes >= 6 || tally.requests >= u64::try_from(3 * CUSTOMERS + 6).unwrap()
        });
        let during = thingsboard.request_times().split_off(CUSTOMERS);
        let burst = most_in_a_second(&during);
        let steady = most_in_a_second(&during[during.len() - 6..]);
        println!(
            "{trouble:?}: at most {} requests a second, then {burst}, then {steady}",
            most_in_a_second(&before)
        );
        assert!(steady <= 4, "one at each wake, not {steady} a second");
        let status = daemon.status();
        assert!(
            status
                .tokens
                .customers
                .iter()
                .flatten()
                .filter_map(|c| c.failure.as_ref())
                .all(|f| f.kind == kind && !f.permanent)
        );

        let asked = thingsboard.stats().requests;
        thingsboard.set(Behaviour::Normal);
        daemon.refresh();
        daemon.until("all are valid again", |status| status.tokens.summary.valid == CUSTOMERS);
        let after = thingsboard.request_times().split_off(usize::try_from(asked).unwrap());
        assert!(most_in_a_second(&after) > 8, "{}", most_in_a_second(&after));
        assert!(after.len() <= CUSTOMERS + 8, "{} requests for {CUSTOMERS} customers", after.len());
    }
}

/// A tenant has a rate limit. The daemon finds the rate, and all customers are renewed. A password that met the limit may have
/// been counted, so only refresh tokens are tried again.
#[test]
fn p13_all_customers_are_renewed_under_a_rate_limit() {
    let thingsboard = ThingsBoard::start();
    let rows = rows(&thingsboard, "ops", 40, None);
    let installation = Installation::new().with_rows(&rows);
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == 40);

    thingsboard.set(Behaviour::MaxRate { per_second: 10, retry_after: None });
    let before = thingsboard.stats().requests;
    installation.table().execute("UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL");
    daemon.until("all are valid again", |status| {
        status.tokens.summary.valid == 40
            && status.tokens.customers.iter().flatten().all(|customer| customer.renewals == 2)
    });
    let served = 40;
    let limited = thingsboard.stats().requests - before - served;
    println!("{limited} requests beyond the limit for {served} served");
    assert!(limited > 0, "the limit was met");
    assert!(limited <= 2 * served, "{limited}");
    assert_eq!(daemon.status().daemon.renewals_by_login, 40, "no password was sent again");
}

/// If the passwords themselves meet the limit, no account gets close to its lock.
#[test]
fn p13_passwords_that_meet_a_rate_limit_keep_their_last_charge() {
    let thingsboard = ThingsBoard::start();
    let rows = rows(&thingsboard, "ops", 40, None);
    thingsboard.set(Behaviour::MaxRate { per_second: 10, retry_after: None });
    let installation = Installation::new().with_rows(&rows);
    let daemon = installation.start();
    let most = |status: &StatusReply| {
        let failures =
            status.tokens.customers.iter().flatten().filter_map(|customer| customer.failure.as_ref());
        failures.map(|failure| failure.consecutive).max().unwrap_or(0)
    };
    let served = daemon.until("most are valid, the others keep their last charge", |status| {
        let waits = |customer: &&Customer| {
            let failure = customer.failure.as_ref().and_then(|failure| failure.waiting.as_deref());
            failure.is_some_and(|why| why.contains("one more wrong password could lock the account"))
        };
        let waiting = status.tokens.customers.iter().flatten().filter(waits).count();
        status.tokens.summary.valid + waiting == 40
    });
    assert!(served.tokens.summary.valid >= 30, "{:?}", served.tokens.summary);
    assert!(most(&served) <= 2, "a third password would have been the last");
}
