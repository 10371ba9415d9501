//! Explains TLS errors to the operator, with remedies.

use chrono::DateTime;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::UnknownIssuer;

/// The context of a TLS error.
#[derive(Debug, Clone, Copy)]
pub struct TlsContext<'a> {
    /// The name that the certificate must hold.
    pub host: &'a str,
    /// The setting that names additional authorities.
    pub ca_file: &'static str,
    /// What to do if the server speaks no TLS.
    pub no_tls: &'static str,
}

/// Explains a TLS error: the cause and the remedy, beginning with a lower-case letter.
pub fn explain(error: &Error, context: TlsContext<'_>) -> String {
    let text = match error {
        Error::InvalidCertificate(why) => certificate(why, context),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => format!("the server does not speak TLS on this port: {}", context.no_tls),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity) => {
            "the server offers only old versions of TLS: turn on TLS 1.2 or 1.3 there".to_owned()
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => "the server asks for a certificate of the client, which tbtokend does not have".to_owned(),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            format!("the server does not know the name {}", context.host)
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) | Error::PeerIncompatible(_) => {
            "the server offers no TLS cipher or key that is strong enough, or asks for a certificate of the client"
                .to_owned()
        }
        other => format!("the TLS handshake failed: {other}"),
    };
    crate::text::short(&text)
}

fn certificate(why: &CertificateError, context: TlsContext<'_>) -> String {
    let TlsContext { host, ca_file, .. } = context;
    match why {
        CertificateError::Other(other) => match other.0.downcast_ref::<UnknownIssuer>() {
            Some(UnknownIssuer { is_self_signed: true, .. }) => {
                format!("its certificate is self-signed: add this certificate itself to {ca_file}")
                }
                Some(UnknownIssuer { sends_chain: true, .. }) => format!(
                "its certificate comes from an authority that is not known here: add that authority's certificate to {ca_file}"
            ),
            Some(UnknownIssuer { sends_chain: false, .. }) => format!(
                "the issuer of its certificate is not known here: add the issuer's certificate to {ca_file}, or let the server send its whole chain"
            ),
            None if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                format!("its certificate is that of an authority: add this certificate itself to {ca_file}")
            }
            None if format!("{other:?}").contains("UnsupportedCertVersion") => {
                format!("its certificate is of an old version of X.509, which has no subject alternative name: issue one of version 3 for {host}")
            }
            None => "its certificate cannot be used: issue another one".to_owned(),
        },
        CertificateError::UnknownIssuer => {
            format!("the issuer of its certificate is not known here: add the issuer's certificate to {ca_file}")
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => format!(
            "its certificate names no host, it has no subject alternative name: issue one for {host}, or add this certificate itself to {ca_file}"
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(3).map(|name| plain_name(name)).collect();
            format!("its certificate is for {}, not for {host}", names.join(", "))
        }
        CertificateError::NotValidForName => format!("its certificate is not for {host}"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired on {}: renew it", date(not_after))
        }
        CertificateError::Expired => "its certificate has expired: renew it".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "its certificate is not valid before {}: check it, and the clock of this machine",
            date(not_before)
        ),
        CertificateError::NotValidYet => {
            "its certificate is not valid yet: check it, and the clock of this machine".to_owned()
        }
        CertificateError::Revoked => "its certificate has been revoked: issue another one".to_owned(),
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is too weak, or wrongly signed: issue one with RSA of 2048 bits or more, or ECDSA, and SHA-256"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers: issue one for server authentication".to_owned()
        }
        _ => "its certificate cannot be used: issue another one".to_owned(),
    }
}

/// Strips the type from `DnsName("a.example")` and `IpAddress(127.0.0.1)`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.replace('"', "")
}

fn date(time: &UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(|| "an unknown day".to_owned(), |time| time.format("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults that no server of our tests can have. The others are in `tests/tests/thingsboard_client/certificates.rs`.
    #[test]
    fn what_is_weak_or_old_is_said_in_plain_words() {
        let context = TlsContext { host: "tb.example", ca_file: "ca_file", no_tls: "write http://" };
        let alert = Error::AlertReceived;
        for (error, said) in [
            (
                Error::InvalidCertificate(CertificateError::BadSignature),
                "too weak, or wrongly signed: issue one with",
            ),
            (Error::InvalidCertificate(CertificateError::Revoked), "has been revoked: issue another one"),
            (alert(AlertDescription::ProtocolVersion), "only old versions of TLS: turn on TLS 1.2 or 1.3"),
            (
                alert(AlertDescription::CertificateRequired),
                "a certificate of the client, which tbtokend does not have",
            ),
            (alert(AlertDescription::HandshakeFailure), "no TLS cipher or key that is strong enough"),
            (alert(AlertDescription::UnrecognisedName), "does not know the name tb.example"),
        ] {
            let text = explain(&error, context);
            assert!(text.contains(said), "{error:?}: {text}");
        }
    }
}
