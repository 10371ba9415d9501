//! **tbtui**, the live dashboard of tbtokend.
//!
//! ```text
//!  keyboard ─┐                                    ┌─▶ terminal
//!  signals ──┤                                    │
//!  link ─────┼─▶ Input ─▶ App::update ─▶ Effect ──┼─▶ link (start, stop, refresh)
//!  clock ────┘            PURE                    └─▶ the end
//! ```
//!
//! | module | does |
//! |---|---|
//! | [`args`] | the command line and the exit codes |
//! | [`input`] | the closed lists of inputs and effects |
//! | [`app`] | the state; pure |
//! | [`render`] | state → screen; one function per panel; pure |
//! | [`theme`] | colours and drawing characters |
//! | [`link`] | the threads that talk to the daemon |
//!
//! The event loop and the threads that read the keyboard and the signals are private. Only the loop reads the clock.

pub mod app;
pub mod args;
mod decode;
mod environment;
mod explain;
pub mod input;
pub mod link;
mod listen;
mod man;
mod mode;
pub mod render;
mod run;
mod snapshot;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
mod terminal;
mod text;
pub mod theme;
mod update;
mod view;

pub use run::run;
