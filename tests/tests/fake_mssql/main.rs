//! Tests of the fake SQL Server against its contract: a fake with fewer faults than the real one would prove nothing.
//!
//! They use tiberius, as the store does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

mod client;
mod encryption;
mod faults;
mod logins;
mod statements;
mod types;
