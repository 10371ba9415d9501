//! The handle of a fake SQL Server: its tables, its switches, its counters.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::counters::Stats;
use super::faults::{Direction, Fault, Layer, When};
use super::meter::Gate;
use super::session;
use super::settings::Settings;
use super::sql::{Permission, Zone};
use super::state::{Live, Shared};

/// How long a test waits for anything before it fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running fake. The drop ends it with all of its connections.
pub struct SqlServer {
    pub(super) shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for SqlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlServer({})", self.address)
    }
}

impl SqlServer {
    /// Starts a server with the default settings and an empty database.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// Starts a server with these settings and an empty database.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn with(settings: Settings) -> Self {
        let listener = std::net::TcpListener::bind((settings.address, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Shared::new(settings);
        let server = Self { shared, address, acceptor: Mutex::new(None) };
        server.open(listener);
        server
    }

    fn open(&self, listener: std::net::TcpListener) {
        listener.set_nonblocking(true).expect("a socket can be made so");
        let _guard = runtime().enter();
        let listener = TcpListener::from_std(listener).expect("a listening socket");
        let acceptor = runtime().spawn(accept_connections(listener, Arc::clone(&self.shared)));
        *self.acceptor.lock().unwrap() = Some(acceptor);
    }

    /// Returns the value for `store.server`: `127.0.0.1,PORT`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{},{}", self.address.ip(), self.address.port())
    }

