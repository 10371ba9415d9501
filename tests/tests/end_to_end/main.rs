//! End-to-end tests: the real binaries over real sockets. A test whose name begins with `p` and a number proves that
//! promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

mod accounts;
mod bad_answers;
mod bad_clients;
mod bad_config;
mod bad_rows;
mod bad_store;
mod core_dumps;
mod customers;
mod dead_tokens;
mod doctor;
mod doctor_mssql;
mod doctor_root;
mod documents;
mod flat;
mod http;
mod ineligible;
mod interrupted;
mod killed;
mod log_words;
mod main_job;
mod mssql;
mod notify;
mod page;
mod prometheus;
mod proxy;
mod races;
mod remembered;
mod replaced_file;
mod secrets;
mod servers;
mod sick_servers;
mod sockets;
mod steering;
mod wire;
