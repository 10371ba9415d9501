//! Tests of the daemon's client of ThingsBoard on real sockets, above all its outcome for an unanswered password.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

mod answers;
mod certificates;
mod checks;
mod ground;
mod outcomes;
mod proxies;
