//! Clipping and wrapping of text by its width on the screen.

use unicode_truncate::UnicodeTruncateStr as _;
use unicode_width::UnicodeWidthStr;

/// Returns the number of columns that `text` takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Clips `text` to at most `columns`; `ellipsis` replaces its end if it is longer.
pub fn clip(text: &str, columns: usize, ellipsis: &str) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(ellipsis.width());
    if room == 0 {
        return text.unicode_truncate(columns).0.to_owned();
    }
    format!("{}{ellipsis}", text.unicode_truncate(room).0.trim_end())
}

/// Clips `text` to at most `columns`; `ellipsis` replaces its beginning if it is longer. For paths, whose end says more.
pub fn clip_start(text: &str, columns: usize, ellipsis: &str) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(ellipsis.width());
    format!("{ellipsis}{}", text.unicode_truncate_start(room).0)
}

/// Breaks `text` between words into lines of at most `columns`. A longer word, such as a URL, is broken after a
/// punctuation mark, or anywhere if it has none.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if columns == 0 {
        return lines;
    }
    let mut line = String::new();
    let mut begins = true;
    for mut word in text.split(' ') {
        if !begins && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::take(&mut line));
            begins = true;
        }
        while word.width() > columns {
            let piece = match first_piece(word, columns) {
                // The next character is wider than the line.
                "" => break,
                piece => piece,
            };
            lines.push(piece.to_owned());
            word = &word[piece.len()..];
        }
        // Spaces are kept inside a line, and not where it was broken.
        if begins && word.is_empty() && !lines.is_empty() {
            continue;
        }
        if !begins {
            line.push(' ');
        }
        line.push_str(word);
        begins = false;
    }
    lines.push(line);
    lines.into_iter().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Returns the part of a long word for one line. It ends after a punctuation mark if that fills half the line; otherwise it
/// fills the line.
fn first_piece(word: &str, columns: usize) -> &str {
    let longest = word.unicode_truncate(columns).0;
    let mut joints = longest.char_indices().filter(|&(at, c)| {
        let next = word[at + c.len_utf8()..].chars().next();
        is_joint(c) && next.is_some_and(char::is_alphanumeric)
    });
    let last = joints.next_back().map_or(0, |(at, c)| at + c.len_utf8());
    if longest[..last].width() * 2 >= columns { &longest[..last] } else { longest }
}

/// Whether a word may be broken after this character: `https://tb.acme.example/` `login`.
fn is_joint(c: char) -> bool {
    c.is_ascii_punctuation()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_counts_columns_and_not_characters() {
        assert_eq!(clip("tokens", 6, "…"), "tokens");
        assert_eq!(clip("tokens", 5, "…"), "toke…");
        assert_eq!(clip("日本語テスト", 5, "…"), "日本…");
        assert_eq!(clip("日本語テスト", 6, "…"), "日本…");
        assert_eq!(clip("日本", 1, "…"), "");
        assert_eq!(clip("ab", 1, "…"), "a");
        assert_eq!(clip("ab", 0, "…"), "");
        assert_eq!(clip_start("/var/lib/tbtokend.db", 10, "…"), "…tokend.db");
    }

    #[test]
    fn wrapping_keeps_every_word_and_the_width() {
        let text =
            "the server redirects to https://a-very-long-name.example/login: put that URL into tb_url 日本語";
        for columns in 2..40 {
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            assert_eq!(
                lines.concat().replace(' ', ""),
                text.replace(' ', ""),
                "nothing is lost at {columns} columns"
            );
        }
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("a bc def", 3), ["a", "bc", "def"]);
        assert_eq!(wrap("a  b", 4), ["a  b"]);
        assert_eq!(wrap("  indented", 12), ["  indented"]);
        assert_eq!(wrap("日", 1), ["日"], "what cannot be broken stays");
        assert!(wrap("anything", 0).is_empty() && wrap("", 9).is_empty());
    }

    #[test]
    fn a_long_word_is_broken_at_its_joints() {
        let url = "https://a-very-long-name.example.com/thingsboard/login?tenant=acme";
        assert_eq!(
            wrap(url, 30),
            ["https://a-very-long-name.", "example.com/thingsboard/login?", "tenant=acme"]
        );
        assert_eq!(
            wrap("ops.of-the-night@acme-north.example", 20),
            ["ops.of-the-night@", "acme-north.example"]
        );
        assert_eq!(
            wrap("https://abcdefghijklmnop", 20),
            ["https://abcdefghijkl", "mnop"],
            "it would waste a line"
        );
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
    }
}
