//! Makes a session from an address: name, instance, TCP, TLS, login.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tiberius::error::Error;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use super::super::StoreError;
use super::address::{BrowserAnswer, PortSource, make_browser_request, parse_browser_answer};
use super::encrypted::{EncryptedStream, EncryptionError, encrypt_connection};
use super::problem::{InstanceLookupError, Problem};
use super::settings::{Settings, Trust};
use super::trouble::{Names, Operation, Trouble, io_words};
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

/// A session over an encrypted connection.
pub(super) type Session = Client<Compat<EncryptedStream>>;

/// Connects to the server and logs in.
pub(super) async fn connect(
    settings: &Settings,
    names: &Names,
    password: &Secret,
) -> Result<Session, StoreError> {
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
            Err(_) => return Err(names.explain(Trouble::TimedOut, Operation::Reading)),
            Ok(Err(why)) => return Err(explain_encryption_error(names, why)),
            Ok(Ok(answer)) => answer,
        };
        match answer {
            Ok(session) => return Ok(session),
            Err(Error::Routing { host: next, port }) => {
                host = next;
                source = PortSource::Port(port);
            }
            Err(error) => return Err(names.explain(error.into(), Operation::Reading)),
        }
    }
    let why = "it redirects from one server to the next without end".to_owned();
    Err(Problem::Unreachable { server: settings.server.clone(), why }.into())
}

/// Converts an error before the login to the store's error.
fn explain_encryption_error(names: &Names, why: EncryptionError) -> StoreError {
    let server = names.server.clone();
    match why {
        EncryptionError::NotTds => Problem::NotTds { server }.into(),
        EncryptionError::NotTrusted(why) => Problem::NotTrusted { server, why }.into(),
        EncryptionError::NotEncrypted(why) => Problem::NotEncrypted { server, why }.into(),
        EncryptionError::Connection(error) => {
            let maybe =
                "before a login; perhaps it takes store.encrypt = \"strict\" only, or is no SQL Server";
            let why = format!("{} {maybe}", io_words(error.kind()));
            names.explain(Trouble::Lost(why), Operation::Reading)
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
    let pem = read_authorities(settings, file).await?;
    tls::certificates(&pem).map(Trusted::Authorities).ok_or_else(|| {
        let why =
            format!("store.ca_file = {:?} holds no certificate in PEM form", file.display().to_string());
        Problem::NotTrusted { server: settings.server.clone(), why }.into()
    })
}

async fn read_authorities(settings: &Settings, file: &Path) -> Result<Vec<u8>, StoreError> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    let why = match read {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let why = format!("store.ca_file = {:?} cannot be read: {why}", file.display().to_string());
    Err(Problem::NotTrusted { server: settings.server.clone(), why }.into())
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
        Problem::Unreachable { server: settings.server.clone(), why }.into()
    };
    let addresses = resolve(host).await.map_err(unreachable)?;
    let port = match source {
        PortSource::Port(port) => *port,
        PortSource::Instance(instance) => query_browser(&addresses, instance).await.map_err(|why| {
            StoreError::from(Problem::NoInstance { host: host.to_owned(), instance: instance.clone(), why })
        })?,
    };
    let targets: Vec<SocketAddr> =
        addresses.iter().map(|address| SocketAddr::new(address.ip(), port)).collect();
    let stream = match settings.multi_subnet_failover {
        true => connect_fastest(&targets).await,
        false => connect_in_turn(&targets).await,
    };
    let stream = stream.map_err(unreachable)?;
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

/// Connects to the first address that answers, in turn.
async fn connect_in_turn(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        result = connect_tcp(*address).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Connects to the fastest address. All are tried at once, because those of the other subnets do not answer.
async fn connect_fastest(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts: FuturesUnordered<_> = addresses.iter().copied().map(connect_tcp).collect();
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
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [closed.local_addr().unwrap(), listener.local_addr().unwrap()];
        drop(closed);
        assert!(connect_in_turn(&addresses).await.is_ok());
        assert!(connect_fastest(&addresses).await.is_ok());
        assert!(connect_in_turn(&addresses[..1]).await.is_err());
        assert!(connect_fastest(&addresses[..1]).await.is_err());
    }
}
