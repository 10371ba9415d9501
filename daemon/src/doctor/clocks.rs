//! Checks the clocks: whether the database server's clock is right, and with which clock the expiries in the table were
//! written. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::report::Finding;
use crate::store::facts::{Facts, Sample, ServerClock};

/// The largest harmless skew: applications compare expiries with their own clocks.
const SKEW: TimeDelta = TimeDelta::seconds(30);

/// The tolerance of an expiry in seconds: the earlier service wrote a fixed time after the login, and clocks differ.
const FIT: i64 = 120;

/// The life that the earlier service wrote: 15 minutes.
const USUAL_LIFE: i64 = 15 * 60;

/// The clock with which the expiries of the rows were most likely written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowClock {
    /// UTC, according to so many rows.
    Utc(usize),
    /// The server's local time, according to so many rows.
    Local(usize),
    /// The rows do not show it, or contradict each other.
    Unclear,
}

/// Finds the clock with which the expiries of these rows were written. An expiry is the login plus a life of 15 minutes or
/// that of the token; the clock that fits more rows wins.
pub(super) fn clock_of(sample: &[Sample], offset_minutes: i32) -> RowClock {
    let fits = |row: &Sample, offset: i64| {
        let declared = (row.shown.and_utc() - row.issued_at).num_seconds() - offset;
        [row.life, row.life.min(USUAL_LIFE)].iter().any(|life| (declared - life).abs() <= FIT)
    };
    let offset = i64::from(offset_minutes) * 60;
    let utc = sample.iter().filter(|row| fits(row, 0)).count();
    // The offset may have been that of summer or winter.
    let local = sample
        .iter()
        .filter(|row| [-3600, 0, 3600].iter().any(|by| offset + by != 0 && fits(row, offset + by)));
    let local = local.count();
    match (utc, local) {
        (0, 0) => RowClock::Unclear,
        (utc, local) if utc >= local.saturating_mul(4) => RowClock::Utc(utc),
        (utc, local) if local >= utc.saturating_mul(4) => RowClock::Local(local),
        _ => RowClock::Unclear,
    }
}

/// Checks that `store.expiry_clock` fits the rows.
pub(super) fn expiry_clock(facts: &Facts, is_local: bool) -> Option<Finding> {
    let check = "expiry clock";
    let ServerClock { offset_minutes, .. } = facts.clock?;
    if !facts
        .types
        .iter()
        .any(|(column, kind)| column == "tbtokenexpiry" && !kind.starts_with("datetimeoffset"))
    {
        return Some(Finding::ok(check, "tbtokenexpiry stores its zone; store.expiry_clock has no effect"));
    }
    if offset_minutes == 0 && facts.sample.is_empty() {
        return Some(Finding::ok(check, "the server's local time is UTC now; both clocks are the same"));
    }
    let configured = if is_local { "server-local" } else { "utc" };
    let of = facts.sample.len();
    Some(match (clock_of(&facts.sample, offset_minutes), is_local) {
        (RowClock::Utc(rows), false) | (RowClock::Local(rows), true) => {
            let clock = if is_local { "local time" } else { "UTC" };
            Finding::ok(check, format!("written in {clock}, as configured: {rows} of {of} in the sample"))
        }
        (RowClock::Utc(rows), true) if offset_minutes == 0 => Finding::ok(
            check,
            format!("{rows} of {of} in the sample fit; the server's local time is UTC now"),
        ),
        (RowClock::Utc(rows), true) => Finding::error(
            check,
            format!("{rows} of {of} in the sample: written in UTC, but store.expiry_clock is server-local"),
            "If the applications compare tbtokenexpiry with UTC, set store.expiry_clock = \"utc\".",
        ),
        (RowClock::Local(rows), false) => Finding::error(
            check,
            format!(
                "{rows} of {of} in the sample: written in the server's local time (UTC{}), but store.expiry_clock is utc",
                offset(offset_minutes)
            ),
            "If the applications compare tbtokenexpiry with GETDATE(), set store.expiry_clock = \"server-local\".",
        ),
        (RowClock::Unclear, _) => {
            let unclear = match of {
                0 => "no row has a token yet that shows the clock".to_owned(),
                of => format!("the sample of {of} does not show the clock"),
            };
            Finding::note(check, format!("{unclear}; {configured} is configured"))
        }
    })
}

