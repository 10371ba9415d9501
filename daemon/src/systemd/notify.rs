//! Tells systemd how the service stands: `sd_notify`, without a library, so that no send can hold anybody up.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::net::UnixDatagram;
use tokio::time::timeout;
use tracing::{debug, warn};

/// How long a message may take. systemd reads quickly, unless it is in trouble itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to systemd; silent when systemd has not started us.
#[derive(Debug)]
pub struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// The way that the environment names (`NOTIFY_SOCKET`). To be called in a runtime.
    pub fn from_env() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match connect(&name) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                warn!("systemd cannot be told anything at {}: {error}", name.display());
                Self(None)
            }
        }
    }

    /// The sockets answer; `status` is what `systemctl status` shows.
    pub async fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n")).await;
    }

    /// What `systemctl status` shows.
    pub async fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}\n")).await;
    }

    /// The loop gets on.
    pub async fn alive(&self) {
        self.send("WATCHDOG=1\n").await;
    }

    /// The configuration is being read again; [`ready`](Self::ready) follows.
    pub async fn reloading(&self) {
        // systemd compares the time with that of its own order, to tell this reload from an older one.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.as_micros())).await;
    }

    /// The process is about to end.
    pub async fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}\n")).await;
    }

    async fn send(&self, message: &str) {
        let Some(socket) = &self.0 else { return };
        match timeout(PATIENCE, socket.send(message.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!("systemd was not told {message:?}: {error}"),
            Err(_) => debug!("systemd was not told {message:?}: it does not listen"),
        }
    }
}

/// A path, or `@name` for a socket without a file.
fn connect(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = StdDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_without_a_file_is_found_as_well() {
        let name = format!("@tbtokend-test-{}", std::process::id());
        let systemd = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap();
        Notifier(Some(connect(OsStr::new(&name)).unwrap())).ready("fine").await;
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=fine\n");
    }
}
