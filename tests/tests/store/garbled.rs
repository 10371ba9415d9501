//! Promise 22: an answer of SQL Server that is not valid TDS causes no panic. It costs one call; the next connection works.
//!
//! A number decides how an answer is garbled. `TBTOKEN_GARBLE=N` tries the number N alone, which repeats a failure;
//! `TBTOKEN_GARBLES=N` tries 1 to N.

use tbtoken_tests::mssql::When;
use tbtokend::model::{Changes, Record, Renewal};
use tbtokend::store::mssql::ExpiryClock;
use tbtokend::store::{Records, Saved, StoreError};

use crate::clock::until_it_works;
use crate::ground::Ground;
use crate::place::{Line, Place, USUAL, at, line};
use crate::stores::words;

const NOW: &str = "2026-11-23T14:00:00Z";

/// How many garbled answers each statement gets.
const SEEDS: u64 = 40;

fn seeds() -> std::ops::RangeInclusive<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("TBTOKEN_GARBLE") {
        Some(seed) => seed..=seed,
        None => 1..=number("TBTOKEN_GARBLES").unwrap_or(SEEDS),
    }
}

/// Prints the number of a failed case.
struct Seed<'a>(&'a When, u64);

impl Drop for Seed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the answer to {:?}: TBTOKEN_GARBLE={} garbles it again", self.0, self.1);
        }
    }
}

/// Makes a place whose answers have texts, numbers, times and NULLs.
async fn ready(clock: ExpiryClock) -> Place {
    let place = Place::with(Ground::Fake, USUAL, clock).await;
    let living = Line { token: Some("x"), expiry: Some("2026-11-23T14:10:00"), ..line(2) };
    place.insert(&[line(1), living, Line { url: None, ..line(3) }, line(4)]).await;
    place
}

/// Makes a call with each garbled answer, and then the same call without a fault.
async fn garbled<T>(
    when: When,
    is_at_the_connection: bool,
    clock: ExpiryClock,
    call: impl AsyncFn(&Place) -> Result<T, StoreError>,
) {
    let place = ready(clock).await;
    until_it_works(async || call(&place).await).await;
    for seed in seeds() {
        let _seed = Seed(&when, seed);
        if is_at_the_connection {
            place.fake().kill_sessions();
        }
        place.fake().garble(when.clone(), seed);
        if let Err(error) = call(&place).await {
            words(&error);
        }
        place.fake().calm();
        until_it_works(async || call(&place).await).await;
    }
}

async fn read(place: &Place) -> Result<(), StoreError> {
    place.store.try_read(Records::All).await.map(drop)
}

macro_rules! garbled {
    ($($name:ident: $statement:expr, $at_the_connection:expr, $clock:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                let when = $statement.map_or(When::Login, |name: &str| When::Statement(name.to_owned()));
                garbled(when, $at_the_connection, $clock, read).await;
            }
        )+
    };
}

garbled! {
    p22_garbled_rows_make_no_panic: Some("read"), false, ExpiryClock::Utc;
    p22_garbled_records_make_no_panic: Some("records"), false, ExpiryClock::Utc;
    p22_a_garbled_clock_makes_no_panic: Some("clock"), false, ExpiryClock::ServerLocal;
    p22_a_garbled_login_makes_no_panic: None, true, ExpiryClock::Utc;
    p22_garbled_settings_of_the_session_make_no_panic: Some("session"), true, ExpiryClock::Utc;
    p22_garbled_columns_make_no_panic: Some("columns"), true, ExpiryClock::Utc;
    p22_a_garbled_key_makes_no_panic: Some("key"), true, ExpiryClock::Utc;
    p22_garbled_side_tables_make_no_panic: Some("probe_records"), true, ExpiryClock::Utc;
}

#[tokio::test]
async fn p22_the_garbled_outcome_of_a_save_makes_no_panic_and_loses_no_token() {
    let place = ready(ExpiryClock::Utc).await;
    let renewals: Vec<Renewal> = place.renewals([1, 2, 4], NOW).await;
    for seed in seeds() {
        let when = When::Statement("save".to_owned());
        let _seed = Seed(&when, seed);
        for row in [1, 2, 4] {
            place.set(row, "tbtoken", None).await;
            place.set(row, "tbtokenexpiry", None).await;
        }
        place.fake().garble(when.clone(), seed);
        if let Err(error) = place.store.try_save(renewals.clone()).await {
            words(&error);
        }
        place.fake().calm();
        let saved = until_it_works(async || place.store.try_save(renewals.clone()).await).await;
        assert_eq!(saved, vec![Saved::Written; 3]);
        for (row, renewal) in [1, 2, 4].into_iter().zip(&renewals) {
            assert_eq!(place.token(row).await.as_deref(), Some(renewal.token.jwt().expose()));
        }
    }
}

#[tokio::test]
async fn p22_the_garbled_outcome_of_records_makes_no_panic() {
    let record = |place: &Place, renewals| Record {
        id: tbtokend::model::CustomerId::new(place.id(1)),
        failure: None,
        last_success_at: Some(at(NOW)),
        renewals,
        changes: Changes::default(),
        updated_at: at(NOW),
    };
    let write = async |place: &Place| place.store.try_record(vec![record(place, 1)]).await;
    garbled(When::Statement("record".to_owned()), false, ExpiryClock::Utc, write).await;
}
