//! The real `tbctl`, run against a daemon that answers as each test tells it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod check;
mod commands;
mod common;
mod completions;
mod exit_codes;
mod failures;
mod going_on;
mod help;
mod names;
mod shell;
mod show;
mod terminal;
mod wait;
