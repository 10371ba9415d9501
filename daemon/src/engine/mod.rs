//! The core: it decides which customers to renew and when, and holds what is known about them.

pub mod backoff;
pub mod checks;
pub mod counters;
pub mod credentials;
pub mod deferral;
pub mod event;
pub mod handle;
pub mod history;
pub mod outcome;
pub mod pass;
pub mod plan;
pub mod policy;
pub mod scheduler;
pub mod state;
pub mod view;
