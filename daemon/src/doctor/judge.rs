//! From what was found to what it means. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::report::Finding;
use crate::model::{BadUrl, BaseUrl, Customer};
use crate::store::facts::{Facts, Ineligible, Permission, Sample, ServerClock};

/// From here on a clock that is wrong does harm: the applications compare our expiries with theirs.
const SKEW: TimeDelta = TimeDelta::seconds(30);

/// How exactly an expiry must fit to count: the old writer wrote a fixed time after the login, and clocks differ.
const FIT: i64 = 120;

/// What the old writer wrote: a quarter of an hour.
const USUAL_LIFE: i64 = 15 * 60;

/// A token of ThingsBoard has up to this many characters, with room for long names.
const ROOM_FOR_A_TOKEN: usize = 2000;

/// Which clock the rows' expiries seem to be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seems {
    /// UTC, say so many rows.
    Utc(usize),
    /// The server's local time, say so many rows.
    Local(usize),
    /// They do not say, or not the same.
    Unclear,
}

/// How the expiries of these rows were written. An expiry is later than the login by the life that was declared, which is
/// a quarter of an hour or the token's own; the clock with which more rows come out so is the one.
pub(super) fn clock_of(sample: &[Sample], offset_minutes: i32) -> Seems {
    let fits = |row: &Sample, offset: i64| {
        let declared = (row.shown.and_utc() - row.issued_at).num_seconds() - offset;
        [row.life, row.life.min(USUAL_LIFE)].iter().any(|life| (declared - life).abs() <= FIT)
    };
    let offset = i64::from(offset_minutes) * 60;
    let utc = sample.iter().filter(|row| fits(row, 0)).count();
    // The offset may have been the one of the other half of the year.
    let local = sample
        .iter()
        .filter(|row| [-3600, 0, 3600].iter().any(|by| offset + by != 0 && fits(row, offset + by)));
    let local = local.count();
    match (utc, local) {
        (0, 0) => Seems::Unclear,
        (utc, local) if utc >= local.saturating_mul(4) => Seems::Utc(utc),
        (utc, local) if local >= utc.saturating_mul(4) => Seems::Local(local),
        _ => Seems::Unclear,
    }
}

/// Whether `store.expiry_clock` says what the rows say.
pub(super) fn expiry_clock(facts: &Facts, is_local: bool) -> Option<Finding> {
    let check = "expiry clock";
    let ServerClock { offset_minutes, .. } = facts.clock?;
    if !facts
        .types
        .iter()
        .any(|(column, kind)| column == "tbtokenexpiry" && !kind.starts_with("datetimeoffset"))
    {
        return Some(Finding::ok(check, "tbtokenexpiry has a zone of its own; there is nothing to choose"));
    }
    if offset_minutes == 0 && facts.sample.is_empty() {
        return Some(Finding::ok(check, "the server's local time is UTC now; both clocks are the same"));
    }
    let configured = if is_local { "server-local" } else { "utc" };
    let of = facts.sample.len();
    Some(match (clock_of(&facts.sample, offset_minutes), is_local) {
        (Seems::Utc(rows), false) => {
            Finding::ok(check, format!("{rows} of {of} rows looked at were written in UTC, as configured"))
        }
        (Seems::Local(rows), true) => Finding::ok(
            check,
            format!("{rows} of {of} rows looked at were written in local time, as configured"),
        ),
        (Seems::Utc(rows), true) if offset_minutes == 0 => {
            Finding::ok(check, format!("{rows} of {of} rows fit; the server's local time is UTC now"))
        }
        (Seems::Utc(rows), true) => Finding::error(
            check,
            format!(
                "{rows} of {of} rows looked at seem to be written in UTC, but store.expiry_clock is server-local"
            ),
            "If the applications compare tbtokenexpiry with UTC, set store.expiry_clock = \"utc\".",
        ),
        (Seems::Local(rows), false) => Finding::error(
            check,
            format!(
                "{rows} of {of} rows looked at seem to be written in the server's local time (UTC{}), but store.expiry_clock is utc",
                offset(offset_minutes)
            ),
            "If the applications compare tbtokenexpiry with GETDATE(), set store.expiry_clock = \"server-local\".",
        ),
        (Seems::Unclear, _) if of == 0 => Finding::note(
            check,
            format!("no row has a token yet that would show it; configured is {configured}"),
        ),
        (Seems::Unclear, _) => Finding::note(
            check,
            format!(
                "the {of} rows looked at do not show which clock they are of; configured is {configured}"
            ),
        ),
    })
}

