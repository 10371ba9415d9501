//! `start`, `stop` and `reload`: requests that the daemon answers with a sentence.

use tbtoken_proto::words::{printable, with_local_times};
use tbtoken_proto::{Reply, Request};

use super::json;
use crate::error::Error;
use crate::output::Report;
use crate::session::Session;

/// Sends the request and prints the sentence that `message` takes from the reply; with `--json` the whole reply.
pub(super) fn run<T: TryFrom<Reply> + Into<Reply>>(
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
