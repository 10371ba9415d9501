//! What is to go wrong, when, and how often.

use std::time::Duration;

/// At what a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// A login whose password is right.
    Login,
    /// The statement of this name.
    Statement(String),
    /// Every statement.
    Any,
}

/// Where bytes are counted before a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// On the wire: TLS and all, from the first byte of the connection.
    Wire,
    /// Inside of TLS: TDS packets.
    Tds,
}

/// Which bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Received,
    /// To the client.
    Sent,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is answered with this error, and not carried out.
    Error(u32),
    /// It is answered later.
    Delay(Duration),
    /// It is never answered, and not carried out.
    Silence,
    /// The connection is cut before it is carried out.
    CutBefore,
    /// It is carried out, and the connection is cut before the answer.
    CutAfter,
}

/// The faults that are waiting for their requests.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(When, Fault, u64)>);

impl Faults {
    pub(super) fn add(&mut self, when: When, fault: Fault, times: u64) {
        self.0.push((when, fault, times));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for this login (no name) or statement; it counts as having struck.
    pub(super) fn strike(&mut self, statement: Option<&str>) -> Option<Fault> {
        let (_, fault, left) = self.0.iter_mut().find(|(when, _, left)| {
            *left > 0
                && match (when, statement) {
                    (When::Login, None) | (When::Any, Some(_)) => true,
                    (When::Statement(name), Some(statement)) => name == statement,
                    _ => false,
                }
        })?;
        *left -= 1;
        Some(*fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_as_often_as_they_were_asked_to() {
        let mut faults = Faults::default();
        faults.add(When::Statement("save".to_owned()), Fault::Error(1205), 2);
        faults.add(When::Login, Fault::Error(4060), 1);
        assert_eq!(faults.strike(Some("read")), None);
        assert_eq!(faults.strike(Some("save")), Some(Fault::Error(1205)));
        assert_eq!(faults.strike(Some("save")), Some(Fault::Error(1205)));
        assert_eq!(faults.strike(Some("save")), None);
        assert_eq!(faults.strike(None), Some(Fault::Error(4060)));
        assert_eq!(faults.strike(None), None);
    }
}
