//! The port of a fake server: whether it listens, and what happens on each connection.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc as async_mpsc;
use tokio::task::JoinSet;

use super::http::read_request;
use super::state::{Plan, Shared};
use super::{Behaviour, wire};

/// The state of the server's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortState {
    Open,
    Closed,
    BlackHole,
}

/// A new state for the port, and the channel that confirms it.
pub(super) type PortChange = (PortState, mpsc::Sender<()>);

/// Reserves the port without listening: connections are refused, and no other process gets the port.
pub(crate) fn reserve(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket that can take its port again");
    socket.bind(address).expect("a free port");
    socket
}

pub(super) fn listen(socket: TcpSocket) -> TcpListener {
    socket.listen(1024).expect("a listener")
}

/// Accepts connections while the port is open, and changes its state on request.
pub(super) async fn accept_connections(
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    mut changes: async_mpsc::UnboundedReceiver<PortChange>,
) {
    let mut connections = JoinSet::new();
    let mut port = PortState::Open;
    let mut listener = Some(listener);
    // Keeps the port closed: either the reserved socket, or the listener with a full queue.
    let mut _holding: Option<(Option<TcpSocket>, Option<BlackHole>)> = None;
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.recv() => {
                let Some((wanted, done)) = change else { return };
                if wanted != port {
                    listener = None;
                    _holding = None;
                    match wanted {
                        PortState::Open => listener = Some(listen(reserve(address))),
                        PortState::Closed => {
                            connections.shutdown().await;
                            _holding = Some((Some(reserve(address)), None));
                        }
                        PortState::BlackHole => _holding = Some((None, Some(BlackHole::dig(address).await))),
                    }
                    port = wanted;
                }
                let _ = done.send(());
            }
            connection = accepted => match connection {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    // Counted here, so that this connection is counted before any later one is answered.
                    let connected = Connected::new(&shared);
                    connections.spawn(converse(connected, stream));
                }
                // Most likely there are no descriptors left, until other connections are closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// A listener whose queue is full, so that the kernel drops every further attempt to connect.
#[derive(Debug)]
struct BlackHole {
    _listener: TcpListener,
    _fillers: Vec<TcpStream>,
}

impl BlackHole {
    async fn dig(address: SocketAddr) -> Self {
        let listener = reserve(address).listen(0).expect("a listener that takes one");
        // On Linux the first connection fills the queue, so it is awaited even where the machine is busy.
        let mut fillers = vec![TcpStream::connect(address).await.expect("the queue has room for one")];
        // The queue is full when an attempt hangs. On loopback, other attempts take microseconds.
        while let Ok(Ok(filler)) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            fillers.push(filler);
        }
        Self { _listener: listener, _fillers: fillers }
    }
}

/// Counts a connection until its drop, however it ends.
struct Connected(Arc<Shared>);

impl Connected {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.update(|state| state.counters.connected());
        Self(Arc::clone(shared))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.update(|state| state.counters.disconnected());
    }
}

/// Counts a request in flight until its drop.
struct InFlight<'a>(&'a Shared);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.update(|state| state.counters.request_ended());
    }
}

/// Serves one connection to its end. Errors on the wire are ignored, because the client sees them.
/// The stream is the last parameter, so that it is closed before the connection is counted as gone.
async fn converse(connected: Connected, mut stream: TcpStream) {
    let shared = &*connected.0;
    let mut rest = Vec::new();
    let mut served = false;
    loop {
        let idle_timeout = shared.lock().directory.settings.idle_timeout;
        let reading = read_request(&mut stream, &mut rest);
        let request = match idle_timeout {
            None => reading.await,
            Some(timeout) => match tokio::time::timeout(timeout, reading).await {
                Ok(request) => request,
                Err(_) => return,
            },
        };
        let Ok(Some(request)) = request else { return };
        if served && shared.lock().behaviour == Behaviour::StaleKeepAlive {
            return;
        }
        served = true;
        let keeps_alive = request.keeps_alive();
        let mut plan = None;
        shared.update(|state| {
            state.counters.request_began(Instant::now());
            plan = Some(state.plan(request));
        });
        let _in_flight = InFlight(shared);
        let (behaviour, answer) = match plan.expect("it was just made") {
            Plan::Answer(behaviour, answer) => (behaviour, answer),
            Plan::AfterTheFrost(answer) => tokio::select! {
                Ok(answer) = answer => (Behaviour::Normal, answer),
                _ = wire::silence(&mut stream) => return,
            },
        };
        match wire::send(&mut stream, &behaviour, &answer, keeps_alive).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}
