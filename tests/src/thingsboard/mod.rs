//! A fake ThingsBoard server on a real socket, as strict and as faulty as real ones.
//!
//! [`directory`] has ThingsBoard's own rules, pure: which logins succeed, in which order they are checked, and when a
//! refresh token works. A [`ThingsBoard`] puts them on a socket. A [`Behaviour`] changes them, for the whole server or for
//! one user: late, wrong, broken or no answers. The fake counts all requests.
//!
//! A fake runs on its own threads, so tests may block.

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
pub(crate) use port::reserve;
pub use server::{Tally, ThingsBoard};
pub use settings::{PasswordPolicy, Settings};
pub use tls::{Certificate, Kind as CertificateKind, TlsFront};
pub use user::{Account, SecondFactor, User};