fn offset(minutes: i32) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// The server's clock against ours.
pub(super) fn skew(clock: ServerClock, now: DateTime<Utc>) -> Finding {
    let check = "server clock";
    let skew = clock.utc - now;
    let seconds = skew.num_milliseconds().unsigned_abs() / 1000;
    let direction = if skew < TimeDelta::zero() { "behind" } else { "ahead of" };
    if skew.abs() <= SKEW {
        return Finding::ok(
            check,
            format!(
                "within {} s of ours; its local time is UTC{}",
                seconds + 1,
                offset(clock.offset_minutes)
            ),
        );
    }
    Finding::warning(
        check,
        format!("the server's clock is {seconds} s {direction} ours"),
        "Let both follow a time server: expiries are written by our clock, and compared by the applications with theirs.",
    )
}

/// The room in `tbtoken`.
pub(super) fn capacity(capacity: Option<usize>, widen: &str) -> Finding {
    let check = "token column";
    match capacity {
        None => Finding::ok(check, "tbtoken holds a token of any length"),
        Some(room) if room >= ROOM_FOR_A_TOKEN => {
            Finding::ok(check, format!("tbtoken holds {room} characters"))
        }
        Some(room) => Finding::warning(
            check,
            format!("tbtoken holds only {room} characters; ThingsBoard's tokens often have 500 and more"),
            format!(
                "Make it varchar(max): {widen} A token that does not fit is not written, and its customer is parked."
            ),
        ),
    }
}

/// A permission.
pub(super) fn permission(permission: &Permission) -> Finding {
    let check = "permission";
    match permission.granted {
        Some(true) => Finding::ok(check, &permission.what),
        Some(false) => Finding::error(
            check,
            format!("missing: {}", permission.what),
            format!("Have it granted: {}", permission.grant),
        ),
        None => Finding::note(check, format!("the server does not say whether there is {}", permission.what)),
    }
}

/// Whether records can be kept.
pub(super) fn records(why_not: Option<&str>, schema_command: &str) -> Finding {
    let check = "records";
    match why_not {
        None => Finding::ok(check, "who is parked is remembered over a restart"),
        Some(why) => Finding::warning(
            check,
            format!(
                "the table tbtokend_state cannot be used ({why}): who is parked is forgotten at a restart"
            ),
            format!(
                "Start the daemon once if it may make the table; else have the DBA run what `{schema_command}` prints."
            ),
        ),
    }
}

/// The rows that are left alone.
pub(super) fn rows(rows: u64, ineligible: &[Ineligible], eligible: usize) -> Vec<Finding> {
    let check = "rows";
    let mut findings = vec![Finding::ok(check, format!("{rows} rows, {eligible} of them eligible"))];
    for Ineligible { blank, count, examples } in ineligible {
        let more = if *count > examples.len() as u64 { ", …" } else { "" };
        findings.push(Finding::note(
            check,
            format!("{count} left alone: {blank} blank ({}{more})", examples.join(", ")),
        ));
    }
    findings
}

/// What the rows' URLs come to: the usable ones, each once, and findings about the others.
pub(super) fn urls(customers: &[Customer], require_https: bool) -> (Vec<BaseUrl>, Vec<Finding>) {
    let mut usable: Vec<(String, BaseUrl)> = Vec::new();
    let mut unusable: Vec<(BadUrl, Vec<&str>)> = Vec::new();
    let mut plain: Vec<&str> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for customer in customers {
        match BaseUrl::parse(&customer.credentials.url) {
            Ok(base) => {
                if !base.is_https() {
                    plain.push(customer.id.as_str());
                }
                let text = base.endpoint("").to_string();
                if seen.insert(text.clone()) {
                    usable.push((text, base));
                }
            }
            Err(why) => match unusable.iter_mut().find(|(known, _)| *known == why) {
                Some((_, ids)) => ids.push(customer.id.as_str()),
                None => unusable.push((why, vec![customer.id.as_str()])),
            },
        }
    }
    let mut findings = Vec::new();
    for (why, ids) in unusable {
        let remedy = "Correct tb_url in these rows, for example https://tb.example.com.";
        findings.push(Finding::error(
            "tb_url",
            format!("{} cannot be used: {why} ({})", count_of_rows(ids.len()), some(&ids)),
            remedy,
        ));
    }
    if !plain.is_empty() {
        let found = format!(
            "{} with an http URL: the passwords are sent unencrypted ({})",
            count_of_rows(plain.len()),
            some(&plain)
        );
        findings.push(match require_https {
            true => Finding::error(
                "tb_url",
                found,
                "Change tb_url to https; thingsboard.require_https is on, so these rows are not renewed.",
            ),
            false => Finding::warning(
                "tb_url",
                found,
                "Change tb_url to https where the server can; then set thingsboard.require_https = true.",
            ),
        });
    }
    (usable.into_iter().map(|(_, base)| base).collect(), findings)
}

