//! A SQL Server by connection string: the table is in its own schema, which is removed at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tbtokend::model::{Lifetime, Renewal, Secret, Token};
use tbtokend::store::mssql::{self, Encryption, ExpiryClock, MssqlStore, Password, Settings, Trust};
use tbtokend::store::{Records, Saved, Store as _};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_util::compat::TokioAsyncWriteCompatExt as _;

use super::{BATCHES, inserts};
use crate::bench::bound::BATCH;
use crate::clock;
use crate::harness::{Installation, Row};
use crate::thingsboard::jwt;

/// The address and the login of a SQL Server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::bench) struct Address {
    pub(super) server: String,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) ca_file: Option<String>,
    /// Whether any certificate is accepted.
    pub(super) trust: bool,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = BTreeMap::new();
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or("each part of a connection string is KEY=VALUE".to_owned())?;
            parts.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
        let mut take = |key: &str| parts.remove(key).ok_or(format!("the connection string says no {key}"));
        let address = Self {
            server: take("server")?,
            database: take("database")?,
            user: take("user")?,
            password: take("password")?,
            ca_file: take("ca_file").ok(),
            trust: take("trust").is_ok_and(|trust| trust == "true"),
        };
        match parts.into_keys().next() {
            None => Ok(address),
            Some(key) => Err(format!(
                "{key} is not known; a connection string has server, database, user, password, ca_file, trust"
            )),
        }
    }
}

impl Address {
    /// Names the table in the configuration of the daemon.
    pub(super) fn configure(&self, installation: Installation, table: &str) -> Installation {
        let file = installation.folder().join("mssql-password");
        std::fs::write(&file, &self.password).expect("a file in a folder of one's own");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("one's own file");
        let mut installation = installation
            .with("store.kind", "mssql")
            .with("store.server", self.server.as_str())
            .with("store.database", self.database.as_str())
            .with("store.user", self.user.as_str())
            .with("store.password_file", file.display().to_string())
            .with("store.trust_server_certificate", self.trust)
            .with("store.table", table);
        installation.config().unset("store.path");
        match &self.ca_file {
            Some(file) => installation.with("store.ca_file", file.as_str()),
            None => installation,
        }
    }

    /// Measures how long the daemon's own store takes to write one full batch of tokens into this table of
    /// [scratch rows](scratch_rows).
    pub(super) fn batch(&self, table: &str) -> Duration {
        let store = MssqlStore::new(Settings {
            address: mssql::Address::parse(&self.server).expect("the address of a server"),
            server: self.server.clone(),
            database: self.database.clone(),
            user: self.user.clone(),
            password: Password::fixed(Secret::new(self.password.as_str())),
            encryption: Encryption::Required,
            trust: match self.trust {
                true => Trust::AnyCertificate,
                false => Trust::Authorities { ca_file: self.ca_file.as_ref().map(PathBuf::from) },
            },
            multi_subnet_failover: false,
            table: table.to_owned(),
            expiry_clock: ExpiryClock::Utc,
            fallback_url: None,
            state_folder: None,
        });
        runtime().block_on(async {
            let customers = store.read(Records::Failing).await.expect("the scratch table").customers;
            let renewals: Vec<Renewal> = customers
                .iter()
                .map(|customer| Renewal::new(customer, token(), clock::now(), Lifetime::Jwt))
                .collect();
            let mut taken = Vec::new();
            for batch in renewals.chunks(BATCH) {
                let batch = Arc::new(batch.to_vec());
                let began = Instant::now();
                let saved = store.save(batch).await.expect("the scratch table takes tokens");
                taken.push(began.elapsed());
                assert!(saved.iter().all(|saved| *saved == Saved::Written), "{saved:?}");
            }
            taken.sort_unstable();
            taken[BATCHES / 2]
        })
    }
}

