//! Text from elsewhere, made fit to be shown.

use std::error::Error;

use chrono::TimeDelta;

/// How wide a text is on a screen.
pub use tbtoken_proto::fit::width;
/// What may be shown is the same in a journal as on a screen, and a time is shown as the clients show it.
pub use tbtoken_proto::words::{escape_hidden, printable, show_local_times, timestamp};

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

/// A URL as it may be shown: whatever stands before an `@` may be a password, and so may a query.
pub fn url(url: &str) -> String {
    let (scheme, rest) = url.split_once("//").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let slashes = if rest.len() == url.len() { "" } else { "//" };
    let (hidden, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    match rest.find(['?', '#']).and_then(|at| rest.get(..=at)) {
        Some(shown) => format!("{scheme}{slashes}{hidden}{shown}***"),
        None => format!("{scheme}{slashes}{hidden}{rest}"),
    }
}

/// An error with its causes, on one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    printable(&text)
}

/// A length of time in its two largest units.
pub fn length(time: TimeDelta) -> String {
    let (days, hours) = (time.num_days(), time.num_hours() % 24);
    let (minutes, seconds) = (time.num_minutes() % 60, time.num_seconds() % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (given, shown) in [
            ("https://tb.example/x", "https://tb.example/x"),
            ("https://u:p@tb.example/", "https://***@tb.example/"),
            ("https://u:p@/w@tb.example", "https://***@tb.example"),
            ("u:p@tb.example", "***@tb.example"),
            ("https://tb.example/?token=t#x", "https://tb.example/?***"),
            ("not a url", "not a url"),
        ] {
            assert_eq!(url(given), shown);
        }
    }

    #[test]
    fn nothing_moves_a_cursor_or_fills_a_screen() {
        assert_eq!(short("a\x1b[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
        // Neither does it show another order than it has, nor hide a part.
        assert_eq!(short("ops\u{202e}\u{200b}"), "ops\u{fffd}\u{fffd}");
        assert_eq!(short(&"ä".repeat(500)).chars().count(), LONGEST + 1);
    }
}
