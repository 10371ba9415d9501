//! Outgoing answers. An answer about all customers is written from the snapshot in pieces. So a slow client needs no copy
//! of the table or of its JSON.

use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tbtoken_proto as proto;

use crate::engine::view::Snapshot;
use crate::notify;

/// The size of a piece, in bytes.
const PIECE: usize = 64 * 1024;

/// An empty list of customers in JSON. It occurs once in an answer, because quotes inside a string are escaped.
const NO_CUSTOMERS: &[u8] = br#""customers":[]"#;

/// An answer that is being sent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A whole answer with its newline, and the code of a refusal.
    Line { line: Vec<u8>, refused: Option<proto::ErrorCode> },
    /// A `status` about all customers.
    Listing(Box<Listing>),
}

/// A `status` about all customers, and how far it is written.
#[derive(Debug)]
pub(crate) struct Listing {
    snapshot: Arc<Snapshot>,
    query: proto::StatusQuery,
    now: DateTime<Utc>,
    /// The line before the first customer; taken when it is sent.
    head: Option<Vec<u8>>,
    /// The line after the last customer; taken when it is sent.
    tail: Option<Vec<u8>>,
    place: usize,
}

impl Outgoing {
    /// Makes an answer in one piece.
    pub(crate) fn line(answer: &proto::Answer) -> io::Result<Self> {
        let refused = answer.outcome.as_ref().err().map(|refusal| refusal.code);
        Ok(Self::Line { line: to_line(answer)?, refused })
    }

    /// Returns the code of a refusal.
    pub(crate) fn refused(&self) -> Option<proto::ErrorCode> {
        match self {
            Self::Line { refused, .. } => *refused,
            Self::Listing(_) => None,
        }
    }

    /// Makes the answer to `status` from this snapshot.
    pub(super) fn status(
        id: Option<proto::Id>,
        query: proto::StatusQuery,
        snapshot: Arc<Snapshot>,
        now: DateTime<Utc>,
    ) -> io::Result<Self> {
        if query.customers != proto::Rows::All {
            let outcome = snapshot.status(&query, now).map(with_receivers);
            return Self::line(&proto::Answer { id, outcome });
        }
        let outcome = snapshot.status_without_customers(&query).map(with_receivers);
        let refused = outcome.as_ref().err().map(|refusal| refusal.code);
        let mut head = to_line(&proto::Answer { id, outcome })?;
        match head.windows(NO_CUSTOMERS.len()).position(|bytes| bytes == NO_CUSTOMERS) {
            None => Ok(Self::Line { line: head, refused }),
            Some(at) => {
                let tail = Some(head.split_off(at + NO_CUSTOMERS.len() - 1));
                let head = Some(head);
                Ok(Self::Listing(Box::new(Listing { snapshot, query, now, head, tail, place: 0 })))
            }
        }
    }

    /// Replaces `piece` by the next piece; it is empty at the end.
    pub(crate) fn next(&mut self, piece: &mut Vec<u8>) -> io::Result<()> {
        piece.clear();
        match self {
            Self::Line { line, .. } => std::mem::swap(line, piece),
            Self::Listing(listing) => listing.next(piece)?,
        }
        Ok(())
    }
}

impl Listing {
    fn next(&mut self, piece: &mut Vec<u8>) -> io::Result<()> {
        if self.tail.is_none() {
            return Ok(());
        }
        let mut is_first = false;
        if let Some(head) = self.head.take() {
            piece.extend(head);
            is_first = true;
        }
        while piece.len() < PIECE {
            let Some((customer, place)) = self.snapshot.listed(&self.query, self.place, self.now) else {
                piece.extend(self.tail.take().unwrap_or_default());
                return Ok(());
            };
            if !std::mem::take(&mut is_first) {
                piece.push(b',');
            }
            serde_json::to_writer(&mut *piece, &customer)?;
            self.place = place;
        }
        Ok(())
    }
}

