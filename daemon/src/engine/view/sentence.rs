//! One sentence about the health of the daemon, for `systemctl status`.

use chrono::{DateTime, SecondsFormat, Utc};
use tbtoken_proto as proto;

use super::Snapshot;

impl Snapshot {
    /// Whether the first read of the table has ended, well or not.
    pub fn has_read_table(&self) -> bool {
        self.tokens.as_of.is_some() || self.daemon.store_error.is_some()
    }

    /// Says how many tokens are valid, what is wrong with the database, and when the next pass is.
    pub fn sentence(&self) -> String {
        let daemon = &self.daemon;
        let what = proto::words::database_trouble(self.tokens.success, daemon.store_ok).unwrap_or_default();
        let counts = match (self.tokens.as_of, &daemon.store_error) {
            (None, None) => "reading the table for the first time".to_owned(),
            (None, Some(error)) => format!("{what}: {}", error.trim_end_matches('.')),
            (Some(_), None) => counts(&self.tokens.summary),
            (Some(at), Some(error)) => {
                format!("{what}: {error} As of {}: {}", seconds(at), counts(&self.tokens.summary))
            }
        };
        let next = match (self.cron.running, self.cron.refreshing, self.cron.next_run_at) {
            (false, ..) => format!("loop {}", proto::words::stopped(self.cron.stopped_since)),
            (true, true, _) => "a pass is running".to_owned(),
            (true, false, Some(at)) => format!("next run {}", at.format("%H:%M:%SZ")),
            (true, false, None) => return counts,
        };
        format!("{counts}; {next}")
    }
}

/// `119 of 128 valid, 5 expiring soon, 3 expired, 1 missing, 2 parked`; zero counts are left out.
fn counts(summary: &proto::Summary) -> String {
    if summary.total + summary.ineligible == 0 {
        return "no customers in the table".to_owned();
    }
    let mut text = format!("{} of {} valid", summary.valid, summary.total);
    let others = [
        (summary.expiring_soon, "expiring soon"),
        (summary.expired, "expired"),
        (summary.missing, "missing"),
        (summary.parked, "parked"),
        (summary.ineligible, "ineligible"),
    ];
    for (count, word) in others.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {word}"));
    }
    text
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_counts_are_left_out() {
        let all = proto::Summary {
            total: 128,
            valid: 119,
            expiring_soon: 5,
            expired: 3,
            missing: 1,
            parked: 2,
            retrying: 4,
            in_trouble: 5,
            ineligible: 0,
        };
        assert_eq!(counts(&all), "119 of 128 valid, 5 expiring soon, 3 expired, 1 missing, 2 parked");
        let fine = proto::Summary { total: 2, valid: 2, ..proto::Summary::default() };
        assert_eq!(counts(&fine), "2 of 2 valid");
        let lost = proto::Summary { ineligible: 1, ..proto::Summary::default() };
        assert_eq!(counts(&lost), "0 of 0 valid, 1 ineligible");
        assert_eq!(counts(&proto::Summary::default()), "no customers in the table");
    }
}
