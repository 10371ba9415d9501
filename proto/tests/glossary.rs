//! The usage check: the words of `glossary/avoid.txt` stand in no source, document, man page, setting or page text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

const RULES: &str = include_str!("glossary/avoid.txt");

/// The folders and files to check, from the root of the repository.
const CHECKED: [&str; 13] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "ctl",
    "daemon",
    "docs",
    "fuzz",
    "packaging",
    "proto",
    "tests",
    "tui",
];

/// The endings of files without prose, in another language, or made by a test.
const UNCHECKED: [&str; 8] =
    ["avoid.txt", "de.json", ".snap", ".svg", ".css", ".lock", "glossary.rs", "regressions"];

/// A word or phrase to avoid, in lower case, and its replacement.
struct Rule {
    words: Vec<String>,
    replacement: &'static str,
}

fn rules() -> Vec<Rule> {
    let lines = RULES.lines().filter(|line| !line.starts_with('#'));
    let rules = lines.filter_map(|line| line.split_once(" -> "));
    rules
        .map(|(words, replacement)| Rule {
            words: words.split(' ').map(str::to_lowercase).collect(),
            replacement,
        })
        .collect()
}

/// Returns the words that may stay, each as `FILE: WORD`.
fn allowed() -> Vec<&'static str> {
    RULES.lines().filter_map(|line| line.strip_prefix("allow: ")).collect()
}

/// Splits a line into words in lower case; an underscore separates words too, so that names are checked.
fn words(line: &str) -> Vec<String> {
    line.split(|c: char| !c.is_alphabetic() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn is_word(pattern: &str, word: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => word.starts_with(beginning),
        None => word == pattern,
    }
}

impl Rule {
    fn occurs_in(&self, line: &[String]) -> bool {
        line.windows(self.words.len())
            .any(|window| self.words.iter().zip(window).all(|(pattern, word)| is_word(pattern, word)))
    }
}

/// Returns all files below `path`, sorted.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.iter().filter(|path| !path.ends_with("target")).flat_map(|path| files(path)).collect()
}

#[test]
fn no_text_uses_a_word_to_avoid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (rules, allowed) = (rules(), allowed());
    let mut found = Vec::new();
    for path in CHECKED.iter().flat_map(|path| files(&root.join(path))) {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let is_unchecked = UNCHECKED.iter().any(|ending| name.ends_with(ending));
        if is_unchecked {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let line_words = words(line);
            for Rule { words, replacement } in rules.iter().filter(|rule| rule.occurs_in(&line_words)) {
                let word = words.join(" ");
                if !allowed.contains(&format!("{name}: {word}").as_str()) {
                    found.push(format!("{name}:{}: {word} -> {replacement}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} words to avoid:\n{}", found.len(), found.join("\n"));
}

#[test]
fn rules_match_whole_words_phrases_and_names() {
    let rules = rules();
    let hits = |line: &str| rules.iter().filter(|rule| rule.occurs_in(&words(line))).count();
    assert_eq!(hits("/// Nobody is told."), 1);
    assert_eq!(hits("fn take_news() {"), 1);
    assert_eq!(hits("for want of memory, the clock was set back"), 2);
    assert_eq!(hits("it mends what reckoning broke"), 2);
    assert_eq!(hits("the whole rollback rest newsletter"), 0);
}
