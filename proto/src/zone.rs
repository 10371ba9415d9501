//! The zone of the times that a person reads: UTC, until a program chooses the zone of its reader.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, FixedOffset, Local, SecondsFormat, Utc};

/// One choice for the whole process, as with its language: every sentence has to follow it.
static IS_LOCAL: AtomicBool = AtomicBool::new(false);

/// From now on times are shown in the zone of the reader: that of `TZ`, else that of the machine.
pub fn show_local_times() {
    IS_LOCAL.store(true, Ordering::Relaxed);
}

fn shown(at: DateTime<Utc>) -> DateTime<FixedOffset> {
    if IS_LOCAL.load(Ordering::Relaxed) { at.with_timezone(&Local).fixed_offset() } else { at.fixed_offset() }
}

/// A time to the second with its date: `2026-11-23T14:03:07Z`, `2026-11-23T15:03:07+01:00`.
pub fn timestamp(at: DateTime<Utc>) -> String {
    stamp(shown(at))
}

fn stamp(at: DateTime<FixedOffset>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A time of day, with the date when that is not today's: `14:03Z`, `Nov 22 15:03+01:00`.
pub fn time(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    dated(shown(at), shown(now), "%H:%M")
}

/// The same to the second: `14:03:07Z`.
pub fn time_exact(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    dated(shown(at), shown(now), "%H:%M:%S")
}

fn dated(at: DateTime<FixedOffset>, now: DateTime<FixedOffset>, format: &str) -> String {
    let date = if at.date_naive() == now.date_naive() { "" } else { "%b %-d " };
    let zone = if at.offset().local_minus_utc() == 0 { "Z" } else { "%:z" };
    at.format(&format!("{date}{format}{zone}")).to_string()
}

/// What the daemon says, with its times, which are all in UTC, as [`timestamp`] shows them.
pub fn with_local_times(text: &str) -> String {
    const LENGTH: usize = "2026-11-23T14:03:07Z".len();
    let local = |part: &str| {
        let (before, time) = part.split_at_checked(part.len().checked_sub(LENGTH)?)?;
        Some(format!("{before}{}", timestamp(time.parse().ok()?)))
    };
    text.split_inclusive('Z').map(|part| local(part).unwrap_or_else(|| part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_offset_and_the_date_of_its_zone() {
        let at: DateTime<Utc> = "2026-11-23T22:30:07Z".parse().unwrap();
        let zone = FixedOffset::east_opt(5 * 3600 + 1800).unwrap();
        let there = |at: DateTime<Utc>| at.with_timezone(&zone);
        assert_eq!(stamp(there(at)), "2026-11-24T04:00:07+05:30");
        assert_eq!(dated(there(at), there(at), "%H:%M"), "04:00+05:30");
        // It is another day there, though not in UTC.
        let earlier = at - chrono::TimeDelta::hours(5);
        assert_eq!(dated(there(earlier), there(at), "%H:%M:%S"), "Nov 23 23:00:07+05:30");
        assert_eq!((timestamp(at), time(earlier, at)), ("2026-11-23T22:30:07Z".into(), "17:30Z".into()));
    }
}
