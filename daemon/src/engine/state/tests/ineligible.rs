//! Customers that are customers no longer.

use super::*;
use crate::model::{Ineligibility, IneligibleRow};

const NO_PASSWORD: Ineligibility = Ineligibility::Blank([false, true, false]);

fn blank(name: &str, why: Ineligibility, ends_in: Option<i64>) -> IneligibleRow {
    IneligibleRow { id: id(name), why, has_token: ends_in.is_some(), expiry: ends_in.map(after) }
}

fn poll(state: &mut State, second: i64, customers: Vec<Customer>, ineligible: Vec<IneligibleRow>) {
    let table = Table { ineligible, ..table(customers, Vec::new()) };
    apply(state, second, [Event::TableRead(table)]);
}

/// The notices about ineligible customers and ended tokens.
fn notices_of(state: &State) -> Vec<(NoticeKind, String)> {
    let about = [NoticeKind::Ineligible, NoticeKind::Expired];
    let notices = state.history.share();
    let notices = notices.iter().filter(|notice| about.contains(&notice.kind));
    notices
        .map(|notice| {
            let customer = notice.customer.as_ref().unwrap();
            (notice.kind, format!("{customer}: {}", notice.message))
        })
        .collect()
}

fn former(state: &State) -> Vec<(&str, String)> {
    state.former().map(|(id, former)| (id.as_str(), former.reason())).collect()
}

#[test]
fn a_customer_that_loses_its_password_is_told_once_and_so_is_the_end_of_its_token() {
    let mut state = state(vec![ending("a", 600), ending("b", 600)]);
    let row = || vec![blank("a", NO_PASSWORD, Some(600))];
    for second in [60, 120] {
        poll(&mut state, second, vec![ending("b", 600)], row());
    }
    let lost = "a: it is not renewed any more: its tb_password is blank; its last token ends at 2026-05-28T20:36:40Z";
    assert_eq!(notices_of(&state), [(NoticeKind::Ineligible, lost.to_owned())]);
    assert_eq!(former(&state), [("a", "its tb_password is blank".to_owned())]);
    let revision = state.revision();
    assert_eq!(state.advance(after(599)), Some(after(600) + TimeDelta::milliseconds(1)), "it wakes for that");
    state.apply(read(vec![]), after(599), 0.5);
    for second in [601, 602] {
        state.advance(after(second));
    }
    assert!(state.revision() > revision, "so that it is shown");
    let notices = notices_of(&state);
    let ended = |it: &&(NoticeKind, String)| it.0 == NoticeKind::Expired && it.1.starts_with("a: ");
    assert_eq!(notices.iter().filter(ended).count(), 1, "{notices:?}");
}

#[test]
fn it_is_listed_until_it_is_complete_again_or_holds_no_token() {
    let mut state = state(vec![ending("a", 60), ending("b", 60), ending("c", 60)]);
    let rows = || ["a", "b", "c"].map(|name| blank(name, NO_PASSWORD, Some(60))).to_vec();
    poll(&mut state, 30, vec![], rows());
    poll(&mut state, 9_000, vec![], rows());
    assert_eq!(state.former().len(), 3, "the row still holds the token that has ended");
    poll(&mut state, 9_060, vec![row("a")], vec![blank("b", NO_PASSWORD, None)]);
    assert_eq!(former(&state), [], "a customer again; an empty row; a row that is gone");
    let notices = notices_of(&state);
    let of = |kind| notices.iter().filter(|it| it.0 == kind).count();
    assert_eq!((of(NoticeKind::Ineligible), of(NoticeKind::Expired)), (3, 3));
}

#[test]
fn a_row_that_is_gone_is_listed_until_its_last_token_ends() {
    let mut state = state(vec![ending("a", 600), ending("ended", -5), row("none")]);
    poll(&mut state, 60, vec![], vec![]);
    assert_eq!(former(&state), [("a", "its row is gone".to_owned())]);
    let lost = ["its last token ends at 2026-05-28T20:36:40Z", "its last token has ended", "its row is gone"];
    for (notices, lost) in notices_of(&state).iter().zip(lost) {
        assert!(notices.0 == NoticeKind::Ineligible && notices.1.ends_with(lost), "{notices:?}");
    }
    state.advance(after(601));
    assert_eq!(former(&state), []);
    assert_eq!(
        notices_of(&state).last().unwrap().1,
        "a: its last token has ended, and it is not renewed any more: its row is gone"
    );
}

/// A row that is emptied first and deleted then, within a poll of the end of its token.
#[test]
fn the_end_is_told_though_no_clock_was_looked_at_before_the_next_poll() {
    let mut state = state(vec![ending("a", 100)]);
    poll(&mut state, 60, vec![], vec![blank("a", NO_PASSWORD, Some(100))]);
    poll(&mut state, 120, vec![], vec![]);
    assert_eq!(notices_of(&state).iter().filter(|it| it.0 == NoticeKind::Expired).count(), 1);
}

