//! The beginning of a connection, before the library uses it: the first packet (PRELOGIN) and TLS. So the daemon's own rules
//! apply to certificates, and other services are distinguished from a SQL Server in trouble. MS-TDS 2.2.6.5, 3.2.5.1.

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

/// The length of a packet's header, in bytes.
const HEADER: usize = 8;
/// The kinds of packets at the beginning.
const PRELOGIN: u8 = 0x12;
const ANSWER: u8 = 0x04;
/// The flag of the last packet of a message.
const LAST: u8 = 1;
/// The longest packet before a size is agreed on, with its header.
const LONGEST: usize = 4096;
/// The option ENCRYPTION of the first packet, and its values.
const ENCRYPTION: u8 = 1;
const ON: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const REQUIRED: u8 = 3;

/// The client's first packet: version, ENCRYPTION = required, no instance, no thread, no MARS.
const PRELOGIN_REQUEST: &[u8] = &[
    0, 0, 26, 0, 6, ENCRYPTION, 0, 32, 0, 1, 2, 0, 33, 0, 1, 3, 0, 34, 0, 4, 4, 0, 38, 0, 1, 0xff, //
    0, 0, 0, 0, 0, 0, REQUIRED, 0, 0, 0, 0, 0, 0,
];

/// The reason why there is no encrypted connection. No password was sent.
#[derive(Debug)]
pub(super) enum EncryptionError {
    /// The server is not a SQL Server.
    NotTds,
    /// The certificate is not trusted; with the reason.
    NotTrusted(String),
    /// Encryption is not possible; with the reason.
    NotEncrypted(String),
    /// The connection broke.
    Connection(io::Error),
}

impl From<io::Error> for EncryptionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The bytes are not packets.
            io::ErrorKind::InvalidData => Self::NotTds,
            _ => Self::Connection(error),
        }
    }
}

/// An encrypted connection that the library takes for a plain one. Its first packet is discarded and answered with the server's
/// answer to the daemon's own. After that, it sees the content of TLS.
#[derive(Debug)]
pub(super) struct EncryptedStream {
    stream: TlsStream<HandshakeStream>,
    /// The library's first packet, as far as it has come; none once it is whole.
    prelogin: Option<Vec<u8>>,
    /// The rest of the answer to it.
    answer: Vec<u8>,
}

/// Encrypts a connection to `host`.
pub(super) async fn encrypt_connection(
    stream: TcpStream,
    host: &str,
    encryption: Encryption,
    trusted: Trusted,
) -> Result<EncryptedStream, EncryptionError> {
    let mut config =
        tls::client_config(trusted).map_err(|error| EncryptionError::NotEncrypted(error.to_string()))?;
    let (stream, answer) = match encryption {
        Encryption::Required => {
            let mut stream = stream;
            let answer = exchange_prelogin(&mut stream).await?;
            if !matches!(read_option(&answer, ENCRYPTION), Some(ON | REQUIRED)) {
                return Err(EncryptionError::NotEncrypted("the server does not offer encryption".to_owned()));
            }
            (start_tls(HandshakeStream::new(stream), host, config, encryption).await?, answer)
        }
        Encryption::Strict => {
            config.alpn_protocols.push(b"tds/8.0".to_vec());
            let mut stream =
                start_tls(HandshakeStream::without_packets(stream), host, config, encryption).await?;
            let answer = exchange_prelogin(&mut stream).await?;
            (stream, answer)
        }
    };
    let mut answer = answer;
    if let Some(value) = find_option(&answer, ENCRYPTION).and_then(|at| answer.get_mut(at)) {
        *value = NOT_SUPPORTED;
    }
    Ok(EncryptedStream { stream, prelogin: Some(Vec::new()), answer })
}

