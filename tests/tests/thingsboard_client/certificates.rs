//! Accepted certificates, and the messages for the others.

use tbtoken_tests::thingsboard::{Certificate, CertificateKind as Kind, ThingsBoard, TlsFront, User};
use tbtokend::model::BaseUrl;

use crate::ground::{TIMEOUT, client, log_in, trusting, words};

fn server() -> ThingsBoard {
    let server = ThingsBoard::start();
    server.add(User::new("ops@acme.example"));
    server
}

#[tokio::test]
async fn an_authority_and_a_certificate_that_is_named_itself_are_trusted() {
    let server = server();
    for kind in
        [Kind::Issued, Kind::IssuedByIntermediate { is_sent: true }, Kind::SelfSigned, Kind::SelfSignedNoName]
    {
        let (certificate, folder) = (Certificate::new(kind), tempfile::tempdir().unwrap());
        let front = TlsFront::new(&server, &certificate);
        let client = trusting(&certificate.authority, &folder);
        assert!(log_in(&client, &front.url(), TIMEOUT).await.is_ok(), "{kind:?}");
    }
}

/// A certificate in `ca_file` is accepted itself, but only for its names and its time.
#[tokio::test]
async fn each_fault_of_a_certificate_has_a_plain_message() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    for (kind, said) in [
        (
            Kind::IssuedByIntermediate { is_sent: false },
            "add the issuer's certificate to thingsboard.ca_file, or let the server send its whole chain",
        ),
        (Kind::WrongName, "its certificate is for tb.elsewhere.example, not for 127.0.0.1"),
        (Kind::NoName, "its certificate names no host, it has no subject alternative name"),
        (Kind::Expired, "its certificate has expired on 2001-01-01: renew it"),
        (
            Kind::NotYet,
            "its certificate is not valid before 2090-01-01: check it, and the clock of this machine",
        ),
        (Kind::SelfSignedWrongName, "its certificate is for tb.elsewhere.example, not for 127.0.0.1"),
        (Kind::SelfSignedExpired, "its certificate has expired on 2001-01-01: renew it"),
    ] {
        let certificate = Certificate::new(kind);
        let front = TlsFront::new(&server, &certificate);
        let client = trusting(&certificate.authority, &folder);
        let text = words(&client, &front.url()).await;
        assert!(text.contains(said), "{kind:?}: {text}");
        let doctor = client.request_status(&BaseUrl::parse(&front.url()).unwrap()).await.unwrap_err();
        assert!(doctor.to_string().contains(said), "{kind:?}: {doctor}");
    }
    for (kind, said) in [
        (
            Kind::SelfSigned,
            "its certificate is self-signed: add this certificate itself to thingsboard.ca_file",
        ),
        (Kind::Issued, "the issuer of its certificate is not known here: add the issuer's certificate"),
        (
            Kind::IssuedByIntermediate { is_sent: true },
            "add that authority's certificate to thingsboard.ca_file",
        ),
    ] {
        let front = TlsFront::new(&server, &Certificate::new(kind));
        let other = Certificate::new(kind).authority;
        for client in [client(), trusting(&other, &folder)] {
            let text = words(&client, &front.url()).await;
            assert!(text.contains(said), "{kind:?}: {text}");
        }
    }
    assert_eq!(server.stats().requests, 0);
}
