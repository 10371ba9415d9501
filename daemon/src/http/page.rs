//! The admin page: static files without data, which need no token. The page calls the API with the token that the operator
//! types.

use axum::extract::RawQuery;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};

use super::answer::{etag, unchanged, with_tag};

const HTML: &[u8] = include_bytes!("page/index.html");
const SCRIPT: &[u8] = include_bytes!("page/app.js");
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

    use serde_json::{Map, Value, json};
    use tbtoken_proto::{BreakerState, EventKind, FailureKind, Phase, TokenStatus};

    use super::*;

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
        assert_eq!(counts, [4, 5, 16, 14]);
        for list in ["status", "state", "failure", "event", "page"] {
            assert_eq!(keys(&english, list), keys(&german, list), "{list}");
        }
        for list in ["cause", "remedy"] {
            assert_eq!(keys(&german, list), keys(&english, "failure"), "{list}");
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
