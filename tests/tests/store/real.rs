//! The real SQL Server that `TBTOKEN_TEST_MSSQL` names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tbtokend::store::mssql::{Encryption, ExpiryClock, Settings, Trust};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::stores::fixed;

pub(crate) const VARIABLE: &str = "TBTOKEN_TEST_MSSQL";

/// Whether there is a real server. If not, prints that `case` is skipped.
pub(crate) fn is_there(case: &str) -> bool {
    let is_there = std::env::var_os(VARIABLE).is_some_and(|text| !text.is_empty());
    if !is_there {
        eprintln!("{case}: skipped, {VARIABLE} names no server");
    }
    is_there
}

/// Parses the variable.
fn parts() -> BTreeMap<String, String> {
    let text = std::env::var(VARIABLE).expect("a real server");
    let part = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or_else(|| panic!("{VARIABLE}: {part} has no ="));
        (key.trim().to_lowercase(), value.trim().to_owned())
    };
    text.split(';').filter(|text| !text.trim().is_empty()).map(part).collect()
}

fn part(key: &str) -> String {
    parts().remove(key).unwrap_or_else(|| panic!("{VARIABLE} says no {key}"))
}

/// Returns the settings of a store for a table there.
pub(crate) fn settings(table: &str) -> Settings {
    let server = part("server");
    Settings {
        address: tbtokend::store::mssql::Address::parse(&server).unwrap(),
        server,
        database: part("database"),
        user: part("user"),
        password: fixed(&part("password")),
        encryption: Encryption::Required,
        trust: match parts().get("trust").map(String::as_str) {
            Some("true") => Trust::AnyCertificate,
            _ => Trust::Authorities { ca_file: parts().get("ca_file").map(PathBuf::from) },
        },
        multi_subnet_failover: false,
        table: table.to_owned(),
        expiry_clock: ExpiryClock::Utc,
        fallback_url: None,
        state_folder: None,
    }
}

/// Runs statements as an application. Returns the rows of the last result as texts; NULL is `None`.
pub(crate) async fn execute(text: &str) -> Vec<Vec<Option<String>>> {
    let mut client = connect().await;
    let results = client.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let results = results.into_results().await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let rows = results.into_iter().next_back().unwrap_or_default();
    rows.into_iter()
        .map(|row| {
            let cells =
                (0..row.len()).map(|cell| row.try_get::<&str, _>(cell).expect("texts only").map(Into::into));
            cells.collect()
        })
        .collect()
}

async fn connect() -> Client<Compat<TcpStream>> {
    let settings = settings("unused");
    let (host, port) = settings.server.split_once(',').expect("host,port");
    let mut config = Config::new();
    config.host(host);
    config.port(port.trim().parse().expect("a port"));
    config.database(&settings.database);
    config.authentication(AuthMethod::sql_server(part("user"), part("password")));
    config.encryption(EncryptionLevel::Required);
    // Only the daemon's own connection is tested: this library refuses a certificate that is its own authority.
    config.trust_cert();
    let tcp = TcpStream::connect(config.get_addr()).await.expect("the real server is there");
    Box::pin(Client::connect(config, tcp.compat_write())).await.expect("the real server accepts the login")
}
