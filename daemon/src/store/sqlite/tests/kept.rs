//! Promise 26: a token counts as saved only when the table holds it.

use super::*;

const NOW: &str = "2026-11-23T14:00:00Z";

/// Makes five rows and this trigger, which acts on two of them.
async fn with_trigger(trigger: &str) -> Place {
    let old = (Some("old"), Some("2026-11-23T13:00:00Z"));
    let rows = ["a", "b", "c", "d", "e"].map(|id| (id, "https://tb", "u", old.0, old.1));
    let place = place(&rows).await;
    place.execute(trigger);
    place
}

#[tokio::test]
async fn p26_a_write_that_the_table_ignores_is_not_saved_and_leaves_nothing() {
    for trigger in [
        "CREATE TRIGGER t BEFORE UPDATE ON customer_settings WHEN new.customer_id IN ('b', 'e')
         BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER t AFTER UPDATE OF tbtoken ON customer_settings WHEN new.customer_id IN ('b', 'e')
         BEGIN UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL WHERE customer_id = new.customer_id; END",
        "CREATE TRIGGER t AFTER UPDATE OF tbtoken ON customer_settings
         WHEN new.customer_id IN ('b', 'e') AND new.tbtoken <> 'old'
         BEGIN UPDATE customer_settings SET tbtoken = old.tbtoken WHERE customer_id = new.customer_id; END",
        "CREATE TRIGGER t AFTER UPDATE OF tbtoken ON customer_settings WHEN new.customer_id IN ('b', 'e')
         BEGIN UPDATE customer_settings SET tbtokenexpiry = NULL WHERE customer_id = new.customer_id; END",
        "CREATE TRIGGER t AFTER UPDATE OF tbtoken ON customer_settings WHEN new.customer_id IN ('b', 'e')
         BEGIN DELETE FROM customer_settings WHERE customer_id = new.customer_id; END",
    ] {
        let place = with_trigger(trigger).await;
        let mut renewals = Vec::new();
        for id in ["a", "b", "c", "d", "e"] {
            renewals.push(place.renewal(id, NOW).await);
        }
        let saved = place.save(renewals).await;
        let kept = [Saved::Written, Saved::NOT_HELD, Saved::Written, Saved::Written, Saved::NOT_HELD];
        assert_eq!(saved, kept, "{trigger}");
        for (id, saved) in ["a", "b", "c", "d", "e"].into_iter().zip(saved) {
            let is_old = place.column(id, "tbtoken").as_deref() == Some("old");
            assert_eq!(is_old, saved != Saved::Written, "{id}: {trigger}");
            let expiry = if is_old { "2026-11-23T13:00:00Z" } else { "2026-11-23T14:15:00Z" };
            assert_eq!(place.column(id, "tbtokenexpiry").as_deref(), Some(expiry), "{id}: {trigger}");
        }
    }
}

/// A trigger may record the change, or write the same time in another form.
#[tokio::test]
async fn p26_a_trigger_that_keeps_the_token_is_no_problem() {
    for trigger in [
        "CREATE TABLE audit (id TEXT); CREATE TRIGGER t AFTER UPDATE ON customer_settings
         BEGIN INSERT INTO audit VALUES (new.customer_id); END",
        "CREATE TRIGGER t AFTER UPDATE OF tbtoken ON customer_settings BEGIN
         UPDATE customer_settings SET tbtokenexpiry = '2026-11-23 14:15:00', updatedttm = 'now' WHERE customer_id = new.customer_id; END",
    ] {
        let place = with_trigger(trigger).await;
        let renewal = place.renewal("b", NOW).await;
        assert_eq!(place.save(vec![renewal]).await, [Saved::Written], "{trigger}");
    }
}

/// The content of the table after all writes decides.
#[tokio::test]
async fn p26_a_write_that_undoes_another_is_noticed() {
    let place = with_trigger(
        "CREATE TRIGGER t AFTER UPDATE OF tbtoken ON customer_settings WHEN new.customer_id = 'b'
         BEGIN UPDATE customer_settings SET tbtoken = NULL WHERE customer_id = 'b' AND tb_url = 'https://tb'; END",
    )
    .await;
    let renewals = vec![place.renewal("a", NOW).await, place.renewal("b", NOW).await];
    assert_eq!(place.save(renewals).await, [Saved::Written, Saved::NOT_HELD]);
}
