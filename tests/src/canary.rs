//! Marks in every secret that the fakes give out, and the search for them in printed text.
//!
//! A secret without a mark cannot be found in a log. So every password, token, refresh token and reset token that a fake
//! makes or accepts contains one of the words below. All output of a process under test is searched for them: as they are,
//! in any case, and in the usual encodings of leaks.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The mark in every ThingsBoard password.
pub const PASSWORD: &str = "canary-pw-";
/// The mark in the signature of every access token.
pub const TOKEN: &str = "CANARYTOKEN";
/// The mark in the signature of every refresh token.
pub const REFRESH: &str = "CANARYREFRESH";
/// The mark in every reset token, which ThingsBoard sends when a password has expired.
pub const RESET: &str = "CANARYRESET";
/// The mark in the password of the database.
pub const DATABASE: &str = "CANARYDB";

/// The beginning of every token of ThingsBoard: a part of a token without its signature is a leak as well.
const JWT_HEAD: &str = "eyJhbGciOi";

const WORDS: [&str; 5] = [PASSWORD, TOKEN, REFRESH, RESET, DATABASE];

/// Makes a password that contains the mark.
#[must_use]
pub fn password(name: &str) -> String {
    format!("{PASSWORD}{name}")
}

/// A place in a text where a secret was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The line, from 1.
    pub line: usize,
    /// The mark that was found.
    pub canary: &'static str,
    /// The encoding in which it was found: `plain`, `base64`, `hex`, `bytes`, `escaped` or `head of a token`.
    pub disguise: &'static str,
    /// The text around the mark.
    pub excerpt: String,
}

/// Finds every place in `text` that contains a mark in any encoding.
#[must_use]
pub fn scan(text: &str) -> Vec<Hit> {
    let patterns = patterns();
    let mut hits = search(text, &patterns);
    if let Some(unescaped) = unescape(text) {
        let plain = search(&unescaped, &patterns).into_iter().filter(|hit| hit.disguise == "plain");
        for hit in plain.map(|hit| Hit { disguise: "escaped", ..hit }) {
            if !hits.iter().any(|known| known.line == hit.line && known.canary == hit.canary) {
                hits.push(hit);
            }
        }
    }
    hits
}

/// Panics if `bytes` contain a mark; `name` says where the bytes come from.
///
/// # Panics
/// With the line and the surroundings of every hit (the first ten).
pub fn assert_clean(name: &str, bytes: &[u8]) {
    if let Some(report) = report(name, bytes) {
        panic!("{report}");
    }
}

/// Returns the report of [`assert_clean`], for callers that must not panic.
#[must_use]
pub fn report(name: &str, bytes: &[u8]) -> Option<String> {
    use std::fmt::Write as _;

    let hits = scan(&String::from_utf8_lossy(bytes));
    let mut report = format!("{} secret(s) came to light in {name}:", hits.len());
    for Hit { line, canary, disguise, excerpt } in hits.iter().take(10) {
        write!(report, "\n  {name}:{line}: {canary} ({disguise}): {excerpt}").unwrap();
    }
    (!hits.is_empty()).then_some(report)
}

/// One encoding of one mark.
struct Pattern {
    canary: &'static str,
    disguise: &'static str,
    bytes: Vec<u8>,
    any_case: bool,
}

fn patterns() -> Vec<Pattern> {
    let mut patterns = vec![Pattern {
        canary: JWT_HEAD,
        disguise: "head of a token",
        bytes: JWT_HEAD.into(),
        any_case: false,
    }];
    for canary in WORDS {
        let mut add = |disguise, text: String, any_case| {
            patterns.push(Pattern { canary, disguise, bytes: text.into_bytes(), any_case });
        };
        add("plain", canary.to_owned(), true);
        add("hex", canary.bytes().map(|byte| format!("{byte:02x}")).collect(), true);
        let numbers: Vec<String> = canary.bytes().map(|byte| byte.to_string()).collect();
        add("bytes", numbers.join(", "), false);
        add("bytes", numbers.join(","), false);
        for offset in 0..3 {
            let standard = base64_core(canary, offset, &STANDARD_NO_PAD);
            let url_safe = base64_core(canary, offset, &URL_SAFE_NO_PAD);
            if standard != url_safe {
                add("base64", url_safe, false);
            }
            add("base64", standard, false);
        }
    }
    patterns
}

/// Returns the base64 characters of `word` inside a longer text, in which it begins at `offset` (mod 3) bytes. Only
/// characters that depend on the word alone are returned.
fn base64_core(word: &str, offset: usize, engine: &impl base64::Engine) -> String {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(word.as_bytes());
    let encoded = engine.encode(&bytes);
    let (first, end) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
    encoded[first..end].to_owned()
}

