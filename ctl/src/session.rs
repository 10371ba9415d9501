//! What every command has at hand: what was asked for, where the daemon is, and what the time is.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::{
    Customer, MAX_REQUEST_BYTES, Reply, Request, Rows, StatusQuery, StatusReply, host_of, socket_path,
};

use crate::args::{Args, DEFAULT_TIMEOUT};
use crate::error::{Error, Named};
use crate::names::{Found, find};
use crate::output::Style;

/// Everything that a command needs to ask and to tell.
pub(crate) struct Session<'a> {
    pub(crate) args: &'a Args,
    pub(crate) style: Style,
    pub(crate) socket: PathBuf,
    clock: fn() -> DateTime<Utc>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(args: &'a Args, style: Style, clock: fn() -> DateTime<Utc>) -> Self {
        Self { args, style, socket: socket_path(args.socket.clone()), clock }
    }

    /// The time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.args.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Connects to the daemon; its answers take no longer than the user is willing to wait.
    pub(crate) fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.socket, self.timeout())
    }
}

/// Asks for the status.
pub(crate) fn status(client: &mut Client, query: StatusQuery) -> Result<StatusReply, Error> {
    match client.send(&Request::Status(query))? {
        Reply::Status(reply) => Ok(reply),
        _ => Err(Error::Mismatch),
    }
}

/// The status with the customers that are called so, in that order, each once. This is the one place where names
/// become customers; `ask` is how the daemon is asked for its status.
///
/// Whole ids, which is what scripts use, cost a small question. It comes first for another reason, too: the daemon knows
/// the ids of rows that cannot be renewed, which no list of customers holds, and such an id is not the beginning of
/// another one. Only other names, and more names than a question holds, need the list of all customers.
///
/// # Errors
/// [`Error::Name`] if a name fits nobody, or several; whatever keeps the daemon from answering.
pub(crate) fn named(
    ask: &mut dyn FnMut(StatusQuery) -> Result<StatusReply, Error>,
    names: &[String],
) -> Result<StatusReply, Error> {
    let names = &unique(names.to_vec());
    for some in questions(names) {
        let all = some.len() == names.len();
        match ask(StatusQuery { customers: Rows::Only(some), since: None }) {
            Err(error) if error.is_unknown_customer() => {}
            Ok(_) if !all => {}
            answer => return answer,
        }
    }
    let mut reply = ask(StatusQuery::default())?;
    let everyone = reply.tokens.customers.take().unwrap_or_default();
    if everyone.is_empty() && reply.tokens.as_of.is_none() {
        return Err(Error::NotReadYet { why: reply.tokens.error });
    }
    let ids = look_up(names, &everyone)?;
    let places: HashMap<&str, usize> = ids.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    let place = |row: &Customer| places.get(row.customer_id.as_str()).copied();
    let mut rows: Vec<_> = everyone.into_iter().filter(|row| place(row).is_some()).collect();
    rows.sort_by_key(place);
    // Only their servers, as if only they had been asked for.
    if let Some(hosts) = &mut reply.hosts {
        let theirs: HashSet<String> = rows.iter().filter_map(|row| host_of(&row.tb_url)).collect();
        hosts.retain(|host| theirs.contains(&host.host));
    }
    reply.tokens.customers = Some(rows);
    Ok(reply)
}

/// These names, each once, in as many questions as they need. A name that is longer than a question is no id.
fn questions(names: &[String]) -> Vec<Vec<String>> {
    fn split(names: &[String], questions: &mut Vec<Vec<String>>) {
        let query = StatusQuery { customers: Rows::Only(names.to_vec()), since: None };
        if fits(&Request::Status(query)) {
            questions.push(names.to_vec());
        } else if names.len() > 1 {
            let (left, right) = names.split_at(names.len() / 2);
            split(left, questions);
            split(right, questions);
        }
    }
    let mut questions = Vec::new();
    split(names, &mut questions);
    questions
}

/// Whether the daemon takes a line as long as this request makes.
pub(crate) fn fits(request: &Request) -> bool {
    // The client adds its own id to it: `"id":18446744073709551615,`.
    const ID: usize = 26;
    serde_json::to_string(request).is_ok_and(|line| line.len() + ID <= MAX_REQUEST_BYTES)
}

/// The ids of those among `everyone` that are called so, in that order, each once.
///
/// # Errors
/// [`Error::Name`].
fn look_up(names: &[String], everyone: &[Customer]) -> Result<Vec<String>, Error> {
    // A whole id needs no search through all customers.
    let there: HashSet<&str> = everyone.iter().map(|row| row.customer_id.as_str()).collect();
    let id = |name: &String| {
        if there.contains(name.as_str()) {
            return Ok(name.clone());
        }
        match find(name, everyone) {
            Found::One(row) => Ok(row.customer_id.clone()),
            Found::Many(rows) => Err(Named::several(name, &rows).into()),
            Found::Nobody(near) => Err(Named::nobody(name, &near).into()),
        }
    };
    let ids = names.iter().map(id);
    ids.collect::<Result<_, Error>>().map(unique)
}

/// The ids of the customers that are called so; none without names.
///
/// # Errors
/// As [`named`].
pub(crate) fn ids(client: &mut Client, names: &[String]) -> Result<Vec<String>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    named(&mut |query| status(client, query), names).map(ids_of)
}

/// The ids of the customers in an answer.
pub(crate) fn ids_of(reply: StatusReply) -> Vec<String> {
    let rows = reply.tokens.customers.unwrap_or_default();
    rows.into_iter().map(|row| row.customer_id).collect()
}

/// The same names in the same order, each once.
pub(crate) fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}
