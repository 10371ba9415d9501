//! The fake SQL Server against its contract: a fake that is kinder than the real one proves nothing.
//!
//! Spoken to with tiberius, which the store uses as well.

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
