//! The optional HTTP listener: the API of the earlier service, the admin page, and health. It turns a request into the
//! same [`Request`](tbtoken_proto::Request) as the sockets do, so that the engine has one entrance.

mod answer;
mod guard;
mod listener;
mod page;
mod query;
mod routes;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod timed_stream;

pub use server::{Parts, serve};
pub use settings::{AccessRules, Address, Settings, TOKEN_LENGTHS, Token, is_host_name};
