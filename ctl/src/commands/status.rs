//! `status`: the loop, the counts, and the customers, problems first.

mod watch;

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use tbtoken_proto::words::{
    duration, how_to_add_a_customer, is_healthy, last_error, next_step, printable, problems_first, short_id,
    short_id_length, time_left, timestamp,
};
use tbtoken_proto::{Cron, Customer, Daemon, Phase, StatusQuery, StatusReply, Summary, TokenStatus};

use super::json;
use crate::args::{SortBy, StatusArgs};
use crate::error::Error;
use crate::exit;
use crate::output::{self, Color, Report, Style, paint};
use crate::session::{Session, named, status};
use crate::table::{self, Columns};

/// Shows the wanted customers.
pub(super) fn run(session: &Session<'_>, wanted: &StatusArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let mut reply = match wanted.customers.as_slice() {
        [] => status(&mut client, StatusQuery::default())?,
        names => named(&mut |query| status(&mut client, query), names)?,
    };
    let rows = reply.tokens.customers.take().unwrap_or_default();
    let is_all = wanted.customers.is_empty();
    let picture = wanted.watch.then(|| watch::Picture::new(&reply, &rows, !is_all));
    // The beginning of an id that is unique among some customers may fit others too.
    let id_length = if is_all { shortened(&rows) } else { usize::MAX };
    let first = show(session, reply, choose(rows, wanted), id_length, wanted)?;
    let Some(picture) = picture else { return Ok(first) };
    output::data(&first.data, session.args.json).map_err(Error::Output)?;
    if !session.args.quiet {
        output::remark(&first.remarks);
    }
    watch::run(session, client, wanted, picture)
}

fn show(
    session: &Session<'_>,
    mut reply: StatusReply,
    rows: Vec<Customer>,
    id_length: usize,
    wanted: &StatusArgs,
) -> Result<Report, Error> {
    let has_problems = !rows.is_empty() || !reply.tokens.ineligible.is_empty();
    let exit = if wanted.exit_code && has_problems { exit::FAILED } else { exit::DONE };
    if session.args.json {
        reply.tokens.customers = Some(rows);
        return Ok(Report { exit, ..json(reply)? });
    }
    let mut report = report(&reply, &rows, id_length, session.style, session.args.quiet, session.now());
    report.exit = exit;
    if wanted.problems && !reply.tokens.ineligible.is_empty() {
        report.data.push_str(&ineligible(&reply, session.style, session.now()));
        report.remarks.clear();
    }
    Ok(report)
}

/// Whether the options select this customer.
fn is_wanted(row: &Customer, wanted: &StatusArgs) -> bool {
    (!wanted.problems || !is_healthy(row))
        && (wanted.status.is_empty() || wanted.status.contains(&row.token_status))
}

/// Selects and sorts the rows.
fn choose(mut rows: Vec<Customer>, wanted: &StatusArgs) -> Vec<Customer> {
    rows.retain(|row| is_wanted(row, wanted));
    rows.sort_by(order(wanted.sort));
    rows
}

fn order(by: SortBy) -> fn(&Customer, &Customer) -> Ordering {
    fn by_left(a: &Customer, b: &Customer) -> Ordering {
        (a.tbtokenexpiry, &a.customer_id).cmp(&(b.tbtokenexpiry, &b.customer_id))
    }
    match by {
        SortBy::Problems => problems_first,
        SortBy::Left => by_left,
        SortBy::Customer => |a, b| a.customer_id.cmp(&b.customer_id),
        SortBy::Status => |a, b| a.token_status.cmp(&b.token_status).then_with(|| by_left(a, b)),
    }
}

