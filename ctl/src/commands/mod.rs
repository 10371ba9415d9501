//! What each command asks, and what it makes of the answer.

mod events;
mod refresh;
mod status;
mod steer;
mod version;

use chrono::{DateTime, SecondsFormat, Utc};
use tbtoken_proto::client::Client;
use tbtoken_proto::{Answer, Reply, Request, socket_path};

use crate::args::{Args, Command, DEFAULT_TIMEOUT, StatusArgs};
use crate::error::Error;
use crate::exit;
use crate::output::{Report, Style};

/// Everything that a command needs to ask and to tell.
pub(crate) struct Session<'a> {
    args: &'a Args,
    style: Style,
    clock: fn() -> DateTime<Utc>,
    client: Client,
}

/// Connects, asks, and says what came of it.
///
/// # Errors
/// The daemon could not be asked, or would not do it.
pub(crate) fn carry_out(args: &Args, style: Style, clock: fn() -> DateTime<Utc>) -> Result<Report, Error> {
    let socket = socket_path(args.socket.clone());
    let client = Client::connect(&socket, args.timeout.unwrap_or(DEFAULT_TIMEOUT))?;
    let mut session = Session { args, style, clock, client };
    match &args.command {
        None => status::run(&mut session, &StatusArgs::default()),
        Some(Command::Status(wanted)) => status::run(&mut session, wanted),
        Some(Command::Refresh(wanted)) => refresh::run(&mut session, wanted),
        Some(Command::Start) => steer::run(&mut session, &Request::Start {}),
        Some(Command::Stop) => steer::run(&mut session, &Request::Stop {}),
        Some(Command::Events(wanted)) => events::run(&mut session, wanted),
        Some(Command::Version) => version::run(&mut session, &socket),
    }
}

/// The answer as `--json` prints it: the daemon's object on one line, without the id that only the client knows.
fn json(reply: Reply) -> Result<Report, Error> {
    let mut data = serde_json::to_string(&Answer { id: None, outcome: Ok(reply) })?;
    data.push('\n');
    Ok(Report { data, remarks: String::new(), exit: exit::DONE })
}

/// A time to the second, as the protocol writes it.
fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