/// Searches the text once for all patterns, by the first two bytes of each: logs at trace level are long, and test builds
/// are slow.
fn search(text: &str, patterns: &[Pattern]) -> Vec<Hit> {
    let bytes = text.as_bytes();
    let mut leads = vec![false; 1 << 16];
    for pattern in patterns {
        for first in cases(pattern.bytes[0], pattern.any_case) {
            for second in cases(pattern.bytes[1], pattern.any_case) {
                leads[usize::from(first) << 8 | usize::from(second)] = true;
            }
        }
    }
    let mut hits: Vec<Hit> = Vec::new();
    let mut line = 1;
    for (at, pair) in bytes.windows(2).enumerate() {
        line += usize::from(pair[0] == b'\n');
        if !leads[usize::from(pair[0]) << 8 | usize::from(pair[1])] {
            continue;
        }
        for pattern in patterns {
            let Some(piece) = bytes.get(at..at + pattern.bytes.len()) else { continue };
            let found = match pattern.any_case {
                true => piece.eq_ignore_ascii_case(&pattern.bytes),
                false => piece == pattern.bytes,
            };
            if found {
                let (canary, disguise) = (pattern.canary, pattern.disguise);
                hits.push(Hit { line, canary, disguise, excerpt: excerpt(bytes, at) });
            }
        }
    }
    hits
}

fn cases(byte: u8, any_case: bool) -> [u8; 2] {
    if any_case { [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()] } else { [byte, byte] }
}

/// Returns the text around `at` in its line.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let start = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |newline| at + newline);
    String::from_utf8_lossy(&bytes[start.max(at.saturating_sub(80))..end.min(at + 60)]).into_owned()
}

/// Decodes `%63` and `\u0063` in `text`; `None` if there are none.
fn unescape(text: &str) -> Option<String> {
    if !text.contains('%') && !text.contains("\\u") {
        return None;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (digits, skip): (&[u8], usize) = match rest {
            [b'%', a, b, ..] => (&[*a, *b], 3),
            [b'\\', b'u', b'0', b'0', a, b, ..] => (&[*a, *b], 6),
            _ => (&[], 1),
        };
        let code = std::str::from_utf8(digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.filter(u8::is_ascii_graphic) {
            Some(code) => {
                plain.push(code);
                rest = &rest[skip..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    Some(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn disguises(text: &str) -> Vec<(&'static str, &'static str)> {
        scan(text).into_iter().map(|hit| (hit.canary, hit.disguise)).collect()
    }

    #[test]
    fn clean_text_has_no_hits() {
        assert_eq!(scan("renewed the token of customer 8f1c02aa\n100% sure, \\u00e4\n\n%"), []);
        assert_clean("nothing", b"");
    }

    #[test]
    fn every_word_is_found_in_every_case_with_its_line() {
        for word in WORDS {
            for text in [word.to_owned(), word.to_lowercase(), word.to_uppercase()] {
                let hits = scan(&format!("first\nsecond {text}x\n"));
                assert_eq!((hits.len(), hits[0].line, hits[0].canary), (1, 2, word));
                assert!(hits[0].excerpt.starts_with("second "), "{hits:?}");
            }
        }
    }

    #[test]
    fn base64_is_found_at_every_alignment() {
        for word in WORDS {
            for before in ["", "a", "ab", "abc", "user:"] {
                let secret = format!("{before}{word}-rest");
                for encoded in [STANDARD_NO_PAD.encode(&secret), URL_SAFE_NO_PAD.encode(&secret)] {
                    assert_eq!(disguises(&format!("Basic {encoded}")), [(word, "base64")], "{secret}");
                }
            }
        }
    }

    #[test]
    fn bytes_hex_and_escapes_are_found() {
        for word in WORDS {
            assert_eq!(disguises(&format!("{:?}", word.as_bytes())), [(word, "bytes")]);
            let hex: String = word.bytes().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(disguises(&hex), [(word, "hex")]);
            let percent: String = word.bytes().map(|byte| format!("%{byte:02X}")).collect();
            assert_eq!(disguises(&percent), [(word, "escaped")]);
            let json: String = word.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
            assert_eq!(disguises(&json), [(word, "escaped")]);
        }
    }

    #[test]
    fn a_token_without_its_signature_is_found() {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS512"}"#);
        assert_eq!(disguises(&format!("token={head}.eyJz…")), [(JWT_HEAD, "head of a token")]);
    }

    #[test]
    #[should_panic(expected = "the log:2: canary-pw- (plain): password is canary-pw-1")]
    fn a_hit_panics_with_its_place() {
        assert_clean("the log", b"fine\npassword is canary-pw-1\n");
    }
}