fn offset(minutes: i32) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// Compares the server's clock with that of this machine.
pub(super) fn skew(clock: ServerClock, now: DateTime<Utc>) -> Finding {
    let check = "server clock";
    let skew = clock.utc - now;
    let seconds = skew.num_milliseconds().unsigned_abs() / 1000;
    let direction = if skew < TimeDelta::zero() { "behind" } else { "ahead of" };
    if skew.abs() <= SKEW {
        return Finding::ok(
            check,
            format!(
                "within {} s of this machine's clock; its local time is UTC{}",
                seconds + 1,
                offset(clock.offset_minutes)
            ),
        );
    }
    Finding::warning(
        check,
        format!("the server's clock is {seconds} s {direction} this machine's"),
        "Synchronize both with a time server: tbtokend writes expiries by its clock, and applications compare them with theirs.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    fn sample(issued: &str, shown: &str, life: i64) -> Sample {
        Sample { issued_at: issued.parse().unwrap(), shown: shown.parse().unwrap(), life }
    }

    /// Promise 8: the doctor reports a wrong `store.expiry_clock`.
    #[test]
    fn p08_the_clock_of_the_rows_is_recognized() {
        let utc = sample("2026-11-25T10:00:00Z", "2026-11-25T10:15:01", 9000);
        let local = sample("2026-11-25T10:00:00Z", "2026-11-25T11:15:00", 9000);
        let summer = sample("2026-10-20T10:00:00Z", "2026-10-20T12:15:00", 9000);
        let own_life = sample("2026-11-25T10:00:00Z", "2026-11-25T12:30:00", 9000);
        let nonsense = sample("2026-11-25T10:00:00Z", "2026-11-25T10:47:00", 9000);
        assert_eq!(clock_of(&[utc, utc, own_life, nonsense], 60), RowClock::Utc(3));
        assert_eq!(clock_of(&[local, local, summer, nonsense], 60), RowClock::Local(3));
        assert_eq!(clock_of(&[utc, local], 60), RowClock::Unclear);
        assert_eq!(clock_of(&[nonsense], 60), RowClock::Unclear);
        assert_eq!(clock_of(&[], 60), RowClock::Unclear);
        assert_eq!(clock_of(&[utc], 0), RowClock::Utc(1));
    }

    #[test]
    fn the_wrong_setting_is_an_error_and_says_the_right_one() {
        let types = vec![("tbtokenexpiry".to_owned(), "datetime".to_owned())];
        let clock = Some(ServerClock { utc: "2026-11-25T10:00:00Z".parse().unwrap(), offset_minutes: -330 });
        let row = sample("2026-11-25T10:00:00Z", "2026-11-25T04:45:00", 9000);
        let facts = Facts { types, clock, sample: vec![row], ..Facts::default() };
        let finding = expiry_clock(&facts, false).unwrap();
        assert!(finding.found.contains("UTC-05:30"), "{finding:?}");
        assert!(finding.remedy.unwrap().contains("\"server-local\""));
        assert_eq!(expiry_clock(&facts, true).unwrap().remedy, None);
    }

    #[test]
    fn skew_is_judged() {
        let now: DateTime<Utc> = "2026-11-25T10:00:00Z".parse().unwrap();
        let clock = |seconds| ServerClock { utc: now + TimeDelta::seconds(seconds), offset_minutes: 60 };
        assert!(skew(clock(-20), now).remedy.is_none());
        assert!(skew(clock(-90), now).found.contains("90 s behind"));
        assert!(skew(clock(90), now).found.contains("90 s ahead of"));
    }

    /// Rows that were written in summer are off by one more hour in winter.
    #[test]
    fn p08_a_clock_is_recognized_by_rows_of_the_other_half_of_the_year() {
        let summer = sample("2026-07-20T10:00:00Z", "2026-07-20T12:15:00", 9000);
        assert_eq!(clock_of(&[summer], 60), RowClock::Local(1));
        let winter = sample("2026-01-20T10:00:00Z", "2026-01-20T11:15:00", 9000);
        assert_eq!(clock_of(&[winter], 120), RowClock::Local(1));
        // In London UTC looks like local time in winter, but the rows are in UTC.
        let utc = sample("2026-07-20T10:00:00Z", "2026-07-20T10:15:00", 9000);
        assert_eq!(clock_of(&[utc], 60), RowClock::Utc(1));
    }

    #[test]
    fn a_column_with_a_zone_and_rows_without_tokens_need_no_choice() {
        let clock = |offset_minutes| Some(ServerClock { utc: DateTime::UNIX_EPOCH, offset_minutes });
        let facts = |kind: &str, offset| Facts {
            types: vec![("tbtokenexpiry".to_owned(), kind.to_owned())],
            clock: clock(offset),
            ..Facts::default()
        };
        let said = |facts: &Facts, is_local| expiry_clock(facts, is_local).unwrap().found;
        assert!(said(&facts("datetimeoffset(7)", 60), false).contains("stores its zone"));
        assert!(said(&facts("datetime", 0), false).contains("both clocks are the same"));
        assert!(said(&facts("datetime", 60), true).contains("no row has a token yet"));
        assert!(said(&facts("datetime", 60), true).ends_with("server-local is configured"));
        assert_eq!(expiry_clock(&Facts { clock: None, ..facts("datetime", 60) }, false), None);
        let utc = sample("2026-07-20T10:00:00Z", "2026-07-20T10:15:00", 9000);
        let of_utc = |offset| Facts { sample: vec![utc], ..facts("datetime", offset) };
        assert!(said(&of_utc(0), true).contains("the server's local time is UTC now"));
        let wrong = expiry_clock(&of_utc(60), true).unwrap();
        assert!(wrong.level == Level::Error && wrong.remedy.unwrap().contains("\"utc\""));
        let odd = sample("2026-07-20T10:00:00Z", "2026-07-20T10:47:00", 9000);
        assert!(
            said(&Facts { sample: vec![odd], ..facts("datetime", 60) }, false)
                .contains("sample of 1 does not show")
        );
        assert_eq!(
            (offset(0), offset(-90), offset(330)),
            ("+00:00".into(), "-01:30".into(), "+05:30".into())
        );
    }
}
