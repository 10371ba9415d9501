//! Receivers of messages about troubles: a recorder of webhooks, and a mail server.

mod smtp;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

pub use smtp::{Mail, SmtpServer};

use crate::canary;
use crate::harness::wait::{TIMEOUT, poll};

/// A request that a webhook got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The headers. The names that hyper writes are in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Posted {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The value of a header, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }
}

/// A webhook that records what it gets, and answers with a status and more headers; with 0 it never answers.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Webhook {
    /// Starts it; it answers with 200.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(Mutex::new((200, String::new())));
        let posted = Arc::<Mutex<Vec<Posted>>>::default();
        let (answer, records) = (Arc::clone(&status), Arc::clone(&posted));
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, records) = (Arc::clone(&answer), Arc::clone(&records));
                std::thread::spawn(move || serve(stream, &answer, &records));
            }
        });
        Self { address, answer: status, posted }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/services/secret-part", self.address)
    }

    /// The address of its socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.answer_with(status, "");
    }

    /// Answers with this status and these headers, each with its end of line, from now on.
    ///
    /// # Panics
    /// If a thread of it has failed.
    pub fn answer_with(&self, status: u16, headers: &str) {
        *self.answer.lock().unwrap() = (status, headers.to_owned());
    }

    /// What it got so far.
    ///
    /// # Panics
    /// If a thread of it has failed.
    #[must_use]
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// Waits until it got so many requests, and returns all.
    ///
    /// # Panics
    /// If they do not come.
    #[must_use]
    pub fn until(&self, count: usize) -> Vec<Posted> {
        poll(TIMEOUT, || Some(self.posted()).filter(|posted| posted.len() >= count))
            .unwrap_or_else(|| panic!("waited in vain for {count} requests: {:#?}", self.posted()))
    }

    /// The events of what it got so far, as the format `standard` names them.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        let kind = |posted: &Posted| posted.json()["type"].as_str().unwrap_or_default().to_owned();
        self.posted().iter().map(kind).collect()
    }
}

fn serve(stream: TcpStream, answer: &Mutex<(u16, String)>, records: &Mutex<Vec<Posted>>) {
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let Some(length) = length else { return };
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    canary::assert_clean("a webhook", &body);
    let body = String::from_utf8(body).unwrap();
    records.lock().unwrap().push(Posted { head, body });
    let (status, headers) = answer.lock().unwrap().clone();
    match status {
        0 => {
            // Until the client gives up.
            let _ = reader.read(&mut [0]);
        }
        status => {
            let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = write!(&stream, "HTTP/1.1 {status} It\r\n{headers}{rest}");
        }
    }
}
