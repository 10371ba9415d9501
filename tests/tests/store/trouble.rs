//! Promises 10, 11 and 19 for a store: faults, their messages, and that the store survives them.

use std::sync::{Arc, Mutex};

use tbtoken_tests::mssql::{Accepts, Certificate, Permission, Settings, SqlServer, When};
use tbtokend::model::Secret;
use tbtokend::store::mssql::{Encryption, MssqlStore, Password, Trust};
use tbtokend::store::{Records, Saved, StoreError};

use crate::clock::until_it_works;
use crate::ground::Ground;
use crate::place::{Place, line};
use crate::stores::{AnyStore, fixed, mssql, words};

const NOW: &str = "2026-11-23T14:00:00Z";

/// The numbers of the transient errors.
const TRANSIENT: [u32; 31] = [
    20, 64, 121, 233, 997, 1204, 1205, 1222, 4060, 4221, 10053, 10054, 10060, 10928, 10929, 40143, 40197,
    40501, 40540, 40613, 42108, 42109, 49918, 49919, 49920, 47132, 47137, 47139, 49802, 49977, 49983,
];

fn statement(name: &str) -> When {
    When::Statement(name.to_owned())
}

/// Makes a place with two customers.
async fn two() -> Place {
    let place = Place::new(Ground::Fake).await;
    place.insert(&[line(1), line(2)]).await;
    place
}

async fn fails(store: &AnyStore) -> String {
    words(&store.try_read(Records::All).await.expect_err("it cannot be read"))
}

/// Repeats the work once if it failed, as the engine does at its next wake.
async fn again<T>(mut work: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    match work().await {
        Ok(result) => result,
        Err(error) => {
            let words = words(&error);
            work().await.unwrap_or_else(|second| panic!("after {words}: {second}"))
        }
    }
}

#[tokio::test]
async fn p10_every_transient_number_at_the_login_is_survived() {
    for number in TRANSIENT {
        let place = two().await;
        place.fake().fail(When::Login, number, 1);
        let table = again(async || place.store.try_read(Records::All).await).await;
        assert_eq!(table.customers.len(), 2, "{number}");
    }
}

/// The transient errors of statements. 4060 happens at a login, which is not repeated before the next wake.
fn in_a_statement() -> impl Iterator<Item = u32> {
    TRANSIENT.into_iter().filter(|number| *number != 4060)
}

/// Whether the connection can still be used: deadlocks and lock time-outs are over when they are reported.
fn spares_the_connection(number: u32) -> bool {
    // The class of 1204 is 19 and that of 1205 is 13; from 20 on the server ends the connection.
    matches!(number, 1204 | 1205 | 1222)
}

/// The caller does not notice the error: the store repeats the call at once, on a new connection if necessary.
#[tokio::test]
async fn p10_every_transient_number_at_reading_is_survived() {
    let place = two().await;
    place.store.read().await;
    for number in in_a_statement() {
        let before = place.fake().stats();
        place.fake().fail(statement("read"), number, 1);
        let table = place.store.try_read(Records::All).await;
        assert_eq!(table.unwrap_or_else(|error| panic!("{number}: {error}")).customers.len(), 2, "{number}");
        let after = place.fake().stats();
        assert_eq!(after.of("read") - before.of("read"), 2, "{number}");
        assert_eq!(after.logins - before.logins, u64::from(!spares_the_connection(number)), "{number}");
    }
}

/// The same for writes. The rows do not count as the cause, so all of them are sent again in one statement.
#[tokio::test]
async fn p10_every_transient_number_at_writing_is_survived() {
    let place = two().await;
    for number in in_a_statement() {
        place.set(1, "tbtoken", None).await;
        let renewals = place.renewals([1, 2], NOW).await;
        let before = place.fake().stats();
        place.fake().fail(statement("save"), number, 1);
        let saved = place.store.try_save(renewals.clone()).await;
        let saved = saved.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(saved, [Saved::Written, Saved::Written], "{number}");
        assert_eq!(place.token(1).await.as_deref(), Some(renewals[0].token.jwt().expose()));
        let after = place.fake().stats();
        assert_eq!(after.of("save") - before.of("save"), 2, "{number}");
        assert_eq!(after.logins - before.logins, u64::from(!spares_the_connection(number)), "{number}");
    }
}

