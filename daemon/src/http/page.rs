//! The admin page: static files without data, which need no token. The page calls the API with the token that the operator
//! types.

use axum::extract::RawQuery;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};

use super::answer::{etag, unchanged, with_tag};

const HTML: &[u8] = include_bytes!("page/index.html");
/// One script for the browser, in files of one idea each.
const SCRIPT: &[u8] = concat!(
    include_str!("page/app/state.js"),
    include_str!("page/app/words.js"),
    include_str!("page/app/ask.js"),
    include_str!("page/app/table.js"),
    include_str!("page/app/board.js"),
    include_str!("page/app/door.js"),
)
.as_bytes();
const STYLE: &[u8] = include_bytes!("page/app.css");
const ENGLISH: &[u8] = include_bytes!("page/en.json");
const GERMAN: &[u8] = include_bytes!("page/de.json");

pub(super) async fn html(headers: HeaderMap) -> Response {
    file("text/html; charset=utf-8", HTML, &headers)
}

pub(super) async fn script(headers: HeaderMap) -> Response {
    file("text/javascript; charset=utf-8", SCRIPT, &headers)
}

pub(super) async fn style(headers: HeaderMap) -> Response {
    file("text/css; charset=utf-8", STYLE, &headers)
}

/// Returns the words of the page, in English unless the query is `lang=de`.
pub(super) async fn words(RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let words = if query.as_deref() == Some("lang=de") { GERMAN } else { ENGLISH };
    file("application/json", words, &headers)
}

