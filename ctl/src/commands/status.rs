//! `status`: the loop, the counts, and the customers with problems first.

mod watch;

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use tbtoken_proto::words::{
    database_trouble, duration, is_healthy, last_error, next_step, printable, problems_first, short_id,
    short_id_length, time_left, timestamp,
};
use tbtoken_proto::{Cron, Customer, Daemon, Reply, StatusQuery, StatusReply, Summary, TokenStatus};

use super::json;
use crate::args::{SortBy, StatusArgs};
use crate::error::Error;
use crate::exit;
use crate::output::{self, Color, Report, Style, paint};
use crate::session::{Session, named, status};
use crate::table::{self, Columns};

/// Asks for the customers, keeps those that are wanted, and shows them.
pub(super) fn run(session: &Session<'_>, wanted: &StatusArgs) -> Result<Report, Error> {
    let mut client = session.connect()?;
    let mut reply = match wanted.customers.as_slice() {
        [] => status(&mut client, StatusQuery::default())?,
        names => named(&mut |query| status(&mut client, query), names)?,
    };
    let rows = reply.tokens.customers.take().unwrap_or_default();
    // A beginning that tells some customers apart may fit others, too.
    let everyone = wanted.customers.is_empty();
    let id_length = if everyone { shortened(&rows) } else { usize::MAX };
    if !wanted.watch {
        return tell(session, reply, choose(rows, wanted), id_length, wanted);
    }
    let picture = watch::Picture::new(&reply, &rows, !everyone);
    let first = tell(session, reply, choose(rows, wanted), id_length, wanted)?;
    output::data(&first.data, session.args.json).map_err(Error::Output)?;
    if !session.args.quiet {
        output::remark(&first.remarks);
    }
    watch::run(session, client, wanted, picture)
}

fn tell(
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
        return Ok(Report { exit, ..json(Reply::Status(reply))? });
    }
    let mut report = report(&reply, &rows, id_length, session.style, session.args.quiet, session.now());
    report.exit = exit;
    if wanted.problems && !reply.tokens.ineligible.is_empty() {
        report.data.push_str(&ineligible(&reply, session.style, session.now()));
        report.remarks.clear();
    }
    Ok(report)
}

/// Keeps the rows that are wanted, in the order that is wanted.
fn choose(mut rows: Vec<Customer>, wanted: &StatusArgs) -> Vec<Customer> {
    let statuses: Vec<TokenStatus> = wanted.status.iter().map(|&word| word.into()).collect();
    rows.retain(|row| {
        (!wanted.problems || !is_healthy(row))
            && (statuses.is_empty() || statuses.contains(&row.token_status))
    });
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
        data.push_str(&mismatch_line(&reply.daemon, style));
        data.push_str(&summary_line(&reply.tokens.summary, style));
        data.push('\n');
    }
    let remarks = match (rows.is_empty(), reply.tokens.summary.total) {
        (false, _) => "",
        // Who is in it, nobody knows.
        (true, 0) if reply.tokens.as_of.is_none() => "tbtokend has not read its table yet\n",
        (true, 0) => "no customer in the table has a ThingsBoard URL, a user and a password\n",
        (true, _) => "no customer is like that\n",
    };
    if !rows.is_empty() {
        data.push_str(&customers(rows, id_length, style, now));
    }
    Report { data, remarks: remarks.to_owned(), exit: exit::DONE }
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
        parts.push("a pass is under way".to_owned());
    }
    if let Some(at) = cron.next_run_at {
        parts.push(if at > now {
            format!("next run in {}", duration(at - now))
        } else {
            "next run now".into()
        });
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

/// Where sent passwords are noted, if not in the database.
pub(super) fn ledger_line(daemon: &Daemon) -> String {
    match &daemon.ledger {
        Some(place) => {
            format!("sent passwords are noted {}; that serves one daemon only\n", printable(place))
        }
        None => String::new(),
    }
}

/// That the fingerprint key does not fit what is stored, if so.
fn mismatch_line(daemon: &Daemon, style: Style) -> String {
    let Some(mismatch) = &daemon.key_mismatch else { return String::new() };
    let line = format!("WRONG KEY: {}", printable(mismatch));
    if style.color { paint(&line, Color::Red) + "\n" } else { line + "\n" }
}

/// What is wrong with the table, and how old the rows below are; empty if nothing is.
pub(super) fn trouble_line(reply: &StatusReply, style: Style, now: DateTime<Utc>) -> String {
    let StatusReply { tokens, daemon, .. } = reply;
    let Some(what) = database_trouble(tokens.success, daemon.store_ok) else { return String::new() };
    let what = what.to_uppercase();
    let line = if tokens.success {
        let error = daemon.store_error.as_deref();
        format!("{what}: {}", printable(error.unwrap_or("tokens cannot be saved")))
    } else {
        let error = tokens.error.as_deref().or(daemon.store_error.as_deref());
        let age = match tokens.as_of {
            None => "never read so far".to_owned(),
            Some(at) => format!("showing what was read {} ago, at {}", duration(now - at), timestamp(at)),
        };
        let error = error.unwrap_or("it cannot be read").trim_end_matches('.');
        format!("{what}: {}; {age}", printable(error))
    };
    if style.color { paint(&line, Color::Red) + "\n" } else { line + "\n" }
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

/// The rows that were customers and are not renewed any more, below the others.
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

/// How many characters of each id tell all customers in the table apart.
fn shortened(rows: &[Customer]) -> usize {
    let mut ids: Vec<&str> = rows.iter().map(|row| row.customer_id.as_str()).collect();
    ids.sort_unstable();
    short_id_length(ids)
}

fn customers(rows: &[Customer], id_length: usize, style: Style, now: DateTime<Utc>) -> String {
    // On a terminal a sign stands before the word; in a pipe the word begins the line, for grep and awk.
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
                next_step(row, now),
                last_error(row),
            ]
        });
        cells.collect()
    };
    let mut chosen = cells(usize::MAX);
    // Whole ids as long as there is room; else as much as a command needs to know them again.
    if style.width.is_some_and(|width| !COLUMNS.fits(&chosen, width)) {
        chosen = cells(id_length);
    }
    let mut text = COLUMNS.lay_out(chosen.into_iter(), style.width);
    if style.color {
        text = colored(&text, rows.iter().map(|row| (status(row).len(), row.token_status)));
    }
    text
}

/// The server as people know it: without the `https://` that all of them have.
fn server(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/')
}

/// The colour of a status, if it has one.
pub(super) fn status_color(status: TokenStatus) -> Option<Color> {
    match status {
        TokenStatus::Expired | TokenStatus::Missing => Some(Color::Red),
        TokenStatus::ExpiringSoon => Some(Color::Yellow),
        TokenStatus::Unknown => Some(Color::Blue),
        TokenStatus::Valid => None,
    }
}

/// Colours the heading and the status at the beginning of each line, which is so many bytes long.
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