fn report(
    reply: &StatusReply,
    rows: &[Customer],
    id_length: usize,
    style: Style,
    quiet: bool,
    now: DateTime<Utc>,
) -> Report {
    let mut data = String::new();
    if !quiet {
        data.push_str(&loop_line(&reply.cron, &reply.daemon.store, style, now));
        data.push_str(&trouble_line(reply, style, now));
        data.push_str(&ledger_line(&reply.daemon));
        if let Some(mismatch) = &reply.daemon.key_mismatch {
            data.push_str(&alarm_line(&format!("WRONG KEY: {}", printable(mismatch)), style));
        }
        data.push_str(&summary_line(&reply.tokens.summary, style));
        data.push('\n');
    }
    let remarks = match (rows.is_empty(), reply.tokens.summary.total) {
        (false, _) => "",
        (true, 0) if reply.tokens.as_of.is_none() => "tbtokend has not read its table yet\n",
        (true, 0) => &format!(
            "no customer in the table has a ThingsBoard URL, a user and a password; {}\n",
            how_to_add_a_customer(&reply.daemon.store)
        ),
        (true, _) => "no customer matches\n",
    };
    if !rows.is_empty() {
        data.push_str(&customers(rows, reply.cron.running, id_length, style, now));
    }
    Report { remarks: remarks.to_owned(), ..Report::of(data) }
}

/// `loop running   next run in 42s   last run 18s ago (schedule): 3 renewed, 1 failed in 0.4s   mssql sql01/app`
fn loop_line(cron: &Cron, store: &str, style: Style, now: DateTime<Utc>) -> String {
    const STOPPED: &str = "loop STOPPED";
    let mut parts = vec![match (cron.running, cron.stopped_since) {
        (true, _) => "loop running".to_owned(),
        (false, None) => STOPPED.to_owned(),
        (false, Some(at)) => format!("{STOPPED} by an operator since {} (tbctl start)", timestamp(at)),
    }];
    if cron.refreshing {
        parts.push("a pass is running".to_owned());
    }
    if let Some(at) = cron.next_run_at {
        let when = if at > now { format!("in {}", duration(at - now)) } else { "now".to_owned() };
        parts.push(format!("next run {when}"));
    }
    parts.push(match &cron.last_run {
        None => "no run yet".to_owned(),
        Some(run) => format!(
            "last run {} ago ({}): {} renewed, {} failed in {:.1}s",
            duration(now - run.finished_at),
            run.reason.word(),
            run.updated,
            run.errors,
            run.duration_ms as f64 / 1000.0
        ),
    });
    parts.push(printable(store));
    let line = table::folded(&parts, style.width);
    if style.color { line.replacen(STOPPED, &paint(STOPPED, Color::Yellow), 1) } else { line }
}

/// Says where sent passwords are recorded, if not in the database.
pub(super) fn ledger_line(daemon: &Daemon) -> String {
    let line =
        |place| format!("sent passwords are recorded {}; that serves one daemon only\n", printable(place));
    daemon.ledger.as_deref().map(line).unwrap_or_default()
}

/// Says what is wrong with the database, and how old the rows are; empty if all is well.
pub(super) fn trouble_line(reply: &StatusReply, style: Style, now: DateTime<Utc>) -> String {
    let Some((what, why)) = reply.database_trouble() else { return String::new() };
    let age = match reply.tokens.as_of {
        _ if reply.tokens.success => String::new(),
        None => "; the table has not been read yet".to_owned(),
        Some(at) => format!("; showing what was read {} ago, at {}", duration(now - at), timestamp(at)),
    };
    alarm_line(&format!("{}: {}{age}", what.to_uppercase(), printable(why)), style)
}

fn alarm_line(text: &str, style: Style) -> String {
    if style.color { paint(text, Color::Red) + "\n" } else { format!("{text}\n") }
}

/// `128 total   119 valid   5 expiring soon   3 expired   1 missing   2 parked`
fn summary_line(summary: &Summary, style: Style) -> String {
    let Summary { total, valid, expiring_soon, expired, missing, parked, ineligible, .. } = summary;
    let mut parts = vec![
        format!("{total} total"),
        format!("{valid} valid"),
        format!("{expiring_soon} expiring soon"),
        format!("{expired} expired"),
        format!("{missing} missing"),
        format!("{parked} parked"),
    ];
    if *ineligible > 0 {
        parts.push(format!("{ineligible} ineligible"));
    }
    table::folded(&parts, style.width)
}

