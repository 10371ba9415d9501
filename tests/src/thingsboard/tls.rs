//! TLS in front of a fake server: certificates of every kind, and a TLS proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{HandshakeKind, ServerConfig};

use super::ThingsBoard;
use super::server::runtime;

/// The kind of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Issued by an authority, for 127.0.0.1 and localhost.
    Issued,
    /// Issued by an intermediate authority.
    IssuedByIntermediate {
        /// Whether the server also sends the certificate of that authority.
        is_sent: bool,
    },
    /// Issued by an authority, for another host.
    WrongName,
    /// Issued by an authority, with a common name and no subject alternative name.
    NoName,
    /// Issued by an authority, and expired.
    Expired,
    /// Issued by an authority, and not valid yet.
    NotYet,
    /// Self-signed as by `openssl req -x509`: its own authority, with this host's names.
    SelfSigned,
    /// Self-signed, without names.
    SelfSignedNoName,
    /// Self-signed, for another host.
    SelfSignedWrongName,
    /// Self-signed, and expired.
    SelfSignedExpired,
}

/// A certificate with its key and its authority.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    /// The authority as PEM; for a self-signed certificate, the certificate itself.
    pub authority: String,
}

impl Certificate {
    /// Makes a certificate of this kind.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params(kind);
        if matches!(
            kind,
            Kind::SelfSigned | Kind::SelfSignedNoName | Kind::SelfSignedWrongName | Kind::SelfSignedExpired
        ) {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issued = params.self_signed(&key).expect("a certificate can be made");
            return Self { chain: vec![issued.der().clone()], key, authority: issued.pem() };
        }
        let root = CertifiedIssuer::self_signed(authority("root"), new_key()).expect("an authority");
        let authority_pem = root.pem();
        let Kind::IssuedByIntermediate { is_sent } = kind else {
            let issued = params.signed_by(&key, &root).expect("a certificate can be made");
            return Self { chain: vec![issued.der().clone()], key, authority: authority_pem };
        };
        let between =
            CertifiedIssuer::signed_by(authority("intermediate"), new_key(), &root).expect("an authority");
        let issued = params.signed_by(&key, &between).expect("a certificate can be made");
        let mut chain = vec![issued.der().clone()];
        chain.extend(is_sent.then(|| between.der().clone()));
        Self { chain, key, authority: authority_pem }
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("{name} of the fake ThingsBoard"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(kind: Kind) -> CertificateParams {
    let names: &[&str] = match kind {
        Kind::WrongName | Kind::SelfSignedWrongName => &["tb.elsewhere.example"],
        Kind::NoName | Kind::SelfSignedNoName => &[],
        _ => &["localhost", "127.0.0.1"],
    };
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of a certificate");
    params.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    let dates = match kind {
        Kind::Expired | Kind::SelfSignedExpired => {
            Some((date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)))
        }
        Kind::NotYet => Some((date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1))),
        _ => None,
    };
    if let Some(dates) = dates {
        (params.not_before, params.not_after) = dates;
    }
    params
}

/// A TLS proxy in front of a server. The drop ends it.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    task: JoinHandle<()>,
    handshakes: Arc<AtomicU64>,
    resumed: Arc<AtomicU64>,
}

impl TlsFront {
    /// Starts a proxy with this certificate in front of a server.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn new(server: &ThingsBoard, certificate: &Certificate) -> Self {
        Self::before(server.address(), certificate)
    }

    /// Starts a proxy with this certificate in front of whatever listens at an address.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn before(inner: SocketAddr, certificate: &Certificate) -> Self {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider knows")
            .with_no_client_auth()
            .with_single_cert(certificate.chain.clone(), key)
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let (handshakes, resumed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (Arc::clone(&handshakes), Arc::clone(&resumed));
        let task = runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, (handshakes, resumed)) = (acceptor.clone(), counters.clone());
                tokio::spawn(async move {
                    let mut outer = acceptor.accept(stream).await?;
                    handshakes.fetch_add(1, Ordering::Relaxed);
                    if outer.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                        resumed.fetch_add(1, Ordering::Relaxed);
                    }
                    let mut inner = TcpStream::connect(inner).await?;
                    copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
        Self { address, task, handshakes, resumed }
    }

    /// How many handshakes were completed, and how many of them resumed an earlier session.
    #[must_use]
    pub fn handshakes(&self) -> (u64, u64) {
        (self.handshakes.load(Ordering::Relaxed), self.resumed.load(Ordering::Relaxed))
    }

    /// Returns the URL for `tb_url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Returns the address of the socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}
