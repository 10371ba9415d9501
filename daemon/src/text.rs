//! Text from elsewhere, made fit to be shown.

/// The longest text from elsewhere that is shown, in characters.
const LONGEST: usize = 200;

/// `text` without control characters and not longer than fits a line of a log.
pub fn short(text: &str) -> String {
    let mut short = printable(text);
    if let Some((end, _)) = short.char_indices().nth(LONGEST) {
        short.truncate(end);
        short.push('…');
    }
    short
}

/// `text` with every control character replaced, so that it can neither end a line nor move a cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_a_cursor_or_fills_a_screen() {
        assert_eq!(short("a\x1b[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(short(&"ä".repeat(500)).chars().count(), LONGEST + 1);
    }
}
