//! Fakes, harness and demo of tbtoken: the environment of the daemon, in a form for tests.
//!
//! - [`thingsboard`] is a ThingsBoard server on a real socket. It behaves as ThingsBoard's own source says, and on request
//!   has every fault that was seen in the field.
//! - [`mssql`] is a SQL Server on a real socket: TDS, TLS, and the part of T-SQL that the store speaks.
//! - [`harness`] starts the real binaries in a temporary folder, talks to them, and ends them again.
//! - [`canary`] marks every secret that fakes and harness give out, and finds the marks in printed text.
//! - [`receivers`] are webhooks and a mail server for messages about troubles.
//! - [`rng`] makes random numbers that follow from a seed.
//! - [`demo`] shows the whole product to a person.
//! - [`mod@bench`] measures the daemon from outside.
//!
//! ```no_run
//! use tbtoken_proto::TokenStatus;
//! use tbtoken_tests::harness::{Installation, Row};
//! use tbtoken_tests::thingsboard::{ThingsBoard, User};
//!
//! let thingsboard = ThingsBoard::start();
//! let account = thingsboard.add(User::new("ops@acme.example"));
//! let installation = Installation::new().with_row(Row::new("acme", &account));
//! let daemon = installation.start();
//! daemon.until("acme has its token", |status| status.of("acme").token_status == TokenStatus::Valid);
//! assert_eq!(thingsboard.user_stats("ops@acme.example").logins, 1);
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is test code: what goes wrong in it must end the test, loudly"
)]

pub mod bench;
pub mod canary;
pub mod clock;
pub mod demo;
pub mod harness;
pub mod mssql;
pub mod receivers;
pub mod rng;
pub mod thingsboard;