/// There is only one second try. Then the caller gets the error, and the engine tries again at its next wake.
#[tokio::test]
async fn p10_an_error_that_stays_is_reported_after_the_second_try() {
    let place = two().await;
    let renewals = place.renewals([1, 2], NOW).await;
    for number in [1205, 40501] {
        let before = place.fake().stats().of("save");
        place.fake().fail(statement("save"), number, u64::MAX);
        let said = words(&place.store.try_save(renewals.clone()).await.unwrap_err());
        assert!(said.contains(&format!("error {number}")), "{said}");
        assert_eq!(place.fake().stats().of("save") - before, 2, "{number}");
        place.fake().calm();
        let saved = until_it_works(async || place.store.try_save(renewals.clone()).await).await;
        assert_eq!(saved, [Saved::Written, Saved::Written], "{number}");
    }
}

/// The connection is cut at every statement, before and after it is run.
#[tokio::test]
async fn p10_a_connection_cut_at_any_statement_is_survived() {
    let names: Vec<String> = {
        let place = two().await;
        let renewal = place.renewal(1, NOW).await;
        place.store.save(vec![renewal]).await;
        place.store.try_record(Vec::new()).await.unwrap();
        place.fake().stats().statements.into_keys().collect()
    };
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        for after in [false, true] {
            let place = two().await;
            match after {
                true => place.fake().cut_after(statement(&name), 1),
                false => place.fake().cut_before(statement(&name), 1),
            }
            let table = again(async || place.store.try_read(Records::All).await).await;
            assert_eq!((table.customers.len(), table.records_lost), (2, None), "{name} {after}");
            let renewals = place.renewals([1, 2], NOW).await;
            let saved = again(async || place.store.try_save(renewals.clone()).await).await;
            assert_eq!(saved, [Saved::Written, Saved::Written], "{name} {after}");
            let key = place.store.read().await.key;
            assert_eq!(place.another_store().read().await.key, key, "{name} {after}");
        }
    }
}

#[tokio::test]
async fn p10_a_write_without_an_answer_counts_as_written() {
    let place = two().await;
    let renewals = place.renewals([1, 2], NOW).await;
    place.fake().cut_after(statement("save"), 1);
    let saved = again(async || place.store.try_save(renewals.clone()).await).await;
    assert_eq!(saved, [Saved::Written, Saved::Written]);
    // Another writer was faster than the second try: its token stays.
    let renewals = place.renewals([1, 2], NOW).await;
    place.fake().cut_before(statement("save"), 1);
    place.set(1, "tbtoken", Some("theirs")).await;
    place.set(1, "tbtokenexpiry", Some("2026-11-23T15:00:00")).await;
    let saved = again(async || place.store.try_save(renewals.clone()).await).await;
    assert_eq!(saved, [Saved::Superseded, Saved::Written]);
}

#[tokio::test]
async fn p10_a_killed_session_and_a_restarted_server_are_survived() {
    let place = two().await;
    for restart in [false, true] {
        let renewals = place.renewals([1, 2], NOW).await;
        match restart {
            true => place.fake().restart(),
            false => place.fake().kill_sessions(),
        }
        let saved = again(async || place.store.try_save(renewals.clone()).await).await;
        assert_eq!(saved, [Saved::Written, Saved::Written]);
    }
    place.fake().stop();
    let said = fails(&place.store).await;
    assert!(said.contains("cannot be reached") && said.contains(&place.fake().place()), "{said}");
    place.fake().start_again();
    assert_eq!(until_it_works(async || place.store.try_read(Records::All).await).await.customers.len(), 2);
}

#[tokio::test]
async fn p11_a_wrong_password_is_named_and_tried_once() {
    let place = two().await;
    let store =
        mssql(tbtokend::store::mssql::Settings { password: fixed("CANARYDB-wrong"), ..place.settings() });
    for _ in 0..50 {
        let said = fails(&store).await;
        assert!(said.contains("rejects the login tbtokend (error 18456)"), "{said}");
        assert!(said.contains("store.password_file"), "{said}");
    }
    assert_eq!(place.fake().stats().logins_refused, 1, "only one attempt");
}

#[tokio::test]
async fn p11_a_changed_password_is_found_without_a_restart() {
    let place = two().await;
    let password = Arc::new(Mutex::new(place.fake().settings().password));
    let source = Arc::clone(&password);
    let read = move || Ok(Secret::new(source.lock().unwrap().as_str()));
    let settings =
        tbtokend::store::mssql::Settings { password: Password::read_with(read), ..place.settings() };
    let store = AnyStore::Mssql(Box::new(MssqlStore::new(settings)));
    store.read().await;
    place.fake().set_password("CANARYDB-2");
    assert_eq!(store.read().await.customers.len(), 2, "the open session stays");
    place.fake().kill_sessions();
    for _ in 0..10 {
        let said = fails(&store).await;
        assert!(said.contains("18456") || said.contains("was lost"), "{said}");
    }
    assert_eq!(place.fake().stats().logins_refused, 1);
    *password.lock().unwrap() = "CANARYDB-2".to_owned();
    assert_eq!(store.read().await.customers.len(), 2, "at once, though it was refused a moment ago");
}

