//! Pins the text of every message: each file under `golden/` is one line as it goes over the wire.
//!
//! Every case is written, compared with its file, and read back. `UPDATE_GOLDEN=1 cargo test -p tbtoken-proto`
//! renews the files; their difference belongs into the commit that changes the protocol. A changed or missing field
//! needs a new protocol version.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cases;

use std::collections::BTreeSet;
use std::path::PathBuf;

use tbtoken_proto::{Answer, Envelope};

use cases::{answers, enum_words, requests};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Returns the file's only line, after it was compared with (or, on demand, replaced by) `line`.
fn pinned(name: &str, line: &str) -> String {
    let path = folder().join(format!("{name}.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, format!("{line}\n")).unwrap();
    }
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    let pinned = text.strip_suffix('\n').unwrap_or_else(|| panic!("{name}: the line has no end"));
    assert!(!pinned.contains('\n'), "{name}: more than one line");
    assert_eq!(line, pinned, "{name}: the text on the wire has changed");
    pinned.to_owned()
}

#[test]
fn every_request_is_written_and_read_as_pinned() {
    for (name, envelope) in requests() {
        let line = pinned(name, &serde_json::to_string(&envelope).unwrap());
        assert_eq!(
            Envelope::parse(&line),
            Ok(envelope),
            "{name}: what is read differs from what was written"
        );
    }
}

#[test]
fn every_answer_is_written_and_read_as_pinned() {
    for (name, request, answer) in answers() {
        let line = pinned(name, &serde_json::to_string(&answer).unwrap());
        let read = Answer::parse(&line, &request).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, answer, "{name}: what is read differs from what was written");
    }
}

#[test]
fn every_file_belongs_to_a_case() {
    let cases: BTreeSet<String> = requests()
        .iter()
        .map(|(name, _)| *name)
        .chain(answers().iter().map(|(name, ..)| *name))
        .map(|name| format!("{name}.json"))
        .collect();
    assert_eq!(cases.len(), requests().len() + answers().len(), "two cases share a name");
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, cases);
}

#[test]
fn every_word_of_every_enumeration_is_in_some_file() {
    let text: String =
        answers().iter().map(|(_, _, answer)| serde_json::to_string(answer).unwrap() + "\n").collect();
    for (field, word) in enum_words() {
        let needle = format!("\"{field}\":\"{word}\"");
        assert!(text.contains(&needle), "no golden file has {needle}");
    }
}

#[test]
fn unknown_words_and_fields_in_an_answer_are_read() {
    // Answers may grow: a client must read the answers of later versions.
    for (name, request, answer) in answers() {
        let mut tomorrow = serde_json::to_value(&answer).unwrap();
        grow(&mut tomorrow);
        let read = Answer::parse(&tomorrow.to_string(), &request);
        assert_eq!(read.unwrap_or_else(|error| panic!("{name}: {error}")), answer, "{name}");
    }
    for (field, word) in enum_words() {
        for (name, request, answer) in answers() {
            let line = serde_json::to_string(&answer).unwrap();
            let tomorrow =
                line.replace(&format!("\"{field}\":\"{word}\""), &format!("\"{field}\":\"of_tomorrow\""));
            let read = Answer::parse(&tomorrow, &request);
            assert!(read.is_ok(), "{name}, {field}: {read:?}");
        }
    }
}

/// Adds an unknown field to every object.
fn grow(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(grow);
            fields.insert("of_tomorrow".to_owned(), serde_json::json!({"a": [1]}));
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(grow),
        _ => {}
    }
}
