//! The daemon as a service: its messages to systemd, its records in the journal, and its reload.

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
