//! `wait`: until everyone, or everyone named, has been seen with a valid token.

use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde::Serialize;
use tbtoken_proto::client::ClientError;
use tbtoken_proto::fit;
use tbtoken_proto::words::{last_error, printable, short_id, short_id_length};
use tbtoken_proto::{Customer, ErrorCode, Phase, Reply, Request, Revision, Rows, StatusQuery, StatusReply};

use crate::args::{Goal, WAIT_TIMEOUT, WaitArgs};
use crate::error::{Error, MAX_LISTED, list};
use crate::exit;
use crate::link::Link;
use crate::output::{self, Report};
use crate::pause;
use crate::progress::CLEAR;
use crate::session::{Session, ids_of, named};

/// How often is looked: a script should not wait for tbctl instead of the token.
const LOOK: Duration = Duration::from_millis(250);

/// The last question gets so long, though the time is over before: its answer is almost there.
const LAST_PATIENCE: Duration = Duration::from_millis(200);

/// A question that gets less time than this and no answer says less than what the one before said.
const ENOUGH: Duration = Duration::from_secs(2);

/// Looks until it is so, or the time is over.
pub(super) fn run(session: &Session<'_>, wanted: &WaitArgs) -> Result<Report, Error> {
    let timeout = session.args.timeout.unwrap_or(WAIT_TIMEOUT);
    let begin = Instant::now();
    let mut link = Link::new(&session.socket, None);
    let mut waiting = Waiting::new(wanted);
    let mut voice = Voice::new(session);
    let mut away: Option<ClientError> = None;
    loop {
        let patience = || timeout.saturating_sub(begin.elapsed()).max(LAST_PATIENCE);
        let little = patience() < ENOUGH;
        let asked = waiting.ask(&mut |query| match link.ask(&Request::Status(query), patience())? {
            Reply::Status(reply) => Ok(reply),
            _ => Err(Error::Mismatch),
        });
        away = match asked {
            Ok(()) => None,
            Err(Error::Client(ClientError::TimedOut { .. })) if away.is_some() && little => away,
            Err(Error::Client(error)) if may_pass(&error) => Some(error),
            Err(error) => return Err(error),
        };
        if away.is_none() && waiting.is_over() {
            voice.be_silent();
            return done(session, &waiting, begin.elapsed());
        }
        let left = timeout.saturating_sub(begin.elapsed());
        if left.is_zero() {
            voice.be_silent();
            return Err(match away {
                // The last question came a little late, that is all.
                Some(ClientError::TimedOut { .. }) | None if waiting.read => waiting.failed(timeout),
                Some(error) => in_vain(error, timeout),
                None => waiting.failed(timeout),
            });
        }
        voice.tell(&waiting, away.as_ref(), left);
        pause::for_a_while(LOOK.min(left));
    }
}

/// Whether waiting may help: a daemon that is not there may come.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::NotThere(_)
        | ClientError::NotRunning(_)
        | ClientError::Closed(_)
        | ClientError::TimedOut { .. }
        | ClientError::Io { .. } => true,
        ClientError::NotASocket { .. } | ClientError::NoPermission(_) | ClientError::Protocol { .. } => false,
        ClientError::Refused(refusal) => {
            matches!(refusal.code, ErrorCode::Busy | ErrorCode::ShuttingDown)
        }
    }
}

/// The daemon was not there in all this time. What was left for the last question says nothing; how long was waited
/// in all does.
fn in_vain(error: ClientError, waited: Duration) -> Error {
    match error {
        ClientError::TimedOut { path, .. } => {
            ClientError::TimedOut { path, timeout: waited, pending: false }.into()
        }
        error => error.into(),
    }
}

