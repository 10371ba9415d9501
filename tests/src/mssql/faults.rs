//! What is to go wrong, when, and how often.

use std::time::Duration;

use crate::rng::Rng;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// It is carried out, and what is sent for an answer is [garbled](garble) by this seed; then the connection ends.
    Garbled(u64),
    /// It is carried out, and these bytes are sent for an answer; then the connection ends.
    Replaced(Vec<u8>),
}

impl Fault {
    /// What is sent in the place of this answer, if the fault is about the answer.
    pub(super) fn instead_of(self, answer: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Garbled(seed) => {
                let mut answer = answer.to_vec();
                garble(&mut answer, seed);
                Some(answer)
            }
            Self::Replaced(bytes) => Some(bytes),
            _ => None,
        }
    }
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
        Some(fault.clone())
    }
}

/// Does to an answer what no server does: other bytes, bytes too many, an end too early, nothing but noise from some place
/// on.
fn garble(answer: &mut Vec<u8>, seed: u64) {
    let mut rng = Rng::new(seed);
    let byte = |rng: &mut Rng| u8::try_from(rng.below(256)).unwrap();
    let place = rng.index(answer.len() + 1);
    match rng.below(4) {
        0 => answer.truncate(place),
        1 => {
            let noise: Vec<u8> = (0..=rng.below(8)).map(|_| byte(&mut rng)).collect();
            drop(answer.splice(place..place, noise));
        }
        2 => {
            answer.truncate(place);
            answer.extend((0..rng.below(300)).map(|_| byte(&mut rng)).collect::<Vec<_>>());
        }
        _ => {
            for _ in 0..=rng.below(4) {
                let place = rng.index(answer.len());
                answer[place] = byte(&mut rng);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_garbled_follows_from_the_seed_and_is_rarely_what_it_was() {
        let garbled = |seed| {
            let mut answer = (0..100).collect();
            garble(&mut answer, seed);
            answer
        };
        let as_it_was: Vec<u8> = (0..100).collect();
        assert!((0..100).all(|seed| garbled(seed) == garbled(seed)));
        assert!((0..100).filter(|seed| garbled(*seed) == as_it_was).count() < 5);
    }

    #[test]
    fn an_answer_is_replaced_by_faults_that_say_so() {
        assert_eq!(Fault::Replaced(vec![1]).instead_of(&[2, 3]), Some(vec![1]));
        assert_eq!(Fault::CutBefore.instead_of(&[2, 3]), None);
    }

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
