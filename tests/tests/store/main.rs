//! One list of cases for every store: on a SQLite file, on the fake SQL Server, and on a real server, if there is one:
//!
//! `TBTOKEN_TEST_MSSQL='server=localhost,1433;user=…;password=…;database=…' cargo test -p tbtoken-tests --test store`
//!
//! `ca_file=…` and `trust=true` are understood as well. Every case makes a schema of its own there and takes it away.
//! [`cases`] hold on all of them; what only a server that obeys can show is in `trouble`, `cuts` and `login_rate`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

mod cases;
mod clock;
mod cuts;
mod exact;
mod expiry;
mod garbled;
mod ground;
mod instance;
mod ledger;
mod ledger_trouble;
mod login_rate;
mod place;
mod real;
mod side_tables;
mod stores;
mod trouble;
mod whole;
