//! `start`, `stop` and `reload`: the daemon does it and says what came of it.

use tbtoken_proto::words::{printable, with_local_times};
use tbtoken_proto::{Reply, Request};

use super::json;
use crate::error::Error;
use crate::output::Report;
use crate::session::Session;

/// Asks for it and repeats what the daemon says.
pub(super) fn run(session: &Session<'_>, request: &Request) -> Result<Report, Error> {
    let reply = session.connect()?.send(request)?;
    let message = match &reply {
        _ if session.args.json => return json(reply),
        Reply::Steer(steered) => &steered.message,
        Reply::Reload(reloaded) => &reloaded.message,
        _ => return Err(Error::Mismatch),
    };
    let data = format!("{}\n", printable(&with_local_times(message)));
    Ok(if session.args.quiet { Report::default() } else { Report { data, ..Report::default() } })
}
