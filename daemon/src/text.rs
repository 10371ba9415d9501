//! Makes text from servers, tables and users safe to print.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta};

/// The width of a text on a screen.
pub use tbtoken_proto::fit::width;
/// The same rules apply to the journal and to screens, and times look as in the clients.
pub use tbtoken_proto::words::{
    escape_hidden, how_to_add_a_customer, printable, show_local_times, timestamp, with_causes,
};

/// The longest quoted text, in characters.
const LONGEST: usize = 200;

/// Replaces control characters, and limits the length to a line of a log.
pub fn short(text: &str) -> String {
    let mut short = printable(text);
    if let Some((end, _)) = short.char_indices().nth(LONGEST) {
        short.truncate(end);
        short.push('…');
    }
    short
}

/// A short name for a text: 32 characters that differ for each.
pub fn hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Hides the parts of a URL that may hold a password: user info and query.
pub fn url(url: &str) -> String {
    let (scheme, rest) = url.split_once("//").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let slashes = if rest.len() == url.len() { "" } else { "//" };
    let (hidden, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    match rest.find(['?', '#']).and_then(|at| rest.get(..=at)) {
        Some(shown) => format!("{scheme}{slashes}{hidden}{shown}***"),
        None => format!("{scheme}{slashes}{hidden}{rest}"),
    }
}

/// Reads `Retry-After`: seconds, or a date. A date is compared with the answer's own `Date`, not with the daemon's clock.
pub fn retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    let read = |text: &str| DateTime::parse_from_rfc2822(text.trim()).ok();
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => (read(text)? - read(date?)?).to_std().ok(),
    }
}

/// Formats a length of time in its two largest units.
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
    fn a_url_is_shown_without_possible_secrets() {
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
    fn text_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(short("a\x1b[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
        // It can neither reorder nor hide text.
        assert_eq!(short("ops\u{202e}\u{200b}"), "ops\u{fffd}\u{fffd}");
        assert_eq!(short(&"ä".repeat(500)).chars().count(), LONGEST + 1);
    }
}
