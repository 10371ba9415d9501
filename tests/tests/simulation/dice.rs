//! The dice that all tests throw.

pub(crate) use tbtoken_tests::dice::Dice;
