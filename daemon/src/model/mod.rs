//! The domain types: customers, credentials, tokens, failures, records, notices. Pure: no I/O, no clock, no other layer.

mod account;
mod base_url;
mod changes;
mod check;
mod customer;
mod expiry;
mod failure;
mod fingerprint;
mod loop_state;
mod notice;
mod record;
mod renewal;
mod secret;
mod skew;
mod stored_notice;
mod token;
mod urls;

pub use account::AccountKey;
pub use base_url::{BadUrl, BaseUrl, ServerKey};
pub use changes::Changes;
pub use check::{DeadCause, RowToken, TokenAnswer, VerifyTokens};
pub use customer::{Credentials, Customer, CustomerId, Ineligibility, IneligibleRow, Row};
pub use expiry::{Lifetime, TokenStatus, window_of};
pub use failure::{Failure, FailureKind, UnexpectedAnswer, may_be_counted};
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use loop_state::LoopState;
pub use notice::{NoticeKind, Priority};
pub use record::{FailureNote, Record};
pub use renewal::{Renewal, whole_seconds};
pub use secret::Secret;
pub use skew::Skew;
pub use stored_notice::{NoticeChange, StoredNotice};
pub use token::{Grant, NotAToken, Token};
pub use urls::Urls;
