//! The counters of a fake SQL Server.

use std::collections::BTreeMap;
use std::time::Instant;

/// The counters.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Connections that are open now.
    pub connections: usize,
    /// Connections since the start.
    pub connections_total: u64,
    /// Accepted logins.
    pub logins: u64,
    /// Refused logins.
    pub logins_refused: u64,
    /// Statements that arrived completely, by name.
    pub statements: BTreeMap<String, u64>,
    /// Bytes received, TLS included.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// The time of each connection.
    pub attempts: Vec<Instant>,
}

impl Stats {
    /// Returns how often a statement arrived.
    #[must_use]
    pub fn of(&self, statement: &str) -> u64 {
        self.statements.get(statement).copied().unwrap_or(0)
    }
}
