//! What receivers of messages were told: read back by the next process, on every store.

use tbtoken_tests::mssql::Permission;
use tbtokend::model::{NoticeChange, StoredNotice};

use crate::ground::{Ground, on_every_store};
use crate::place::{Place, at};

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
    for denied in [Permission::CreateTable, Permission::On("SELECT", "dbo.tbtokend_notice".to_owned())] {
        let place = Place::new(Ground::Fake).await;
        if denied != Permission::CreateTable {
            assert!(place.store.read_notices().await.is_some());
        }
        place.fake().deny(denied);
        assert_eq!(place.another_store().read_notices().await, None);
        assert_eq!(place.another_store().read().await.customers.len(), 0);
    }
}
