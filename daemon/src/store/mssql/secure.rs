//! The beginning of a connection, before the library sees it: the first packet (PRELOGIN) and TLS, so that certificates are
//! judged by our own rules, and what is no SQL Server is told from one in trouble. MS-TDS 2.2.6.5, 3.2.5.1.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::settings::Encryption;
use crate::tls::{self, TlsContext, Trusted};

/// The bytes of a packet's header.
const HEADER: usize = 8;
/// The kinds of packets that a beginning knows.
const PRELOGIN: u8 = 0x12;
const ANSWER: u8 = 0x04;
/// The last packet of a message.
const LAST: u8 = 1;
/// A packet before a size is agreed on, with its header.
const LONGEST: usize = 4096;
/// The option ENCRYPTION of the first packet, and its values.
const ENCRYPTION: u8 = 1;
const ON: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const REQUIRED: u8 = 3;

/// What the client says first: version, ENCRYPTION = required, no instance, no thread, no MARS.
const HELLO: &[u8] = &[
    0, 0, 26, 0, 6, ENCRYPTION, 0, 32, 0, 1, 2, 0, 33, 0, 1, 3, 0, 34, 0, 4, 4, 0, 38, 0, 1, 0xff, //
    0, 0, 0, 0, 0, 0, REQUIRED, 0, 0, 0, 0, 0, 0,
];

/// Why there is no encrypted connection. No password was sent.
#[derive(Debug)]
pub(super) enum NotSecure {
    /// What answers there is no SQL Server.
    NotTds,
    /// The certificate deserves no trust; with the reason.
    NotTrusted(String),
    /// No encryption comes about; with the reason.
    NotEncrypted(String),
    /// The connection broke.
    Broken(io::Error),
}

impl From<io::Error> for NotSecure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What comes is not in packets.
            io::ErrorKind::InvalidData => Self::NotTds,
            _ => Self::Broken(error),
        }
    }
}

/// An encrypted connection, on which the library is told that it is not: it sends its first packet, which goes nowhere, is
/// given the server's answer to ours, and then sees what TLS carries.
#[derive(Debug)]
pub(super) struct Secure {
    stream: TlsStream<Disguise>,
    /// The library's first packet, as far as it has come; none once it is whole.
    hello: Option<Vec<u8>>,
    /// What is left of the answer to it.
    answer: Vec<u8>,
}

/// Begins a connection to `host`.
pub(super) async fn secure(
    stream: TcpStream,
    host: &str,
    encryption: Encryption,
    trusted: Trusted,
) -> Result<Secure, NotSecure> {
    let mut config =
        tls::client_config(trusted).map_err(|error| NotSecure::NotEncrypted(error.to_string()))?;
    let (stream, answer) = match encryption {
        Encryption::Required => {
            let mut stream = stream;
            let answer = greet(&mut stream).await?;
            if !matches!(option(&answer, ENCRYPTION), Some(ON | REQUIRED)) {
                return Err(NotSecure::NotEncrypted("the server does not offer encryption".to_owned()));
            }
            (encrypt(Disguise::new(stream), host, config, encryption).await?, answer)
        }
        Encryption::Strict => {
            config.alpn_protocols.push(b"tds/8.0".to_vec());
            let mut stream = encrypt(Disguise::none(stream), host, config, encryption).await?;
            let answer = greet(&mut stream).await?;
            (stream, answer)
        }
    };
    let mut answer = answer;
    if let Some(value) = option_at(&answer, ENCRYPTION).and_then(|at| answer.get_mut(at)) {
        *value = NOT_SUPPORTED;
    }
    Ok(Secure { stream, hello: Some(Vec::new()), answer })
}

/// Sends the first packet and reads the answer, with its header.
async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Vec<u8>, NotSecure> {
    stream.write_all(&packet(HELLO)).await?;
    stream.flush().await?;
    let mut answer = vec![0; HEADER];
    // The first byte tells enough; a server of another kind may say no more than that.
    let (first, rest) = answer.split_at_mut(1);
    stream.read_exact(first).await?;
    match first {
        [ANSWER] => {}
        // TLS, from a server that expects it at once.
        [0x15 | 0x16] => {
            let why = "the server speaks TLS at once: write store.encrypt = \"strict\"";
            return Err(NotSecure::NotEncrypted(why.to_owned()));
        }
        _ => return Err(NotSecure::NotTds),
    }
    stream.read_exact(rest).await?;
    let length = match answer.as_slice() {
        [_, LAST, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(NotSecure::NotTds),
    };
    if !(HEADER..=LONGEST).contains(&length) {
        return Err(NotSecure::NotTds);
    }
    answer.resize(length, 0);
    stream.read_exact(answer.get_mut(HEADER..).unwrap_or_default()).await?;
    Ok(answer)
}

/// A packet of its own.
fn packet(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + HEADER).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![PRELOGIN, LAST, length[0], length[1], 0, 0, 0, 0];
    packet.extend_from_slice(content);
    packet
}

