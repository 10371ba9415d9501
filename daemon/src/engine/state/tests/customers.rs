//! The guard through which customers are changed.

use super::*;

#[test]
fn an_edit_without_a_change_leaves_no_trace() {
    let mut state = state(vec![row("a")]);
    let before = (state.revision(), customer(&state, "a").revision);
    {
        let mut edit = state.customers.edit(&id("a"), after(5)).unwrap();
        assert!(!edit.attempting && edit.record().failure.is_none());
        edit.set_mark(false);
    }
    state.customers.edit_all(after(5), |edit| assert_eq!(edit.status, TokenStatus::Missing));
    assert!(state.customers.edit(&id("unknown"), after(5)).is_none());
    let a = customer(&state, "a");
    assert_eq!((state.revision(), a.revision), before);
    assert_eq!(a.record().updated_at, DateTime::UNIX_EPOCH);
    assert!(!state.has_unrecorded(Records::All));
}

#[test]
fn an_edit_gives_one_revision_however_much_it_changes() {
    let mut state = state(vec![row("a"), row("b")]);
    let before = state.revision();
    {
        let mut edit = state.customers.edit(&id("b"), after(5)).unwrap();
        edit.attempting = true;
        edit.obtained = None;
        edit.attempting = false;
    }
    assert_eq!((state.revision(), customer(&state, "b").revision), (before + 1, before + 1));
    assert_eq!(changed_since(&state, before), ["b"]);
    assert!(!state.has_unrecorded(Records::All), "its record is as it was");
    assert_eq!(customer(&state, "b").record().updated_at, DateTime::UNIX_EPOCH);
    state.customers.edit_all(after(6), |edit| edit.touch());
    assert_eq!(["a", "b"].map(|name| customer(&state, name).revision), [before + 2, before + 3]);
    assert!(!state.has_unrecorded(Records::All));
}

#[test]
fn a_record_that_is_changed_gets_its_time_and_is_written_once() {
    let mut state = state(vec![row("a"), row("b")]);
    let before = state.revision();
    {
        let mut edit = state.customers.edit(&id("a"), after(5)).unwrap();
        edit.record_mut().renewals += 1;
        edit.record_mut().last_success_at = Some(after(4));
        edit.attempting = true;
    }
    let a = customer(&state, "a");
    assert_eq!((state.revision(), a.revision, a.record().updated_at), (before + 1, before + 1, after(5)));
    let records = state.take_unrecorded(Records::All, 1000);
    let written: Vec<_> = records.iter().map(|record| (record.id.as_str(), record.updated_at)).collect();
    assert_eq!((written, records[0].renewals), (vec![("a", after(5))], 1));
    assert!(!state.has_unrecorded(Records::All));
}

#[test]
fn an_adopted_record_keeps_its_time_and_is_not_written() {
    let mut state = state(vec![row("a")]);
    let before = state.revision();
    let record = Record { renewals: 7, updated_at: after(3), ..customer(&state, "a").record().clone() };
    state.customers.edit(&id("a"), after(5)).unwrap().adopt(record.clone());
    assert_eq!((state.revision(), customer(&state, "a").record()), (before + 1, &record));
    assert!(!state.has_unrecorded(Records::All));
}

proptest! {
    /// Revisions are given out one by one, and no two customers have the same.
    #[test]
    fn every_change_has_a_revision_of_its_own(names in proptest::collection::vec(0_usize..4, 1..40)) {
        let rows = ["a", "b", "c", "d"];
        let mut state = state(rows.map(row).into());
        for name in names {
            let before = state.revision();
            apply(&mut state, 0, [Event::Attempting(id(rows[name]))]);
            prop_assert_eq!(state.revision(), before + 1);
            prop_assert_eq!(customer(&state, rows[name]).revision, before + 1);
        }
        let mut revisions: Vec<u64> = state.customers().values().map(|customer| customer.revision).collect();
        revisions.sort_unstable();
        revisions.dedup();
        prop_assert_eq!(revisions.len(), 4);
    }
}
