//! The certificates of a fake SQL Server, and TLS inside prelogin packets.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};

use super::settings::Certificate;
use super::wire::packet::HEADER;

/// The TLS configuration of a server, and the authority that a client must trust.
pub(super) struct Tls {
    /// The authority's certificate as PEM.
    pub(super) authority: String,
    /// For TDS 7.4. SQL Server offers TLS 1.2 at most there: TLS 1.3 sends tickets after its handshake, which cannot be put
    /// into prelogin packets.
    pub(super) disguised: TlsAcceptor,
    /// For TDS 8.
    pub(super) strict: TlsAcceptor,
}

impl Tls {
    pub(super) fn new(certificate: Certificate, address: Ipv4Addr) -> Self {
        let issuer = authority();
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params(certificate, address);
        let is_own_authority = matches!(
            certificate,
            Certificate::OwnAuthority | Certificate::OwnAuthorityNoName | Certificate::OwnAuthorityWrongName
        );
        if is_own_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let issued = match certificate {
            Certificate::SelfSigned => params.self_signed(&key),
            _ if is_own_authority => params.self_signed(&key),
            _ => params.signed_by(&key, &issuer),
        };
        let issued = issued.expect("a certificate can be made");
        let authority = if is_own_authority { issued.pem() } else { issuer.pem() };
        let issued = issued.der().clone();
        let config = |version: &'static SupportedProtocolVersion, protocol: Option<&str>| {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .expect("a version that the provider knows")
                .with_no_client_auth()
                .with_single_cert(vec![issued.clone()], key)
                .expect("a certificate with its key");
            config.alpn_protocols.extend(protocol.map(|protocol| protocol.as_bytes().to_vec()));
            TlsAcceptor::from(Arc::new(config))
        };
        Self { authority, disguised: config(&TLS12, None), strict: config(&TLS13, Some("tds/8.0")) }
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Authority of the fake SQL Server");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key can be made");
    CertifiedIssuer::self_signed(params, key).expect("a certificate can be made")
}

fn params(certificate: Certificate, address: Ipv4Addr) -> CertificateParams {
    let names = match certificate {
        Certificate::WrongName | Certificate::OwnAuthorityWrongName => {
            vec!["sql.elsewhere.example".to_owned()]
        }
        Certificate::OwnAuthorityNoName => Vec::new(),
        Certificate::PrivateAuthority
        | Certificate::SelfSigned
        | Certificate::OwnAuthority
        | Certificate::Expired => vec!["localhost".to_owned(), address.to_string()],
    };
    let mut params = CertificateParams::new(names).expect("names of a certificate");
    params.distinguished_name.push(DnType::CommonName, "fake SQL Server");
    if certificate == Certificate::Expired {
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    }
    params
}

/// A stream that puts all bytes into prelogin packets, until the handshake is over.
pub(super) struct Disguise<S> {
    stream: S,
    over: Arc<AtomicBool>,
    /// The received part of the header of the current packet, and the length of the rest of its content.
    header: Vec<u8>,
    left: usize,
    /// The packet that the next flush sends.
    packet: Vec<u8>,
    /// The bytes of packets that are not sent yet.
    unsent: Vec<u8>,
}

impl<S> Disguise<S> {
    /// Makes a stream, and the switch that ends the packets.
    pub(super) fn new(stream: S) -> (Self, Arc<AtomicBool>) {
        let over = Arc::new(AtomicBool::new(false));
        let disguise = Self {
            stream,
            over: Arc::clone(&over),
            header: Vec::new(),
            left: 0,
            packet: Vec::new(),
            unsent: Vec::new(),
        };
        (disguise, over)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Disguise<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.over.load(Ordering::Acquire) {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        while this.left == 0 {
            let mut byte = [0; 1];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut one))?;
            if one.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.header.extend(one.filled());
            if this.header.len() == HEADER {
                let length = usize::from(u16::from_be_bytes([this.header[2], this.header[3]]));
                if this.header[0] != 18 || length < HEADER {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Disguise<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.over.load(Ordering::Acquire) {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        }
        this.packet.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // All messages of a handshake step fit into one packet, because they have one short certificate.
        if !this.packet.is_empty() {
            let length = u16::try_from(this.packet.len() + HEADER).expect("a short flight");
            this.unsent.extend([18, 1]);
            this.unsent.extend(length.to_be_bytes());
            this.unsent.extend([0, 0, 0, 0]);
            this.unsent.append(&mut this.packet);
        }
        while !this.unsent.is_empty() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(context, &this.unsent))?;
            this.unsent.drain(..written);
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