#[tokio::test]
async fn p11_what_is_missing_is_named_and_found_when_it_is_there() {
    for (breaks, repairs, names) in [
        (
            (|fake: &SqlServer| fake.rename_table("dbo.customer_settings", "dbo.other")) as fn(&SqlServer),
            (|fake: &SqlServer| fake.rename_table("dbo.other", "dbo.customer_settings")) as fn(&SqlServer),
            "no table customer_settings",
        ),
        (
            |fake| fake.rename_column("customer_settings", "tb_password", "secret"),
            |fake| fake.rename_column("customer_settings", "secret", "tb_password"),
            "no column tb_password",
        ),
        (
            |fake| fake.deny(Permission::On("SELECT", "dbo.customer_settings".to_owned())),
            SqlServer::allow_everything,
            "no SELECT permission on customer_settings",
        ),
        (
            |fake| fake.deny(Permission::Everything("dbo.customer_settings".to_owned())),
            SqlServer::allow_everything,
            "no SELECT permission on customer_settings",
        ),
    ] {
        let place = two().await;
        // From the start, and while it runs.
        for _ in 0..2 {
            breaks(place.fake());
            let said = fails(&place.store).await;
            assert!(said.contains(names), "{names}: {said}");
            repairs(place.fake());
            let table = until_it_works(async || place.store.try_read(Records::All).await).await;
            assert_eq!(table.customers.len(), 2, "{names}");
        }
    }
}

#[tokio::test]
async fn p11_a_column_of_a_type_that_cannot_be_used_is_named() {
    let place = two().await;
    place.fake().retype_column("customer_settings", "tbtokenexpiry", "bit");
    let said = fails(&place.store).await;
    assert!(said.contains("the column tbtokenexpiry of customer_settings has the type bit"), "{said}");
}

#[tokio::test]
async fn p11_a_missing_permission_to_write_is_named_with_its_grant() {
    let table = || "dbo.customer_settings".to_owned();
    for denied in [
        Permission::On("UPDATE", table()),
        Permission::OnColumn("UPDATE", table(), "tbtoken".to_owned()),
        Permission::OnColumn("UPDATE", table(), "updatedttm".to_owned()),
    ] {
        let place = two().await;
        let renewals = place.renewals([1, 2], NOW).await;
        place.fake().deny(denied.clone());
        let said = words(&place.store.try_save(renewals.clone()).await.unwrap_err());
        assert!(said.contains("tbtokend has no UPDATE permission on customer_settings"), "{said}");
        let grant = "GRANT UPDATE ON [customer_settings] (tbtoken, tbtokenexpiry) TO [tbtokend];";
        assert!(said.contains(grant) && said.contains("(updatedttm) TO [tbtokend];"), "{said}");
        place.fake().allow_everything();
        let saved = again(async || place.store.try_save(renewals.clone()).await).await;
        assert_eq!(saved, [Saved::Written, Saved::Written]);
    }
    let place = two().await;
    let renewals = place.renewals([1], NOW).await;
    place.fake().set_read_only(true);
    let said = words(&place.store.try_save(renewals).await.unwrap_err());
    assert!(said.contains("is read-only"), "{said}");
}

#[tokio::test]
async fn without_the_permission_to_make_tables_it_works_and_says_what_is_lost() {
    let place = two().await;
    place.fake().deny(Permission::CreateTable);
    let table = place.store.read().await;
    let lost = table.records_lost.unwrap();
    assert!(lost.contains("tbtokend_state"), "{lost}");
    let renewals = place.renewals([1], NOW).await;
    assert_eq!(place.store.save(renewals).await, [Saved::Written]);
    let key = table.key;
    assert_eq!(place.store.read().await.key, key, "the key stays, or all customers would be unparked");
}

#[tokio::test]
async fn a_row_that_a_trigger_refuses_affects_no_other_row() {
    let place = two().await;
    place.fake().guard_row("customer_settings", &place.id(1));
    let renewals = place.renewals([1, 2], NOW).await;
    assert_eq!(place.store.save(renewals).await, [Saved::Refused { number: 3609 }, Saved::Written]);
    assert_eq!(place.token(1).await, None);
}