#[test]
fn after_a_restart_a_row_that_was_a_customer_is_known_by_its_record() {
    let mut before = state(vec![ending("a", -1), ending("b", -1)]);
    apply(&mut before, 0, [failed("a", silent()), failed("b", silent())]);
    let records = before.take_unrecorded(Records::All, 10);
    let mut state = State::new(Policy::of_a_minute(), 100, Settings::of_a_minute());
    let ineligible = ["a", "never"]
        .map(|name| blank(name, NO_PASSWORD, Some(600)))
        .into_iter()
        .chain([blank("b", NO_PASSWORD, None)]);
    let table = Table { ineligible: ineligible.collect(), ..table(vec![], records) };
    apply(&mut state, 0, [Event::TableRead(table)]);
    assert_eq!(former(&state), [("a", "its tb_password is blank".to_owned())]);
    assert_eq!(notices_of(&state).len(), 1);
}

/// What was to be written of these, with their changes.
fn written(state: &mut State) -> Vec<(String, String)> {
    let changes = |record: Record| (record.id.to_string(), record.changes.to_text());
    let written = state.take_unrecorded(Records::All, 1_000).into_iter().map(changes).collect();
    apply(state, 0, [Event::Recorded]);
    written
}

#[test]
fn that_a_customer_was_ineligible_is_among_its_changes_when_it_is_one_again() {
    for row_is_left in [true, false] {
        for is_written in [true, false] {
            let mut state = state(vec![ending("a", 9_000)]);
            let rows = || if row_is_left { vec![blank("a", NO_PASSWORD, Some(9_000))] } else { vec![] };
            poll(&mut state, 60, vec![], rows());
            let lost = format!("{} ineligible", "2026-05-28T20:27:40Z");
            if is_written {
                assert_eq!(written(&mut state), [("a".to_owned(), lost.clone())]);
            }
            poll(&mut state, 120, vec![], rows());
            poll(&mut state, 180, vec![ending("a", 9_000)], vec![]);
            assert_eq!(customer(&state, "a").record().changes.to_text(), lost);
            apply(&mut state, 240, [failed("a", silent())]);
            assert_eq!(
                written(&mut state),
                [("a".to_owned(), format!("{lost}; 2026-05-28T20:30:40Z failed"))]
            );
        }
    }
}

#[test]
fn what_had_happened_to_an_ineligible_row_before_a_restart_is_among_its_changes() {
    let mut before = state(vec![row("a")]);
    apply(&mut before, 0, [failed("a", silent())]);
    poll(&mut before, 60, vec![], vec![blank("a", NO_PASSWORD, None)]);
    let records = before.take_unrecorded(Records::All, 10);
    let mut state = State::new(Policy::of_a_minute(), 100, Settings::of_a_minute());
    let table = Table { ineligible: vec![blank("a", NO_PASSWORD, None)], ..table(vec![], records) };
    apply(&mut state, 120, [Event::TableRead(table)]);
    poll(&mut state, 180, vec![row("a")], vec![]);
    let kinds: Vec<_> = customer(&state, "a").record().changes.iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, [NoticeKind::Failed, NoticeKind::Ineligible]);
}

#[test]
fn many_that_are_lost_at_once_do_not_fill_the_log() {
    let mut state = state((0..100).map(|n| ending(&format!("c{n:03}"), 600)).collect());
    poll(&mut state, 60, vec![], vec![]);
    let history = state.history.share();
    let lost: Vec<_> = history.iter().filter(|notice| notice.kind == NoticeKind::Ineligible).collect();
    assert_eq!((lost.len(), lost.iter().filter(|notice| !notice.quiet).count()), (100, 20));
    let last = &history.iter().last().unwrap().message;
    assert_eq!(last, "80 more customers are not renewed any more; `tbctl status --problems` lists them");
}

#[test]
fn a_row_that_is_ineligible_is_found_by_its_id_alone() {
    let mut state = state(vec![row("acme-test")]);
    let twice = Ineligibility::Refused("customer_id occurs more than once");
    let rows = vec![blank("b", twice, None), blank("acme", NO_PASSWORD, None), blank("b", NO_PASSWORD, None)];
    poll(&mut state, 60, vec![row("acme-test")], rows);
    let why = |name: &str| state.ineligible.why(name).map(|why| why.to_string());
    assert_eq!(why("acme").unwrap(), "its tb_password is blank");
    assert_eq!(why("b").unwrap(), "customer_id occurs more than once", "the first that was read");
    assert_eq!((why("acme-test"), why("acm"), why("")), (None, None, None));
    assert_eq!(former(&state), [], "they never were customers");
}

/// As the id of a customer is: SQL Server prints them in capitals.
#[test]
fn the_letters_of_a_guid_are_the_same_in_either_case() {
    let guid = "8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11";
    let mut state = state(vec![]);
    poll(&mut state, 60, vec![], vec![blank("ACME", NO_PASSWORD, None), blank(guid, NO_PASSWORD, None)]);
    let why = |name: &str| state.ineligible.why(name);
    assert_eq!(why(&guid.to_lowercase()), Some(NO_PASSWORD));
    assert_eq!((why("acme"), why(&guid[..35].to_lowercase())), (None, None));
}