    /// Returns the address of the socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the current settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.shared.lock().settings.clone()
    }

    /// Returns the certificate of the server's authority as PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.shared.tls.authority
    }

    /// Writes that certificate to a file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_authority(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        std::fs::write(&path, self.authority()).expect("a file in a test's own folder");
        path
    }

    /// Changes the password of the login. Open sessions stay.
    pub fn set_password(&self, password: &str) {
        self.shared.update(|state| state.settings.password = password.to_owned());
    }

    /// Moves the server to another time zone.
    pub fn set_zone(&self, zone: Zone) {
        self.shared.update(|state| state.database.zone = zone);
    }

    /// Sets the server's clock this many seconds ahead of this machine's.
    pub fn set_skew(&self, seconds: i64) {
        self.shared.update(|state| state.settings.skew = seconds);
    }

    /// Makes the database read-only, or not.
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.update(|state| state.database.read_only = read_only);
    }

    /// Removes a permission of the login.
    pub fn deny(&self, permission: Permission) {
        self.shared.update(|state| state.database.denied.push(permission));
    }

    /// Shows the login all permissions, and lets other users read `tbtokend_key`.
    pub fn show_key_readers(&self, users: &[&str]) {
        self.shared.update(|state| {
            state.database.shows_permissions = true;
            state.database.key_readers = users.iter().map(|user| (*user).to_owned()).collect();
        });
    }

    /// Restores all permissions of the login.
    pub fn allow_everything(&self) {
        self.shared.update(|state| state.database.denied.clear());
    }

    /// Answers the next requests of that kind with an error, without running them.
    pub fn fail(&self, when: When, number: u32, times: u64) {
        self.add_fault(when, Fault::Error(number), times);
    }

    /// Answers the next requests of that kind late.
    pub fn delay(&self, when: When, delay: Duration, times: u64) {
        self.add_fault(when, Fault::Delay(delay), times);
    }

    /// Neither answers nor runs the next requests of that kind.
    pub fn ignore(&self, when: When, times: u64) {
        self.add_fault(when, Fault::Silence, times);
    }

    /// Cuts the connection instead of running the next requests of that kind.
    pub fn cut_before(&self, when: When, times: u64) {
        self.add_fault(when, Fault::CutBefore, times);
    }

    /// Runs the next requests of that kind, and cuts the connection instead of answering.
    pub fn cut_after(&self, when: When, times: u64) {
        self.add_fault(when, Fault::CutAfter, times);
    }

    /// Runs the next request of that kind, garbles the answer with this seed, and cuts the connection after it.
    pub fn garble(&self, when: When, seed: u64) {
        self.add_fault(when, Fault::Garbled(seed), 1);
    }

    /// Runs the next request of that kind, sends these bytes as the answer, and cuts the connection after them.
    pub fn replace(&self, when: When, answer: Vec<u8>) {
        self.add_fault(when, Fault::Replaced(answer), 1);
    }

    fn add_fault(&self, when: When, fault: Fault, times: u64) {
        self.shared.update(|state| state.faults.add(when, fault, times));
    }

    /// Removes all faults.
    pub fn calm(&self) {
        self.shared.update(|state| {
            state.faults.clear();
            state.next_cut = None;
        });
    }

    /// Cuts the open connections after this many more bytes; if there are none, cuts the next one.
    pub fn cut(&self, layer: Layer, direction: Direction, bytes: u64) {
        self.shared.update(|state| {
            let mut any = false;
            for live in &state.sessions {
                let gate = match layer {
                    Layer::Wire => live.wire.upgrade(),
                    Layer::Tds => live.tds.upgrade(),
                };
                if let Some(gate) = gate {
                    gate.cut_after(direction, bytes);
                    any = true;
                }
            }
            if !any {
                state.next_cut = Some((layer, direction, bytes));
            }
        });
    }

    /// Returns the bytes inside TLS that the open connections have received and sent so far.
    #[must_use]
    pub fn tds_bytes(&self) -> (u64, u64) {
        let state = self.shared.lock();
        let gates = state.sessions.iter().filter_map(|live| live.tds.upgrade());
        gates.map(|gate| gate.counts()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Ends every session, as `KILL` does.
    pub fn kill_sessions(&self) {
        let sessions = self.shared.update(|state| std::mem::take(&mut state.sessions));
        for live in sessions {
            live.task.abort();
        }
    }

    /// Stops the server: the port is closed, and all sessions end. The data stay.
    pub fn stop(&self) {
        let acceptor = self.acceptor.lock().unwrap().take();
        if let Some(acceptor) = acceptor {
            acceptor.abort();
            // The port is free only when the task has ended.
            while !acceptor.is_finished() {
                std::thread::yield_now();
            }
        }
        self.kill_sessions();
    }

    /// Starts the server again on the same port.
    ///
    /// # Panics
    /// If another process has taken the port.
    pub fn start_again(&self) {
        let listener = std::net::TcpListener::bind(self.address).expect("the port that it had");
        self.open(listener);
    }

    /// Stops and starts the server.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats_now()
    }

    /// Blocks until the counters satisfy a condition.
    ///
    /// # Panics
    /// With `what`, if they do not in time.
    pub fn wait_until(&self, what: &str, condition: impl FnMut(&Stats) -> bool) {
        assert!(self.shared.wait(TIMEOUT, condition), "waited in vain until {what}: {:#?}", self.stats());
    }

    /// Waits until the counters satisfy a condition, without blocking the thread.
    ///
    /// # Panics
    /// With `what`, if they do not in time.
    pub async fn until(&self, what: &str, condition: impl Fn(&Stats) -> bool) {
        let mut ticks = self.shared.ticks.subscribe();
        // Measured by the fake's runtime, because the test's clock may be paused.
        let mut alarm = runtime().spawn(tokio::time::sleep(TIMEOUT));
        while !condition(&self.stats()) {
            tokio::select! {
                changed = ticks.changed() => changed.expect("the server is there as long as its handle"),
                _ = &mut alarm => panic!("waited in vain until {what}: {:#?}", self.stats()),
            }
        }
        alarm.abort();
    }

    /// Whether any message of a client contained this text, in one of the two encodings of TDS.
    #[must_use]
    pub fn has_received(&self, text: &str) -> bool {
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let state = self.shared.lock();
        let contains = |bytes: &[u8]| state.received.windows(bytes.len()).any(|window| window == bytes);
        contains(&wide) || contains(text.as_bytes())
    }
}

impl Drop for SqlServer {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.lock().unwrap().take() {
            acceptor.abort();
        }
        self.kill_sessions();
    }
}

/// Returns the runtime of all fakes. A test may have many fakes and drop them anywhere.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fake-mssql")
            .enable_all()
            .build()
            .expect("a runtime can be made")
    })
}

async fn accept_connections(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        admit(stream, &shared);
    }
}

fn admit(stream: TcpStream, shared: &Arc<Shared>) {
    let (wire, tds) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let served = session::serve(Arc::clone(shared), stream, Arc::clone(&wire), Arc::clone(&tds));
    shared.update(|state| {
        state.arm(&wire, &tds);
        state.stats.connections += 1;
        state.stats.connections_total += 1;
        state.stats.attempts.push(std::time::Instant::now());
        let task = tokio::spawn(served).abort_handle();
        let (wire, tds) = (Arc::downgrade(&wire), Arc::downgrade(&tds));
        state.sessions.push(Live { task, wire, tds });
    });
}
