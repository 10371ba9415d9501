//! The stored form of an account: a row with a small JSON.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::account::{Accepted, Account, InFlight, OpenCharges, Rejected};
use crate::model::{AccountKey, FailureKind, Fingerprint};
use crate::store::AccountRow;

/// The column `details`. Names are short, because there is one for each account.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<OpenRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accepted: Vec<(String, u32)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<(String, Box<str>, u32, String)>,
    turn: u32,
}

/// The day that a time is in.
pub(super) fn day_of(at: DateTime<Utc>) -> i32 {
    i32::try_from(at.timestamp().div_euclid(SECONDS_A_DAY)).unwrap_or(i32::MAX)
}

const SECONDS_A_DAY: i64 = 86_400;

/// The row of an account.
pub(super) fn row(key: AccountKey, account: &Account, seen_day: i32, version: i64) -> AccountRow {
    let details = Details {
        open: account.open.iter().map(open_row).collect(),
        accepted: account.accepted.iter().map(|known| (known.credentials.to_text(), known.turn)).collect(),
        rejected: account.rejected.iter().map(rejected_row).collect(),
        turn: account.turn,
    };
    AccountRow {
        key,
        charges: account.charges(),
        in_flight: account
            .in_flight
            .as_ref()
            .map(|charge| format!("{:016x} {}", charge.number, charge.daemon)),
        details: serde_json::to_string(&details).unwrap_or_default(),
        seen_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(i64::from(seen_day) * SECONDS_A_DAY),
        version,
    }
}

/// The server, the user name and the charges.
type OpenRow = (Option<Box<str>>, Option<Box<str>>, u8);

fn open_row(known: &OpenCharges) -> OpenRow {
    (known.server.clone(), known.username.clone(), known.charges)
}

fn rejected_row(known: &Rejected) -> (String, Box<str>, u32, String) {
    (known.credentials.to_text(), known.username.clone(), known.turn, known.kind.as_str().to_owned())
}

/// The account of a row. If its details cannot be read, the charges remain: they have a column of their own.
pub(super) fn account(row: &AccountRow) -> Account {
    let mut details: Details = serde_json::from_str(&row.details).unwrap_or_default();
    if details.open.is_empty() && row.charges > 0 {
        details.open.push((None, None, row.charges));
    }
    let open =
        details.open.into_iter().map(|(server, username, charges)| OpenCharges { server, username, charges });
    let accepted = details.accepted.iter().filter_map(|(credentials, turn)| {
        Some(Accepted { credentials: Fingerprint::from_text(credentials)?, turn: *turn })
    });
    let rejected = details.rejected.into_iter().filter_map(|(credentials, username, turn, kind)| {
        let credentials = Fingerprint::from_text(&credentials)?;
        let kind = FailureKind::from_name(&kind).unwrap_or(FailureKind::CredentialsRejected);
        Some(Rejected { credentials, username, turn, kind })
    });
    Account {
        open: open.collect(),
        accepted: accepted.collect(),
        rejected: rejected.collect(),
        in_flight: row.in_flight.as_deref().map(|text| Box::new(in_flight(text))),
        turn: details.turn,
    }
}

/// Reads a charge in flight. A text that cannot be read is one too, with a number that no daemon uses.
fn in_flight(text: &str) -> InFlight {
    let (number, daemon) = text.split_once(' ').unwrap_or((text, ""));
    InFlight { number: u64::from_str_radix(number, 16).unwrap_or(0), daemon: daemon.into() }
}

#[cfg(test)]
#[path = "tests/stored.rs"]
mod tests;
