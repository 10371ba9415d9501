//! Serves an invented installation at a socket, to see the dashboard without a daemon:
//! `cargo run -p tbtui --example fake_daemon -- /tmp/fake.sock [CUSTOMERS]`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a tool for developers"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use support::fake_daemon::FakeDaemon;

#[expect(clippy::disallowed_methods, reason = "its customers live now")]
fn main() {
    let mut args = std::env::args_os().skip(1);
    let socket = PathBuf::from(args.next().expect("usage: fake_daemon SOCKET [CUSTOMERS]"));
    let count = args.next().map_or(128, |count| count.to_str().unwrap().parse().unwrap());
    let _ = std::fs::remove_file(&socket);

    let now = Utc::now();
    let customers = support::crowd(support::busy(now), count, now);
    let events = support::busy_events(&customers, now);
    let daemon = FakeDaemon::start(&socket, support::status(customers, now), events);
    println!("serving {count} customers at {}", socket.display());
    loop {
        // Only the time of the next poll changes, so that it stays in the future.
        if let Ok(request) = daemon.asked.recv_timeout(Duration::from_secs(1)) {
            println!("asked for {request:?}");
        }
        daemon.change(|world| {
            if world.status.cron.next_run_at.is_some_and(|at| at < Utc::now()) {
                world.status.cron.next_run_at = Some(Utc::now() + chrono::TimeDelta::seconds(60));
            }
        });
    }
}
