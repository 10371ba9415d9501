//! The common parts of the tests: a client, a user, and servers that send given bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tbtoken_tests::canary;
use tbtoken_tests::thingsboard::Account;
use tbtokend::model::{BaseUrl, Credentials, Failure, Grant, Secret};
use tbtokend::thingsboard::{Client, ClientSettings, Logins as _};

/// Long enough for every expected answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Long enough to see that no answer arrives.
pub(crate) const BRIEFLY: Duration = Duration::from_secs(1);

pub(crate) fn settings() -> ClientSettings {
    ClientSettings { connect_timeout: TIMEOUT, request_timeout: TIMEOUT, ca_file: None, proxy: None }
}

pub(crate) fn client() -> Client {
    Client::new(&settings()).unwrap()
}

pub(crate) fn trusting(authority: &str, folder: &tempfile::TempDir) -> Client {
    let file: PathBuf = folder.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    Client::new(&ClientSettings { ca_file: Some(file), ..settings() }).unwrap()
}

/// Logs in at a URL, and checks that the outcome contains no secret.
pub(crate) async fn log_in(client: &Client, url: &str, within: Duration) -> Result<Grant, Failure> {
    let credentials = Credentials {
        url: url.into(),
        username: "ops@acme.example".into(),
        password: Secret::new(canary::password("ops@acme.example")),
    };
    let result = client.login(&BaseUrl::parse(url).unwrap(), &credentials, within).await;
    if let Err(failure) = &result {
        canary::assert_clean("a failure", format!("{failure} {failure:?}").as_bytes());
    }
    result
}

pub(crate) async fn log_in_as(
    client: &Client,
    account: &Account,
    within: Duration,
) -> Result<Grant, Failure> {
    log_in(client, &account.url, within).await
}

/// Returns the message of a failed login, with its remedy.
pub(crate) async fn words(client: &Client, url: &str) -> String {
    let failure = log_in(client, url, TIMEOUT).await.unwrap_err();
    format!("{failure} -> {}", failure.kind().remedy())
}

/// A server that sends the same bytes to every connection after its first request, and then closes it.
pub(crate) struct FixedServer {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl FixedServer {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (bytes, counter) = (bytes.into(), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::Relaxed);
                answer(stream, &bytes);
            }
        });
        Self { address, connections }
    }

    /// Returns the number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer(mut stream: TcpStream, bytes: &[u8]) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(bytes);
    // Closing with unread bytes would reset the connection, and the answer would be lost.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
}
