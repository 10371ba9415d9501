//! The part of HTTP/1.1 that a server needs to read requests. It is written by hand, because the fake must also send
//! answers that no HTTP library would.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_BODY_BYTES: usize = 64 * 1024;

/// An HTTP request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path, without the query.
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Returns the value of a header; `name` must be in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the token of an authenticated request; ThingsBoard accepts both headers.
    pub(super) fn bearer(&self) -> Option<&str> {
        let value = self.header("x-authorization").or_else(|| self.header("authorization"))?;
        value.strip_prefix("Bearer ")
    }

    /// The same without its token.
    pub(super) fn without_token(&self) -> Self {
        let mut request = self.clone();
        request.headers.retain(|(name, _)| !name.ends_with("authorization"));
        request
    }

    /// Whether the client wants to keep the connection.
    pub(super) fn keeps_alive(&self) -> bool {
        self.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"))
    }
}

/// Reads one request. `rest` holds bytes that arrived after the last one. Returns `None` if the client closed the connection
/// between two requests.
pub(super) async fn read_request(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let head_end = loop {
        if let Some(at) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if rest.len() > MAX_HEAD_BYTES {
            return Err(bad("the head is too long"));
        }
        if stream.read_buf(rest).await? == 0 {
            return if rest.is_empty() { Ok(None) } else { Err(bad("cut off in the head")) };
        }
    };
    let mut request = parse_head(&rest[..head_end])?;
    rest.drain(..head_end);

    let length = match request.header("content-length") {
        Some(length) => length.parse().map_err(|_| bad("content-length is no number"))?,
        None if request.header("transfer-encoding").is_some() => return Err(bad("chunked requests")),
        None => 0,
    };
    if length > MAX_BODY_BYTES {
        return Err(bad("the body is too long"));
    }
    if rest.len() < length && request.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 \r\n\r\n").await?;
    }
    while rest.len() < length {
        if stream.read_buf(rest).await? == 0 {
            return Err(bad("cut off in the body"));
        }
    }
    request.body = rest.drain(..length).collect();
    Ok(Some(request))
}

fn parse_head(head: &[u8]) -> io::Result<Request> {
    let head = std::str::from_utf8(head).map_err(|_| bad("the head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(bad("the first line is no request"));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(bad("not HTTP/1"));
    }
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Request { method: method.to_owned(), path, headers, body: Vec::new() })
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
