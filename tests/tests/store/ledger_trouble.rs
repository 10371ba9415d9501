//! Faults of the ledger in SQL Server, and the file in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tbtoken_tests::mssql::{Direction, Layer, Permission, SqlServer, When};
use tbtokend::model::LoopState;
use tbtokend::store::mssql::Settings;
use tbtokend::store::{AccountRow, LedgerPlace, LedgerRead, LedgerWritten, Stamp};

use crate::ground::Ground;
use crate::ledger::{account, accounts, at_version, key, write, writing};
use crate::place::{Place, at, line};
use crate::stores::{mssql, words};

fn writes() -> When {
    When::Statement("write_accounts".to_owned())
}

/// Makes a place whose ledger has one account, and returns the stamp.
async fn ready() -> (Place, Stamp) {
    let place = Place::new(Ground::Fake).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    let stamp = write(&place.store, stamp, vec![account(1, 0)]).await;
    (place, stamp)
}

#[tokio::test]
async fn p02_a_write_whose_answer_was_lost_is_sent_again_and_counts_once() {
    for lose in [SqlServer::cut_before, SqlServer::cut_after] {
        let (place, stamp) = ready().await;
        let batch = vec![at_version(stamp, &account(1, 2)), account(2, 1)];
        lose(place.fake(), writes(), 1);
        let stamp = write(&place.store, stamp, batch.clone()).await;
        let mut expected: Vec<AccountRow> = batch.iter().map(|account| at_version(stamp, account)).collect();
        expected.sort_by_key(|account| account.key);
        assert_eq!(accounts(&place.another_store()).await, expected);
    }
}

/// A write of another daemon must not count as this daemon's write.
#[tokio::test]
async fn p02_a_write_that_is_sent_again_is_not_confused_with_that_of_another_daemon() {
    let (place, stamp) = ready().await;
    let other = place.another_store();
    let theirs = Some("7 tbtokend on sql02".to_owned());
    let row = AccountRow { in_flight: theirs.clone(), ..at_version(stamp, &account(1, 1)) };
    write(&other, stamp, vec![row]).await;
    place.fake().cut_before(writes(), 1);
    let ours = writing(stamp, vec![at_version(stamp, &account(1, 1))]);
    let written = place.store.try_write_ledger(ours).await.unwrap();
    let LedgerWritten::Written { conflicts, .. } = written else { panic!("{written:?}") };
    let [(conflict, Some(row))] = &conflicts[..] else { panic!("{conflicts:?}") };
    assert_eq!((*conflict, &row.in_flight), (key(1), &theirs));
}

/// If the answer is lost twice, the write is an error, and reading shows its outcome.
#[tokio::test]
async fn p02_a_write_with_an_unknown_outcome_is_an_error_and_reading_shows_it() {
    let (place, stamp) = ready().await;
    place.fake().cut_after(writes(), 2);
    let batch = vec![at_version(stamp, &account(1, 2))];
    words(&place.store.try_write_ledger(writing(stamp, batch)).await.unwrap_err());
    let read = place.another_store().read_ledger(Some(stamp)).await;
    assert!(!read.is_whole && read.stamp.number > stamp.number);
    let [row] = &read.accounts[..] else { panic!("{:?}", read.accounts) };
    assert_eq!((row.key, row.charges), (key(1), 2));
}

#[tokio::test]
async fn p02_nothing_is_written_to_a_ledger_that_is_locked_full_or_read_only() {
    for number in [1222, 1205, 9002, 3906] {
        let (place, stamp) = ready().await;
        place.fake().fail(writes(), number, 2);
        let batch = vec![at_version(stamp, &account(1, 2)), account(2, 1)];
        let error = place.store.try_write_ledger(writing(stamp, batch.clone())).await.unwrap_err();
        assert!(words(&error).contains(&number.to_string()), "{error}");
        place.fake().calm();
        let store = place.another_store();
        let read = store.read_ledger(Some(stamp)).await;
        assert_eq!((read.is_whole, read.stamp, read.accounts.len()), (false, stamp, 0), "{number}");
        write(&store, stamp, batch).await;
    }
}

