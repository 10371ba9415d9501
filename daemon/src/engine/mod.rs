//! The heart: when to renew, whom, and what is known of it.

pub mod accounts;
pub mod backoff;
pub mod event;
pub mod handle;
pub mod history;
pub mod pass;
pub mod plan;
pub mod scheduler;
pub mod state;
pub mod view;