fn count_of_rows(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

fn some(ids: &[&str]) -> String {
    let shown = ids.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    if ids.len() > 5 { format!("{shown}, …") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;
    use crate::model::{CustomerId, Row, Secret};
    use crate::store::facts::Counting;

    fn sample(issued: &str, shown: &str, life: i64) -> Sample {
        Sample { issued_at: issued.parse().unwrap(), shown: shown.parse().unwrap(), life }
    }

    /// Promise 8: who configures the wrong clock is told.
    #[test]
    fn p08_the_clock_of_the_rows_is_recognized() {
        let utc = sample("2026-11-25T10:00:00Z", "2026-11-25T10:15:01", 9000);
        let local = sample("2026-11-25T10:00:00Z", "2026-11-25T11:15:00", 9000);
        let summer = sample("2026-10-20T10:00:00Z", "2026-10-20T12:15:00", 9000);
        let own_life = sample("2026-11-25T10:00:00Z", "2026-11-25T12:30:00", 9000);
        let nonsense = sample("2026-11-25T10:00:00Z", "2026-11-25T10:47:00", 9000);
        assert_eq!(clock_of(&[utc, utc, own_life, nonsense], 60), Seems::Utc(3));
        assert_eq!(clock_of(&[local, local, summer, nonsense], 60), Seems::Local(3));
        assert_eq!(clock_of(&[utc, local], 60), Seems::Unclear);
        assert_eq!(clock_of(&[nonsense], 60), Seems::Unclear);
        assert_eq!(clock_of(&[], 60), Seems::Unclear);
        assert_eq!(clock_of(&[utc], 0), Seems::Utc(1));
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
    fn skew_and_room_are_judged() {
        let now: DateTime<Utc> = "2026-11-25T10:00:00Z".parse().unwrap();
        let clock = |seconds| ServerClock { utc: now + TimeDelta::seconds(seconds), offset_minutes: 60 };
        assert!(skew(clock(-20), now).remedy.is_none());
        assert!(skew(clock(-90), now).found.contains("90 s behind"));
        assert!(skew(clock(90), now).found.contains("90 s ahead of"));
        assert!(capacity(None, "").remedy.is_none() && capacity(Some(8000), "").remedy.is_none());
        assert!(capacity(Some(255), "ALTER TABLE t;").remedy.unwrap().contains("ALTER TABLE t;"));
    }

    fn customers(urls: &[&str]) -> Vec<Customer> {
        let row = |(number, url): (usize, &&str)| Row {
            id: CustomerId::new(format!("c{number}")),
            url: Some((*url).to_owned()),
            username: Some("u".to_owned()),
            password: Some(Secret::new("p")),
            has_token: false,
            expiry: None,
        };
        urls.iter().enumerate().filter_map(|url| Customer::from_row(row(url), None)).collect()
    }

    #[test]
    fn each_server_is_looked_at_once_and_what_is_wrong_with_a_url_is_told_once_with_its_rows() {
        let (servers, findings) = urls(&customers(&["https://tb", "https://tb/", "https://other"]), false);
        assert_eq!((servers.len(), findings.len()), (2, 0));

        let bad = ["ftp://tb", "http://tb", "https://tb?x", "ftp://other", "http://tb/"];
        let (servers, findings) = urls(&customers(&bad), false);
        assert_eq!(servers.len(), 1);
        let found: Vec<(Level, &str)> =
            findings.iter().map(|finding| (finding.level, finding.found.as_str())).collect();
        assert_eq!(
            found,
            [
                (
                    Level::Error,
                    "2 rows cannot be used: tb_url begins neither with http:// nor with https:// (c0, c3)"
                ),
                (Level::Error, "1 row cannot be used: tb_url holds a query or a fragment (c2)"),
                (Level::Warning, "2 rows with an http URL: the passwords are sent unencrypted (c1, c4)"),
            ]
        );
        let (_, findings) = urls(&customers(&["http://tb"]), true);
        assert_eq!(findings[0].level, Level::Error, "where https is required they are not renewed");
    }

    #[test]
    fn of_many_rows_five_are_named() {
        assert_eq!(some(&["1", "2", "3", "4", "5"]), "1, 2, 3, 4, 5");
        assert_eq!(some(&["1", "2", "3", "4", "5", "6"]), "1, 2, 3, 4, 5, …");
        let mut counting = Counting::default();
        for id in ["1", "2", "3", "4", "5"] {
            counting.add(&["tb_url"], id);
        }
        counting.add(&["tb_username", "tb_url"], "6");
        let told = |counting: Counting| -> Vec<String> {
            rows(9, &counting.finish(), 3).into_iter().map(|finding| finding.found).collect()
        };
        let mut expected = [
            "9 rows, 3 of them eligible",
            "5 left alone: tb_url blank (1, 2, 3, 4, 5)",
            "1 left alone: tb_username and tb_url blank (6)",
        ];
        assert_eq!(told(counting), expected);
        let mut counting = Counting::default();
        for id in ["1", "2", "3", "4", "5", "7"] {
            counting.add(&["tb_url"], id);
        }
        expected[1] = "6 left alone: tb_url blank (1, 2, 3, 4, 5, …)";
        assert_eq!(told(counting), expected[..2]);
    }

    /// In winter, rows of the summer are an hour further ahead, or less far behind.
    #[test]
    fn p08_a_clock_is_recognized_by_rows_of_the_other_half_of_the_year() {
        let summer = sample("2026-07-20T10:00:00Z", "2026-07-20T12:15:00", 9000);
        assert_eq!(clock_of(&[summer], 60), Seems::Local(1));
        let winter = sample("2026-01-20T10:00:00Z", "2026-01-20T11:15:00", 9000);
        assert_eq!(clock_of(&[winter], 120), Seems::Local(1));
        // London: what is written in UTC is no local time, although winter there looks so.
        let utc = sample("2026-07-20T10:00:00Z", "2026-07-20T10:15:00", 9000);
        assert_eq!(clock_of(&[utc], 60), Seems::Utc(1));
    }

    #[test]
    fn a_zone_of_its_own_leaves_nothing_to_choose_and_no_token_nothing_to_see() {
        let clock = |offset_minutes| Some(ServerClock { utc: DateTime::UNIX_EPOCH, offset_minutes });
        let facts = |kind: &str, offset| Facts {
            types: vec![("tbtokenexpiry".to_owned(), kind.to_owned())],
            clock: clock(offset),
            ..Facts::default()
        };
        let said = |facts: &Facts, is_local| expiry_clock(facts, is_local).unwrap().found;
        assert!(said(&facts("datetimeoffset(7)", 60), false).contains("a zone of its own"));
        assert!(said(&facts("datetime", 0), false).contains("both clocks are the same"));
        assert!(said(&facts("datetime", 60), true).contains("no row has a token yet"));
        assert!(said(&facts("datetime", 60), true).ends_with("configured is server-local"));
        assert_eq!(expiry_clock(&Facts { clock: None, ..facts("datetime", 60) }, false), None);
        let utc = sample("2026-07-20T10:00:00Z", "2026-07-20T10:15:00", 9000);
        let of_utc = |offset| Facts { sample: vec![utc], ..facts("datetime", offset) };
        assert!(said(&of_utc(0), true).contains("the server's local time is UTC now"));
        let wrong = expiry_clock(&of_utc(60), true).unwrap();
        assert!(wrong.level == Level::Error && wrong.remedy.unwrap().contains("\"utc\""));
        let odd = sample("2026-07-20T10:00:00Z", "2026-07-20T10:47:00", 9000);
        assert!(
            said(&Facts { sample: vec![odd], ..facts("datetime", 60) }, false).contains("do not show which")
        );
        assert_eq!(
            (offset(0), offset(-90), offset(330)),
            ("+00:00".into(), "-01:30".into(), "+05:30".into())
        );
    }
}
