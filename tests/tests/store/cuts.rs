//! Promise 10: a connection that is cut after N bytes of a save, for every N, in both directions.

use tbtoken_tests::mssql::{Direction, Layer};
use tbtokend::model::Renewal;
use tbtokend::store::Saved;

use crate::ground::Ground;
use crate::place::{Place, line};
use crate::stores::words;

const NOW: &str = "2026-11-23T14:00:00Z";

/// How many tests share the numbers, so that all cores work.
const SHARES: u64 = 4;

/// Makes a place with one customer and an open connection, and a renewal for the customer.
async fn ready() -> (Place, Renewal) {
    let place = Place::new(Ground::Fake).await;
    place.insert(&[line(1)]).await;
    let renewal = place.renewal(1, NOW).await;
    (place, renewal)
}

/// Measures the bytes of a save in that direction, inside TLS.
async fn length(direction: Direction) -> u64 {
    let (place, renewal) = ready().await;
    let before = place.fake().tds_bytes();
    place.store.save(vec![renewal]).await;
    let after = place.fake().tds_bytes();
    match direction {
        Direction::Received => after.0 - before.0,
        Direction::Sent => after.1 - before.1,
    }
}

/// Cuts a save after each of these numbers of bytes. In the end the token is always in the row, and it counts as written only
/// if it is in the row.
async fn cut_at(direction: Direction, share: u64) {
    let length = length(direction).await;
    assert!(length > 50, "{length}");
    let (place, renewal) = ready().await;
    for bytes in (share..=length).step_by(usize::try_from(SHARES).unwrap()) {
        place.set(1, "tbtoken", None).await;
        place.set(1, "tbtokenexpiry", None).await;
        place.fake().cut(Layer::Tds, direction, bytes);
        let saved = match place.store.try_save(vec![renewal.clone()]).await {
            Ok(saved) => saved,
            Err(error) => {
                let words = words(&error);
                let second = place.store.try_save(vec![renewal.clone()]).await;
                second.unwrap_or_else(|error| panic!("{direction:?} {bytes}: {words}; and then {error}"))
            }
        };
        assert_eq!(saved, [Saved::Written], "{direction:?} {bytes}");
        let token = place.token(1).await;
        assert_eq!(token.as_deref(), Some(renewal.token.jwt().expose()), "{direction:?} {bytes}");
    }
    assert_eq!(place.fake().stats().logins_refused, 0);
}

macro_rules! shares {
    ($($name:ident: $share:expr,)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                cut_at(Direction::Received, $share).await;
                cut_at(Direction::Sent, $share).await;
            }
        )+
    };
}

shares! {
    p10_a_save_cut_after_any_byte_is_survived_0: 0,
    p10_a_save_cut_after_any_byte_is_survived_1: 1,
    p10_a_save_cut_after_any_byte_is_survived_2: 2,
    p10_a_save_cut_after_any_byte_is_survived_3: 3,
}

/// Prelogin, TLS and login are cut on the wire.
#[tokio::test]
async fn p10_a_connection_cut_while_it_is_made_is_survived() {
    let whole = {
        let (place, _) = ready().await;
        let stats = place.fake().stats();
        (stats.received, stats.sent)
    };
    for (direction, whole) in [(Direction::Received, whole.0), (Direction::Sent, whole.1)] {
        // Most bytes are encrypted, so it does not matter which of them is the last.
        for bytes in (0..whole.min(3000)).step_by(61) {
            let place = Place::new(Ground::Fake).await;
            place.insert(&[line(1)]).await;
            place.fake().cut(Layer::Wire, direction, bytes);
            let first = place.store.try_read(tbtokend::store::Records::All).await;
            if let Err(error) = first {
                words(&error);
                assert_eq!(place.store.read().await.customers.len(), 1, "{direction:?} {bytes}");
            }
        }
    }
}
