//! The faults of a fake SQL Server: which, when, and how often.

use std::time::Duration;

use crate::rng::Rng;

/// The requests that a fault concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// A login with the right password.
    Login,
    /// The statement of this name.
    Statement(String),
    /// Every statement.
    Any,
}

/// The layer on which bytes are counted before a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The wire, with TLS, from the first byte of the connection.
    Wire,
    /// The TDS packets inside TLS.
    Tds,
}

/// The direction of the bytes that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Received,
    /// To the client.
    Sent,
}

/// A fault of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request is not run, and answered with this error.
    Error(u32),
    /// The answer is late.
    Delay(Duration),
    /// The request is not run, and never answered.
    Silence,
    /// The connection is cut before the request is run.
    CutBefore,
    /// The request is run, and the connection is cut before the answer.
    CutAfter,
    /// The request is run, and the answer is [garbled](garble) with this seed; then the connection ends.
    Garbled(u64),
    /// The request is run, and these bytes are the answer; then the connection ends.
    Replaced(Vec<u8>),
}

impl Fault {
    /// Returns the bytes to send in place of this answer, if the fault changes the answer.
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

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(When, Fault, u64)>);

impl Faults {
    pub(super) fn add(&mut self, when: When, fault: Fault, times: u64) {
        self.0.push((when, fault, times));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the next fault for this login (no name) or statement.
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

/// Garbles an answer as no server does: changed bytes, extra bytes, an early end, or only noise after some place.
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
