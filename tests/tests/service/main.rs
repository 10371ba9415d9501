//! The daemon as a service: what systemd is told, what the journal is given, what a reload takes over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

mod activation;
mod catalog;
mod journal;
mod log;
mod notify;
mod reload;
mod watchdog;
