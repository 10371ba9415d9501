//! A client of the HTTP listener that can also send invalid HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;

use serde_json::Value;
use tokio::net::TcpSocket;

use super::wait;
use crate::canary;
use crate::thingsboard::reserve;

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status; 0 if the connection was closed without an answer.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// Parses the body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Connects to the listener at this port.
///
/// # Panics
/// If there is no listener.
#[must_use]
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the listener can be reached");
    stream.set_read_timeout(Some(wait::TIMEOUT)).expect("a time-out can be set");
    stream
}

/// Reads until the end of the connection, and searches the text for canaries.
///
/// # Panics
/// If the connection does not end.
pub fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "after {}",
            String::from_utf8_lossy(&bytes)
        );
    }
    canary::assert_clean("an answer over HTTP", &bytes);
    let text = String::from_utf8(bytes).expect("an answer in UTF-8");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("the length of a chunk");
        whole.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    whole
}

/// Sends exactly this text, and reads until the end of the connection.
#[must_use]
pub fn raw(port: u16, request: &str) -> Answer {
    let mut stream = connect(port);
    // The listener may already have closed the connection after an invalid part.
    let _ = stream.write_all(request.as_bytes());
    read(stream)
}

/// Sends a request with these headers.
#[must_use]
pub fn ask(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = body.len();
    raw(port, &format!("{request}Content-Length: {length}\r\n\r\n{body}"))
}

/// Finds a free port, and reserves it for a program that is started later: until the end of this process, no other socket
/// gets the port by chance.
///
/// # Panics
/// If there is no free port.
#[must_use]
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

    // A socket that does not listen leaves the port to a listener that asks for it by its number.
    let socket = reserve(SocketAddr::from(([127, 0, 0, 1], 0)));
    let port = socket.local_addr().expect("a bound socket has an address").port();
    RESERVED.lock().expect("the list of ports is whole").push(socket);
    port
}
