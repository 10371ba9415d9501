//! The lexer: splits SQL text into words.

use super::errors;
use crate::mssql::wire::tokens::Said;

/// A word of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A keyword or a plain name.
    Name(String),
    /// `[a name]` or `"a name"`.
    Quoted(String),
    /// `@name`, or `@@NAME`.
    Variable(String),
    /// `'text'`; with `N` before it.
    Text(String, bool),
    /// A whole number.
    Number(i64),
    /// `0x00ff`.
    Bytes(Vec<u8>),
    /// Punctuation.
    Mark(&'static str),
}

const MARKS: [&str; 22] = [
    "<=", ">=", "<>", "!=", "::", "(", ")", ",", ".", ";", "=", "<", ">", "+", "-", "*", "/", "%", ":", "|",
    "&", "~",
];

/// Splits a text into words, without its comments.
pub(super) fn words(text: &str) -> Result<Vec<Word>, Said> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(words) };
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").ok_or_else(|| errors::syntax("/*"))?.1;
        } else if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else {
            let (word, after) = word(rest, first)?;
            words.push(word);
            rest = after;
        }
    }
}

fn word(rest: &str, first: char) -> Result<(Word, &str), Said> {
    match first {
        '\'' => quoted(&rest[1..], '\'').map(|(text, rest)| (Word::Text(text, false), rest)),
        'N' | 'n' if rest[1..].starts_with('\'') => {
            quoted(&rest[2..], '\'').map(|(text, rest)| (Word::Text(text, true), rest))
        }
        '[' => quoted(&rest[1..], ']').map(|(text, rest)| (Word::Quoted(text), rest)),
        '"' => quoted(&rest[1..], '"').map(|(text, rest)| (Word::Quoted(text), rest)),
        '@' => {
            let (name, after) = rest.split_at(end_of(rest, |c| is_name(c) || c == '@'));
            Ok((Word::Variable(name.to_owned()), after))
        }
        '0' if rest[1..].starts_with(['x', 'X']) => {
            let (digits, after) = rest[2..].split_at(end_of(&rest[2..], |c| c.is_ascii_hexdigit()));
            let bytes = digits.as_bytes().chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair).expect("digits");
                u8::from_str_radix(pair, 16).expect("hexadecimal digits")
            });
            Ok((Word::Bytes(bytes.collect()), after))
        }
        c if c.is_ascii_digit() => {
            let (digits, after) = rest.split_at(end_of(rest, |c| c.is_ascii_digit()));
            let number = digits.parse().map_err(|_| errors::syntax(digits))?;
            Ok((Word::Number(number), after))
        }
        c if is_name(c) => {
            let (name, after) = rest.split_at(end_of(rest, is_name));
            Ok((Word::Name(name.to_owned()), after))
        }
        other => {
            let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark));
            let mark = mark.ok_or_else(|| errors::syntax(&other.to_string()))?;
            Ok((Word::Mark(mark), &rest[mark.len()..]))
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '#' | '$')
}

fn end_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// A text up to its closing quote, which is doubled where it belongs to the text.
fn quoted(text: &str, quote: char) -> Result<(String, &str), Said> {
    let mut content = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once(quote).ok_or_else(|| errors::syntax(&quote.to_string()))?;
        content.push_str(before);
        match after.strip_prefix(quote) {
            Some(after) => {
                content.push(quote);
                rest = after;
            }
            None => return Ok((content, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_falls_into_words() {
        let found = words("/* x */ SELECT [a]]b].c, N'it''s', 0x0aFF -- no\n <= @P1 <> 12").unwrap();
        assert_eq!(
            found,
            [
                Word::Name("SELECT".into()),
                Word::Quoted("a]b".into()),
                Word::Mark("."),
                Word::Name("c".into()),
                Word::Mark(","),
                Word::Text("it's".into(), true),
                Word::Mark(","),
                Word::Bytes(vec![10, 255]),
                Word::Mark("<="),
                Word::Variable("@P1".into()),
                Word::Mark("<>"),
                Word::Number(12),
            ]
        );
        assert!(words("'open").is_err());
        assert!(words("a ? b").is_err());
    }
}