/// Sends the first packet and reads the answer, including its header.
async fn exchange_prelogin(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Vec<u8>, EncryptionError> {
    stream.write_all(&make_packet(PRELOGIN_REQUEST)).await?;
    stream.flush().await?;
    let mut answer = vec![0; HEADER];
    // The first byte is sufficient, and another kind of server may send no more.
    let (first, rest) = answer.split_at_mut(1);
    stream.read_exact(first).await?;
    match first {
        [ANSWER] => {}
        // A server that expects TLS at once sends a TLS record.
        [0x15 | 0x16] => {
            let why = "the server expects TLS at once: write store.encrypt = \"strict\"";
            return Err(EncryptionError::NotEncrypted(why.to_owned()));
        }
        _ => return Err(EncryptionError::NotTds),
    }
    stream.read_exact(rest).await?;
    let length = match answer.as_slice() {
        [_, LAST, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(EncryptionError::NotTds),
    };
    if !(HEADER..=LONGEST).contains(&length) {
        return Err(EncryptionError::NotTds);
    }
    answer.resize(length, 0);
    stream.read_exact(answer.get_mut(HEADER..).unwrap_or_default()).await?;
    Ok(answer)
}

/// Makes a packet that is a whole message.
fn make_packet(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + HEADER).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![PRELOGIN, LAST, length[0], length[1], 0, 0, 0, 0];
    packet.extend_from_slice(content);
    packet
}

/// Returns the position of an option's value in the answer to the first packet. The answer has a table of kinds, offsets and
/// lengths, then the values.
fn find_option(answer: &[u8], wanted: u8) -> Option<usize> {
    let content = answer.get(HEADER..)?;
    content.chunks(5).take_while(|entry| entry.first() != Some(&0xff)).find_map(|entry| match entry {
        [kind, high, low, ..] if *kind == wanted => {
            Some(HEADER + usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    })
}

fn read_option(answer: &[u8], wanted: u8) -> Option<u8> {
    find_option(answer, wanted).and_then(|at| answer.get(at)).copied()
}

async fn start_tls(
    stream: HandshakeStream,
    host: &str,
    config: ClientConfig,
    encryption: Encryption,
) -> Result<TlsStream<HandshakeStream>, EncryptionError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| EncryptionError::NotTrusted(format!("no certificate can be for the name {host}")))?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        let no_tls = match encryption {
            Encryption::Required => "it is not a SQL Server that can be used",
            Encryption::Strict => "write store.encrypt = \"required\", or another port",
        };
        let context = TlsContext { host, ca_file: "store.ca_file", no_tls };
        match error.get_ref().and_then(|cause| cause.downcast_ref()) {
            Some(error @ rustls::Error::InvalidCertificate(_)) => {
                EncryptionError::NotTrusted(tls::explain(error, context))
            }
            Some(error) => EncryptionError::NotEncrypted(tls::explain(error, context)),
            None => error.into(),
        }
    })?;
    stream.get_mut().0.is_handshake_over = true;
    Ok(stream)
}

impl AsyncRead for EncryptedStream {
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

impl AsyncWrite for EncryptedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(prelogin) = &mut this.prelogin else {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        };
        prelogin.extend_from_slice(bytes);
        let length = match prelogin.as_slice() {
            [PRELOGIN, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            [_, _, _, _, ..] => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            _ => return Poll::Ready(Ok(bytes.len())),
        };
        let surplus = prelogin.len().saturating_sub(length);
        if prelogin.len() >= length {
            this.prelogin = None;
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

/// A stream that wraps TLS in packets until the handshake is over.
#[derive(Debug)]
struct HandshakeStream {
    stream: TcpStream,
    is_handshake_over: bool,
    /// The header of the packet that is being read, as far as it has come, and the length of its remaining content.
    header: Vec<u8>,
    remaining: usize,
    /// The bytes to send: the content of the next packet, and finished packets.
    content: Vec<u8>,
    packets: Vec<u8>,
}

impl HandshakeStream {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            is_handshake_over: false,
            header: Vec::new(),
            remaining: 0,
            content: Vec::new(),
            packets: Vec::new(),
        }
    }

    fn without_packets(stream: TcpStream) -> Self {
        Self { is_handshake_over: true, ..Self::new(stream) }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        for content in self.content.chunks(LONGEST - HEADER) {
            self.packets.extend(make_packet(content));
        }
        self.content.clear();
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

impl AsyncRead for HandshakeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_handshake_over {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        while this.remaining == 0 {
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
                this.remaining = length - HEADER;
                this.header.clear();
            }
        }
        let room = this.remaining.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        this.remaining -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_handshake_over {
            // The rest of the handshake must be sent first.
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