/// Who is missing.
struct Waiting<'a> {
    goal: Goal,
    names: &'a [String],
    /// The ids of the names, once they are known.
    ids: Option<HashSet<String>>,
    revision: Option<Revision>,
    /// Whether the daemon has read its table, so that nobody missing means something.
    read: bool,
    /// Why it cannot read it, if it says so.
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
            read: false,
            why: None,
            missing: BTreeMap::new(),
            reached: HashSet::new(),
        }
    }

    /// Asks for what has changed, and the first time for the customers that the names mean.
    fn ask(&mut self, ask: &mut dyn FnMut(StatusQuery) -> Result<StatusReply, Error>) -> Result<(), Error> {
        let reply = ask(StatusQuery { customers: Rows::All, since: self.revision })?;
        let rows = reply.tokens.customers.as_deref().unwrap_or_default();
        let known = reply.tokens.as_of.is_some() || !rows.is_empty();
        if known && self.ids.is_none() && !self.names.is_empty() {
            let there: HashSet<&str> = rows.iter().map(|row| row.customer_id.as_str()).collect();
            let ids = match self.names.iter().all(|name| there.contains(name.as_str())) {
                true => self.names.to_vec(),
                false => ids_of(named(ask, self.names)?),
            };
            self.ids = Some(ids.into_iter().collect());
        }
        self.take_in(reply)
    }

    /// Works an answer in: everyone the first time and after a restart, later whoever has changed.
    ///
    /// # Errors
    /// A customer that was named has left the table.
    fn take_in(&mut self, reply: StatusReply) -> Result<(), Error> {
        let complete = self.revision.is_none() || reply.tokens.complete;
        let rows = reply.tokens.customers.unwrap_or_default();
        self.read = reply.tokens.as_of.is_some();
        self.why = reply.tokens.error;
        if !self.read && rows.is_empty() {
            self.revision = None;
            return Ok(());
        }
        self.revision = Some(reply.daemon.revision);
        let mut gone = reply.tokens.removed;
        if complete {
            let there: HashSet<&str> = rows.iter().map(|row| row.customer_id.as_str()).collect();
            gone.extend(self.missing.keys().filter(|id| !there.contains(id.as_str())).cloned());
        }
        for id in gone {
            let named = self.ids.as_ref().is_some_and(|ids| ids.contains(&id));
            if self.missing.remove(&id).is_some() && named {
                return Err(Error::Gone(printable(&id)));
            }
        }
        for row in rows {
            self.put(row);
        }
        Ok(())
    }

    fn put(&mut self, row: Customer) {
        let unwanted = self.ids.as_ref().is_some_and(|ids| !ids.contains(&row.customer_id));
        if unwanted || self.reached.contains(&row.customer_id) {
            return;
        }
        if self.goal.is_reached(&row) {
            self.missing.remove(&row.customer_id);
            self.reached.insert(row.customer_id);
        } else {
            self.missing.insert(row.customer_id.clone(), row);
        }
    }

    /// An empty table is no success: most often it is the wrong one, or its rows are on their way.
    fn is_over(&self) -> bool {
        self.read && self.missing.is_empty() && !self.reached.is_empty()
    }

    fn total(&self) -> usize {
        self.missing.len() + self.reached.len()
    }

    /// The first of the missing ones, each with why: those for whom waiting is in vain lead.
    fn names(&self, id_length: usize) -> Vec<String> {
        let mut rows: Vec<&Customer> = self.missing.values().collect();
        rows.sort_by_key(|row| row.state != Phase::Parked);
        let name = |row: &Customer| format!("{} ({})", short_id(&row.customer_id, id_length, "…"), why(row));
        rows.into_iter().take(MAX_LISTED).map(name).collect()
    }

    /// As much of an id as tells the customers of this wait apart.
    fn short(&self) -> usize {
        let mut ids: Vec<&str> = self.missing.keys().chain(&self.reached).map(String::as_str).collect();
        ids.sort_unstable();
        short_id_length(ids)
    }

    fn failed(&self, after: Duration) -> Error {
        if !self.read {
            return Error::StillUnread { after, why: self.why.clone() };
        }
        let (missing, total) = (self.missing.len(), self.total());
        if total == 0 {
            return Error::StillNobody { after };
        }
        Error::StillWaiting { after, goal: self.goal.word(), missing, total, names: self.names(usize::MAX) }
    }
}

/// Why a customer is not where it should be, in a few words.
fn why(row: &Customer) -> String {
    match (row.state, &row.failure) {
        (Phase::Parked, Some(_)) => format!("parked: {}", last_error(row)),
        (Phase::Parked, None) => "parked".to_owned(),
        (_, Some(_)) => last_error(row),
        (_, None) => row.token_status.word().to_owned(),
    }
}

/// What is done, for programs.
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
    let data = if session.args.json {
        let waited_ms = waited.as_millis();
        serde_json::to_string(&Done { success: true, message: &message, total, waited_ms })? + "\n"
    } else if session.args.quiet {
        String::new()
    } else {
        message + "\n"
    };
    Ok(Report { data, remarks: String::new(), exit: exit::DONE })
}

/// Says on standard error for whom is waited: on a terminal in a line that changes, else when there is news.
struct Voice {
    terminal: bool,
    width: usize,
    quiet: bool,
    said: Option<String>,
    last: Option<Instant>,
}

/// Where lines pile up, there are no more than one in so long.
const NEWS: Duration = Duration::from_secs(10);

impl Voice {
    fn new(session: &Session<'_>) -> Self {
        let width =
            terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| width.0.into());
        let terminal = session.style.progress && std::io::stderr().is_terminal();
        Self { terminal, width, quiet: session.args.quiet, said: None, last: None }
    }

    fn tell(&mut self, waiting: &Waiting<'_>, away: Option<&ClientError>, left: Duration) {
        if self.quiet {
            return;
        }
        let text = match away {
            Some(error) => format!("{error}; waiting for it"),
            None if !waiting.read => {
                let why = waiting.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("waiting until tbtokend has read its table{why}")
            }
            None if waiting.total() == 0 => {
                "waiting for the first customer: no row of the table has a URL, a user and a password"
                    .to_owned()
            }
            None => {
                let (missing, total) = (waiting.missing.len(), waiting.total());
                // Where room is short, as much of an id as a command needs.
                let length = if self.terminal { waiting.short() } else { usize::MAX };
                format!("waiting for {missing} of {total}: {}", list(&waiting.names(length), missing))
            }
        };
        let text = printable(&text);
        if self.terminal {
            let text = format!("{} s left, {text}", left.as_secs());
            if self.said.as_ref() != Some(&text) {
                output::signal(&format!("{CLEAR}{}", fit::clip(&text, self.width.saturating_sub(1), "…")));
                self.said = Some(text);
            }
        } else if self.said.as_ref() != Some(&text) && self.last.is_none_or(|last| last.elapsed() >= NEWS) {
            output::remark(&format!("{text}\n"));
            self.said = Some(text);
            self.last = Some(Instant::now());
        }
    }

    /// Leaves nothing on the terminal.
    fn be_silent(&mut self) {
        if self.terminal && self.said.take().is_some() {
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
    fn only_what_may_pass_is_waited_for() {
        let path = || PathBuf::from("/x");
        let refused = |code| ClientError::Refused(Refusal { error: String::new(), code });
        for error in [
            ClientError::NotThere(path()),
            ClientError::NotRunning(path()),
            ClientError::Closed(path()),
            ClientError::TimedOut { path: path(), timeout: LOOK, pending: false },
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
