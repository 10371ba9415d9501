//! Both ways of TLS, and untrusted certificates.

use tbtoken_tests::mssql::{Accepts, Certificate, Settings, SqlServer};
use tiberius::EncryptionLevel;
use tiberius::error::Error;

use crate::client::{config, connect_with, trusting};

fn server(accepts: Accepts, certificate: Certificate) -> SqlServer {
    SqlServer::with(Settings { accepts, certificate, ..Settings::default() })
}

async fn works(server: &SqlServer, level: EncryptionLevel) -> Result<(), Error> {
    let mut config = config(server);
    config.encryption(level);
    let mut client = connect_with(config).await?;
    client.query("/* tbtokend:test */ SELECT 1 AS one", &[]).await?.into_row().await.map(|_| ())
}

#[tokio::test]
async fn both_ways_of_encryption_work() {
    let server = server(Accepts::Both, Certificate::PrivateAuthority);
    works(&server, EncryptionLevel::Required).await.unwrap();
    works(&server, EncryptionLevel::Strict).await.unwrap();
}

#[tokio::test]
async fn a_strict_server_takes_nothing_else() {
    let server = server(Accepts::OnlyStrict, Certificate::PrivateAuthority);
    works(&server, EncryptionLevel::Strict).await.unwrap();
    assert!(works(&server, EncryptionLevel::Required).await.is_err());
    assert_eq!(server.stats().logins, 1);
}

#[tokio::test]
async fn a_server_without_encryption_gets_no_password_of_a_client_that_requires_it() {
    let server = server(Accepts::Plain, Certificate::PrivateAuthority);
    for level in [EncryptionLevel::Required, EncryptionLevel::Strict] {
        assert!(works(&server, level).await.is_err(), "{level:?}");
    }
    assert_eq!(server.stats().logins + server.stats().logins_refused, 0);
    works(&server, EncryptionLevel::NotSupported).await.unwrap();
}

#[tokio::test]
async fn untrusted_certificates_are_refused() {
    for certificate in [Certificate::WrongName, Certificate::SelfSigned, Certificate::Expired] {
        let server = server(Accepts::Both, certificate);
        for level in [EncryptionLevel::Required, EncryptionLevel::Strict] {
            let error = works(&server, level).await.unwrap_err();
            assert!(matches!(error, Error::Tls(_)), "{certificate:?}: {error:?}");
        }
        assert_eq!(server.stats().logins, 0);
        connect_with(trusting(&server)).await.unwrap();
    }
}
