//! Tests of the fake ThingsBoard against its contract: a fake with fewer faults than the real one would prove nothing.
//!
//! They read bytes from a socket, so that no HTTP library corrects the answers of the fake.

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
