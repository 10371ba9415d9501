//! The parts that every command needs: its arguments, the socket, and the time.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::{
    Customer, MAX_REQUEST_BYTES, Request, Rows, StatusQuery, StatusReply, host_of, socket_path,
};

use crate::args::{Args, DEFAULT_TIMEOUT};
use crate::error::Error;
use crate::names::find;
use crate::output::Style;

/// The parts that every command needs.
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

    /// Returns the time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Returns how long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.args.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Connects to the daemon.
    pub(crate) fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.socket, self.timeout())
    }
}

/// Requests the status.
pub(crate) fn status(client: &mut Client, query: StatusQuery) -> Result<StatusReply, Error> {
    Ok(client.ask(&Request::Status(query))?)
}

/// The most names in one question; more seldom fit a request.
const NAMES_PER_QUESTION: usize = 1000;

/// Returns the status with the customers of these names, in the order of the names, each once. This is the one place
/// where names become customers. `ask` requests a status.
///
/// Whole ids, which scripts use, cost a small question. There is another reason to ask the daemon first: it also knows the
/// ids of rows that cannot be renewed. The list of customers lacks them, and such an id must not count as the beginning of
/// another id. Only other names, and more names than a question holds, need the list of all customers.
///
/// # Errors
/// A name fits no customer or several, or the daemon does not answer.
pub(crate) fn named(
    ask: &mut dyn FnMut(StatusQuery) -> Result<StatusReply, Error>,
    names: &[String],
) -> Result<StatusReply, Error> {
    let names = &unique(names.to_vec());
    for some in names.chunks(NAMES_PER_QUESTION) {
        let query = StatusQuery { customers: Rows::Only(some.to_vec()), since: None };
        // Names too long for a question are no ids.
        if !fits(&Request::Status(query.clone())) {
            continue;
        }
        match ask(query) {
            Err(error) if error.is_unknown_customer() => {}
            Ok(_) if some.len() < names.len() => {}
            answer => return answer,
        }
    }
    let mut reply = ask(StatusQuery::default())?;
    let all = reply.tokens.customers.take().unwrap_or_default();
    if all.is_empty() && reply.tokens.as_of.is_none() {
        return Err(Error::NotReadYet { why: reply.tokens.error });
    }
    let ids = look_up(names, &all)?;
    let places: HashMap<&str, usize> = ids.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    let place = |row: &Customer| places.get(row.customer_id.as_str()).copied();
    let mut rows: Vec<_> = all.into_iter().filter(|row| place(row).is_some()).collect();
    rows.sort_by_key(place);
    // Only the servers of these customers, as in an answer about them alone.
    if let Some(servers) = &mut reply.servers {
        let used: HashSet<String> = rows.iter().filter_map(|row| host_of(&row.tb_url)).collect();
        servers.retain(|server| used.contains(&server.name));
    }
    reply.tokens.customers = Some(rows);
    Ok(reply)
}

/// Whether the daemon takes a line as long as this request makes.
pub(crate) fn fits(request: &Request) -> bool {
    // The client adds its own id: `"id":18446744073709551615,`.
    const ID: usize = 26;
    serde_json::to_string(request).is_ok_and(|line| line.len() + ID <= MAX_REQUEST_BYTES)
}

/// Returns the ids of the customers that the names mean, in the order of the names, each once.
///
/// # Errors
/// A name fits no customer or several.
fn look_up(names: &[String], all: &[Customer]) -> Result<Vec<String>, Error> {
    // A whole id needs no search through all customers.
    let known: HashSet<&str> = all.iter().map(|row| row.customer_id.as_str()).collect();
    let ids = names.iter().map(|name| match known.contains(name.as_str()) {
        true => Ok(name.clone()),
        false => find(name, all).map(|row| row.customer_id.clone()),
    });
    ids.collect::<Result<_, Error>>().map(unique)
}

/// Returns the ids of the customers that the names mean; none without names.
///
/// # Errors
/// As [`named`].
pub(crate) fn ids(client: &mut Client, names: &[String]) -> Result<Vec<String>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    named(&mut |query| status(client, query), names).map(ids_of)
}

/// Returns the ids of the customers in an answer.
pub(crate) fn ids_of(reply: StatusReply) -> Vec<String> {
    let rows = reply.tokens.customers.unwrap_or_default();
    rows.into_iter().map(|row| row.customer_id).collect()
}

/// Removes repeated names; the order stays.
pub(crate) fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}