fn file(kind: &'static str, content: &'static [u8], headers: &HeaderMap) -> Response {
    let tag = etag(content);
    let kept = [(header::CACHE_CONTROL, "no-cache")];
    let response = unchanged(&tag, headers)
        .unwrap_or_else(|| with_tag(([(header::CONTENT_TYPE, kind)], content).into_response(), &tag));
    (kept, response).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde_json::{Map, Value, json};
    use strum::IntoEnumIterator as _;
    use tbtoken_proto::{BreakerState, EventKind, FailureKind, Phase, TokenStatus};

    use super::*;
    use crate::model::FailureKind as Kind;

    /// The files whose every sentence the page can show.
    const TRANSLATED: [&str; 12] = [
        "engine/credentials/rules.rs",
        "engine/deferral.rs",
        "engine/scheduler/manual.rs",
        "engine/view/replies.rs",
        "model/base_url.rs",
        "model/customer.rs",
        "model/failure.rs",
        "model/token.rs",
        "store/error.rs",
        "store/mssql/problem.rs",
        "thingsboard/dns.rs",
        "tls/words.rs",
    ];

    fn words(file: &[u8]) -> Map<String, Value> {
        serde_json::from_slice(file).unwrap()
    }

    fn keys(words: &Map<String, Value>, list: &str) -> BTreeSet<String> {
        words[list].as_object().unwrap().keys().cloned().collect()
    }

    /// Returns every text between two marks in a file.
    fn between(file: &[u8], before: &str, after: char) -> BTreeSet<String> {
        let text = std::str::from_utf8(file).unwrap();
        text.split(before).skip(1).map(|rest| rest.split(after).next().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_page_uses_the_words_of_the_other_clients_in_both_languages() {
        let (english, german) = (words(ENGLISH), words(GERMAN));
        // A name that does not exist becomes `Unknown`, which has another word.
        macro_rules! same_words {
            ($list:literal, $kind:ty, $word:ident) => {
                for (name, word) in english[$list].as_object().unwrap() {
                    let value: $kind = serde_json::from_value(json!(name)).unwrap();
                    assert_eq!(word, value.$word(), "{name}");
                }
            };
        }
        same_words!("status", TokenStatus, word);
        same_words!("state", Phase, word);
        same_words!("failure", FailureKind, short);
        same_words!("event", EventKind, word);
        let counts = ["status", "state", "failure", "event"].map(|list| keys(&english, list).len());
        assert_eq!(counts, [4, 5, 16, 15]);
        for list in ["status", "state", "failure", "event", "check", "page"] {
            assert_eq!(keys(&english, list), keys(&german, list), "{list}");
        }
        assert_eq!(keys(&german, "remedy"), keys(&english, "failure"));
    }

    /// Returns the texts in a source that hold a space, without the tests, with `{}` for each place.
    fn sentences(source: &str) -> BTreeSet<String> {
        let code = source.split("#[cfg(test)]").next().unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//") && !line.contains("reason = \"");
        let lines = code.lines().filter(is_code);
        let code = lines.collect::<Vec<_>>().join("\n").replace("'\"'", "");
        let (mut found, mut chars) = (BTreeSet::new(), code.chars());
        while chars.any(|char| char == '"') {
            let mut text = String::new();
            while let Some(char) = chars.next().filter(|char| *char != '"') {
                match char {
                    '\\' => text.extend(chars.next()),
                    // Within a place only its brackets count.
                    '{' => text.extend(chars.find(|char| *char == '}').map(|_| "{}")),
                    _ => text.push(char),
                }
            }
            found.insert(
                text.replace("{}{}{}", "{}")
                    .replace("{}{}", "{}")
                    .trim_start_matches([';', ':', ' '])
                    .to_owned(),
            );
        }
        found.retain(|text| text.trim().contains(' ') && text.contains(char::is_alphabetic));
        found
    }

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    /// The page knows the sentences by their texts, so that a changed one must not lose its German form unnoticed.
    #[test]
    fn every_sentence_of_the_daemon_that_the_page_shows_has_a_german_form() {
        let german = keys(&words(GERMAN), "messages");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let of = |path: &Path| sentences(&fs::read_to_string(path).unwrap());
        let remedies: BTreeSet<_> = Kind::iter().map(|kind| kind.remedy().to_owned()).collect();
        for file in TRANSLATED {
            let missing = &(&of(&folder.join(file)) - &remedies) - &german;
            assert!(missing.is_empty(), "{file}: {missing:#?}");
        }
        let rust =
            sources(&folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
        let said: BTreeSet<_> = rust.flat_map(|path| of(&path)).collect();
        let stale = &german - &said;
        assert!(stale.is_empty(), "no source has {stale:#?}");
        for (english, own) in words(GERMAN)["messages"].as_object().unwrap() {
            let places = english.matches("{}").count();
            let used =
                own.as_str().unwrap().split('{').skip(1).filter_map(|rest| rest[..1].parse::<usize>().ok());
            assert!(used.max().unwrap_or_default() <= places, "{own}");
        }
    }

    #[test]
    fn every_word_that_the_page_needs_exists() {
        let page = keys(&words(ENGLISH), "page");
        for mark in ["data-t=\"", "data-hint=\"", "data-label=\""] {
            for key in between(HTML, mark, '"') {
                assert!(page.contains(&key), "{key}");
            }
        }
        for mark in ["say(\"", "counted(\"", "fact(\""] {
            for key in between(SCRIPT, mark, '"').into_iter().filter(|key| !key.ends_with('_')) {
                assert!(page.contains(&key), "{key}");
            }
        }
        let states =
            [BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Open, BreakerState::Unknown];
        for state in states.map(|state| serde_json::to_value(state).unwrap()) {
            assert!(page.contains(&format!("server_{}", state.as_str().unwrap())), "{state}");
        }
    }

    /// The content security policy blocks inline code, and no other test would notice.
    #[test]
    fn nothing_in_the_page_is_inline_or_from_elsewhere() {
        let html = std::str::from_utf8(HTML).unwrap();
        let script = std::str::from_utf8(SCRIPT).unwrap();
        for word in ["style=", "<style", " onclick", " onload", "javascript:", "http://", "https://", "//cdn"]
        {
            assert!(!html.contains(word), "{word}");
        }
        assert_eq!(html.matches("<script").count(), 1);
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "setAttribute(\"style",
        ] {
            assert!(!script.contains(word), "{word}");
        }
    }
}
