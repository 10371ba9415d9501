//! Text that must fit: clipping and wrapping, by the width on the screen.

pub(crate) use tbtoken_proto::words::{sentence, time, time_exact};
use unicode_width::UnicodeWidthStr;

/// The columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The longest beginning of `text` that takes at most `columns`.
fn head(text: &str, columns: usize) -> &str {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let next = at + c.len_utf8();
        if text[..next].width() > columns {
            break;
        }
        end = next;
    }
    &text[..end]
}

/// The longest end of `text` that takes at most `columns`.
fn tail(text: &str, columns: usize) -> &str {
    let mut start = text.len();
    for (at, _) in text.char_indices().rev() {
        if text[at..].width() > columns {
            break;
        }
        start = at;
    }
    &text[start..]
}

/// `text` in at most `columns`, its end replaced by `ellipsis` if it is longer.
pub(crate) fn clip(text: &str, columns: usize, ellipsis: &str) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(ellipsis.width());
    if room == 0 {
        return head(text, columns).to_owned();
    }
    format!("{}{ellipsis}", head(text, room).trim_end())
}

/// `text` in at most `columns`, its beginning replaced by `ellipsis` if it is longer: for paths, whose end tells more.
pub(crate) fn clip_start(text: &str, columns: usize, ellipsis: &str) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(ellipsis.width());
    format!("{ellipsis}{}", tail(text, room))
}

/// `text` broken between words into lines of at most `columns`, words that are longer broken anywhere.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if columns == 0 {
        return lines;
    }
    let mut line = String::new();
    for mut word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        if line.width() + gap + word.width() > columns && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while word.width() > columns {
            let piece = match head(word, columns) {
                // A single character that is wider than the line: nothing can be done but leave it out.
                "" => break,
                piece => piece,
            };
            lines.push(piece.to_owned());
            word = &word[piece.len()..];
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
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
        assert!(wrap("日", 1).concat().is_empty() || wrap("日", 1) == ["日"]);
        assert!(wrap("anything", 0).is_empty());
    }
}