/// Lists the former customers, which are no longer renewed.
fn ineligible(reply: &StatusReply, style: Style, now: DateTime<Utc>) -> String {
    const COLUMNS: Columns =
        Columns { headings: &["INELIGIBLE", "LEFT", "SINCE", "REASON"], flexible: &[3], expendable: &[2] };
    let listed = &reply.tokens.ineligible;
    let rows = listed.iter().map(|row| {
        let since = format!("{} ago", duration(now - row.since));
        vec![printable(&row.customer_id), time_left(row.tbtokenexpiry, now), since, printable(&row.reason)]
    });
    let mut text = format!("\n{}", COLUMNS.lay_out(rows, style.width));
    if let Some(more) = reply.tokens.summary.ineligible.checked_sub(listed.len()).filter(|more| *more > 0) {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

const COLUMNS: Columns = Columns {
    headings: &["STATUS", "CUSTOMER", "USER", "THINGSBOARD", "LEFT", "NEXT", "LAST ERROR"],
    flexible: &[2, 3, 6],
    expendable: &[3, 5, 2],
};

/// Returns how many characters tell the ids of all customers apart.
fn shortened(rows: &[Customer]) -> usize {
    let mut ids: Vec<&str> = rows.iter().map(|row| row.customer_id.as_str()).collect();
    ids.sort_unstable();
    short_id_length(ids)
}

fn customers(
    rows: &[Customer],
    is_running: bool,
    id_length: usize,
    style: Style,
    now: DateTime<Utc>,
) -> String {
    let next = |row: &Customer| match row.state {
        Phase::Parked | Phase::Refreshing => next_step(row, now),
        _ if !is_running => "loop stopped".to_owned(),
        _ => next_step(row, now),
    };
    // On a terminal a sign precedes the word. In a pipe the line begins with the word, for grep and awk.
    let status = |row: &Customer| match style.width {
        Some(_) => format!("{} {}", row.token_status.sign(), row.token_status.word()),
        None => row.token_status.word().to_owned(),
    };
    let cells = |id_length: usize| -> Vec<Vec<String>> {
        let cells = rows.iter().map(|row| {
            vec![
                status(row),
                printable(&short_id(&row.customer_id, id_length, "…")),
                printable(&row.tb_username),
                printable(server(&row.tb_url)),
                time_left(row.tbtokenexpiry, now),
                next(row),
                last_error(row),
            ]
        });
        cells.collect()
    };
    let mut chosen = cells(usize::MAX);
    // Without room for whole ids, as much of each as a command needs.
    if style.width.is_some_and(|width| !COLUMNS.fits(&chosen, width)) {
        chosen = cells(id_length);
    }
    let mut text = COLUMNS.lay_out(chosen.into_iter(), style.width);
    if style.color {
        text = colored(&text, rows.iter().map(|row| (status(row).len(), row.token_status)));
    }
    text
}

/// Shortens a URL for the table: most begin with `https://`.
fn server(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/')
}

/// Returns the colour of a status.
pub(super) fn status_color(status: TokenStatus) -> Option<Color> {
    match status {
        TokenStatus::Expired | TokenStatus::Missing => Some(Color::Red),
        TokenStatus::ExpiringSoon => Some(Color::Yellow),
        TokenStatus::Unknown => Some(Color::Blue),
        TokenStatus::Valid => None,
    }
}

/// Colours the heading, and the status at the beginning of each line, which has that many bytes.
fn colored(text: &str, statuses: impl Iterator<Item = (usize, TokenStatus)>) -> String {
    let mut lines = text.lines();
    let heading = lines.next().map(|line| paint(line, Color::Bold)).unwrap_or_default();
    let rows = lines.zip(statuses).map(|(line, (length, status))| {
        match (status_color(status), line.split_at_checked(length)) {
            (Some(color), Some((status, rest))) => paint(status, color) + rest,
            _ => line.to_owned(),
        }
    });
    std::iter::once(heading).chain(rows).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests;
