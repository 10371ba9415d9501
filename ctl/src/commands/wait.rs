//! `wait`: until all customers, or those named, have had a valid token.

use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde::Serialize;
use tbtoken_proto::client::ClientError;
use tbtoken_proto::fit;
use tbtoken_proto::words::{last_error, printable, short_id, short_id_length};
use tbtoken_proto::{Customer, ErrorCode, Phase, Request, Revision, Rows, StatusQuery, StatusReply};

use crate::args::{Goal, WAIT_TIMEOUT, WaitArgs};
use crate::error::{Error, MAX_LISTED, list};
use crate::link::Link;
use crate::output::{self, Report};
use crate::pause;
use crate::progress::CLEAR;
use crate::session::{Session, ids_of, named};

/// The pause between two requests: a script should wait for the token, not for tbctl.
const PAUSE: Duration = Duration::from_millis(250);

/// The time for the last answer, even if the time-out is over.
const LAST_TIMEOUT: Duration = Duration::from_millis(200);

/// If the last request gets less time than this and no answer, the outcome of the request before counts.
const ENOUGH: Duration = Duration::from_secs(2);

/// Waits until the customers have reached the goal, or the time is over.
pub(super) fn run(session: &Session<'_>, wanted: &WaitArgs) -> Result<Report, Error> {
    let timeout = session.args.timeout.unwrap_or(WAIT_TIMEOUT);
    let begin = Instant::now();
    let mut link = Link::new(&session.socket, None);
    let mut waiting = Waiting::new(wanted);
    let mut display = Display::new(session);
    let mut away: Option<ClientError> = None;
    loop {
        let left = || timeout.saturating_sub(begin.elapsed());
        let request_timeout = || left().max(LAST_TIMEOUT);
        let is_short = request_timeout() < ENOUGH;
        let asked = waiting.ask(&mut |query| Ok(link.ask(&Request::Status(query), request_timeout())?));
        away = match asked {
            Ok(()) => None,
            Err(Error::Client(ClientError::TimedOut { .. })) if away.is_some() && is_short => away,
            Err(Error::Client(error)) if may_pass(&error) => Some(error),
            Err(error) => return Err(error),
        };
        if away.is_none() && waiting.is_over() {
            display.clear();
            return done(session, &waiting, begin.elapsed());
        }
        if left().is_zero() {
            display.clear();
            return Err(match away {
                // Only the last answer came too late.
                Some(ClientError::TimedOut { .. }) if waiting.is_table_read => waiting.failed(timeout),
                // The whole time counts, not that of the last request.
                Some(ClientError::TimedOut { path, .. }) => {
                    ClientError::TimedOut { path, timeout, pending: false }.into()
                }
                Some(error) => error.into(),
                None => waiting.failed(timeout),
            });
        }
        display.show(&waiting, away.as_ref(), left());
        pause::wait(PAUSE.min(left()));
    }
}

/// Whether the error may end without a person: a daemon that is away may come back.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::NotASocket { .. } => false,
        ClientError::TimedOut { .. } => true,
        ClientError::Refused(refusal) => {
            matches!(refusal.code, ErrorCode::Busy | ErrorCode::ShuttingDown)
        }
        error => error.is_unreachable(),
    }
}

/// The customers that have not reached the goal.
struct Waiting<'a> {
    goal: Goal,
    names: &'a [String],
    /// The ids of the named customers, once known.
    ids: Option<HashSet<String>>,
    revision: Option<Revision>,
    /// Whether the daemon has read its table. Before that, an empty list means nothing.
    is_table_read: bool,
    /// Why the daemon cannot read it.
    why: Option<String>,
    missing: BTreeMap<String, Customer>,
    reached: HashSet<String>,
}

impl<'a> Waiting<'a> {
    fn new(wanted: &'a WaitArgs) -> Self {
        Self {
            goal: wanted.goal,
            names: &wanted.customers,
            ids: None,
            revision: None,
            is_table_read: false,
            why: None,
            missing: BTreeMap::new(),
            reached: HashSet::new(),
        }
    }

