//! The fuzz targets: each is a function that takes any bytes and must not panic (promise 22).
//!
//! `fuzz_targets/` passes them to libFuzzer. `main.rs` calls them with changed examples, on any compiler.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use tbtoken_tests::mssql::{SqlServer, When};
use tbtokend::config::{Config, Environment, Overrides};
use tbtokend::model::{BaseUrl, Credentials, Secret, Token};
use tbtokend::store::mssql::{Address, Encryption, ExpiryClock, MssqlStore, Password, Settings, Trust};
use tbtokend::store::{Records, Store as _};
use tbtokend::thingsboard::{Client, ClientSettings, Logins as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A target: its name, its function, and some example inputs.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub examples: &'static [&'static [u8]],
}

pub const TARGETS: [Target; 5] = [
    Target {
        name: "request_line",
        run: request_line,
        examples: &[
            br#"{"action":"status","customers":{"in_trouble":10},"id":7}"#,
            br#"{"action":"status","since":981}"#,
            br#"{"action":"refresh","customers":["8F1C02AA"],"force":true,"wait":false}"#,
            br#"{"action":"events","since":12,"limit":100}"#,
        ],
    },
    Target {
        name: "jwt",
        run: jwt,
        examples: &[b"eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJvcHMiLCJpYXQiOjE3OTQ5MzEyMDAsImV4cCI6MTc5NDk0MDIwMCwic2NvcGVzIjpbIlRFTkFOVF9BRE1JTiJdfQ.c2ln"],
    },
    Target {
        name: "thingsboard_answer",
        run: thingsboard_answer,
        examples: &[
            b"\0application/json\n{\"token\":\"eyJhbGciOiJIUzUxMiJ9.eyJpYXQiOjE3OTQ5MzEyMDAsImV4cCI6MTc5NDk0MDIwMH0.c2ln\",\"refreshToken\":\"eyJh.eyJh.c2ln\"}",
            b"\x01Mon, 23 Nov 2026 14:03:18 GMT\n{\"status\":401,\"message\":\"Invalid username or password\",\"errorCode\":10}",
            b"\x04120\n<html>Too many requests</html>",
            b"\x06https://elsewhere.example/login\n",
        ],
    },
    Target {
        name: "tds_rows",
        run: tds_rows,
        examples: &[
            // COLMETADATA of one int, a row of it, DONE.
            b"\x81\x01\0\0\0\0\0\0\0\x38\x01n\0\xd1\x2a\0\0\0\xfd\0\0\xc1\0\x01\0\0\0\0\0\0\0",
            b"\xfd\0\0\0\0\0\0\0\0\0\0\0\0",
        ],
    },
    Target {
        name: "configuration",
        run: configuration,
        examples: &[tbtokend::config::DEFAULTS.as_bytes(), b"[store]\nkind = \"mssql\"\nserver = \"a\\\\b\"\n"],
    },
];

/// Parses a line that a client sends to the control socket.
pub fn request_line(data: &[u8]) {
    if let Ok(line) = std::str::from_utf8(data) {
        let _ = tbtoken_proto::Envelope::parse(line);
    }
}

/// Parses a token of ThingsBoard.
pub fn jwt(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Token::parse(text);
    }
}

/// Reads an answer of a ThingsBoard server to a login. The first byte chooses the status, the rest of the first line is the
/// value of all relevant headers, and the other lines are the body.
pub fn thingsboard_answer(data: &[u8]) {
    static SERVER: LazyLock<Answers> = LazyLock::new(Answers::start);
    const STATUSES: [u16; 8] = [200, 401, 403, 404, 429, 503, 302, 500];
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    let value: String =
        rest[..end].iter().filter(|byte| (b' '..0x7f).contains(byte)).map(|&byte| char::from(byte)).collect();
    let body = rest.get(end + 1..).unwrap_or_default();
    let status = STATUSES[usize::from(*first) % STATUSES.len()];
    let mut answer = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: {value}\r\ncontent-encoding: {value}\r\nlocation: {value}\r\n\
         retry-after: {value}\r\ndate: {value}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    SERVER.set_answer(answer);
    runtime().block_on(async {
        let _ = SERVER.client.login(&SERVER.base, &SERVER.credentials, Duration::from_secs(5)).await;
        let _ = SERVER.client.refresh(&SERVER.base, &Secret::new("x")).await;
        let _ = SERVER.client.probe(&SERVER.base).await;
    });
}

/// Reads an answer of SQL Server to the statement that reads the table, as a stream of TDS tokens.
pub fn tds_rows(data: &[u8]) {
    static SERVER: LazyLock<(SqlServer, TempDir)> = LazyLock::new(|| {
        let (server, folder) = (SqlServer::start(), TempDir::new().unwrap());
        server.write_authority(folder.path());
        server.create_customers();
        (server, folder)
    });
    let (server, folder) = &*SERVER;
    server.calm();
    server.replace(When::Statement("read".to_owned()), data.to_vec());
    // A new store each time, because a store with an error waits before it connects again.
    let store = MssqlStore::new(settings(server, folder));
    let _ = runtime().block_on(store.read(Records::All));
}

fn settings(server: &SqlServer, folder: &TempDir) -> Settings {
    Settings {
        address: Address::parse(&server.place()).unwrap(),
        server: server.place(),
        database: server.settings().database,
        user: server.settings().user,
        password: Password::fixed(Secret::new(server.settings().password)),
        encryption: Encryption::Required,
        trust: Trust::Authorities { ca_file: Some(folder.path().join("authority.pem")) },
        multi_subnet_failover: false,
        table: "customer_settings".to_owned(),
        expiry_clock: ExpiryClock::Utc,
        fallback_url: None,
        state_folder: None,
    }
}

/// Loads a configuration file.
pub fn configuration(data: &[u8]) {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());
    let file = FOLDER.path().join("config.toml");
    std::fs::write(&file, data).unwrap();
    let _ = Config::load(&Overrides { file: Some(file), ..Overrides::default() }, &Environment::new());
}

fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    });
    &RUNTIME
}

/// A server that answers every request with the same bytes, and a client for it.
struct Answers {
    answer: &'static Mutex<Vec<u8>>,
    client: Client,
    base: BaseUrl,
    credentials: Credentials,
}

impl Answers {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream, answer));
            }
        });
        let time = Duration::from_secs(5);
        let settings =
            ClientSettings { connect_timeout: time, request_timeout: time, ca_file: None, proxy: None };
        Self {
            answer,
            client: Client::new(&settings).unwrap(),
            base: BaseUrl::parse(&url).unwrap(),
            credentials: Credentials { url, username: "ops".to_owned(), password: Secret::new("x") },
        }
    }

    fn set_answer(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }
}

/// Answers the requests of a connection until it closes.
fn serve(stream: TcpStream, answer: &Mutex<Vec<u8>>) -> Option<()> {
    let mut requests = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while requests.read_line(&mut line).ok()? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        requests.by_ref().take(length).read_to_end(&mut Vec::new()).ok()?;
        let answer = answer.lock().unwrap().clone();
        requests.get_mut().write_all(&answer).ok()?;
    }
}
