//! A raw client: it sends bytes and shows bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tbtoken_tests::thingsboard::{Account, ThingsBoard, jwt};

/// How long an expected answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Connection(TcpStream);

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns status, error code and message, as in the table of the contract.
    pub(crate) fn error(&self) -> (u16, u64, String) {
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        assert!(body["timestamp"].as_i64().unwrap() > 1_700_000_000_000, "{body}");
        (self.status, body["errorCode"].as_u64().unwrap(), body["message"].as_str().unwrap().to_owned())
    }

    pub(crate) fn token(&self) -> String {
        self.text("token")
    }

    pub(crate) fn refresh_token(&self) -> String {
        self.text("refreshToken")
    }

    pub(crate) fn claims(&self) -> Value {
        jwt::peek(&self.token()).expect("a JWT")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn text(&self, field: &str) -> String {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")).to_owned()
    }
}

impl Connection {
    pub(crate) fn to(server: &ThingsBoard) -> Self {
        Self::try_to(server).expect("a connection")
    }

    pub(crate) fn try_to(server: &ThingsBoard) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server.address(), Duration::from_millis(300))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self(stream))
    }

    pub(crate) fn with_timeout(self, timeout: Duration) -> Self {
        self.0.set_read_timeout(Some(timeout)).unwrap();
        self
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // This may fail if the server has closed; only its earlier answer counts.
        let _ = self.0.write_all(bytes);
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, header: &str, body: &str) {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: {length}\r\n\r\n");
        self.write(format!("{head}{body}").as_bytes());
    }

    pub(crate) fn log_in(&mut self, prefix: &str, name: &str, password: &str) {
        let body = json!({"username": name, "password": password}).to_string();
        self.send("POST", &format!("{prefix}/api/auth/login"), "", &body);
    }

    /// Reads at most `limit` bytes, until the end of the connection or the time-out.
    pub(crate) fn read_raw(&mut self, limit: usize) -> (Vec<u8>, Option<ErrorKind>) {
        let mut bytes = vec![0; limit];
        let mut length = 0;
        while length < limit {
            match self.0.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) => {
                    bytes.truncate(length);
                    return (bytes, Some(error.kind()));
                }
            }
        }
        bytes.truncate(length);
        (bytes, None)
    }

    /// Reads one complete answer; `None` if the connection ends before it.
    pub(crate) fn read(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let (byte, _) = self.read_raw(1);
            head.push(*byte.first()?);
        }
        let head = String::from_utf8(head).expect("a head in UTF-8");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = reply.header("Content-Length").unwrap_or("0").parse().expect("a length");
        reply.body = self.read_raw(length).0;
        (reply.body.len() == length).then_some(reply)
    }
}

/// Sends one request on a new connection.
pub(crate) fn call(server: &ThingsBoard, method: &str, path: &str, header: &str, body: &str) -> Reply {
    let mut connection = Connection::to(server);
    connection.send(method, path, header, body);
    connection.read().expect("an answer")
}

pub(crate) fn post(server: &ThingsBoard, path: &str, body: &Value) -> Reply {
    call(server, "POST", path, "", &body.to_string())
}

pub(crate) fn log_in(server: &ThingsBoard, account: &Account) -> Reply {
    log_in_as(server, &account.username, &account.password)
}

pub(crate) fn log_in_as(server: &ThingsBoard, name: &str, password: &str) -> Reply {
    post(server, "/api/auth/login", &json!({"username": name, "password": password}))
}

pub(crate) fn renew(server: &ThingsBoard, refresh_token: &str) -> Reply {
    post(server, "/api/auth/token", &json!({"refreshToken": refresh_token}))
}

pub(crate) fn current_user(server: &ThingsBoard, token: &str) -> Reply {
    call(server, "GET", "/api/auth/user", &format!("X-Authorization: Bearer {token}\r\n"), "")
}
