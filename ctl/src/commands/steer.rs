//! `start` and `stop`: steer the loop, not the process.

use tbtoken_proto::words::printable;
use tbtoken_proto::{Reply, Request};

use super::json;
use crate::error::Error;
use crate::output::Report;
use crate::session::Session;

/// Asks for it and repeats what the daemon says.
pub(super) fn run(session: &Session<'_>, request: &Request) -> Result<Report, Error> {
    match session.connect()?.send(request)? {
        reply if session.args.json => json(reply),
        Reply::Steer(_) if session.args.quiet => Ok(Report::default()),
        Reply::Steer(reply) => {
            Ok(Report { data: format!("{}\n", printable(&reply.message)), ..Report::default() })
        }
        _ => Err(Error::Mismatch),
    }
}
