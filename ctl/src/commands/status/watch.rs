//! `status --watch`: a line for each change, also over restarts of the daemon.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tbtoken_proto::client::Client;
use tbtoken_proto::words::{duration, last_error, printable, time_left, timestamp};
use tbtoken_proto::{Customer, Phase, Request, Revision, Rows, StatusQuery, StatusReply, TokenStatus};

use super::is_wanted;
use crate::args::StatusArgs;
use crate::commands::POLL;
use crate::error::Error;
use crate::link::Link;
use crate::output::{self, Report};
use crate::pause;
use crate::session::Session;
use crate::table::pad;

/// Asks for changes once a second, until standard output has no reader any more.
pub(super) fn run(
    session: &Session<'_>,
    client: Client,
    wanted: &StatusArgs,
    mut picture: Picture,
) -> Result<Report, Error> {
    let mut link = Link::new(&session.socket, Some(client));
    let mut away = None;
    while pause::wait_while_read(POLL) {
        let query = StatusQuery { customers: Rows::All, since: Some(picture.revision) };
        let changes = match link.ask(&Request::Status(query), session.timeout()) {
            Ok(reply) => {
                let back = away.take().map(|_| Change::DaemonBack);
                back.into_iter().chain(picture.merge(reply)).collect()
            }
            Err(error) => {
                let error = Error::from(error).text();
                // Once for each reason.
                let is_new = away.replace(error.clone()) != Some(error.clone());
                is_new.then_some(Change::DaemonLost { error }).into_iter().collect::<Vec<_>>()
            }
        };
        let now = session.now();
        let widths = picture.widths();
        let mut text = String::new();
        for change in changes.iter().filter(|change| is_change_wanted(change, wanted)) {
            if session.args.json {
                text.push_str(&serde_json::to_string(&TimedChange { at: timestamp(now), change })?);
                text.push('\n');
            } else {
                text.push_str(&line(change, widths, now));
            }
        }
        output::data(&text, session.args.json).map_err(Error::Output)?;
    }
    Ok(Report::default())
}

/// A change as `--json` prints it.
#[derive(Serialize)]
struct TimedChange<'a> {
    at: String,
    #[serde(flatten)]
    change: &'a Change,
}

/// A change between two answers.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "there are few at a time, and most of them are the large one")]
enum Change {
    /// A customer is new in the table, or has a URL, a user and a password now.
    CustomerAdded { customer: Customer },
    /// A customer has another state.
    CustomerChanged { customer: Customer, was: Customer },
    /// A customer left the table, or has lost its URL, user or password.
    CustomerRemoved { customer: Customer },
    /// The loop was started.
    LoopStarted,
    /// The loop was stopped: nothing is renewed.
    LoopStopped,
    /// The table cannot be read, or not be written.
    DatabaseLost { what: &'static str, error: String },
    /// It can be used again.
    DatabaseBack,
    /// The daemon does not answer.
    DaemonLost { error: String },
    /// It answers again.
    DaemonBack,
    /// Another process answers.
    DaemonRestarted { version: String, pid: u32 },
}

/// The state according to the last answer.
#[derive(Debug)]
pub(super) struct Picture {
    revision: Revision,
    process: (u32, DateTime<Utc>),
    is_running: bool,
    trouble: Option<(&'static str, String)>,
    /// By id.
    customers: BTreeMap<String, Customer>,
    /// The ids of the named customers, if only these are watched.
    only: Option<HashSet<String>>,
}

impl Picture {
    /// Begins with these customers. If they are `named`, later ones are not watched.
    pub(super) fn new(reply: &StatusReply, rows: &[Customer], named: bool) -> Self {
        Self {
            revision: reply.daemon.revision,
            process: (reply.daemon.pid, reply.daemon.started_at),
            is_running: reply.cron.running,
            trouble: trouble(reply),
            customers: rows.iter().map(|row| (row.customer_id.clone(), row.clone())).collect(),
            only: named.then(|| rows.iter().map(|row| row.customer_id.clone()).collect()),
        }
    }

    /// Merges an answer, and returns what it changes.
    fn merge(&mut self, reply: StatusReply) -> Vec<Change> {
        let mut changes = Vec::new();
        let daemon = &reply.daemon;
        let process = (daemon.pid, daemon.started_at);
        if std::mem::replace(&mut self.process, process) != process {
            changes.push(Change::DaemonRestarted { version: daemon.version.clone(), pid: daemon.pid });
        }
        if std::mem::replace(&mut self.is_running, reply.cron.running) != reply.cron.running {
            changes.push(if reply.cron.running { Change::LoopStarted } else { Change::LoopStopped });
        }
        let trouble = trouble(&reply);
        if trouble != self.trouble {
            changes.push(match &trouble {
                Some((what, error)) => Change::DatabaseLost { what, error: error.clone() },
                None => Change::DatabaseBack,
            });
        }
        (self.trouble, self.revision) = (trouble, daemon.revision);
        let gone = reply.tokens.gone(self.customers.keys());
        let gone = gone.iter().filter_map(|id| self.customers.remove(id));
        changes.extend(gone.map(|customer| Change::CustomerRemoved { customer }));
        for row in reply.tokens.customers.unwrap_or_default() {
            self.put(row, &mut changes);
        }
        changes
    }

