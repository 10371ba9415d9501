//! What each command asks, and what it makes of the answer.

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
mod steer;
mod version;
mod wait;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tbtoken_proto::{Answer, Reply, Request};

pub(crate) use self::check::no_check;
use crate::args::{Args, Command, StatusArgs};
use crate::error::Error;
use crate::exit;
use crate::output::{Report, Style};
use crate::session::Session;

/// How often the commands that go on look for news.
const POLL: Duration = Duration::from_secs(1);

/// Asks, and says what came of it.
///
/// # Errors
/// The daemon could not be asked, or would not do it.
pub(crate) fn carry_out(args: &Args, style: Style, clock: fn() -> DateTime<Utc>) -> Result<Report, Error> {
    let session = Session::new(args, style, clock);
    match &args.command {
        None => status::run(&session, &StatusArgs::default()),
        Some(Command::Status(wanted)) => status::run(&session, wanted),
        Some(Command::Show(wanted)) => show::run(&session, wanted),
        Some(Command::Refresh(wanted)) => refresh::run(&session, wanted),
        Some(Command::Start) => steer::run(&session, &Request::Start {}),
        Some(Command::Stop) => steer::run(&session, &Request::Stop {}),
        Some(Command::Reload) => steer::run(&session, &Request::Reload {}),
        Some(Command::Events(wanted)) => events::run(&session, wanted),
        Some(Command::Check(wanted)) => check::run(&session, wanted),
        Some(Command::Wait(wanted)) => wait::run(&session, wanted),
        Some(Command::Metrics(wanted)) => metrics::run(&session, wanted),
        Some(Command::Notify(wanted)) => notify::run(&session, wanted),
        Some(Command::Version) => version::run(&session),
        Some(Command::Completions(wanted)) => text(args, completions::script(wanted.shell)),
        Some(Command::Man) => text(args, man::run()?),
        Some(Command::Complete(wanted)) => Ok(complete::run(wanted)),
    }
}

/// The answer as `--json` prints it: the daemon's object on one line, without the id that only the client knows.
fn json(reply: Reply) -> Result<Report, Error> {
    let mut data = serde_json::to_string(&Answer { id: None, outcome: Ok(reply) })?;
    data.push('\n');
    Ok(Report { data, remarks: String::new(), exit: exit::DONE })
}

/// Text that is for people or shells alone; with `--json` it is a document that holds it.
fn text(args: &Args, report: Report) -> Result<Report, Error> {
    if !args.json {
        return Ok(report);
    }
    let text = serde_json::to_string(&report.data)?;
    Ok(Report { data: format!("{{\"success\":true,\"text\":{text}}}\n"), ..report })
}
