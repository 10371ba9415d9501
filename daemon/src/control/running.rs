//! The doctor's request to the running daemon.

use std::path::Path;
use std::time::Duration;

use tbtoken_proto::client::Client;
use tbtoken_proto::{Request, VersionReply};

/// The time for an answer of the daemon.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the configuration file of the daemon at this control socket, or "no file"; `None` if no daemon answers.
pub fn config_file_of_running_daemon(socket: &Path) -> Option<String> {
    let version: VersionReply = Client::connect(socket, TIMEOUT).ok()?.ask(&Request::Version {}).ok()?;
    Some(version.daemon.config_file.unwrap_or_else(|| "no file".to_owned()))
}