/// Makes a token as long as ThingsBoard's.
fn token() -> Token {
    let now = clock::now().timestamp();
    let claims = format!(r#"{{"iat":{now},"exp":{},"filler":"{}"}}"#, now + 9_000, "x".repeat(400));
    let text = format!("eyJhbGciOiJIUzUxMiJ9.{}.{}", URL_SAFE_NO_PAD.encode(claims), "s".repeat(86));
    Token::parse(&text).expect("a token")
}

/// Makes the rows for the measurement of a batch.
pub(super) fn scratch_rows() -> Vec<Row> {
    let row = |number: usize| Row {
        customer_id: jwt::uuid(("scratch", number)),
        tb_username: Some("user".to_owned()),
        tb_password: Some(crate::canary::password("scratch")),
        tb_url: Some("http://127.0.0.1:9".to_owned()),
        ..Row::default()
    };
    (0..BATCHES * BATCH).map(row).collect()
}

/// The server and the schema on it, which the drop removes.
#[derive(Debug)]
pub(in crate::bench) struct Server {
    address: Address,
    schema: String,
}

impl Server {
    pub(super) fn fill(address: &Address, rows: &[Row]) -> Self {
        let schema = format!("tbtoken_bench_{}_{}", std::process::id(), clock::now().timestamp_millis());
        let server = Self { address: address.clone(), schema };
        let (schema, table) = (&server.schema, server.table());
        let scratch = format!("{schema}.scratch");
        let create = |table: &str| {
            format!(
                "CREATE TABLE {table} (customer_id uniqueidentifier NOT NULL PRIMARY KEY, tb_username nvarchar(255), tb_password nvarchar(255), tb_url nvarchar(500), tbtoken varchar(max), tbtokenexpiry datetime, updatedttm datetime)"
            )
        };
        let made = [format!("CREATE SCHEMA {schema}"), create(&table), create(&scratch)];
        let scratch_rows = scratch_rows();
        let filled = inserts(&table, rows).chain(inserts(&scratch, &scratch_rows));
        server.execute(made.into_iter().chain(filled)).expect("the SQL Server makes the tables");
        server
    }

    pub(super) fn table(&self) -> String {
        format!("{}.customer_settings", self.schema)
    }

    pub(super) fn batch(&self) -> Duration {
        self.address.batch(&format!("{}.scratch", self.schema))
    }

    /// Runs statements, one after the other.
    fn execute(&self, statements: impl Iterator<Item = String>) -> tiberius::Result<()> {
        let address = &self.address;
        let mut config = Config::new();
        let (host, port) = address.server.split_once(',').unwrap_or((&address.server, "1433"));
        config.host(host.trim_start_matches("tcp:"));
        config.port(port.trim().parse().expect("a port"));
        config.database(&address.database);
        config.authentication(AuthMethod::sql_server(&address.user, &address.password));
        config.encryption(EncryptionLevel::Required);
        match &address.ca_file {
            _ if address.trust => config.trust_cert(),
            Some(file) => {
                config.trust_cert_ca_bundle(std::fs::read(file).expect("the file of the authority"));
            }
            None => {}
        }
        runtime().block_on(async {
            let tcp = TcpStream::connect(config.get_addr()).await?;
            let mut client = Box::pin(Client::connect(config, tcp.compat_write())).await?;
            for statement in statements {
                client.simple_query(statement).await?.into_results().await?;
            }
            Ok(())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let schema = &self.schema;
        let tables = [
            "customer_settings",
            "scratch",
            "tbtokend_state",
            "tbtokend_key",
            "tbtokend_account",
            "tbtokend_notice",
        ];
        let drops = tables
            .map(|table| format!("IF OBJECT_ID('{schema}.{table}') IS NOT NULL DROP TABLE {schema}.{table}"));
        let schema = format!("DROP SCHEMA {schema}");
        if let Err(error) = self.execute(drops.into_iter().chain([schema])) {
            eprintln!("bench: the schema {} stays on the SQL Server: {error}", self.schema);
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
