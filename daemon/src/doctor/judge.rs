//! Turns facts about the database and its rows into findings; [`clocks`](super::clocks) does so for the clocks. Pure.

use std::path::Path;

use super::report::Finding;
use crate::model::{BadUrl, BaseUrl, Customer};
use crate::store::facts::{Ineligible, KeyReaders, NoLedger, Permission};
use crate::text::how_to_add_a_customer;

/// The most characters of a ThingsBoard token, with room for long names.
const ROOM_FOR_A_TOKEN: usize = 2000;

/// Checks the capacity of `tbtoken`.
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
                "Make it varchar(max): {widen} tbtokend does not write a token that does not fit, and parks its customer."
            ),
        ),
    }
}

/// Checks a permission.
pub(super) fn permission(permission: &Permission) -> Finding {
    let check = "permission";
    match permission.granted {
        Some(true) => Finding::ok(check, &permission.what),
        Some(false) => Finding::error(
            check,
            format!("missing: {}", permission.what),
            format!("Have the DBA grant it: {}", permission.grant),
        ),
        None => Finding::note(check, format!("the server does not say whether there is {}", permission.what)),
    }
}

/// Checks whether records can be stored.
pub(super) fn records(why_not: Option<&str>, schema_command: &str) -> Finding {
    let check = "records";
    match why_not {
        None => Finding::ok(check, "parked customers stay parked across a restart"),
        Some(why) => Finding::warning(
            check,
            format!(
                "the table tbtokend_state cannot be used ({why}): a restart forgets which customers are parked"
            ),
            format!(
                "If the daemon may make the table, start it once. Otherwise have the DBA run the output of `{schema_command}`."
            ),
        ),
    }
}

/// Checks where the ledger of sent passwords is; `file` is its place if the database has no table for it.
pub(super) fn ledger(no_ledger: Option<&NoLedger>, file: Option<&Path>, schema_command: &str) -> Finding {
    let check = "ledger";
    match (no_ledger, file) {
        (None, _) => Finding::ok(check, "sent passwords are recorded in the database"),
        (Some(NoLedger::Missing(why)), Some(file)) => Finding::warning(
            check,
            format!("{why}: sent passwords are recorded in {}, which serves one daemon only", file.display()),
            format!(
                "If several daemons use this customer table, have the DBA run the output of `{schema_command}`; otherwise do nothing."
            ),
        ),
        (Some(NoLedger::Missing(why) | NoLedger::Unusable(why)), _) => Finding::error(
            check,
            format!("{why}: tbtokend cannot record sent passwords, so it sends none"),
            format!(
                "Run the output of `{schema_command}` in the database; first rename the table if it has other columns."
            ),
        ),
    }
}

/// Checks the readers of the key: with the key and the records, a reader can try passwords until a fingerprint fits.
pub(super) fn key_readers(readers: &KeyReaders) -> Finding {
    let check = "fingerprints";
    if !readers.others.is_empty() {
        let names = readers.others.join(", ");
        return Finding::warning(
            check,
            format!("{names} can also read tbtokend_key: with tbtokend_state they can guess short passwords"),
            format!("Have the DBA deny it: {}", readers.deny.join(" ")),
        );
    }
    match readers.complete {
        true => Finding::ok(check, "only the daemon's login and administrators can read tbtokend_key"),
        false => Finding::note(
            check,
            "the daemon's login may not see the other readers of tbtokend_key; `tbtokend schema --dialect mssql --grants USER` prints the grant for that",
        ),
    }
}

/// Counts the rows, and explains those that are not renewed.
pub(super) fn rows(rows: u64, ineligible: &[Ineligible], eligible: usize, store: &str) -> Vec<Finding> {
    let check = "rows";
    let counts = format!("{}, {eligible} of them eligible", count_of_rows(rows));
    let mut findings = vec![match eligible {
        0 => {
            let how = how_to_add_a_customer(store);
            Finding::note(check, format!("{counts}: no customer is renewed; check store.table, or {how}"))
        }
        _ => Finding::ok(check, counts),
    }];
    for Ineligible { blank, count, examples } in ineligible {
        let more = if *count > examples.len() as u64 { ", …" } else { "" };
        findings.push(Finding::note(
            check,
            format!("{count} not renewed: {blank} blank ({}{more})", examples.join(", ")),
        ));
    }
    findings
}

/// Returns the usable URLs of the rows, each once, and findings about the others.
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
            format!("{} cannot be used: {why} ({})", count_of_rows(ids.len() as u64), some(&ids)),
            remedy,
        ));
    }
    if !plain.is_empty() {
        let found = format!(
            "{} with an http URL: the passwords are sent unencrypted ({})",
            count_of_rows(plain.len() as u64),
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

fn count_of_rows(count: u64) -> String {
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
    use crate::model::{CustomerId, Ineligibility, IneligibleRow, Row, Secret, Urls};
    use crate::store::facts::count_blank;

    #[test]
    fn room_is_judged() {
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
        urls.iter()
            .enumerate()
            .filter_map(|url| Customer::from_row(row(url), None, &mut Urls::default()).ok())
            .collect()
    }

    #[test]
    fn each_server_and_each_url_error_is_reported_once() {
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

    /// An empty table is not an error, but not fine either.
    #[test]
    fn a_table_without_customers_gets_a_note() {
        let told = rows(7, &[], 0, "sqlite customers.db");
        assert_eq!((told.len(), told[0].level), (1, Level::Note));
        assert!(told[0].found.starts_with("7 rows, 0 of them eligible: no customer is renewed"), "{told:?}");
        assert!(told[0].found.contains("add one: sudo tbtokend customers add ID"), "{told:?}");
        assert_eq!(rows(1, &[], 1, ""), [Finding::ok("rows", "1 row, 1 of them eligible")]);
    }

    #[test]
    fn of_many_rows_five_are_named() {
        assert_eq!(some(&["1", "2", "3", "4", "5"]), "1, 2, 3, 4, 5");
        assert_eq!(some(&["1", "2", "3", "4", "5", "6"]), "1, 2, 3, 4, 5, …");
        let row = |id: &str, blank| IneligibleRow {
            id: CustomerId::new(id),
            why: Ineligibility::Blank(blank),
            has_token: false,
            expiry: None,
        };
        let of_url = |ids: &[&str]| ids.iter().map(|id| row(id, [false, false, true])).collect::<Vec<_>>();
        let told = |ineligible: &[IneligibleRow]| -> Vec<String> {
            rows(9, &count_blank(ineligible), 3, "").into_iter().map(|finding| finding.found).collect()
        };
        let mut left_alone = of_url(&["1", "2", "3", "4", "5"]);
        left_alone.push(row("6", [true, false, true]));
        let why = Ineligibility::Refused("told elsewhere");
        left_alone.push(IneligibleRow { why, ..row("8", [false; 3]) });
        let mut expected = [
            "9 rows, 3 of them eligible",
            "5 not renewed: tb_url blank (1, 2, 3, 4, 5)",
            "1 not renewed: tb_username and tb_url blank (6)",
        ];
        assert_eq!(told(&left_alone), expected);
        expected[1] = "6 not renewed: tb_url blank (1, 2, 3, 4, 5, …)";
        assert_eq!(told(&of_url(&["1", "2", "3", "4", "5", "7"])), expected[..2]);
    }
}