    fn put(&mut self, row: Customer, changes: &mut Vec<Change>) {
        match self.customers.get_mut(&row.customer_id) {
            Some(before) => {
                let was = std::mem::replace(before, row.clone());
                if shown_facts(&was) != shown_facts(&row) {
                    changes.push(Change::CustomerChanged { customer: row, was });
                }
            }
            None if self.only.as_ref().is_some_and(|only| !only.contains(&row.customer_id)) => {}
            None => {
                self.customers.insert(row.customer_id.clone(), row.clone());
                changes.push(Change::CustomerAdded { customer: row });
            }
        }
    }

    /// Returns the widths of ids and users.
    fn widths(&self) -> (usize, usize) {
        use unicode_width::UnicodeWidthStr as _;
        let widest = |of: fn(&Customer) -> &str| self.customers.values().map(|row| of(row).width()).max();
        (widest(|row| &row.customer_id).unwrap_or(0), widest(|row| &row.tb_username).unwrap_or(0))
    }
}

/// Returns what is wrong with the database, and why.
fn trouble(reply: &StatusReply) -> Option<(&'static str, String)> {
    reply.database_trouble().map(|(what, why)| (what, why.to_owned()))
}

/// Returns the parts of a customer whose change is a line.
fn shown_facts(row: &Customer) -> impl PartialEq + '_ {
    let failure = row.failure.as_ref().map(|failure| (failure.kind, failure.consecutive));
    let parked = row.state == Phase::Parked;
    (row.token_status, row.tbtokenexpiry, parked, failure, row.tb_username.as_str(), row.tb_url.as_str())
}

fn is_change_wanted(change: &Change, wanted: &StatusArgs) -> bool {
    match change {
        Change::CustomerAdded { customer } | Change::CustomerRemoved { customer } => {
            is_wanted(customer, wanted)
        }
        Change::CustomerChanged { customer, was } => is_wanted(customer, wanted) || is_wanted(was, wanted),
        _ => true,
    }
}

/// `2026-11-23T14:03:21Z  expired        8f1c02aa  ops@acme-north.example  was expiring soon; failed: timed out (x4)`
fn line(change: &Change, (id, user): (usize, usize), now: DateTime<Utc>) -> String {
    let about = |row: &Customer, what: &str| {
        format!(
            "{}  {}  {}  {what}",
            pad(row.token_status.word(), TokenStatus::ExpiringSoon.word().len()),
            pad(&printable(&row.customer_id), id),
            pad(&printable(&row.tb_username), user),
        )
    };
    let text = match change {
        Change::CustomerAdded { customer } => about(customer, "new in the table"),
        Change::CustomerRemoved { customer } => about(customer, "left the table"),
        Change::CustomerChanged { customer, was } => about(customer, &difference(was, customer, now)),
        Change::LoopStarted => "the loop was started".to_owned(),
        Change::LoopStopped => "the loop was STOPPED: nothing is renewed".to_owned(),
        Change::DatabaseLost { what, error } => format!("{}: {}", what.to_uppercase(), printable(error)),
        Change::DatabaseBack => "the database is back".to_owned(),
        Change::DaemonLost { error } => format!("DAEMON UNREACHABLE: {error}; trying again"),
        Change::DaemonBack => "the daemon is back".to_owned(),
        Change::DaemonRestarted { version, pid } => {
            format!("tbtokend {} was restarted, pid {pid}", printable(version))
        }
    };
    format!("{}  {text}\n", timestamp(now))
}

/// Says what has changed about a customer, the most important first.
fn difference(was: &Customer, row: &Customer, now: DateTime<Utc>) -> String {
    let mut parts = Vec::new();
    if was.token_status != row.token_status {
        parts.push(format!("was {}", was.token_status.word()));
    }
    if (&was.tb_username, &was.tb_url) != (&row.tb_username, &row.tb_url) {
        parts.push("another user or URL".to_owned());
    }
    if was.tbtokenexpiry != row.tbtokenexpiry {
        parts.push(match row.tbtokenexpiry {
            Some(expiry) if was.tbtokenexpiry.is_none_or(|was| was < expiry) => {
                format!("renewed until {} ({})", timestamp(expiry), time_left(Some(expiry), now))
            }
            Some(expiry) => format!("ends earlier, at {}", timestamp(expiry)),
            None => "the token was removed".to_owned(),
        });
    }
    let failures = |row: &Customer| row.failure.as_ref().map_or(0, |failure| failure.consecutive);
    let parked = |row: &Customer| row.state == Phase::Parked;
    match (parked(was), parked(row)) {
        (_, true) if !parked(was) || failures(was) != failures(row) => {
            parts.push(format!("PARKED: {}", last_error(row)));
        }
        (true, false) => parts.push("no longer parked".to_owned()),
        _ => {}
    }
    if !parked(row) && row.failure.is_some() && failures(was) != failures(row) {
        let next = row.next_attempt_at.filter(|&at| at > now);
        let next = next.map_or_else(String::new, |at| format!(", tried again in {}", duration(at - now)));
        parts.push(format!("failed: {}{next}", last_error(row)));
    }
    if parts.is_empty() {
        // What is left is a failure of another kind, or one that is over.
        parts.push(match &row.failure {
            Some(_) => format!("failed: {}", last_error(row)),
            None => "the failure is over".to_owned(),
        });
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests;
