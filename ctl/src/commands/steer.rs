//! `start` and `stop`: steer the loop, not the process.

use tbtoken_proto::words::printable;
use tbtoken_proto::{Reply, Request};

use super::{Session, json};
use crate::error::Error;
use crate::output::Report;

/// Asks for it and repeats what the daemon says.
pub(super) fn run(session: &mut Session<'_>, request: &Request) -> Result<Report, Error> {
    match session.client.send(request)? {
        reply if session.args.json => json(reply),
        Reply::Steer(_) if session.args.quiet => Ok(Report::default()),
        Reply::Steer(reply) => {
            Ok(Report { data: format!("{}\n", printable(&reply.message)), ..Report::default() })
        }
        _ => Err(Error::Mismatch),
    }
}
