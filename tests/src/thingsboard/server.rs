//! The handle of a fake server: its users, its behaviour, its counters.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc as async_mpsc;
use tokio::task::JoinHandle;

use super::port::{PortChange, PortState, accept_connections, listen, reserve};
use super::state::{Shared, State};
use super::{Account, Behaviour, ServerStats, Settings, User, UserStats};

/// How long [`ThingsBoard::wait_until`] waits before it gives up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running fake. The drop ends it with all of its connections.
#[derive(Debug)]
pub struct ThingsBoard {
    shared: Arc<Shared>,
    address: SocketAddr,
    port: async_mpsc::UnboundedSender<PortChange>,
    task: JoinHandle<()>,
}

/// The counters of a fake, as [`ThingsBoard::wait_until`] shows them.
#[derive(Debug)]
pub struct Tally<'a>(&'a State);

impl Tally<'_> {
    /// Returns the counters of the server.
    #[must_use]
    pub fn server(&self) -> ServerStats {
        self.0.counters.stats
    }

    /// Returns the counters of a user.
    #[must_use]
    pub fn user(&self, name: &str) -> UserStats {
        self.0.directory.stats(name)
    }
}

impl ThingsBoard {
    /// Starts a server with ThingsBoard's default settings and no users.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// Starts a server with these settings and no users.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn with(settings: Settings) -> Self {
        static SERVERS: AtomicU64 = AtomicU64::new(1);

        let key = SERVERS.fetch_add(1, Ordering::Relaxed) << 32 | u64::from(std::process::id());
        let shared =
            Arc::new(Shared { state: Mutex::new(State::new(settings, key)), changed: Condvar::new() });
        let _guard = runtime().enter();
        let socket = reserve(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = socket.local_addr().expect("a bound socket has an address");
        let listener = listen(socket);
        let (port, changes) = async_mpsc::unbounded_channel();
        let task = runtime().spawn(accept_connections(listener, address, Arc::clone(&shared), changes));
        Self { shared, address, port, task }
    }

