//! The errors of making a socket, with their remedies.

use std::io;

/// Why a socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each error explains its fields")]
pub enum BindError {
    /// Another daemon owns it.
    #[error("another tbtokend ({owner}) owns {path}: stop it first, or choose another control.socket")]
    Owned { path: String, owner: String },
    /// The path of the lock file holds another file.
    #[error(
        "{path} is {what}, not the lock file of a socket: move it away, or choose another control.socket"
    )]
    NotALock { path: String, what: &'static str },
    /// The path has too many bytes for a socket.
    #[error("{path} is too long for a socket ({most} bytes at most): choose another control.socket")]
    PathTooLong { path: String, most: usize },
    /// The group does not exist.
    #[error("there is no group {group}: create it, or change control.group")]
    NoGroup { group: String },
    /// The socket may not be given to the group.
    #[error(
        "{path} cannot be given to the group {group}: the daemon's user must be a member of it; under systemd, put SupplementaryGroups={group} below [Service] with \"systemctl edit tbtokend\""
    )]
    NotAMember { path: String, group: String, source: io::Error },
    /// The group cannot be looked up.
    #[error("the group {group} cannot be looked up: try `getent group {group}`, or change control.group")]
    GroupUnknown { group: String, source: io::Error },
    /// Something else is at that path.
    #[error("{path} exists and is not a socket: move it away, or choose another control.socket")]
    NotASocket { path: String },
    /// systemd made the socket with a wider mode than the configuration allows.
    #[error(
        "{path} was made by systemd with mode {found:04o}, more than the {allowed:04o} of the configuration: set SocketMode={allowed:04o} in tbtokend.socket"
    )]
    TooOpen { path: String, found: u32, allowed: u32 },
    /// systemd passes a socket that the configuration does not know.
    #[error(
        "systemd passes the socket {path}, which is neither control.socket nor control.monitor_socket: change ListenStream in tbtokend.socket, or the configuration"
    )]
    NotInConfiguration { path: String },
    /// The operating system refuses.
    #[error(
        "failed to make the socket {path} (its folder must exist and be writable for the daemon's user; under systemd that is /run/tbtokend)"
    )]
    Io { path: String, source: io::Error },
}