/// Cuts a write after every few bytes. It is written exactly once in all cases.
#[tokio::test]
async fn p10_a_write_of_the_ledger_cut_at_any_point_is_survived() {
    let (place, mut stamp) = ready().await;
    let before = place.fake().tds_bytes();
    stamp = write(&place.store, stamp, vec![at_version(stamp, &account(1, 1))]).await;
    let after = place.fake().tds_bytes();
    let mut charges = 1;
    for (direction, length, step) in
        [(Direction::Received, after.0 - before.0, 331), (Direction::Sent, after.1 - before.1, 3)]
    {
        assert!(length > 50, "{length}");
        for bytes in (0..=length).step_by(step) {
            charges = 3 - charges;
            let row = at_version(stamp, &account(1, charges));
            place.fake().cut(Layer::Tds, direction, bytes);
            stamp = write(&place.store, stamp, vec![row]).await;
            let found = accounts(&place.another_store()).await;
            assert_eq!((found.len(), found[0].charges), (1, charges), "{direction:?} {bytes}");
            assert_eq!(found[0].version, stamp.number, "{direction:?} {bytes}");
        }
    }
}

/// Makes a place where the login may not make tables.
async fn without_a_table() -> Place {
    let place = Place::new(Ground::Fake).await;
    place.insert(&[line(1)]).await;
    place.fake().deny(Permission::CreateTable);
    place
}

fn file(place: &Place) -> PathBuf {
    place.state_folder().join("ledger.db")
}

#[tokio::test]
async fn only_the_owner_can_read_a_ledger_file_and_a_missing_one_is_made_again() {
    let place = without_a_table().await;
    let stamp = place.store.read_ledger(None).await.stamp;
    let stamp = write(&place.store, stamp, vec![account(1, 2)]).await;
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.state_folder()), mode(&file(&place))), (0o700, 0o600));
    fs::remove_dir_all(place.state_folder()).unwrap();
    let row = at_version(stamp, &account(1, 2));
    let written = place.store.try_write_ledger(writing(stamp, vec![row])).await;
    assert_eq!(written, Ok(LedgerWritten::Replaced));
    let read = place.store.read_ledger(Some(stamp)).await;
    assert!(read.is_whole && read.accounts.is_empty() && read.stamp.id != stamp.id);
}

/// The daemon knows the charges of the file, and writes them to the new ledger.
#[tokio::test]
async fn the_ledger_moves_into_the_database_as_soon_as_there_is_a_table() {
    let place = without_a_table().await;
    let in_file = place.store.read_ledger(None).await;
    let stamp = write(&place.store, in_file.stamp, vec![account(1, 2)]).await;
    let again = place.store.read_ledger(Some(stamp)).await;
    assert!(!again.is_whole && again.place == in_file.place, "{:?}", again.place);

    place.fake().allow_everything();
    let written = place.store.try_write_ledger(writing(stamp, vec![account(2, 1)])).await.unwrap();
    assert!(matches!(written, LedgerWritten::Written { .. }), "to where it was read from: {written:?}");
    let read = place.store.read_ledger(Some(stamp)).await;
    assert!(read.is_whole && read.stamp.id != stamp.id && read.place == LedgerPlace::Database);
    write(&place.store, read.stamp, vec![account(1, 2)]).await;
    assert_eq!(place.fake().execute("SELECT charges FROM tbtokend_account").len(), 2, "with the stamp");
}

/// It may hold charges, so the file does not stand in for it.
#[tokio::test]
async fn p02_a_table_without_permission_or_with_another_schema_is_an_error() {
    let place = Place::new(Ground::Fake).await;
    let stamp = place.store.read_ledger(None).await.stamp;
    let why = async |store: &crate::stores::AnyStore| words(&store.try_read_ledger(None).await.unwrap_err());
    for permission in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
        place.fake().deny(Permission::On(permission, "dbo.tbtokend_account".to_owned()));
        let said = why(&place.another_store()).await;
        assert!(said.contains("DELETE ON [tbtokend_account] TO [tbtokend]"), "{permission}: {said}");
        place.fake().allow_everything();
    }
    // A store that has used the table finds out by an error as well.
    place.fake().deny(Permission::On("UPDATE", "dbo.tbtokend_account".to_owned()));
    let error = place.store.try_write_ledger(writing(stamp, vec![account(1, 1)])).await.unwrap_err();
    assert!(words(&error).contains("DELETE ON [tbtokend_account] TO [tbtokend]"), "{error}");
    assert!(why(&place.store).await.contains("DELETE ON [tbtokend_account]"));
    place.fake().allow_everything();

    place.fake().rename_column("tbtokend_account", "charges", "attempts");
    let said = why(&place.another_store()).await;
    assert!(said.contains("other columns") && said.contains("tbtokend schema --dialect mssql"), "{said}");
    assert!(!file(&place).exists());
}