#[tokio::test]
async fn both_encryptions_work_and_nothing_else_does() {
    for (accepts, encryption, works) in [
        (Accepts::Both, Encryption::Required, true),
        (Accepts::Both, Encryption::Strict, true),
        (Accepts::OnlyStrict, Encryption::Strict, true),
        (Accepts::OnlyStrict, Encryption::Required, false),
        (Accepts::Plain, Encryption::Required, false),
        (Accepts::Plain, Encryption::Strict, false),
    ] {
        let server = SqlServer::with(Settings { accepts, ..Settings::default() });
        server.create_customers();
        let place = two().await;
        let ca_file = Some(server.write_authority(place.folder.path()));
        let settings = tbtokend::store::mssql::Settings {
            address: tbtokend::store::mssql::Address::parse(&server.place()).unwrap(),
            encryption,
            trust: Trust::Authorities { ca_file },
            ..place.settings()
        };
        let store = mssql(settings);
        match works {
            true => assert!(store.read().await.customers.is_empty()),
            false => {
                let said = fails(&store).await;
                assert!(
                    said.contains("encrypt") || said.contains("was lost"),
                    "{accepts:?} {encryption:?}: {said}"
                );
                assert_eq!(server.stats().logins + server.stats().logins_refused, 0, "no password was sent");
            }
        }
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused_unless_the_setting_trusts_all() {
    for (certificate, why) in [
        (
            Certificate::SelfSigned,
            "its certificate is self-signed: add this certificate itself to store.ca_file",
        ),
        (Certificate::WrongName, "its certificate is for sql.elsewhere.example, not for"),
        (Certificate::OwnAuthorityWrongName, "its certificate is for sql.elsewhere.example, not for"),
        (Certificate::Expired, "its certificate has expired on 2001-01-01"),
    ] {
        let server = SqlServer::with(Settings { certificate, ..Settings::default() });
        server.create_customers();
        let place = two().await;
        let ca_file = Some(server.write_authority(place.folder.path()));
        let settings = tbtokend::store::mssql::Settings {
            address: tbtokend::store::mssql::Address::parse(&server.place()).unwrap(),
            trust: Trust::Authorities { ca_file },
            ..place.settings()
        };
        let said = fails(&mssql(settings.clone())).await;
        assert!(said.contains("is not trusted") && said.contains(why), "{certificate:?}: {said}");
        assert_eq!(server.stats().logins + server.stats().logins_refused, 0, "no password was sent");
        let trusting = mssql(tbtokend::store::mssql::Settings { trust: Trust::AnyCertificate, ..settings });
        assert!(trusting.read().await.customers.is_empty());
    }
}

#[tokio::test]
async fn a_certificate_that_is_named_itself_is_trusted() {
    for certificate in [Certificate::OwnAuthority, Certificate::OwnAuthorityNoName] {
        for encryption in [Encryption::Required, Encryption::Strict] {
            let server = SqlServer::with(Settings { certificate, ..Settings::default() });
            server.create_customers();
            let place = two().await;
            let ca_file = Some(server.write_authority(place.folder.path()));
            let settings = tbtokend::store::mssql::Settings {
                address: tbtokend::store::mssql::Address::parse(&server.place()).unwrap(),
                encryption,
                trust: Trust::Authorities { ca_file },
                ..place.settings()
            };
            assert!(mssql(settings.clone()).read().await.customers.is_empty(), "{certificate:?}");
            let trust = Trust::Authorities { ca_file: None };
            let said = fails(&mssql(tbtokend::store::mssql::Settings { trust, ..settings })).await;
            assert!(said.contains("its certificate is self-signed"), "{certificate:?}: {said}");
        }
    }
}

/// Starts a server that sends the same bytes to every client.
fn says(bytes: &'static [u8]) -> String {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            while stream.read(&mut [0; 512]).is_ok_and(|read| read > 0) {}
        }
    });
    format!("127.0.0.1,{port}")
}

#[tokio::test]
async fn a_port_that_is_no_sql_server_has_its_own_message() {
    let place = two().await;
    for (bytes, encryption, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Encryption::Required, "does not speak TDS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Encryption::Required, "does not speak TDS"),
        (b"\x4a\0\0\0\x0a8.0.36\0", Encryption::Required, "does not speak TDS"),
        (b"\x04\0\0\x01", Encryption::Required, "or is no SQL Server"),
        (b"\x04\x01\0\x01\0\0\x01\0", Encryption::Required, "does not speak TDS"),
        (b"\x15\x03\x01\0\x02\x02\x46", Encryption::Required, "write store.encrypt = \"strict\""),
        (b"", Encryption::Required, "or is no SQL Server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Encryption::Strict, "does not speak TLS on this port"),
    ] {
        let settings = tbtokend::store::mssql::Settings {
            address: tbtokend::store::mssql::Address::parse(&says(bytes)).unwrap(),
            encryption,
            ..place.settings()
        };
        let text = fails(&mssql(settings)).await;
        assert!(text.contains(said), "{:?}: {text}", String::from_utf8_lossy(bytes));
    }
}