    /// Returns the URL for `tb_url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.lock().directory.settings.prefix)
    }

    /// Returns the address of the socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a user, in the place of one with the same name.
    pub fn add(&self, user: User) -> Account {
        let account =
            Account { url: self.url(), username: user.name.clone(), password: user.password.clone() };
        self.lock().directory.add(user);
        account
    }

    /// Adds `count` users, which `user` makes from their number.
    pub fn add_many(&self, count: usize, user: impl Fn(usize) -> User) -> Vec<Account> {
        (0..count).map(|number| self.add(user(number))).collect()
    }

    /// Removes a user.
    pub fn remove(&self, name: &str) {
        self.lock().directory.remove(name);
    }

    /// Changes a user, as an administrator: anything but its name.
    pub fn administer(&self, name: &str, change: impl FnOnce(User) -> User) {
        self.lock().directory.administer(name, change);
    }

    /// Changes the settings of the server. The prefix must not change, because existing accounts have the old one.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().directory.settings);
    }

    /// Sets another password, as the user or an administrator would. This outdates the tokens of *earlier seconds*. To test
    /// that at once, move the server's clock forward by a second with [`Settings::skew`].
    pub fn set_password(&self, name: &str, password: &str) {
        let mut state = self.lock();
        let now = state.now();
        state.directory.set_password(name, password, now);
    }

    /// Enables a user, as an administrator, which resets its counter of wrong passwords.
    pub fn enable(&self, name: &str) {
        self.lock().directory.set_enabled(name, true);
    }

    /// Disables a user, as an administrator.
    pub fn disable(&self, name: &str) {
        self.lock().directory.set_enabled(name, false);
    }

    /// Restarts the server, which forgets which tokens are outdated.
    pub fn restart(&self) {
        self.lock().directory.restart();
    }

    /// Changes the key that signs the tokens; all earlier tokens stop working.
    pub fn change_signing_key(&self) {
        self.lock().directory.change_signing_key();
    }

    /// Whether a user is enabled; false after it was locked.
    #[must_use]
    pub fn is_enabled(&self, name: &str) -> bool {
        self.lock().directory.is_enabled(name)
    }

    /// Ends the sessions of a user that began in earlier seconds, as [`set_password`](Self::set_password) does.
    pub fn end_sessions(&self, name: &str) {
        let mut state = self.lock();
        let now = state.now();
        state.directory.end_sessions(name, now);
    }

    /// Checks, without the network, whether an access token is valid.
    #[must_use]
    pub fn accepts(&self, token: &str) -> bool {
        let state = self.lock();
        state.directory.whoami(Some(token), state.now()).status == 200
    }

    /// Sets the behaviour of the server from the next request on. When this returns, the port is in the matching state.
    ///
    /// # Panics
    /// Inside a task of the fakes' own runtime, which only the fakes use.
    pub fn set(&self, behaviour: Behaviour) {
        let port = match behaviour {
            Behaviour::Refuse => PortState::Closed,
            Behaviour::BlackHole => PortState::BlackHole,
            _ => PortState::Open,
        };
        self.shared.update(|state| {
            state.passing = None;
            let thaws = state.behaviour == Behaviour::Frozen && behaviour != Behaviour::Frozen;
            state.behaviour = behaviour;
            if thaws {
                state.thaw();
            }
        });
        let (done, wait) = mpsc::channel();
        self.port.send((port, done)).expect("the task of the port runs");
        wait.recv_timeout(TIMEOUT).expect("the task of the port answers");
    }

    /// Sets a behaviour for the next `requests` requests of the server; then the earlier one returns.
    ///
    /// # Panics
    /// With a behaviour that is for the whole server only.
    pub fn set_for_next(&self, requests: u32, behaviour: Behaviour) {
        assert!(!behaviour.is_of_the_whole_server(), "{behaviour:?} has no requests to count");
        self.lock().passing = (requests > 0).then_some((behaviour, requests));
    }

    /// Sets the behaviour for one user, which counts while the server itself behaves normally.
    ///
    /// # Panics
    /// With a behaviour that is for the whole server only.
    pub fn set_for(&self, name: &str, behaviour: Behaviour) {
        assert!(!behaviour.is_of_the_whole_server(), "{behaviour:?} is for the whole server");
        self.lock().behaviours.insert(name.to_owned(), (behaviour, None));
    }

    /// Sets the behaviour for the next `requests` requests of one user.
    ///
    /// # Panics
    /// With a behaviour that is for the whole server only.
    pub fn set_for_next_of(&self, name: &str, requests: u32, behaviour: Behaviour) {
        self.set_for(name, behaviour);
        let mut state = self.lock();
        if let Some((_, left)) = state.behaviours.get_mut(name) {
            *left = Some(requests);
        }
    }

    /// Returns the counters of the server.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.lock().counters.stats
    }

    /// Returns the counters of a user.
    #[must_use]
    pub fn user_stats(&self, name: &str) -> UserStats {
        self.lock().directory.stats(name)
    }

    /// Returns method and path of the latest request.
    #[must_use]
    pub fn latest_request(&self) -> String {
        self.lock().counters.latest.clone()
    }

    /// Returns the arrival times of the last 100,000 requests, oldest first.
    #[must_use]
    pub fn request_times(&self) -> Vec<Instant> {
        self.lock().counters.times.iter().copied().collect()
    }

    /// Waits until the counters satisfy `condition`.
    ///
    /// # Panics
    /// With `what` and the counters, after half a minute.
    pub fn wait_until(&self, what: &str, condition: impl Fn(Tally<'_>) -> bool) {
        let (state, outcome) = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), TIMEOUT, |state| !condition(Tally(state)))
            .unwrap();
        assert!(!outcome.timed_out(), "waited in vain until {what}; {:?}", state.counters.stats);
    }

    /// Waits until the counters satisfy `condition`, at most `timeout`. Returns whether they did.
    #[must_use]
    pub fn wait_at_most(&self, timeout: Duration, condition: impl Fn(Tally<'_>) -> bool) -> bool {
        let (_state, outcome) = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), timeout, |state| !condition(Tally(state)))
            .unwrap();
        !outcome.timed_out()
    }

    /// Waits until every request that was sent before this call is counted, also those of closed connections. No other
    /// client may be connected. It costs one request.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn settle(&self) {
        // Connections are accepted in order: once this one is answered, all earlier ones are counted.
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n\r\n").expect("it is read");
        stream.read_to_end(&mut Vec::new()).expect("it is answered");
        drop(stream);
        self.wait_until("no client is connected", |tally| tally.server().connections == 0);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for ThingsBoard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the runtime of all fakes of a process.
pub(super) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fakes")
            .enable_all()
            .build()
            .expect("a runtime for the fakes")
    })
}
