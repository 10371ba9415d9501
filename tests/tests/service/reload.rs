//! SIGHUP: the settings that a running daemon applies, names as changed, or refuses.

use std::time::Duration;

use tbtoken_tests::clock;
use tbtoken_tests::harness::{Daemon, Installation, Row, Signal, wait};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

use crate::notify::Systemd;

#[test]
fn schedule_level_and_limits_are_taken_over_and_the_rest_is_named() {
    let mut installation = Installation::new().with("schedule.interval", "1h").with("log.level", "warn");
    let systemd = Systemd::at(installation.folder());
    let mut daemon = systemd.launch(&installation, None).wait_until_ready();
    daemon.until("the table is read", |status| status.tokens.as_of.is_some());
    assert_eq!(daemon.status().cron.interval_seconds, 3600);

    installation.config().set("schedule.interval", "1s");
    installation.config().set("log.level", "info");
    installation.config().set("thingsboard.max_in_flight", 7);
    installation.config().set("store.path", "/elsewhere/customers.db");
    installation.config().set("thingsboard.proxy", "http://user:canary-pw-proxy@127.0.0.1:1");
    let _ = installation.write_config();
    daemon.signal(Signal::SIGHUP);

    let reloading = systemd.wait_for("RELOADING=1\n");
    let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(at.parse::<u64>().unwrap() > 0);
    systemd.wait_for("READY=1\nSTATUS=");
    daemon.wait_for_log(
        "The configuration was read again: log.level was \"warn\", is \"info\"; \
         schedule.interval was \"1h\", is \"1s\"; thingsboard.max_in_flight was 512, is 7; \
         changed, but needs a restart: store.path, thingsboard.proxy",
    );
    // The new interval counts at once, not after the hour, and the new level shows its line.
    assert_eq!(daemon.status().cron.interval_seconds, 1);
    daemon.wait_for_log("Running scheduled token refresh...");

    // The process is the same, and still uses its old table.
    assert_eq!(i64::from(daemon.status().daemon.pid), i64::from(daemon.pid()));
    assert!(daemon.status().daemon.store_ok);
}

#[test]
fn a_client_of_the_control_socket_orders_a_reload_and_gets_its_result() {
    let mut installation = Installation::new().with("schedule.interval", "1h");
    let monitor = installation.folder().join("monitor.sock");
    installation.config().set("control.monitor_socket", monitor.to_str().unwrap());
    let daemon = installation.start();
    installation.config().set("schedule.interval", "2h");
    installation.config().set("store.path", "/elsewhere/customers.db");
    let _ = installation.write_config();
    let by_monitor = installation.run("tbctl", &["--socket", monitor.to_str().unwrap(), "reload"]);
    assert_eq!(by_monitor.code, Some(4), "it changes something: {by_monitor:?}");
    assert_eq!(daemon.status().cron.interval_seconds, 3600);
    let reloaded = installation.ctl(&["reload"]);
    assert_eq!(
        (reloaded.code, reloaded.stdout.as_str()),
        (
            Some(0),
            "the configuration was read again: schedule.interval was \"1h\", is \"2h\"; \
             changed, but needs a restart: store.path\n"
        ),
        "{reloaded:?}"
    );
    assert_eq!(daemon.status().cron.interval_seconds, 7200, "in force when it is answered");
}

#[test]
fn a_new_window_changes_which_customers_are_due() {
    let thingsboard = ThingsBoard::start();
    let soon = clock::now() + chrono::TimeDelta::minutes(3);
    let row = Row::new("acme", &thingsboard.add(User::new("ops"))).token("an old one", soon.to_rfc3339());
    let mut installation = Installation::new()
        .with_row(row)
        .with("schedule.interval", "1h")
        .with("schedule.refresh_window", "1m");
    let mut daemon = installation.start();
    daemon.until("the table is read", |status| status.tokens.as_of.is_some());
    assert_eq!(daemon.status().of("acme").renewals, 0, "three minutes are more than one");
    installation.config().set("schedule.refresh_window", "5m");
    let _ = installation.write_config();
    daemon.signal(Signal::SIGHUP);
    daemon.until_customer("acme", "is renewed", |acme| acme.renewals == 1);
}

