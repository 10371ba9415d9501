//! The fake ThingsBoard against its contract: a fake that is kinder than the real one proves nothing.
//!
//! Spoken to in bytes over a socket, so that no HTTP library tidies up what the fake says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

mod behaviours;
mod client;
mod connections;
mod logins;
mod refresh_tokens;
mod unkind;
