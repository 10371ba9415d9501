//! TLS to servers: which certificates are accepted. Shared by the clients of ThingsBoard, SQL Server and
//! receivers of messages.

mod words;

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

pub use words::{TlsContext, explain};

/// The certificates to accept.
#[derive(Debug)]
pub enum Trusted {
    /// Those of the system's authorities, those of the authorities in a file, and the certificates in that file.
    Authorities(Vec<CertificateDer<'static>>),
    /// Any certificate.
    AnyCertificate,
}

/// Reads the certificates of a PEM file; none if it holds no usable one.
pub fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates.iter().cloned());
    (usable > 0).then_some(certificates)
}

/// Makes the configuration of a client.
///
/// # Errors
/// Those of the library; no setting causes one.
pub fn client_config(trusted: Trusted) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let (chains, exact) = match trusted {
        Trusted::AnyCertificate => (None, None),
        Trusted::Authorities(given) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots.add_parsable_certificates(given.iter().cloned());
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            // A machine without authorities must still reach servers whose certificates are in the file.
            (builder.build().ok(), Some(given))
        }
    };
    let verifier = Verifier { chains, exact, algorithms };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// A verifier that accepts certificates of an authority, and exactly the certificates in the file. `openssl req -x509` makes
/// certificates that are their own authority, which a chain must not end in.
#[derive(Debug)]
struct Verifier {
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// None accepts every certificate.
    exact: Option<Vec<CertificateDer<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The error for a certificate whose issuer is unknown.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("unknown issuer")]
struct UnknownIssuer {
    /// The certificate is its own issuer.
    is_self_signed: bool,
    /// The server has sent the certificates of issuers too.
    sends_chain: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(exact) = &self.exact else { return Ok(ServerCertVerified::assertion()) };
        let unknown = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        let verified = self.chains.as_ref().map_or(unknown, |chains| {
            chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        });
        match verified {
            Err(Error::InvalidCertificate(why)) if exact.contains(end_entity) => {
                verify_exact(why, end_entity, server_name)
            }
            Err(Error::InvalidCertificate(why)) => {
                let is_self_signed = is_self_signed(end_entity);
                // A self-signed certificate gets another error, which says less than that the issuer is unknown.
                let is_unknown = match why {
                    // A bad signature means another authority of the same name.
                    CertificateError::UnknownIssuer | CertificateError::BadSignature => true,
                    CertificateError::Other(_) => is_self_signed,
                    _ => false,
                };
                let unknown = UnknownIssuer { is_self_signed, sends_chain: !intermediates.is_empty() };
                let why =
                    if is_unknown { CertificateError::Other(OtherError(Arc::new(unknown))) } else { why };
                Err(why.into())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.exact {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.exact {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks that a certificate from the file is valid for this name, although it has no chain. The library checks dates and
/// encoding before usage, so `why` covers them.
fn verify_exact(
    why: CertificateError,
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<ServerCertVerified, Error> {
    let checked = match why {
        CertificateError::Other(_)
        | CertificateError::UnknownIssuer
        | CertificateError::InvalidPurpose
        | CertificateError::InvalidPurposeContext { .. } => {
            ParsedCertificate::try_from(certificate).and_then(|parsed| verify_server_name(&parsed, name))
        }
        why => Err(why.into()),
    };
    match checked {
        // A certificate without a name cannot belong to another server.
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }))
            if presented.is_empty() =>
        {
            Ok(ServerCertVerified::assertion())
        }
        checked => checked.map(|()| ServerCertVerified::assertion()),
    }
}

/// Whether a usable certificate has its subject as its issuer: then it holds the same name twice.
fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    if ParsedCertificate::try_from(certificate).is_err() {
        return false;
    }
    let mut store = RootCertStore::empty();
    let _ = store.add(certificate.clone().into_owned());
    store.roots.first().is_some_and(|anchor| {
        let subject: &[u8] = anchor.subject.as_ref();
        !subject.is_empty() && certificate.windows(subject.len()).filter(|part| *part == subject).count() > 1
    })
}
