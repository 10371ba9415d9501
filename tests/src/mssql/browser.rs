//! A fake SQL Server Browser, which tells clients over UDP on which port an instance listens (MS-SQLR).
//!
//! Its port is always 1434, so each browser in the tests has its own loopback address. Linux answers on all of 127.0.0.0/8.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

/// How a browser answers a question about an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrowserReply {
    /// Answers as the real one: the instance has this TCP port, or none. Questions about other instances get no answer.
    Instance(&'static str, Option<u16>),
    /// Sends these datagrams, one after the other, whatever the question was.
    Datagrams(Vec<Vec<u8>>),
    /// Sends nothing.
    Nothing,
}

/// A running browser. The drop ends it.
#[derive(Debug)]
pub struct Browser {
    address: Ipv4Addr,
    reply: Arc<Mutex<BrowserReply>>,
    asked: watch::Receiver<u32>,
    answered: watch::Receiver<u32>,
    thread: Option<JoinHandle<()>>,
    ends: watch::Sender<bool>,
}

impl Browser {
    /// Starts a browser on its own loopback address.
    ///
    /// # Panics
    /// If no address is free.
    #[must_use]
    pub fn start(reply: BrowserReply) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Other test programs, which also start browsers, run at the same time.
        let (address, socket) = (0..1000)
            .find_map(|_| {
                let number =
                    std::process::id().wrapping_mul(251).wrapping_add(NUMBER.fetch_add(1, Ordering::Relaxed));
                let [_, _, high, low] = (number % 60_000 + 256).to_be_bytes();
                let address = Ipv4Addr::new(127, 77, high, low);
                Some((address, UdpSocket::bind((address, 1434)).ok()?))
            })
            .expect("a loopback address whose port 1434 is free");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out can be set");
        let reply = Arc::new(Mutex::new(reply));
        let (asking, asked) = watch::channel(0);
        let (answering, answered) = watch::channel(0);
        let (ends, ended) = watch::channel(false);
        let answers = Arc::clone(&reply);
        let thread = std::thread::spawn(move || serve(&socket, &answers, [&asking, &answering], &ended));
        Self { address, reply, asked, answered, thread: Some(thread), ends }
    }

    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Changes its replies.
    ///
    /// # Panics
    /// If its thread has panicked.
    pub fn set(&self, reply: BrowserReply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// Waits until it has answered this many questions in all.
    ///
    /// # Panics
    /// If its thread has ended.
    pub async fn until_answered(&self, times: u32) {
        let mut answered = self.answered.clone();
        answered
            .wait_for(|answered| *answered >= times)
            .await
            .expect("it runs as long as its handle is there");
    }

    /// Returns how many questions it has received.
    #[must_use]
    pub fn asked(&self) -> u32 {
        *self.asked.borrow()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.ends.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    socket: &UdpSocket,
    reply: &Mutex<BrowserReply>,
    [asked, answered]: [&watch::Sender<u32>; 2],
    ended: &watch::Receiver<bool>,
) {
    let mut question = [0; 64];
    while !*ended.borrow() {
        let Ok((length, client)) = socket.recv_from(&mut question) else { continue };
        // Counted before the answer, so that a client that has read it finds the question counted.
        asked.send_modify(|count| *count += 1);
        let answers = match &*reply.lock().unwrap() {
            BrowserReply::Nothing => Vec::new(),
            BrowserReply::Datagrams(datagrams) => datagrams.clone(),
            BrowserReply::Instance(name, port) => match asks_for(&question[..length]) {
                Some(asked) if asked.eq_ignore_ascii_case(name) => vec![answer(name, *port)],
                _ => Vec::new(),
            },
        };
        for answer in answers {
            // The client may be gone.
            let _ = socket.send_to(&answer, client);
        }
        answered.send_modify(|count| *count += 1);
    }
}

/// Returns the instance that a `CLNT_UCAST_INST` asks for: 4, its name, 0.
fn asks_for(question: &[u8]) -> Option<&str> {
    std::str::from_utf8(question.strip_prefix(&[4])?.strip_suffix(&[0])?).ok()
}

/// Makes a `SVR_RESP` about one instance.
#[must_use]
pub fn answer(instance: &str, port: Option<u16>) -> Vec<u8> {
    let tcp = port.map_or(String::new(), |port| format!(";tcp;{port}"));
    let text = format!(
        "ServerName;FAKESQL01;InstanceName;{instance};IsClustered;No;Version;16.0.1000.6;np;\\\\FAKESQL01\\pipe\\MSSQL${instance}\\sql\\query{tcp};;"
    );
    let length = u16::try_from(text.len()).expect("a short answer").to_le_bytes();
    [&[5], &length[..], text.as_bytes()].concat()
}
