//! A ThingsBoard server on a real socket, as strict and as rude as the real ones.
//!
//! [`directory`] holds ThingsBoard's own rules, pure: who may log in, in which order that is checked, what a refresh
//! token is worth. A [`ThingsBoard`] puts them on a socket. A [`Behaviour`] bends them, for the whole server or for one user: late,
//! wrong, rude or no answers. Everything that arrives is counted.
//!
//! A fake runs on threads of its own, so tests may block as they please.

pub mod answer;
mod behaviour;
mod counters;
pub mod directory;
mod http;
pub mod jwt;
mod port;
mod server;
mod settings;
mod state;
mod tls;
mod user;
mod wire;

pub use behaviour::Behaviour;
pub use counters::{ServerStats, UserStats};
pub use server::{Tally, ThingsBoard};
pub use settings::{PasswordPolicy, Settings};
pub use tls::{Certificate, Kind as CertificateKind, TlsFront};
pub use user::{Account, SecondFactor, User};
