//! The doctor's request to the running daemon.

use std::path::Path;
use std::time::Duration;

use tbtoken_proto::client::Client;
use tbtoken_proto::{Daemon, NotifyReply, Receiver, Request, VersionReply};

/// The time for an answer of the daemon.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns what the daemon at this control socket says of itself; `None` if no daemon answers.
pub fn running_daemon(socket: &Path) -> Option<Daemon> {
    let version: VersionReply = Client::connect(socket, TIMEOUT).ok()?.ask(&Request::Version {}).ok()?;
    Some(version.daemon)
}

/// The receivers of messages of that daemon; none if it does not tell.
pub fn receivers(socket: &Path) -> Vec<Receiver> {
    let ask = || Client::connect(socket, TIMEOUT).ok()?.ask::<NotifyReply>(&Request::NotifyList {}).ok();
    ask().map(|reply| reply.receivers).unwrap_or_default()
}
