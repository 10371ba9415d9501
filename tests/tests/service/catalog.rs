//! The message catalog and the kinds of events in the code must be the same list.

use std::collections::BTreeSet;
use std::path::Path;

use tbtokend::model::NoticeKind;

fn catalog() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/tbtokend.catalog");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_kind_of_event_has_its_entry_and_no_entry_is_left_over() {
    let catalog = catalog();
    let explained: BTreeSet<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    let known: BTreeSet<&str> = NoticeKind::all().map(NoticeKind::message_id).collect();
    assert_eq!(explained, known);
    assert_eq!(known.len(), NoticeKind::all().count(), "two kinds share an id");
    for id in known {
        assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    }
}

#[test]
fn every_entry_has_a_subject_and_says_something() {
    let catalog = catalog();
    for entry in catalog.split("\n-- ").skip(1) {
        let (head, body) = entry.split_once("\n\n").unwrap_or_else(|| panic!("no body: {entry}"));
        assert!(head.contains("\nSubject: ") && head.contains("\nDefined-By: tbtokend"), "{head}");
        assert!(body.trim().len() > 40, "{entry}");
    }
}

#[test]
fn names_of_events_are_unique_and_are_found() {
    for kind in NoticeKind::all() {
        assert_eq!(NoticeKind::from_name(kind.name()), Some(kind));
    }
}
