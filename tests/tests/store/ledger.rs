//! The cases of every ledger: beside the customers in SQLite, in SQL Server, and in its own file.

use std::sync::Arc;

use chrono::TimeDelta;
use tbtoken_tests::mssql::{Permission, Settings, SqlServer};
use tbtokend::model::{AccountKey, BaseUrl, LoopState};
use tbtokend::store::{AccountRow, Forget, LedgerPlace, LedgerRead, LedgerWrite, LedgerWritten, Stamp};

use crate::place::{Place, at, execute_sqlite};
use crate::stores::{AnyStore, words};

/// The kind of ledger that a case runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Sqlite,
    Fake,
    /// The fake SQL Server without JSON.
    OldFake,
    /// A file, because the login may not make a table on the fake.
    File,
    Real,
}

/// Makes a test of each case on each ground.
macro_rules! on_every_ledger {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $case() { super::$case(super::Ground::Sqlite).await; })+
        }
        mod fake {
            $(#[tokio::test] async fn $case() { super::$case(super::Ground::Fake).await; })+
        }
        mod old_fake {
            $(#[tokio::test] async fn $case() { super::$case(super::Ground::OldFake).await; })+
        }
        mod file {
            $(#[tokio::test] async fn $case() { super::$case(super::Ground::File).await; })+
        }
        mod real {
            $(#[tokio::test] async fn $case() {
                if crate::real::is_there(stringify!($case)) {
                    super::$case(super::Ground::Real).await;
                }
            })+
        }
    };
}

on_every_ledger! {
    a_new_ledger_is_empty,
    accounts_are_read_back_as_they_were_written,
    an_account_is_written_only_over_the_version_that_it_names,
    no_write_of_two_daemons_is_lost,
    only_what_has_changed_is_read,
    a_ledger_that_was_dropped_emptied_or_exchanged_takes_no_write,
    an_older_state_of_the_ledger_becomes_another_ledger,
    accounts_that_no_row_has_named_for_long_are_deleted,
    a_write_is_complete_or_has_no_effect,
    the_most_accounts_of_a_write_are_written,
    an_account_that_cannot_be_read_is_an_error,
    the_state_of_the_loop_outlives_the_process_and_is_no_account,
    the_key_of_the_fingerprints_outlives_the_process_wherever_the_ledger_is,
}

const NOW: &str = "2026-11-23T14:00:00Z";

async fn place(ground: Ground) -> Place {
    match ground {
        Ground::Sqlite => Place::new(crate::ground::Ground::Sqlite).await,
        Ground::Fake => Place::new(crate::ground::Ground::Fake).await,
        Ground::OldFake => Place::on(SqlServer::with(Settings { is_old: true, ..Settings::default() })).await,
        Ground::File => {
            let place = Place::new(crate::ground::Ground::Fake).await;
            place.fake().deny(Permission::CreateTable);
            place
        }
        Ground::Real => Place::new(crate::ground::Ground::Real).await,
    }
}

/// Runs a statement in the database of the ledger; `{ledger}` is its table.
async fn execute(ground: Ground, place: &Place, text: &str) {
    let text = text.replace("{ledger}", &place.beside("tbtokend_account"));
    match ground {
        Ground::File => drop(execute_sqlite(&place.state_folder().join("ledger.db"), &text)),
        Ground::Sqlite | Ground::Fake | Ground::OldFake | Ground::Real => drop(place.execute(&text).await),
    }
}

async fn drop_table(ground: Ground, place: &Place) {
    match ground {
        Ground::Fake | Ground::OldFake => place.fake().drop_table("tbtokend_account"),
        Ground::Sqlite | Ground::File | Ground::Real => execute(ground, place, "DROP TABLE {ledger}").await,
    }
}

pub(crate) fn key(number: u32) -> AccountKey {
    AccountKey::of(&BaseUrl::parse("https://tb.example").unwrap(), &format!("user-{number}"))
}

