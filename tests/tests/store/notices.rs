//! What receivers of messages were told: read back by the next process, on every store.

use tbtoken_tests::mssql::Permission;
use tbtokend::model::{NoticeChange, StoredNotice};
use tbtokend::store::Store as _;

use crate::ground::{Ground, on_every_store};
use crate::place::{Place, at};
use crate::stores::AnyStore;

on_every_store! {
    p32_what_was_told_is_read_back_until_it_is_over,
}

fn notice(receiver: &str, customers: usize) -> StoredNotice {
    StoredNotice {
        receiver: receiver.to_owned(),
        cause: "server:https://tb'ä.example".to_owned(),
        began: at("2026-11-23T14:00:00Z"),
        last_sent: at("2026-11-23T14:00:30Z"),
        severity: "critical".to_owned(),
        customers,
        lapsed: 1,
    }
}

async fn p32_what_was_told_is_read_back_until_it_is_over(ground: Ground) {
    let place = Place::new(ground).await;
    assert_eq!(place.store.read_notices().await, Some(Vec::new()));
    let (chat, mail) = (notice("chat", 5), notice("ops-mail", 7));
    let known = [chat.clone(), notice("ops-mail", 6), mail.clone()].map(NoticeChange::Known);
    place.store.write_notices(known.into()).await;
    let mut read = place.another_store().read_notices().await.unwrap();
    read.sort_by(|one, other| one.receiver.cmp(&other.receiver));
    assert_eq!(read, [chat, mail.clone()]);
    let over = NoticeChange::Over { receiver: "chat".to_owned(), cause: mail.cause.clone() };
    place.store.write_notices(vec![over]).await;
    assert_eq!(place.another_store().read_notices().await, Some(vec![mail]));
}

/// A login that may neither make nor use the table works without it.
#[tokio::test]
async fn p32_without_the_table_nothing_is_kept_and_tokens_are_written() {
    let place = Place::new(Ground::Fake).await;
    place.fake().deny(Permission::CreateTable);
    assert_eq!(place.another_store().read_notices().await, None);
    assert_eq!(place.another_store().read().await.customers.len(), 0);
}

/// A table that the login may not use is not missing: the error says what to grant.
#[tokio::test]
async fn p32_a_denied_table_is_named_with_its_grant_and_tokens_are_written() {
    for permission in ["SELECT", "INSERT"] {
        let place = Place::new(Ground::Fake).await;
        assert!(place.store.read_notices().await.is_some());
        place.fake().deny(Permission::On(permission, "dbo.tbtokend_notice".to_owned()));
        let AnyStore::Mssql(store) = place.another_store() else { unreachable!("it is SQL Server") };
        let changed = match store.read_notices().await {
            Ok(_) => store.write_notices(vec![NoticeChange::Known(notice("chat", 1))]).await,
            Err(error) => Err(error),
        };
        let error = changed.expect_err(permission);
        assert_eq!(error.class(), "permission", "{error}");
        assert!(error.remedy().contains("DELETE ON [tbtokend_notice] TO"), "{}", error.remedy());
        assert_eq!(place.another_store().read().await.customers.len(), 0);
    }
}
