//! Timestamps as texts, in the forms that applications write into SQLite.

use chrono::{DateTime, Datelike as _, NaiveDateTime, SecondsFormat, Utc};

/// Reads RFC 3339, or `YYYY-MM-DD HH:MM:SS[.fff]` as UTC. Returns `None` for other texts, and for years outside 1 to 9999,
/// which SQL does not know.
pub(super) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|at| at.and_utc()))
        .ok()
        .filter(|at| (1..=9999).contains(&at.year()))
}

/// Writes RFC 3339 with `Z`, without a fraction if it is zero.
pub(super) fn format(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn every_form_that_the_contract_names_is_read_as_utc() {
        for (text, seconds) in [
            ("2026-11-23T14:03:00Z", "2026-11-23T14:03:00Z"),
            ("2026-11-23T14:03:00.250Z", "2026-11-23T14:03:00.250Z"),
            ("2026-11-23T15:03:00+01:00", "2026-11-23T14:03:00Z"),
            ("2026-11-23 14:03:00", "2026-11-23T14:03:00Z"),
            ("2026-11-23 14:03:00.123", "2026-11-23T14:03:00.123Z"),
            (" 2026-11-23 14:03:00 ", "2026-11-23T14:03:00Z"),
            // The hour that does not exist in Berlin, and the one that exists twice, are plain hours here.
            ("2026-03-29 02:30:00", "2026-03-29T02:30:00Z"),
            ("2026-10-25 02:30:00", "2026-10-25T02:30:00Z"),
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "-262143-01-01 00:00:00",
            "+10000-01-01 00:00:00",
            "0000-12-31 00:00:00",
            "soon",
            "2026-13-01 00:00:00",
            "2026-02-30T00:00:00Z",
            "1763906580",
            "2026-11-23",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in -62_000_000_000_i64..250_000_000_000) {
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            prop_assert_eq!(parse(&format(at)), Some(at));
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