/// Makes an account that is not in the ledger yet.
pub(crate) fn account(number: u32, charges: u8) -> AccountRow {
    AccountRow {
        key: key(number),
        charges,
        in_flight: (charges > 0).then(|| format!("{number} tbtokend on sql01")),
        details: format!(r#"{{"spellings":["Zo\u00eb \"O'Hara\" \\ ✓ 😀 {number}"]}}"#),
        seen_at: at(NOW),
        version: 0,
    }
}

pub(crate) fn writing(stamp: Stamp, accounts: Vec<AccountRow>) -> LedgerWrite {
    LedgerWrite { stamp, accounts, forget: None }
}

/// Writes accounts without a conflict; returns the new stamp.
pub(crate) async fn write(store: &AnyStore, stamp: Stamp, accounts: Vec<AccountRow>) -> Stamp {
    match store.try_write_ledger(writing(stamp, accounts)).await.unwrap() {
        LedgerWritten::Written { number, conflicts } => {
            assert_eq!(conflicts, []);
            assert!(number > stamp.number, "{number} after {}", stamp.number);
            Stamp { number, ..stamp }
        }
        LedgerWritten::Replaced => panic!("the ledger is the one that was read"),
    }
}

/// Reads all accounts of the ledger, ordered by their keys.
pub(crate) async fn accounts(store: &AnyStore) -> Vec<AccountRow> {
    let LedgerRead { mut accounts, is_whole, .. } = store.read_ledger(None).await;
    assert!(is_whole);
    accounts.sort_by_key(|account| account.key);
    accounts
}

/// Returns the account with the version after a write.
pub(crate) fn at_version(stamp: Stamp, account: &AccountRow) -> AccountRow {
    AccountRow { version: stamp.number, ..account.clone() }
}

async fn the_state_of_the_loop_outlives_the_process_and_is_no_account(ground: Ground) {
    let place = place(ground).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    let loop_state = async |store: &AnyStore| store.read_ledger(None).await.loop_state;
    assert_eq!(loop_state(&place.store).await, None, "no operator has said anything yet");
    let stopped = LoopState::Stopped { since: at(NOW) };
    for state in [stopped, LoopState::Running, LoopState::NotStarted, stopped] {
        place.store.keep_loop_state(state).await.unwrap();
        assert_eq!(loop_state(&place.store).await, Some(state));
    }
    let stamp = write(&place.store, stamp, vec![account(1, 1)]).await;
    let forget = Forget { uncharged_before: at(NOW) + TimeDelta::days(1), charged_before: at(NOW) };
    let write = LedgerWrite { forget: Some(forget), ..writing(stamp, Vec::new()) };
    place.store.try_write_ledger(write).await.unwrap();
    let next = place.another_store();
    assert_eq!(accounts(&next).await.len(), 1, "it is no account");
    assert_eq!(loop_state(&next).await, Some(stopped), "it gets no older");
}

async fn the_key_of_the_fingerprints_outlives_the_process_wherever_the_ledger_is(ground: Ground) {
    let place = place(ground).await;
    let key = place.store.read().await.key;
    assert_eq!(place.store.read().await.key, key);
    assert_eq!(place.another_store().read().await.key, key);
}

async fn a_new_ledger_is_empty(ground: Ground) {
    let place = place(ground).await;
    let read = place.store.read_ledger(None).await;
    assert_eq!((read.is_whole, read.accounts.len(), read.stamp.number), (true, 0, 0));
    match (ground, &read.place) {
        (Ground::File, LedgerPlace::File { path, why }) => {
            assert_eq!(path, &place.state_folder().join("ledger.db").display().to_string());
            assert!(why.contains("no table [tbtokend_account], and the login may not make it"), "{why}");
        }
        (ground, place) => assert_eq!(*place, LedgerPlace::Database, "{ground:?}"),
    }
    let again = place.another_store().read_ledger(Some(read.stamp)).await;
    assert_eq!((again.is_whole, again.accounts.len(), again.stamp), (false, 0, read.stamp));
}

async fn accounts_are_read_back_as_they_were_written(ground: Ground) {
    let place = place(ground).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    let mut written = vec![account(1, 0), account(2, 3)];
    written[0].details = "x".repeat(3_000);
    written[1].seen_at = at("2026-11-23T14:00:00.123456Z");
    written.sort_by_key(|account| account.key);
    let stamp = write(&place.store, stamp, written.clone()).await;
    let expected: Vec<AccountRow> = written.iter().map(|account| at_version(stamp, account)).collect();
    // Another process reads them as well.
    assert_eq!(accounts(&place.another_store()).await, expected);
    let changed: Vec<AccountRow> = expected
        .into_iter()
        .map(|account| AccountRow { charges: 1, in_flight: None, details: "{}".to_owned(), ..account })
        .collect();
    let stamp = write(&place.store, stamp, changed.clone()).await;
    let expected: Vec<AccountRow> = changed.iter().map(|account| at_version(stamp, account)).collect();
    assert_eq!(accounts(&place.another_store()).await, expected);
}

async fn an_account_is_written_only_over_the_version_that_it_names(ground: Ground) {
    let place = place(ground).await;
    let (first, second) = (&place.store, place.another_store());
    let stamp = first.read_ledger(None).await.stamp;
    second.read_ledger(None).await;
    let theirs = write(&second, stamp, vec![account(1, 1)]).await;
    let theirs = at_version(theirs, &account(1, 1));

    let gone = AccountRow { version: 7, ..account(3, 1) };
    let batch = vec![account(1, 2), account(2, 1), gone];
    let written = first.try_write_ledger(writing(stamp, batch)).await.unwrap();
    let LedgerWritten::Written { number, mut conflicts } = written else { panic!("{written:?}") };
    conflicts.sort_by_key(|(key, _)| *key != key_of(&theirs));
    assert_eq!(conflicts, [(key(1), Some(theirs.clone())), (key(3), None)]);
    let ours = at_version(Stamp { number, ..stamp }, &account(2, 1));
    let mut expected = [theirs.clone(), ours];
    expected.sort_by_key(|account| account.key);
    assert_eq!(accounts(first).await, expected, "the others are written all the same");

    let after = write(first, stamp, vec![AccountRow { charges: 2, ..theirs.clone() }]).await;
    let stale = second.try_write_ledger(writing(stamp, vec![theirs.clone()])).await.unwrap();
    let now = AccountRow { charges: 2, ..at_version(after, &theirs) };
    let LedgerWritten::Written { conflicts, .. } = stale else { panic!("{stale:?}") };
    assert_eq!(conflicts, [(key(1), Some(now))]);
}

fn key_of(account: &AccountRow) -> AccountKey {
    account.key
}

/// Each daemon adds one to the same number many times, on top of the writes of the other.
async fn no_write_of_two_daemons_is_lost(ground: Ground) {
    const TIMES: usize = 20;
    let place = place(ground).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    write(&place.store, stamp, vec![AccountRow { details: "0".to_owned(), ..account(1, 0) }]).await;
    let place = Arc::new(place);
    let daemon = |place: Arc<Place>| async move {
        let store = place.another_store();
        let mut row = accounts(&store).await.remove(0);
        for _ in 0..TIMES {
            loop {
                let count: usize = row.details.parse().unwrap();
                let next = AccountRow { details: (count + 1).to_string(), ..row.clone() };
                let written = store.try_write_ledger(writing(stamp, vec![next.clone()])).await.unwrap();
                let LedgerWritten::Written { number, mut conflicts } = written else { panic!("{written:?}") };
                match conflicts.pop() {
                    None => {
                        row = AccountRow { version: number, ..next };
                        break;
                    }
                    Some((_, theirs)) => row = theirs.unwrap(),
                }
            }
        }
    };
    let both = [tokio::spawn(daemon(Arc::clone(&place))), tokio::spawn(daemon(Arc::clone(&place)))];
    for one in both {
        one.await.unwrap();
    }
    assert_eq!(accounts(&place.store).await[0].details, (2 * TIMES).to_string());
}

async fn only_what_has_changed_is_read(ground: Ground) {
    let place = place(ground).await;
    let other = place.another_store();
    let start = place.store.read_ledger(None).await.stamp;
    let first = write(&place.store, start, vec![account(1, 1), account(2, 1)]).await;
    other.read_ledger(None).await;
    let second = write(&other, first, vec![at_version(first, &account(2, 1)), account(3, 1)]).await;

    let read = place.store.read_ledger(Some(first)).await;
    let mut keys: Vec<AccountKey> = read.accounts.iter().map(key_of).collect();
    keys.sort_unstable();
    let mut expected = [key(2), key(3)];
    expected.sort_unstable();
    assert_eq!((read.is_whole, read.stamp, &*keys), (false, second, &expected[..]));
    assert_eq!(place.store.read_ledger(Some(start)).await.accounts.len(), 3);
    assert_eq!(place.store.read_ledger(Some(second)).await.accounts, []);
}

async fn a_ledger_that_was_dropped_emptied_or_exchanged_takes_no_write(ground: Ground) {
    for loss in ["dropped", "emptied", "exchanged"] {
        let place = place(ground).await;
        let stamp = place.store.read_ledger(None).await.stamp;
        let stamp = write(&place.store, stamp, vec![account(1, 2)]).await;
        let row = at_version(stamp, &account(1, 2));
        match loss {
            "dropped" => drop_table(ground, &place).await,
            "emptied" => execute(ground, &place, "DELETE FROM {ledger}").await,
            _ => {
                let id = stamp.id;
                let sql = format!("UPDATE {{ledger}} SET details = '17' WHERE details = '{id}'");
                execute(ground, &place, &sql).await;
            }
        }
        let written = place.store.try_write_ledger(writing(stamp, vec![row.clone(), account(2, 1)])).await;
        assert_eq!(written, Ok(LedgerWritten::Replaced), "{loss}");

        let read = place.store.read_ledger(Some(stamp)).await;
        assert!(read.is_whole && read.stamp.id != stamp.id, "{loss}");
        let expected = if loss == "exchanged" { vec![row.clone()] } else { Vec::new() };
        assert_eq!(read.accounts, expected, "{loss}: nothing was written");
        // The daemon writes back what it knows.
        let back = AccountRow { version: expected.first().map_or(0, |row| row.version), ..row };
        write(&place.store, read.stamp, vec![back]).await;
        assert_eq!(accounts(&place.another_store()).await.len(), 1);
    }
}

/// A backup is restored. Both daemons must notice it, although the first one may have written as often as the lost state
/// before the second one looks.
async fn an_older_state_of_the_ledger_becomes_another_ledger(ground: Ground) {
    let place = place(ground).await;
    let other = place.another_store();
    let start = place.store.read_ledger(None).await.stamp;
    let first = write(&place.store, start, vec![account(1, 1)]).await;
    let row = at_version(first, &account(1, 1));
    let later = write(&place.store, first, vec![account(2, 1)]).await;

    let Stamp { id, number } = first;
    let sql = format!("DELETE FROM {{ledger}} WHERE version > {number} AND details <> '{id}'");
    execute(ground, &place, &sql).await;
    let sql = format!("UPDATE {{ledger}} SET version = {number} WHERE details = '{id}'");
    execute(ground, &place, &sql).await;

    let write_of_later = writing(later, vec![AccountRow { charges: 0, ..row.clone() }]);
    assert_eq!(place.store.try_write_ledger(write_of_later.clone()).await, Ok(LedgerWritten::Replaced));
    let read = place.store.read_ledger(Some(later)).await;
    assert_eq!((read.is_whole, &*read.accounts), (true, &[row.clone()][..]), "nothing was written");
    let mut stamp = read.stamp;
    for number in 2..6 {
        stamp = write(&place.store, stamp, vec![account(number, 1)]).await;
    }
    assert!(stamp.number > later.number);
    assert_eq!(other.try_write_ledger(write_of_later).await, Ok(LedgerWritten::Replaced));
    let read = other.read_ledger(Some(later)).await;
    assert_eq!((read.is_whole, read.accounts.len(), read.stamp), (true, 5, stamp));
}

async fn accounts_that_no_row_has_named_for_long_are_deleted(ground: Ground) {
    let place = place(ground).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    let seen = |number, charges, days| AccountRow {
        seen_at: at(NOW) - TimeDelta::days(days),
        ..account(number, charges)
    };
    let batch = vec![seen(1, 0, 29), seen(2, 0, 31), seen(3, 1, 364), seen(4, 1, 366), seen(5, 0, 400)];
    let stamp = write(&place.store, stamp, batch).await;
    let forget = Forget {
        uncharged_before: at(NOW) - TimeDelta::days(30),
        charged_before: at(NOW) - TimeDelta::days(365),
    };
    // Accounts in the same write are kept.
    let again = AccountRow { seen_at: at(NOW), ..at_version(stamp, &seen(5, 0, 400)) };
    let written = LedgerWrite { stamp, accounts: vec![again], forget: Some(forget) };
    let written = place.store.try_write_ledger(written).await.unwrap();
    assert!(matches!(&written, LedgerWritten::Written { conflicts, .. } if conflicts.is_empty()));
    let mut left: Vec<AccountKey> = accounts(&place.store).await.iter().map(key_of).collect();
    left.sort_unstable();
    let mut expected = [key(1), key(3), key(5)];
    expected.sort_unstable();
    assert_eq!(left, expected);
}

/// If the database refuses one account, nothing is written.
async fn a_write_is_complete_or_has_no_effect(ground: Ground) {
    let place = place(ground).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    refuse_charges_above(ground, &place, 3).await;
    let error =
        place.store.try_write_ledger(writing(stamp, vec![account(1, 1), account(2, 4)])).await.unwrap_err();
    words(&error);
    let read = place.store.read_ledger(Some(stamp)).await;
    assert_eq!((read.is_whole, read.stamp, &*read.accounts), (false, stamp, &[][..]));
    write(&place.store, stamp, vec![account(1, 1), account(2, 3)]).await;
}

async fn refuse_charges_above(ground: Ground, place: &Place, charges: u8) {
    match ground {
        Ground::Sqlite | Ground::File => {
            let sql = format!(
                "CREATE TRIGGER too_many BEFORE INSERT ON tbtokend_account WHEN new.charges > {charges}
                 BEGIN SELECT RAISE(ABORT, 'too many'); END"
            );
            execute(ground, place, &sql).await;
        }
        Ground::Fake | Ground::OldFake | Ground::Real => {
            place.check("tbtokend_account", "charges", &format!("charges <= {charges}")).await;
        }
    }
}

async fn the_most_accounts_of_a_write_are_written(ground: Ground) {
    let place = place(ground).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    let most = LedgerWrite::MOST_ACCOUNTS;
    let batch: Vec<AccountRow> = (0..most).map(|number| account(u32::try_from(number).unwrap(), 1)).collect();
    let stamp = write(&place.store, stamp, batch.clone()).await;
    let read = place.store.read_ledger(None).await;
    assert_eq!((read.stamp, read.accounts.len()), (stamp, most));
    let batch = batch.iter().map(|account| AccountRow { charges: 0, ..at_version(stamp, account) }).collect();
    write(&place.store, stamp, batch).await;
    assert!(accounts(&place.store).await.iter().all(|account| account.charges == 0));
}

/// If such a row were skipped, its charges would be lost.
async fn an_account_that_cannot_be_read_is_an_error(ground: Ground) {
    let place = place(ground).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    write(&place.store, stamp, vec![account(1, 1), account(2, 1)]).await;
    match ground {
        Ground::Sqlite | Ground::File => {}
        Ground::Fake | Ground::OldFake => {
            place.fake().retype_column("tbtokend_account", "seen_at", "varchar(40)");
            place.execute("UPDATE tbtokend_account SET seen_at = 'soon'").await;
        }
        Ground::Real => {
            execute(ground, &place, "ALTER TABLE {ledger} ALTER COLUMN seen_at varchar(40)").await;
        }
    }
    let sql = format!("UPDATE {{ledger}} SET seen_at = 'soon' WHERE details <> '{}'", stamp.id);
    execute(ground, &place, &sql).await;
    let error = place.store.try_read_ledger(None).await.unwrap_err();
    assert!(words(&error).contains("a row in tbtokend_account cannot be read"), "{error}");
}
