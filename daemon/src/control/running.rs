//! What the doctor asks the daemon that runs now.

use std::path::Path;
use std::time::Duration;

use tbtoken_proto::client::Client;
use tbtoken_proto::{Reply, Request};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which configuration file a daemon has read, if it has read one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRead(pub Option<String>);

/// Asks the daemon at this control socket; none if no daemon answers there.
pub fn config_read_by(socket: &Path) -> Option<ConfigRead> {
    match Client::connect(socket, PATIENCE).ok()?.send(&Request::Version {}) {
        Ok(Reply::Version(version)) => Some(ConfigRead(version.daemon.config_file)),
        _ => None,
    }
}
