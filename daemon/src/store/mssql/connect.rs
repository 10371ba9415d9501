//! From an address to a session: name, instance, TCP, TLS, login.

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
use super::address::{At, Located, browser_answer, browser_question};
use super::problem::{NotLocated, Problem};
use super::secure::{NotSecure, Secure, secure};
use super::settings::{Settings, Trust};
use super::trouble::{Doing, Names, Trouble, io_words};
use crate::model::Secret;
use crate::tls::{self, Trusted};

/// How long the look-up of a name, and then each TCP connection, may take.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long TLS and login may take together.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one answer of the SQL Server Browser is waited for; it is asked twice.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(1);

/// Where SQL Server Browser listens: MS-SQLR 2.1. It cannot be configured.
const BROWSER_PORT: u16 = 1434;

/// A name may have many addresses, but nobody waits for all of them in turn.
const MOST_ADDRESSES: usize = 4;

/// How often a gateway may send us on to another host, as Azure's does.
const MOST_ROUTES: usize = 2;

/// What carries a session.
pub(super) type Session = Client<Compat<Secure>>;

/// Logs in.
pub(super) async fn connect(
    settings: &Settings,
    names: &Names,
    password: &Secret,
) -> Result<Session, StoreError> {
    let mut host = settings.address.host.clone();
    let mut at = settings.address.at.clone();
    for _ in 0..=MOST_ROUTES {
        let (stream, port) = open(settings, &host, &at).await?;
        let trusted = trusted(settings).await?;
        let config = config(settings, &host, port, password);
        let login = async {
            let stream = secure(stream, &host, settings.encryption, trusted).await?;
            Ok::<_, NotSecure>(Box::pin(Client::connect(config, stream.compat_write())).await)
        };
        let answer = match timeout(LOGIN_TIMEOUT, login).await {
            Err(_) => return Err(names.explain(Trouble::TimedOut, Doing::Reading)),
            Ok(Err(why)) => return Err(not_secure(names, why)),
            Ok(Ok(answer)) => answer,
        };
        match answer {
            Ok(session) => return Ok(session),
            Err(Error::Routing { host: next, port }) => {
                host = next;
                at = At::Port(port);
            }
            Err(error) => return Err(names.explain(error.into(), Doing::Reading)),
        }
    }
    let why = "it is sent on from one server to the next".to_owned();
    Err(Problem::Unreachable { server: settings.server.clone(), why }.into())
}

/// Why it did not come to a login, in the words of the store.
fn not_secure(names: &Names, why: NotSecure) -> StoreError {
    let server = names.server.clone();
    match why {
        NotSecure::NotTds => Problem::NotTds { server }.into(),
        NotSecure::NotTrusted(why) => Problem::NotTrusted { server, why }.into(),
        NotSecure::NotEncrypted(why) => Problem::NotEncrypted { server, why }.into(),
        NotSecure::Broken(error) => {
            let maybe =
                "before a login; perhaps it takes store.encrypt = \"strict\" only, or is no SQL Server";
            let why = format!("{} {maybe}", io_words(error.kind()));
            names.explain(Trouble::Lost(why), Doing::Reading)
        }
    }
}

fn config(settings: &Settings, host: &str, port: u16, password: &Secret) -> Config {
    let mut config = Config::new();
    config.host(host);
    config.port(port);
    config.database(&settings.database);
    config.application_name("tbtokend");
    config.authentication(AuthMethod::sql_server(&settings.user, password.expose()));
    // The connection is encrypted before the library sees it.
    config.encryption(EncryptionLevel::NotSupported);
    // A single row with half a surrogate must not make the whole table unreadable.
    config.lossy_utf16_decoding(true);
    config
}

async fn trusted(settings: &Settings) -> Result<Trusted, StoreError> {
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

/// A TCP connection, and the port that it goes to.
async fn open(settings: &Settings, host: &str, at: &At) -> Result<(TcpStream, u16), StoreError> {
    let unreachable = |error: io::Error| -> StoreError {
        let why = match error.kind() {
            io::ErrorKind::Other => crate::text::short(&error.to_string()),
            kind => io_words(kind),
        };
        Problem::Unreachable { server: settings.server.clone(), why }.into()
    };
    let addresses = resolve(host).await.map_err(unreachable)?;
    let port = match at {
        At::Port(port) => *port,
        At::Instance(instance) => ask_browser(&addresses, instance).await.map_err(|why| {
            StoreError::from(Problem::NoInstance { host: host.to_owned(), instance: instance.clone(), why })
        })?,
    };
    let targets: Vec<SocketAddr> =
        addresses.iter().map(|address| SocketAddr::new(address.ip(), port)).collect();
    let stream = match settings.multi_subnet_failover {
        true => first_of(&targets).await,
        false => one_by_one(&targets).await,
    };
    let stream = stream.map_err(unreachable)?;
    tune(&stream).map_err(unreachable)?;
    Ok((stream, port))
}

async fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    let found = match timeout(TCP_TIMEOUT, lookup_host((host, 0))).await {
        Ok(found) => found.map_err(|error| io::Error::other(format!("its name is not known: {error}")))?,
        Err(_) => return Err(io::Error::other("its name is not resolved in time")),
    };
    let addresses: Vec<SocketAddr> = found.take(MOST_ADDRESSES).collect();
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

/// The first of the addresses, in turn, that answers.
async fn one_by_one(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        result = connect_tcp(*address).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The quickest of the addresses, all of which are tried at once: those of the other subnets do not answer.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
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

/// Small packets go at once, and a peer that has vanished is noticed while nothing is sent.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(5));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Asks SQL Server Browser for the port of an instance.
async fn ask_browser(addresses: &[SocketAddr], instance: &str) -> Result<u16, NotLocated> {
    let mut why = NotLocated::NobodyListens;
    for _ in 0..2 {
        let mut asked: FuturesUnordered<_> = addresses
            .iter()
            .map(|address| ask_one_browser(SocketAddr::new(address.ip(), BROWSER_PORT), instance))
            .collect();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(Located::Port(port)) => return Ok(port),
                Ok(Located::NoTcp) => return Err(NotLocated::NoTcp),
                // Whoever was silent may have lost the question; nobody at home is the least that can be said.
                Err(NotLocated::NobodyListens) => {}
                Err(other) => why = other,
            }
        }
    }
    Err(why)
}

/// UDP promises nothing: what is no answer to the question is passed over, and an error of the network is as good as
/// silence, but for the one that says that nobody listens.
async fn ask_one_browser(address: SocketAddr, instance: &str) -> Result<Located, NotLocated> {
    let mut heard = NotLocated::Silent;
    let asking = async {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(&browser_question(instance)).await?;
        let mut answer = [0; 4096];
        loop {
            let length = socket.recv(&mut answer).await?;
            if let Some(located) = answer.get(..length).and_then(|answer| browser_answer(answer, instance)) {
                return Ok::<_, io::Error>(located);
            }
            heard = NotLocated::Nonsense;
        }
    };
    match timeout(BROWSER_TIMEOUT, asking).await {
        Ok(Ok(located)) => Ok(located),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(NotLocated::NobodyListens),
        Ok(Err(_)) | Err(_) => Err(heard),
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
        assert!(one_by_one(&addresses).await.is_ok());
        assert!(first_of(&addresses).await.is_ok());
        assert!(one_by_one(&addresses[..1]).await.is_err());
        assert!(first_of(&addresses[..1]).await.is_err());
    }
}
