//! Sends the state of the service to systemd (`sd_notify`), without a library, so that no send can block the loop.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::net::UnixDatagram;
use tokio::time::timeout;
use tracing::{debug, warn};

/// The time for sending a message. systemd reads quickly, unless it has a problem itself.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// The connection to systemd; it sends nothing if systemd did not start this process.
#[derive(Debug)]
pub struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// Connects to the socket in `NOTIFY_SOCKET`. Call it in a runtime.
    pub fn from_env() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match connect(&name) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                warn!("cannot notify systemd at {}: {error}", name.display());
                Self(None)
            }
        }
    }

    /// Reports that the sockets answer; `systemctl status` shows `status`.
    pub async fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n")).await;
    }

    /// Sets the text that `systemctl status` shows.
    pub async fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}\n")).await;
    }

    /// Feeds the watchdog: the loop makes progress.
    pub async fn feed_watchdog(&self) {
        self.send("WATCHDOG=1\n").await;
    }

    /// Reports that the configuration is being read again; [`ready`](Self::ready) must follow.
    pub async fn reloading(&self) {
        // systemd compares this time with that of its request, to distinguish this reload from an older one.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.as_micros())).await;
    }

    /// Reports that the process is about to end.
    pub async fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}\n")).await;
    }

    async fn send(&self, message: &str) {
        let Some(socket) = &self.0 else { return };
        match timeout(SEND_TIMEOUT, socket.send(message.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!("{message:?} was not sent to systemd: {error}"),
            Err(_) => debug!("{message:?} was not sent to systemd: it does not read"),
        }
    }
}

/// Connects to a path, or to `@name` for an abstract socket.
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
    async fn an_abstract_socket_is_found() {
        let name = format!("@tbtokend-test-{}", std::process::id());
        let systemd = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap();
        Notifier(Some(connect(OsStr::new(&name)).unwrap())).ready("fine").await;
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=fine\n");
    }
}