/// Adds what no snapshot holds.
fn with_receivers(mut status: proto::StatusReply) -> proto::Reply {
    status.daemon.failing_receivers = notify::failing();
    proto::Reply::Status(status)
}

/// Makes the line of an answer.
pub(super) fn to_line(answer: &proto::Answer) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::engine::credentials::Settings;
    use crate::engine::event::Event;
    use crate::engine::policy::Policy;
    use crate::engine::state::State;
    use crate::engine::view::{Identity, Loop};
    use crate::model::{Credentials, Customer, CustomerId, FingerprintKey, LoopState, Secret};
    use crate::store::Table;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    /// Makes the snapshot of a table whose last customer was added later.
    fn snapshot(customers: usize) -> Arc<Snapshot> {
        let minute = TimeDelta::minutes(1);
        let policy = Policy::of_a_minute();
        let mut state = State::new(policy.clone(), 100, Settings::of_a_minute());
        for so_many in [customers.saturating_sub(1), customers] {
            let customer = |number| Customer {
                id: CustomerId::new(format!("c{number:05}")),
                credentials: Credentials {
                    url: "https://tb.example".into(),
                    username: r#"a "customers":[] b"#.to_owned(),
                    password: Secret::new("p"),
                },
                row_url: "https://tb.example".into(),
                has_token: true,
                expiry: Some(NOW + minute * 90),
            };
            let table = Table {
                customers: (0..so_many).map(customer).collect(),
                ineligible: Vec::new(),
                problems: Vec::new(),
                records: Vec::new(),
                key: FingerprintKey::new(&[7; FingerprintKey::BYTES]),
                records_lost: None,
            };
            state.apply(Event::TableRead(table), NOW, 0.5);
        }
        let cycle = Loop { state: LoopState::Running, refreshing: false, next_run_at: None, last_run: None };
        let store = r#"sqlite "customers":[]"#.to_owned();
        let identity = Identity { pid: 1, started_at: NOW, store, config_file: None, http: None };
        Arc::new(Snapshot::new(&state, &cycle, &identity, &policy, None, NOW))
    }

    fn pieces(snapshot: &Arc<Snapshot>, query: &proto::StatusQuery) -> Vec<Vec<u8>> {
        let id = Some(proto::Id::Number(7.into()));
        let mut outgoing = Outgoing::status(id, query.clone(), Arc::clone(snapshot), NOW).unwrap();
        let mut next = || {
            let mut piece = Vec::new();
            outgoing.next(&mut piece).unwrap();
            Some(piece).filter(|piece| !piece.is_empty())
        };
        std::iter::from_fn(&mut next).collect()
    }

    #[test]
    fn pieces_make_the_same_line_as_the_whole() {
        for customers in [0, 1, 2, 1_000] {
            let snapshot = snapshot(customers);
            let revision = snapshot.daemon.revision;
            let before = proto::Revision(revision.0 - 1);
            for since in [None, Some(revision), Some(before), Some(proto::Revision(3))] {
                for rows in [
                    proto::Rows::All,
                    proto::Rows::None,
                    proto::Rows::InTrouble(3),
                    proto::Rows::Only(vec!["c00000".to_owned()]),
                ] {
                    let query = proto::StatusQuery { customers: rows, since };
                    let outcome = snapshot.status(&query, NOW).map(proto::Reply::Status);
                    let whole = to_line(&proto::Answer { id: Some(proto::Id::Number(7.into())), outcome });
                    let joined = pieces(&snapshot, &query).concat();
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    assert_eq!(text(&joined), text(&whole.unwrap()), "{customers} {query:?}");
                }
            }
        }
    }

    #[test]
    fn no_piece_is_much_longer_than_a_piece() {
        let pieces = pieces(&snapshot(2_000), &proto::StatusQuery::default());
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        assert!(lengths.len() > 5 && lengths.iter().all(|length| *length < PIECE + 4096), "{lengths:?}");
    }
}
