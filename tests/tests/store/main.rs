//! The cases of all stores. They run on a SQLite file, on the fake SQL Server, and on a real server, if one is named:
//!
//! `TBTOKEN_TEST_MSSQL='server=localhost,1433;user=…;password=…;database=…' cargo test -p tbtoken-tests --test store`
//!
//! `ca_file=…` and `trust=true` work as well. On a real server every case makes its own schema and removes it.
//! [`cases`] run on all stores; cases that need faults on request are in `trouble`, `cuts` and `login_rate`.

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
mod notices;
mod place;
mod real;
mod side_tables;
mod stores;
mod trouble;
mod whole;
