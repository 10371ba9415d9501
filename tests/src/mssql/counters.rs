//! What a fake SQL Server counts.

use std::collections::BTreeMap;
use std::time::Instant;

/// What it has seen.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Connections that are open now.
    pub connections: usize,
    /// Connections since the start.
    pub connections_total: u64,
    /// Logins that were let in.
    pub logins: u64,
    /// Logins that were not.
    pub logins_refused: u64,
    /// Statements that arrived whole, by name.
    pub statements: BTreeMap<String, u64>,
    /// Bytes that came in, TLS and all.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// When each connection came.
    pub attempts: Vec<Instant>,
}

impl Stats {
    /// How often a statement arrived.
    #[must_use]
    pub fn of(&self, statement: &str) -> u64 {
        self.statements.get(statement).copied().unwrap_or(0)
    }
}
