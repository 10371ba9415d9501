//! Makes a session from an address: name, instance, TCP, TLS, login.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tiberius::error::Error;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncWriteCompatExt;

use super::super::StoreError;
use super::address::{BrowserAnswer, PortSource, make_browser_request, parse_browser_answer};
use super::encrypted::{EncryptionError, encrypt_connection};
use super::grants::Operation;
use super::problem::InstanceLookupError;
use super::session::Session;
use super::settings::{Settings, Trust};
use super::trouble::{Trouble, io_words};
use crate::model::Secret;
use crate::tls::{self, Trusted};

/// The time limit of the lookup of a name, and then of each TCP connection.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit of TLS and login together.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit of one request to the SQL Server Browser. There are two.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(1);

/// The UDP port of the SQL Server Browser: MS-SQLR 2.1. It cannot be configured.
const BROWSER_PORT: u16 = 1434;

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// How often a gateway may redirect the connection to another host, as Azure's does.
const MAX_ROUTES: usize = 2;

/// Connects to the server and logs in.
pub(super) async fn connect(settings: &Settings, password: &Secret) -> Result<Session, StoreError> {
    let mut host = settings.address.host.clone();
    let mut source = settings.address.port.clone();
    for _ in 0..=MAX_ROUTES {
        let (stream, port) = open_tcp(settings, &host, &source).await?;
        let trusted = read_trusted(settings).await?;
        let config = make_config(settings, &host, port, password);
        let login = async {
            let stream = encrypt_connection(stream, &host, settings.encryption, trusted).await?;
            Ok::<_, EncryptionError>(Box::pin(Client::connect(config, stream.compat_write())).await)
        };
        let answer = match timeout(LOGIN_TIMEOUT, login).await {
            Err(_) => return Err(settings.explain(Trouble::TimedOut, Operation::Reading)),
            Ok(Err(why)) => return Err(explain_encryption_error(settings, why)),
            Ok(Ok(answer)) => answer,
        };
        match answer {
            Ok(session) => return Ok(Session(session)),
            Err(Error::Routing { host: next, port }) => {
                host = next;
                source = PortSource::Port(port);
            }
            Err(error) => return Err(settings.explain(error.into(), Operation::Reading)),
        }
    }
    let why = "it redirects from one server to the next without end".to_owned();
    Err(StoreError::Unreachable { server: settings.server.clone(), why })
}

/// Converts an error before the login to the store's error.
fn explain_encryption_error(settings: &Settings, why: EncryptionError) -> StoreError {
    let server = settings.server.clone();
    match why {
        EncryptionError::NotTds => StoreError::NotTds { server },
        EncryptionError::NotTrusted(why) => StoreError::NotTrusted { server, why },
        EncryptionError::NotEncrypted(why) => StoreError::NotEncrypted { server, why },
        EncryptionError::Connection(error) => {
            let maybe =
                "before a login; perhaps it takes store.encrypt = \"strict\" only, or is no SQL Server";
            let why = format!("{} {maybe}", io_words(error.kind()));
            settings.explain(Trouble::Lost(why), Operation::Reading)
        }
    }
}

fn make_config(settings: &Settings, host: &str, port: u16, password: &Secret) -> Config {
    let mut config = Config::new();
    config.host(host);
    config.port(port);
    config.database(&settings.database);
    config.application_name("tbtokend");
    config.authentication(AuthMethod::sql_server(&settings.user, password.expose()));
    // The connection is encrypted before the library sees it.
    config.encryption(EncryptionLevel::NotSupported);
    // One row with half a surrogate must not make the whole table unreadable.
    config.lossy_utf16_decoding(true);
    config
}

async fn read_trusted(settings: &Settings) -> Result<Trusted, StoreError> {
    let file = match &settings.trust {
        Trust::AnyCertificate => return Ok(Trusted::AnyCertificate),
        Trust::Authorities { ca_file: None } => return Ok(Trusted::Authorities(Vec::new())),
        Trust::Authorities { ca_file: Some(file) } => file,
    };
    let not_trusted = |why: String| {
        let why = format!("store.ca_file = {:?} {why}", file.display().to_string());
        StoreError::NotTrusted { server: settings.server.clone(), why }
    };
    let path = file.clone();
    let read = spawn_blocking(move || std::fs::read(path)).await.map_err(io::Error::from);
    let pem = read.flatten().map_err(|error| not_trusted(format!("cannot be read: {error}")))?;
    let certificates = tls::certificates(&pem).map(Trusted::Authorities);
    certificates.ok_or_else(|| not_trusted("holds no certificate in PEM form".to_owned()))
}