/// The daemon is stopped, the DBA makes the table, the daemon starts. The contents of the file are not lost, even if the
/// power fails before they are in the table.
#[tokio::test]
async fn p02_what_is_left_in_the_file_comes_along_until_it_is_in_the_table() {
    let place = without_a_table().await;
    let stamp = place.store.read_ledger(None).await.stamp;
    write(&place.store, stamp, vec![account(1, 2), account(2, 1), account(3, 0)]).await;
    let stopped = LoopState::Stopped { since: at("2026-11-23T14:00:00Z") };
    place.store.keep_loop_state(stopped).await.unwrap();
    let fingerprint_key = place.store.read().await.key;
    place.fake().allow_everything();

    let left = |read: &LedgerRead| {
        assert!(read.is_whole && read.place == LedgerPlace::Database, "{read:?}");
        let mut left: Vec<_> = read.unmoved_accounts.iter().map(|row| (row.key, row.charges)).collect();
        left.sort_unstable();
        left
    };
    let mut all = vec![(key(1), 2), (key(2), 1), (key(3), 0)];
    all.sort_unstable();
    for _ in 0..2 {
        let store = place.another_store();
        let key = store.read().await.key;
        assert_eq!(key, fingerprint_key, "what is left is recognized by it");
        let read = store.read_ledger(None).await;
        assert_eq!((left(&read), read.loop_state), (all.clone(), Some(stopped)));
        assert_eq!(read.accounts, []);
    }
    let store = place.another_store();
    let stamp = store.read_ledger(None).await.stamp;
    let stamp = write(&store, stamp, vec![account(1, 2)]).await;
    // A row of another daemon is in the way: what is left is not in the table yet.
    let stamp = write(&place.another_store(), stamp, vec![account(2, 0)]).await;
    let conflicting =
        store.try_write_ledger(writing(stamp, vec![account(2, 1), account(3, 0)])).await.unwrap();
    let LedgerWritten::Written { conflicts, number } = conflicting else { panic!("{conflicting:?}") };
    assert_eq!(conflicts.len(), 1);
    let next = place.another_store();
    let read = next.read_ledger(None).await;
    assert_eq!((left(&read), read.accounts.len()), (vec![(key(2), 1)], 3));
    place.fake().cut_before(writes(), 2);
    let theirs = AccountRow { charges: 1, ..at_version(stamp, &account(2, 1)) };
    let stamp = Stamp { number, ..stamp };
    next.try_write_ledger(writing(stamp, vec![theirs.clone()])).await.unwrap_err();
    assert_eq!(left(&place.another_store().read_ledger(None).await), [(key(2), 1)]);
    place.fake().calm();
    let next = place.another_store();
    next.read_ledger(None).await;
    write(&next, stamp, vec![theirs]).await;
    assert_eq!(left(&place.another_store().read_ledger(None).await), []);
    fs::remove_file(file(&place)).unwrap();
    assert_eq!(place.another_store().read().await.key, fingerprint_key, "the database has it now");
    next.keep_loop_state(LoopState::Running).await.unwrap();
    assert_eq!(place.another_store().read_ledger(None).await.loop_state, Some(LoopState::Running));
}

#[tokio::test]
async fn p02_a_file_that_was_left_and_cannot_be_read_is_an_error_that_names_it() {
    let place = Place::new(Ground::Fake).await;
    fs::create_dir_all(place.state_folder()).unwrap();
    fs::write(file(&place), "x".repeat(5_000)).unwrap();
    let said = words(&place.store.try_read_ledger(None).await.unwrap_err());
    let path = file(&place).display().to_string();
    assert!(said.contains(&format!("{path} held the ledger before")), "{said}");
    assert!(said.contains(&format!("Make {path} a SQLite database again")), "{said}");
    fs::remove_file(file(&place)).unwrap();
    place.store.read_ledger(None).await;
}

/// The engine then uses refresh tokens only, and sends no password.
#[tokio::test]
async fn without_any_place_for_the_ledger_there_is_an_error_that_names_both() {
    let place = without_a_table().await;
    fs::write(place.state_folder(), "not a folder").unwrap();
    let said = words(&place.store.try_read_ledger(None).await.unwrap_err());
    let path = file(&place).display().to_string();
    assert!(said.contains("no table [tbtokend_account]") && said.contains(&path), "{said}");
    assert!(said.contains("tbtokend schema --dialect mssql"), "{said}");
    assert_eq!(place.store.read().await.customers.len(), 1);

    let homeless = mssql(Settings { state_folder: None, ..place.settings() });
    let said = words(&homeless.try_read_ledger(None).await.unwrap_err());
    assert!(said.contains("no table [tbtokend_account]") && said.contains("STATE_DIRECTORY"), "{said}");
    fs::remove_file(place.state_folder()).unwrap();
    place.store.read_ledger(None).await;
}
