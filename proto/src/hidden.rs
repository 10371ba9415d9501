//! The characters that are never printed as they are, for the log, the journal, `tbctl`, `tbtui` and the doctor.

use std::fmt::Write as _;

/// Whether this character is invisible, or changes how other text looks. These are control characters, characters that
/// reorder text, and invisible ones (`Default_Ignorable_Code_Point` of Unicode 17, line and paragraph separators, the marks
/// of annotations and of hieroglyphs).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Replaces each [hidden](is_hidden) character by U+FFFD. So text from a server or a table cannot move the cursor, set a
/// colour, or look like other text.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Escapes each [hidden](is_hidden) character in `json` as `\u....`: a program reads the same text, and a person sees
/// what is there. Outside of its strings JSON has no such characters but line breaks, and inside a string those are
/// escaped already.
pub fn escape_hidden(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string never fails.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}