/// Opens a TCP connection, and returns its port too.
async fn open_tcp(
    settings: &Settings,
    host: &str,
    source: &PortSource,
) -> Result<(TcpStream, u16), StoreError> {
    let unreachable = |error: io::Error| -> StoreError {
        let why = match error.kind() {
            io::ErrorKind::Other => crate::text::short(&error.to_string()),
            kind => io_words(kind),
        };
        StoreError::Unreachable { server: settings.server.clone(), why }
    };
    let addresses = resolve(host).await.map_err(unreachable)?;
    let port = match source {
        PortSource::Port(port) => *port,
        PortSource::Instance(instance) => query_browser(&addresses, instance).await.map_err(|why| {
            let (remedy, why) = (why.remedy(host, instance), why.words());
            StoreError::NoInstance { host: host.to_owned(), instance: instance.clone(), why, remedy }
        })?,
    };
    let targets: Vec<SocketAddr> =
        addresses.iter().map(|address| SocketAddr::new(address.ip(), port)).collect();
    // All are tried at once if most of them are in other subnets, which do not answer.
    let at_once = if settings.multi_subnet_failover { MAX_ADDRESSES } else { 1 };
    let stream = connect_to_one(&targets, at_once).await.map_err(unreachable)?;
    set_socket_options(&stream).map_err(unreachable)?;
    Ok((stream, port))
}

async fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    let found = match timeout(TCP_TIMEOUT, lookup_host((host, 0))).await {
        Ok(found) => found.map_err(|error| io::Error::other(format!("its name is not known: {error}")))?,
        Err(_) => return Err(io::Error::other("its name is not resolved in time")),
    };
    let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    match addresses.is_empty() {
        true => Err(io::Error::other("its name has no address")),
        false => Ok(addresses),
    }
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(TCP_TIMEOUT, TcpStream::connect(address)).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Connects to the first address that answers; tries so many at once.
async fn connect_to_one(addresses: &[SocketAddr], at_once: usize) -> io::Result<TcpStream> {
    let mut attempts = stream::iter(addresses.iter().copied().map(connect_tcp)).buffer_unordered(at_once);
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    while let Some(attempt) = attempts.next().await {
        result = attempt;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Makes small packets leave at once, and a vanished peer noticed while nothing is sent.
fn set_socket_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(5));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Gets the port of an instance from the SQL Server Browser.
async fn query_browser(addresses: &[SocketAddr], instance: &str) -> Result<u16, InstanceLookupError> {
    let mut why = InstanceLookupError::NoBrowser;
    for _ in 0..2 {
        let mut queries: FuturesUnordered<_> = addresses
            .iter()
            .map(|address| query_browser_at(SocketAddr::new(address.ip(), BROWSER_PORT), instance))
            .collect();
        while let Some(answer) = queries.next().await {
            match answer {
                Ok(BrowserAnswer::Port(port)) => return Ok(port),
                Ok(BrowserAnswer::NoTcp) => return Err(InstanceLookupError::NoTcp),
                // Every other failure says more, because the datagram may have been lost.
                Err(InstanceLookupError::NoBrowser) => {}
                Err(other) => why = other,
            }
        }
    }
    Err(why)
}

/// Sends one request to one address. Ignores datagrams that are not an answer. A network error counts as no answer, except
/// the one that means a closed port.
async fn query_browser_at(address: SocketAddr, instance: &str) -> Result<BrowserAnswer, InstanceLookupError> {
    let mut outcome = InstanceLookupError::NoAnswer;
    let query = async {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(&make_browser_request(instance)).await?;
        let mut answer = [0; 4096];
        loop {
            let length = socket.recv(&mut answer).await?;
            if let Some(located) =
                answer.get(..length).and_then(|answer| parse_browser_answer(answer, instance))
            {
                return Ok::<_, io::Error>(located);
            }
            outcome = InstanceLookupError::ForeignAnswer;
        }
    };
    match timeout(BROWSER_TIMEOUT, query).await {
        Ok(Ok(located)) => Ok(located),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(InstanceLookupError::NoBrowser)
        }
        Ok(Err(_)) | Err(_) => Err(outcome),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_addresses_are_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // It does not listen, and no other test gets its port.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addresses = [closed.local_addr().unwrap(), listener.local_addr().unwrap()];
        for at_once in [1, MAX_ADDRESSES] {
            assert!(connect_to_one(&addresses, at_once).await.is_ok());
            assert!(connect_to_one(&addresses[..1], at_once).await.is_err());
        }
    }
}
