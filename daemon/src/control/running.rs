//! What the doctor asks the daemon that runs now.

use std::path::Path;
use std::time::Duration;

use tbtoken_proto::client::Client;
use tbtoken_proto::{Reply, Request};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The configuration file that the daemon at this control socket has read, or "no file"; none if no daemon answers there.
pub fn config_read_by(socket: &Path) -> Option<String> {
    match Client::connect(socket, PATIENCE).ok()?.send(&Request::Version {}) {
        Ok(Reply::Version(version)) => {
            Some(version.daemon.config_file.unwrap_or_else(|| "no file".to_owned()))
        }
        _ => None,
    }
}