    /// Requests the changes, and, the first time, the customers of the names.
    fn ask(&mut self, ask: &mut dyn FnMut(StatusQuery) -> Result<StatusReply, Error>) -> Result<(), Error> {
        let reply = ask(StatusQuery { customers: Rows::All, since: self.revision })?;
        let rows = reply.tokens.customers.as_deref().unwrap_or_default();
        let is_known = reply.tokens.as_of.is_some() || !rows.is_empty();
        if is_known && self.ids.is_none() && !self.names.is_empty() {
            let listed: HashSet<&str> = rows.iter().map(|row| row.customer_id.as_str()).collect();
            let ids = match self.names.iter().all(|name| listed.contains(name.as_str())) {
                true => self.names.to_vec(),
                false => ids_of(named(ask, self.names)?),
            };
            self.ids = Some(ids.into_iter().collect());
        }
        self.merge(reply)
    }

    /// Merges an answer: the first one and that of a restarted daemon hold all customers, later ones the changed ones.
    ///
    /// # Errors
    /// A named customer has left the table.
    fn merge(&mut self, mut reply: StatusReply) -> Result<(), Error> {
        (self.is_table_read, self.why) = (reply.tokens.as_of.is_some(), reply.tokens.error.take());
        if !self.is_table_read && reply.tokens.customers.as_ref().is_none_or(Vec::is_empty) {
            self.revision = None;
            return Ok(());
        }
        reply.tokens.complete |= self.revision.is_none();
        self.revision = Some(reply.daemon.revision);
        for id in reply.tokens.gone(self.missing.keys()) {
            let is_named = self.ids.as_ref().is_some_and(|ids| ids.contains(&id));
            if self.missing.remove(&id).is_some() && is_named {
                return Err(Error::Gone(id));
            }
        }
        let rows = reply.tokens.customers.unwrap_or_default();
        rows.into_iter().for_each(|row| self.put(row));
        Ok(())
    }

    fn put(&mut self, row: Customer) {
        let is_unwanted = self.ids.as_ref().is_some_and(|ids| !ids.contains(&row.customer_id));
        if is_unwanted || self.reached.contains(&row.customer_id) {
            return;
        }
        if self.goal.is_reached(&row) {
            self.missing.remove(&row.customer_id);
            self.reached.insert(row.customer_id);
        } else {
            self.missing.insert(row.customer_id.clone(), row);
        }
    }

    /// Whether all have reached the goal. An empty table is no success: it may be the wrong one, or still be filled.
    fn is_over(&self) -> bool {
        self.is_table_read && self.missing.is_empty() && !self.reached.is_empty()
    }

    fn total(&self) -> usize {
        self.missing.len() + self.reached.len()
    }

    /// Says what is missing, with the beginnings of ids if `is_short`.
    fn describe(&self, is_short: bool) -> String {
        if !self.is_table_read {
            let why = self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return format!("tbtokend has not read its table{why}");
        }
        let (missing, total) = (self.missing.len(), self.total());
        if total == 0 {
            return "no row of the table has a URL, a user and a password".to_owned();
        }
        let mut ids: Vec<&str> = self.missing.keys().chain(&self.reached).map(String::as_str).collect();
        ids.sort_unstable();
        let length = if is_short { short_id_length(ids) } else { usize::MAX };
        // Parked customers lead, because waiting does not help them.
        let mut rows: Vec<&Customer> = self.missing.values().collect();
        rows.sort_by_key(|row| row.state != Phase::Parked);
        let name = |row: &Customer| format!("{} ({})", short_id(&row.customer_id, length, "…"), cause(row));
        let names: Vec<String> = rows.into_iter().take(MAX_LISTED).map(name).collect();
        format!("{missing} of {total} not {}: {}", self.goal.word(), list(&names, missing))
    }

    fn failed(&self, after: Duration) -> Error {
        let hint = match (self.is_table_read, self.total()) {
            (false, _) => "tbctl status shows the state of the database",
            (true, 0) => "is it the right table? sudo tbtokend doctor says which rows count",
            (true, _) => "tbctl show ID says why and what to do",
        };
        Error::StillWaiting { after, missing: self.describe(false), hint }
    }
}

