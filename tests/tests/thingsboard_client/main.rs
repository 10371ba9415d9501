//! The daemon's client of ThingsBoard against real sockets: above all, what it says of a password that got no answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

mod answers;
mod certificates;
mod ground;
mod outcomes;
mod proxies;