#[test]
fn a_new_window_changes_which_customers_end_soon() {
    let soon = clock::now() + chrono::TimeDelta::minutes(3);
    let thingsboard = ThingsBoard::start();
    let row = Row::new("acme", &thingsboard.add(User::new("ops"))).token("an old one", soon.to_rfc3339());
    let mut installation = Installation::new()
        .with_row(row)
        .with("schedule.interval", "1h")
        .with("schedule.refresh_window", "1m");
    let mut daemon = installation.start();
    daemon.until("it is valid", |status| status.tokens.summary.valid == 1);
    // Stopped, so that it is not renewed.
    assert_eq!(installation.ctl(&["stop"]).code, Some(0));
    installation.config().set("schedule.refresh_window", "5m");
    let _ = installation.write_config();
    daemon.signal(Signal::SIGHUP);
    daemon.until("it ends soon", |status| status.tokens.summary.expiring_soon == 1);
    assert_eq!(daemon.status().of("acme").renewals, 0);
}

#[test]
fn the_limits_count_from_the_next_pass() {
    let thingsboard = ThingsBoard::start();
    let rows: Vec<Row> = (0..8)
        .map(|number| Row::new(format!("c{number}"), &thingsboard.add(User::new(format!("u{number}")))))
        .collect();
    thingsboard.set(Behaviour::Slow(Duration::from_millis(100)));
    let mut installation = Installation::new()
        .with_rows(&rows)
        .with("schedule.interval", "1h")
        .with("thingsboard.max_in_flight", 1);
    let mut daemon = installation.start();
    daemon.until("all have a token", |status| status.tokens.summary.valid == rows.len());
    assert_eq!(thingsboard.stats().in_flight_peak, 1, "one at a time");
    installation.config().set("thingsboard.max_in_flight", 100);
    let _ = installation.write_config();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("thingsboard.max_in_flight was 1, is 100");
    daemon.refresh_as(tbtoken_proto::Refresh { all: true, ..tbtoken_proto::Refresh::default() });
    assert!(thingsboard.stats().in_flight_peak > 1, "the old limit is kept");
}

/// Requests a reload and returns the message to systemd at its end.
fn reload(daemon: &mut Daemon, systemd: &Systemd) -> String {
    daemon.signal(Signal::SIGHUP);
    systemd.wait_for("RELOADING=1\n");
    systemd.wait_for("READY=1\nSTATUS=")
}

#[test]
fn a_broken_file_is_refused_and_the_old_settings_stay() {
    let mut installation = Installation::new().with("schedule.interval", "1h");
    let systemd = Systemd::at(installation.folder());
    let mut daemon = systemd.launch(&installation, None).wait_until_ready();
    for (broken, why) in [
        ("[schedule]\ninterval = \"soon\"\n", "schedule.interval = \"soon\""),
        (
            "[schedule]\nintervall = \"5s\"\n",
            "unknown key schedule.intervall; did you mean schedule.interval?",
        ),
        ("[schedule\n", "is not valid TOML"),
    ] {
        std::fs::write(installation.folder().join("config.toml"), broken).unwrap();
        let status = reload(&mut daemon, &systemd);
        assert!(status.contains("; the configuration was refused at "), "{status}");
        daemon.wait_for_log("The changed configuration is refused and the old settings stay: ");
        daemon.wait_for_log(why);
        assert_eq!(daemon.status().cron.interval_seconds, 3600);
    }
    let refused = installation.ctl(&["reload"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = "the changed configuration is refused and the old settings stay";
    assert!(refused.stderr.contains(said) && refused.stderr.contains("is not valid TOML"), "{refused:?}");
    systemd.wait_for("RELOADING=1\n");
    assert!(systemd.wait_for("READY=1\nSTATUS=").contains("; the configuration was refused at "));
    let _ = installation.write_config();
    let status = reload(&mut daemon, &systemd);
    assert!(!status.contains("refused"), "{status}");
    daemon.wait_for_log("The configuration was read again: nothing has changed");

    std::fs::remove_file(installation.folder().join("config.toml")).unwrap();
    let status = reload(&mut daemon, &systemd);
    assert!(status.contains("; the configuration was refused at "), "{status}");
    assert!(daemon.stop().success());
    installation.config().unset("schedule.interval");
}

/// Many reloads at once do no harm.
#[test]
fn many_orders_at_once_do_no_harm() {
    let installation = Installation::new();
    let mut daemon = installation.start();
    for _ in 0..200 {
        daemon.signal(Signal::SIGHUP);
    }
    daemon.wait_for_log("The configuration was read again: nothing has changed");
    let status = wait::poll(Duration::from_secs(5), || Some(daemon.status())).unwrap();
    assert!(status.cron.running);
    assert!(daemon.stop().success());
}
