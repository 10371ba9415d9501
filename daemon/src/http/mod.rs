//! The optional HTTP listener: the API of the service that came before, the admin page, and health. It turns a request into
//! the same [`Request`](tbtoken_proto::Request) as the sockets do; there is no second way into the engine.

mod answer;
mod guard;
mod listener;
mod page;
mod patient;
mod query;
mod routes;
mod server;
mod settings;
#[cfg(test)]
mod tests;

pub use server::{Parts, serve};
pub use settings::{Address, Door, Settings, TOKEN_LENGTHS, Token, is_host_name};
