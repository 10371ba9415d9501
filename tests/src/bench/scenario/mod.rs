//! The scenarios.

pub(super) mod growth;
pub(super) mod herd;
pub(super) mod pass;
pub(super) mod rest;
pub(super) mod sick;
