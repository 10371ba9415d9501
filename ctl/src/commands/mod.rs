//! The commands: what each requests, and what it prints of the answer.

mod check;
mod complete;
mod completions;
mod events;
mod man;
mod metrics;
mod notify;
mod refresh;
mod show;
mod status;
mod version;
mod wait;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tbtoken_proto::words::{printable, with_local_times};
use tbtoken_proto::{Answer, ReloadReply, Reply, Request, SteerReply};

pub(crate) use self::check::{State, report_bad_arguments};
use crate::args::{Args, Command, StatusArgs};
use crate::error::Error;
use crate::output::{Report, Style};
use crate::session::Session;

/// How often the commands that keep running ask for changes.
const POLL: Duration = Duration::from_secs(1);

/// Carries out a command and reports its outcome.
///
/// # Errors
/// The daemon does not answer, or refuses.
pub(crate) fn carry_out(args: &Args, style: Style, clock: fn() -> DateTime<Utc>) -> Result<Report, Error> {
    let session = Session::new(args, style, clock);
    match &args.command {
        None => status::run(&session, &StatusArgs::default()),
        Some(Command::Status(wanted)) => status::run(&session, wanted),
        Some(Command::Show(wanted)) => show::run(&session, wanted),
        Some(Command::Refresh(wanted)) => refresh::run(&session, wanted),
        Some(Command::Start) => steer(&session, &Request::Start {}, |reply: &SteerReply| &reply.message),
        Some(Command::Stop) => steer(&session, &Request::Stop {}, |reply: &SteerReply| &reply.message),
        Some(Command::Reload) => steer(&session, &Request::Reload {}, |reply: &ReloadReply| &reply.message),
        Some(Command::Events(wanted)) => events::run(&session, wanted),
        Some(Command::Check(wanted)) => check::run(&session, wanted),
        Some(Command::Wait(wanted)) => wait::run(&session, wanted),
        Some(Command::Metrics(wanted)) => metrics::run(&session, wanted),
        Some(Command::Notify(wanted)) => notify::run(&session, wanted),
        Some(Command::Version) => version::run(&session),
        Some(Command::Completions(wanted)) => text(args, completions::script(wanted.shell)),
        Some(Command::Man) => text(args, &man::page()?),
        Some(Command::Complete(wanted)) => Ok(complete::run(wanted)),
    }
}

/// Sends a request that the daemon answers with a sentence, and prints the sentence that `message` takes from the reply;
/// with `--json` the whole reply.
fn steer<T: TryFrom<Reply> + Into<Reply>>(
    session: &Session<'_>,
    request: &Request,
    message: fn(&T) -> &str,
) -> Result<Report, Error> {
    let reply: T = session.connect()?.ask(request)?;
    if session.args.json {
        return json(reply);
    }
    let sentence = format!("{}\n", printable(&with_local_times(message(&reply))));
    Ok(if session.args.quiet { Report::default() } else { Report::of(sentence) })
}

/// Reports an answer as `--json` prints it: the daemon's object, without the id that only the client knows.
fn json(reply: impl Into<Reply>) -> Result<Report, Error> {
    Report::json(&Answer { id: None, outcome: Ok(reply.into()) })
}

/// Reports text for people or shells; with `--json`, in a document.
fn text(args: &Args, text: &str) -> Result<Report, Error> {
    if !args.json {
        return Ok(Report::of(text));
    }
    let text = serde_json::to_string(text)?;
    Ok(Report::of(format!("{{\"success\":true,\"text\":{text}}}\n")))
}