/// Where the value of an option is in the answer to a first packet: a table of kinds, offsets and lengths, then the values.
fn option_at(answer: &[u8], wanted: u8) -> Option<usize> {
    let content = answer.get(HEADER..)?;
    content.chunks(5).take_while(|entry| entry.first() != Some(&0xff)).find_map(|entry| match entry {
        [kind, high, low, ..] if *kind == wanted => {
            Some(HEADER + usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    })
}

fn option(answer: &[u8], wanted: u8) -> Option<u8> {
    option_at(answer, wanted).and_then(|at| answer.get(at)).copied()
}

async fn encrypt(
    stream: Disguise,
    host: &str,
    config: ClientConfig,
    encryption: Encryption,
) -> Result<TlsStream<Disguise>, NotSecure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| NotSecure::NotTrusted(format!("no certificate can be for the name {host}")))?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        let no_tls = match encryption {
            Encryption::Required => "it is no SQL Server that can be used",
            Encryption::Strict => "write store.encrypt = \"required\", or another port",
        };
        let asked = TlsContext { host, ca_file: "store.ca_file", no_tls };
        match error.get_ref().and_then(|cause| cause.downcast_ref()) {
            Some(error @ rustls::Error::InvalidCertificate(_)) => {
                NotSecure::NotTrusted(tls::explain(error, asked))
            }
            Some(error) => NotSecure::NotEncrypted(tls::explain(error, asked)),
            None => error.into(),
        }
    })?;
    stream.get_mut().0.is_over = true;
    Ok(stream)
}

impl AsyncRead for Secure {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.answer.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let part = this.answer.len().min(buffer.remaining());
        buffer.put_slice(&this.answer.drain(..part).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secure {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(hello) = &mut this.hello else {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        };
        hello.extend_from_slice(bytes);
        let length = match hello.as_slice() {
            [PRELOGIN, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            [_, _, _, _, ..] => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            _ => return Poll::Ready(Ok(bytes.len())),
        };
        let surplus = hello.len().saturating_sub(length);
        if hello.len() >= length {
            this.hello = None;
        }
        Poll::Ready(Ok(bytes.len() - surplus))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// While the handshake lasts, TLS is inside of packets; afterwards it is not.
#[derive(Debug)]
struct Disguise {
    stream: TcpStream,
    is_over: bool,
    /// The header of the packet that is being read, as far as it is there, and what is left of its content.
    header: Vec<u8>,
    left: usize,
    /// What is to be sent: the content of a packet in the making, and packets that are made.
    content: Vec<u8>,
    packets: Vec<u8>,
}

impl Disguise {
    fn new(stream: TcpStream) -> Self {
        Self { stream, is_over: false, header: Vec::new(), left: 0, content: Vec::new(), packets: Vec::new() }
    }

    fn none(stream: TcpStream) -> Self {
        Self { is_over: true, ..Self::new(stream) }
    }

    fn make_packets(&mut self) {
        for content in self.content.chunks(LONGEST - HEADER) {
            self.packets.extend(packet(content));
        }
        self.content.clear();
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.make_packets();
        while !self.packets.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.packets))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.packets.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Disguise {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_over {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        while this.left == 0 {
            let mut header = [0; HEADER];
            let mut missing = ReadBuf::new(header.get_mut(this.header.len()..).unwrap_or_default());
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut missing))?;
            if missing.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.header.extend_from_slice(missing.filled());
            if let [kind, _, high, low, _, _, _, _] = *this.header.as_slice() {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if !matches!(kind, PRELOGIN | ANSWER) || length < HEADER {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                this.left = length - HEADER;
                this.header.clear();
            }
        }
        let room = this.left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        this.left -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Disguise {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_over {
            // What was left of the handshake goes first.
            ready!(this.poll_send(context))?;
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        }
        this.content.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
