//! What is written of an account is read again.

use super::*;
use crate::engine::credentials::account::{Change, Send};
use crate::engine::credentials::{HeldCredentials, Outcome};
use crate::model::BaseUrl;

#[test]
fn an_account_survives_its_row() {
    let key = AccountKey::from_bytes(&[9; AccountKey::BYTES]).unwrap();
    let mut account = Account::default();
    let kind = FailureKind::AccountLocked;
    for (number, outcome) in [(1, Outcome::Accepted), (2, Outcome::Rejected), (3, Outcome::Unanswered)] {
        let credentials = Fingerprint::numbered(number.into());
        let server = BaseUrl::parse("https://tb.example:8443").unwrap().server_key();
        let send = Send {
            server,
            username: "ops \"x\"".into(),
            credentials,
            held: HeldCredentials::default(),
            turn: 0,
        };
        let charge = InFlight { number, daemon: "host:1 2".into() };
        account.apply(&Change::Charge { charge, send: send.clone() });
        if number < 3 {
            account.apply(&Change::Settle { number, send, outcome, kind });
        }
    }
    let row = row(key, &account, 20_000, 5);
    let open = r#"{"open":[[null,null,2],["https://tb.example:8443",null,2],[null,"ops \"x\"",2],["https://tb.example:8443","ops \"x\"",2]],"#;
    assert!(row.details.starts_with(open), "{}", row.details);
    assert_eq!((row.charges, row.version), (2, 5));
    assert_eq!(row.in_flight.as_deref(), Some("0000000000000003 host:1 2"));
    assert_eq!(day_of(row.seen_at), 20_000);
    assert_eq!(super::account(&row), account);
}

/// A count is worth more than what else was known.
#[test]
fn p02_of_a_row_that_cannot_be_read_the_charges_remain() {
    let key = AccountKey::from_bytes(&[9; AccountKey::BYTES]).unwrap();
    let mut row = row(key, &Account::default(), 0, 1);
    for (details, in_flight) in [("nonsense", "nonsense"), ("{}", ""), ("", "12 x"), ("[1]", "zz zz")] {
        (row.charges, row.details, row.in_flight) = (2, details.to_owned(), Some(in_flight.to_owned()));
        let account = account(&row);
        assert_eq!((account.charges(), account.in_flight.is_some()), (2, true), "{details:?}");
    }
}
