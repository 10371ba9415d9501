//! The real `tbctl`, run against a daemon that answers as each test tells it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod check;
mod commands;
mod common;
mod failures;
mod names;
mod terminal;
mod wait;