/// Says in a few words why a customer has not reached the goal.
fn cause(row: &Customer) -> String {
    match (row.state, &row.failure) {
        (Phase::Parked, Some(_)) => format!("parked: {}", last_error(row)),
        (Phase::Parked, None) => "parked".to_owned(),
        (_, Some(_)) => last_error(row),
        (_, None) => row.token_status.word().to_owned(),
    }
}

/// A success as `--json` prints it.
#[derive(Serialize)]
struct Done<'a> {
    success: bool,
    message: &'a str,
    total: usize,
    waited_ms: u128,
}

fn done(session: &Session<'_>, waiting: &Waiting<'_>, waited: Duration) -> Result<Report, Error> {
    let (total, goal) = (waiting.total(), waiting.goal.word());
    let message = match total {
        1 => format!("1 customer is {goal}"),
        _ => format!("all {total} customers are {goal}"),
    };
    if session.args.json {
        let waited_ms = waited.as_millis();
        return Report::json(&Done { success: true, message: &message, total, waited_ms });
    }
    Ok(if session.args.quiet { Report::default() } else { Report::of(message + "\n") })
}

/// Shows on standard error what is missing: on a terminal in one line, elsewhere in a new line for each change.
struct Display {
    is_terminal: bool,
    width: usize,
    is_quiet: bool,
    shown: Option<String>,
    shown_at: Option<Instant>,
}

/// The shortest time between two lines that stay.
const LINE_PAUSE: Duration = Duration::from_secs(10);

impl Display {
    fn new(session: &Session<'_>) -> Self {
        let width =
            terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| width.0.into());
        let is_terminal = session.style.progress && std::io::stderr().is_terminal();
        Self { is_terminal, width, is_quiet: session.args.quiet, shown: None, shown_at: None }
    }

    fn show(&mut self, waiting: &Waiting<'_>, away: Option<&ClientError>, left: Duration) {
        let text = away.map_or_else(|| waiting.describe(self.is_terminal), ToString::to_string);
        let text = match self.is_terminal {
            true => format!("waiting, {} s left: {}", left.as_secs(), printable(&text)),
            false => format!("waiting: {}", printable(&text)),
        };
        let is_early = !self.is_terminal && self.shown_at.is_some_and(|at| at.elapsed() < LINE_PAUSE);
        if self.is_quiet || is_early || self.shown.as_ref() == Some(&text) {
            return;
        }
        if self.is_terminal {
            output::signal(&format!("{CLEAR}{}", fit::clip(&text, self.width.saturating_sub(1), "…")));
        } else {
            output::remark(&format!("{text}\n"));
        }
        (self.shown, self.shown_at) = (Some(text), Some(Instant::now()));
    }

    /// Clears the line on the terminal.
    fn clear(&mut self) {
        if self.is_terminal && self.shown.take().is_some() {
            output::signal(CLEAR);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tbtoken_proto::Refusal;

    use super::*;

    #[test]
    fn only_errors_that_may_pass_are_waited_for() {
        let path = || PathBuf::from("/x");
        let refused = |code| ClientError::Refused(Refusal::new(code, ""));
        for error in [
            ClientError::NotThere(path()),
            ClientError::NotRunning(path()),
            ClientError::Closed(path()),
            ClientError::TimedOut { path: path(), timeout: PAUSE, pending: false },
            ClientError::Io { path: path(), source: std::io::Error::other("the wire is cut") },
            refused(ErrorCode::Busy),
            refused(ErrorCode::ShuttingDown),
        ] {
            assert!(may_pass(&error), "{error:?}");
        }
        for error in [
            ClientError::NotASocket { path: path(), what: "" },
            ClientError::NoPermission(path()),
            ClientError::Protocol { path: path(), why: String::new() },
            refused(ErrorCode::ReadOnly),
            refused(ErrorCode::Internal),
            refused(ErrorCode::UnknownCustomer),
        ] {
            assert!(!may_pass(&error), "{error:?}");
        }
    }
}
