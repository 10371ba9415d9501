//! The listening end: a TCP port or a Unix socket.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::either::Either;

use super::settings::Address;
use crate::control::Socket;
use crate::text::with_causes;

/// The time between two checks that a Unix socket's file is still there.
const RESTORE_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(Box<Socket>),
}

impl Listener {
    /// Listens at `address`; the error is a text for people.
    pub(super) async fn bind(address: &Address) -> Result<Self, String> {
        match address {
            Address::Tcp(address) => {
                TcpListener::bind(address).await.map(Self::Tcp).map_err(|error| error.to_string())
            }
            Address::Unix(binding) => {
                binding.bind().map(|socket| Self::Unix(Box::new(socket))).map_err(|error| with_causes(&error))
            }
        }
    }

    /// Waits for the next client.
    pub(super) async fn accept(&mut self) -> io::Result<Either<TcpStream, UnixStream>> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Either::Left(stream)),
            Self::Unix(socket) => loop {
                match tokio::time::timeout(RESTORE_PAUSE, socket.accept()).await {
                    Ok(accepted) => return accepted.map(Either::Right),
                    Err(_) => socket.restore(),
                }
            },
        }
    }
}
