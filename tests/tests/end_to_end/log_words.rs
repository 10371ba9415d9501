//! The texts of the log that people search for.

use tbtoken_proto::Phase;
use tbtoken_tests::canary;
use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

#[test]
fn the_three_lines_of_the_old_service_are_there() {
    let thingsboard = ThingsBoard::start();
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let bad = Row::new("bad", &thingsboard.add(User::new("bad"))).password(canary::password("wrong"));
    let installation = Installation::new().with_rows([&good, &bad]);
    let daemon = installation.start();
    daemon.wait_for_log("Z] Running scheduled token refresh...");
    daemon.wait_for_log("✅ Successfully updated token for customer good");
    daemon.wait_for_log("❌ Failed to update token for customer bad: ");
    let log = daemon.log();
    assert!(log.contains("⏰ [20"), "{log}");
    assert_eq!(log.matches("❌").count(), 1, "{log}");
}

/// A refresh token meets a rate limit repeatedly. The log has lines for failures 1, 2 and 4, but not for 3 and 5.
#[test]
fn repeated_failures_are_logged_at_each_doubling() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops")));
    let installation = Installation::new().with_row(row).with("log.level", "info");
    let daemon = installation.start();
    daemon.until_customer("acme", "is valid", |acme| acme.state == Phase::Ok);
    thingsboard.set(Behaviour::RateLimit { retry_after: None });
    installation.table().execute("UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL");
    daemon.until_customer("acme", "has failed five times", |acme| {
        acme.failure.as_ref().is_some_and(|failure| failure.consecutive == 5)
    });
    let log = daemon.log();
    for (attempt, logged) in [(1, true), (2, true), (3, false), (4, true), (5, false)] {
        assert_eq!(log.contains(&format!("attempt {attempt},")), logged, "{attempt} in {log}");
    }
}
