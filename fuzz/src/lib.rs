//! The fuzz targets: each is a function that takes any bytes and must not panic (promise 22).
//!
//! `fuzz_targets/` passes them to libFuzzer. `main.rs` calls them with changed examples, on any compiler.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use tbtoken_tests::mssql::{SqlServer, When};
use tbtokend::clock::Clock;
use tbtokend::config::{Overrides, Source};
use tbtokend::control::Binding;
use tbtokend::engine::pass::{Limits, budget};
use tbtokend::engine::policy::Policy;
use tbtokend::engine::scheduler::{self, Scheduler};
use tbtokend::http;
use tbtokend::model::{BaseUrl, Credentials, Lifetime, Secret, Token, VerifyTokens};
use tbtokend::store::mssql::{Address, Encryption, ExpiryClock, MssqlStore, Password, Settings, Trust};
use tbtokend::store::sqlite::SqliteStore;
use tbtokend::store::{Records, Store as _};
use tbtokend::thingsboard::{Client, ClientSettings, Logins as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A target: its name, its function, and some example inputs.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub examples: &'static [&'static [u8]],
}

pub const TARGETS: [Target; 6] = [
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
        name: "http_request",
        run: http_request,
        examples: &[
            b"GET /api/cron/refresh-tokens?customers=8F1C02AA,x&since=981 HTTP/1.1\r\nHost: localhost:9137\r\nAuthorization: Bearer the-token-that-may-do-everything-1\r\n\r\n",
            b"GET /api/cron/refresh-tokens?text=a%20b&status=expired,missing&state=parked&sort=left&limit=500 HTTP/1.1\r\nHost: tokens.example.com\r\nOrigin: https://tokens.example.com\r\nAuthorization: bearer the-token-that-may-read-only-12345\r\nIf-None-Match: W/\"x\", \"y\"\r\n\r\n",
            b"POST /api/cron/refresh-tokens HTTP/1.1\r\nHost: [::1]:9137\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 19\r\nAuthorization: Bearer the-token-that-may-do-everything-1\r\n\r\n{\"action\":\"status\"}",
            b"GET http://other.example/api/events?since=12&limit=100 HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: null\r\nSec-Fetch-Site: cross-site\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n",
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

/// Sends bytes to the HTTP listener: heads, tokens, `Host`, `Origin`, queries and bodies. A panic on the listener's runtime
/// fails the target.
pub fn http_request(data: &[u8]) {
    static LISTENER: LazyLock<(PathBuf, TempDir)> = LazyLock::new(start_listener);
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static HOOK: LazyLock<()> = LazyLock::new(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            usual(panic);
        }));
    });
    LazyLock::force(&HOOK);
    let before = PANICS.load(Ordering::SeqCst);
    let mut stream = connect(&LISTENER.0);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The listener may refuse the head and close before it has read the rest.
    let _ = stream.write_all(data).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).map_err(|error| error.kind());
    assert!(end != Err(std::io::ErrorKind::WouldBlock), "the connection hangs");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
    assert_eq!(PANICS.load(Ordering::SeqCst), before, "the listener panicked");
}

/// Connects as soon as the listener has made its socket.
fn connect(socket: &PathBuf) -> UnixStream {
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Starts an HTTP listener at a Unix socket. Its engine does not run, so that requests to change something are refused.
fn start_listener() -> (PathBuf, TempDir) {
    let folder = TempDir::new().unwrap();
    let time = Duration::from_secs(5);
    let client = ClientSettings { connect_timeout: time, request_timeout: time, ca_file: None, proxy: None };
    let _runtime = runtime().enter();
    let (_, handle) = Scheduler::new(scheduler::Parts {
        store: SqliteStore::new(&folder.path().join("customers.db"), "customer_settings", None).unwrap(),
        logins: Client::new(&client).unwrap(),
        clock: Clock::system(),
        policy: Policy {
            interval: TimeDelta::seconds(60),
            window: TimeDelta::minutes(5),
            lifetime: Lifetime::Jwt,
            require_https: false,
            wrong_password_budget: 3,
            verify_tokens: VerifyTokens::Sample,
        },
        limits: Limits { in_flight: 8, per_server: 8, budget: budget(time), request_timeout: time },
        autostart: false,
        config_file: None,
        seed: 1,
        name: "fuzz".into(),
    });
    let path = folder.path().join("http.sock");
    let rules = http::AccessRules {
        write: Some(http::Token::new("the-token-that-may-do-everything-1")),
        read: Some(http::Token::new("the-token-that-may-read-only-12345")),
        allowed_hosts: vec!["tokens.example.com".to_owned()],
    };
    let (_, access_rules) = watch::channel(rules.clone());
    let (_, alive) = watch::channel(tokio::time::Instant::now());
    let address = http::Address::Unix(Binding { path: path.clone(), mode: 0o600, group: None });
    runtime().spawn(http::serve(http::Parts {
        settings: http::Settings {
            address,
            exposed: false,
            access_rules: rules,
            metrics_open: false,
            page: true,
        },
        access_rules,
        handle,
        clock: Clock::system(),
        alive,
        stuck_after: Duration::from_secs(3600),
        shutdown: CancellationToken::new(),
    }));
    (path, folder)
}

/// Parses a token of ThingsBoard.
pub fn jwt(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Token::parse(text);
    }
}

/// Reads an answer of a ThingsBoard server to a login. The first byte chooses the status. The rest of the first line is the
/// value of all relevant headers. The other lines are the body.
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
    let overrides = Overrides { file: Some(file), ..Overrides::default() };
    let _ = Source { overrides, ..Source::default() }.load();
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
            credentials: Credentials {
                url: url.into(),
                username: "ops".to_owned(),
                password: Secret::new("x"),
            },
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
