//! A tiberius client that connects to a fake as the store does.

use tbtoken_tests::mssql::SqlServer;
use tiberius::{AuthMethod, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

pub(crate) type Client = tiberius::Client<Compat<TcpStream>>;

/// Makes the configuration of the right login.
pub(crate) fn config(server: &SqlServer) -> Config {
    let mut config = without_trust(server);
    config.trust_cert_ca_bundle(server.authority().as_bytes().to_vec());
    config
}

/// Makes the configuration of the right login that trusts any certificate.
pub(crate) fn trusting(server: &SqlServer) -> Config {
    let mut config = without_trust(server);
    config.trust_cert();
    config
}

fn without_trust(server: &SqlServer) -> Config {
    let settings = server.settings();
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(server.address().port());
    config.database(settings.database);
    config.authentication(AuthMethod::sql_server(settings.user, settings.password));
    config.encryption(EncryptionLevel::Required);
    config
}

/// Connects with this configuration.
pub(crate) async fn connect_with(config: Config) -> tiberius::Result<Client> {
    let tcp = TcpStream::connect(config.get_addr()).await?;
    tcp.set_nodelay(true)?;
    // On the heap, because tiberius makes large futures.
    Box::pin(Client::connect(config, tcp.compat_write())).await
}

/// Connects with the right login.
pub(crate) async fn connect(server: &SqlServer) -> Client {
    connect_with(config(server)).await.unwrap()
}

/// Returns the number, the class and the text of a server's error.
pub(crate) fn said(error: tiberius::error::Error) -> (u32, u8, String) {
    match error {
        tiberius::error::Error::Server(error) => (error.code(), error.class(), error.message().to_owned()),
        other => panic!("the server said nothing: {other:?}"),
    }
}
