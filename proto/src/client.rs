//! The blocking client that `tbctl` and `tbtui` share.
//!
//! ```no_run
//! use std::time::Duration;
//! use tbtoken_proto::{Request, client::Client, socket_path};
//!
//! let mut client = Client::connect(&socket_path(None), Duration::from_secs(5))?;
//! let reply = client.send(&Request::Version {})?;
//! # Ok::<(), tbtoken_proto::client::ClientError>(())
//! ```

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::{Answer, Envelope, ErrorCode, Id, Refusal, Reply, Request, Rows, StatusQuery};

/// The longest answer that may name every customer. 100,000 of them take 31 MB, and three times as much while all fail.
const MAX_LONG_ANSWER: usize = 256 << 20;

/// The longest of all other answers. A thousand events or customers take less than 1 MB.
const MAX_ANSWER: usize = 16 << 20;

/// One connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    timeout: Duration,
    next_id: u64,
}

/// Why the daemon could not be asked, or would not answer. The text fits after `error: `; [`ClientError::hint`]
/// says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("cannot reach tbtokend at {}: there is no such socket", .0.display())]
    NotThere(PathBuf),
    /// There is a socket, but nobody listens.
    #[error("cannot reach tbtokend at {}: not running", .0.display())]
    NotRunning(PathBuf),
    /// There is something else where the socket should be.
    #[error("cannot reach tbtokend at {}: {what}", path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
        /// Why nobody can be reached there: `this is a folder, not a socket`.
        what: &'static str,
    },
    /// The socket does not let this user in.
    #[error("cannot reach tbtokend at {}: no permission", .0.display())]
    NoPermission(PathBuf),
    /// No answer in time.
    #[error("tbtokend at {} did not answer within {} s{}", path.display(), timeout.as_secs_f64(), still(*.pending))]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        timeout: Duration,
        /// Whether it was asked to change something: it may have the request, and carry it out when it goes on.
        pending: bool,
    },
    /// The daemon hung up before it answered.
    #[error("tbtokend at {} closed the connection before it answered", .0.display())]
    Closed(PathBuf),
    /// What answers is not a daemon that speaks this protocol.
    #[error("what answers at {} does not speak version {} of the protocol: {why}", path.display(), crate::PROTOCOL_VERSION)]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// Anything else that the operating system says.
    #[error("cannot talk to tbtokend at {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The daemon answered that it will not do it.
    #[error("{}", .0.error)]
    Refused(Refusal),
}

/// What a person must know who asked for something and heard nothing.
fn still(pending: bool) -> &'static str {
    if pending { ", but may still do what it was asked" } else { "" }
}

impl ClientError {
    /// What to do about it, in one line; `None` where the error says it already.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotThere(_) => Some(
                "is tbtokend started? systemctl status tbtokend ; another socket: --socket PATH or TBTOKEND_SOCKET"
                    .to_owned(),
            ),
            Self::NotRunning(_) | Self::Closed(_) => {
                Some("systemctl status tbtokend ; journalctl -u tbtokend -n 20".to_owned())
            }
            Self::NotASocket { .. } => Some(format!(
                "name the daemon's socket with --socket PATH or TBTOKEND_SOCKET; unless configured otherwise, it is {}",
                crate::DEFAULT_SOCKET
            )),
            Self::NoPermission(path) => Some(format!(
                "ls -l {} ; members of the socket's group may use it: sudo usermod -aG GROUP USER, then log in again",
                path.display()
            )),
            Self::TimedOut { .. } => {
                Some("systemctl status tbtokend ; journalctl -u tbtokend -n 20".to_owned())
            }
            Self::Protocol { .. } => Some("install the same version of tbctl, tbtui and tbtokend".to_owned()),
            Self::Io { .. } => None,
            Self::Refused(refusal) => match refusal.code {
                ErrorCode::UnknownCustomer => Some("tbctl status lists the customers".to_owned()),
                ErrorCode::IneligibleCustomer => Some("sudo tbtokend doctor says which rows count".to_owned()),
                ErrorCode::ReadOnly => {
                    Some("this is the monitor socket; use the control socket to change anything".to_owned())
                }
                ErrorCode::StoreUnavailable => Some("journalctl -u tbtokend -n 20".to_owned()),
                ErrorCode::BadConfiguration => Some("correct the file, then: tbctl reload".to_owned()),
                ErrorCode::Busy | ErrorCode::ShuttingDown => Some("try again in a moment".to_owned()),
                ErrorCode::Internal => {
                    Some("this is a bug; journalctl -u tbtokend -n 50 shows more".to_owned())
                }
                // The last three are of HTTP alone.
                ErrorCode::BadRequest
                | ErrorCode::UnknownAction
                | ErrorCode::Unknown
                | ErrorCode::Unauthorized
                | ErrorCode::Forbidden
                | ErrorCode::Misdirected => None,
            },
        }
    }
}

/// Connects, but not for longer than `timeout`: when the queue of a daemon that has stopped accepting is full,
/// a plain `connect` on a Unix socket waits for ever. On Linux the write time-out bounds it (`unix_stream_connect`
/// in the kernel's `net/unix/af_unix.c`), and it can only be set on a socket that is not connected yet.
fn connect_within(path: &Path, timeout: Duration) -> std::io::Result<UnixStream> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.connect(&address)?;
    Ok(OwnedFd::from(socket).into())
}

/// Why there is no connection. The kernel refuses one to a file that is no socket as it does one to a socket at which
/// nobody listens.
fn not_connected(path: PathBuf, timeout: Duration, source: std::io::Error) -> ClientError {
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ClientError::NotThere(path),
        ErrorKind::ConnectionRefused => match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                ClientError::NotASocket { path, what: "this is a folder, not a socket" }
            }
            Ok(meta) if !meta.file_type().is_socket() => {
                ClientError::NotASocket { path, what: "this is a file, not a socket" }
            }
            _ => ClientError::NotRunning(path),
        },
        // What `SockAddr::unix` says of a path that does not fit into an address.
        ErrorKind::InvalidInput => {
            ClientError::NotASocket { path, what: "no socket can have so long a path (at most 107 bytes)" }
        }
        ErrorKind::PermissionDenied => ClientError::NoPermission(path),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            ClientError::TimedOut { path, timeout, pending: false }
        }
        _ => ClientError::Io { path, source },
    }
}

/// Whether an answer to it is more than a look.
fn changes_something(request: &Request) -> bool {
    match request {
        Request::Start {} | Request::Stop {} | Request::Refresh(_) | Request::Reload {} => true,
        Request::Status(_) | Request::Events { .. } | Request::Version {} => false,
    }
}

/// The longest answer to it that is read: another program at the socket must not fill the client's memory.
fn longest_answer(request: &Request) -> usize {
    match request {
        Request::Status(StatusQuery { customers: Rows::All | Rows::Only(_), .. }) | Request::Refresh(_) => {
            MAX_LONG_ANSWER
        }
        Request::Status(StatusQuery {
            customers: Rows::None | Rows::InTrouble(_) | Rows::Match(_), ..
        })
        | Request::Start {}
        | Request::Stop {}
        | Request::Events { .. }
        | Request::Version {}
        | Request::Reload {} => MAX_ANSWER,
    }
}

impl Client {
    /// Connects to the daemon at `path`. `timeout` bounds every single [`send`](Self::send) as well.
    ///
    /// # Errors
    /// [`ClientError::NotThere`], [`ClientError::NotASocket`], [`ClientError::NotRunning`],
    /// [`ClientError::NoPermission`], [`ClientError::TimedOut`] or [`ClientError::Io`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = connect_within(path, timeout)
            .map_err(|source| not_connected(path.to_owned(), timeout, source))?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned(), timeout, next_id: 1 })
    }

    /// Asks one thing and waits for its answer.
    ///
    /// # Errors
    /// Any [`ClientError`]. After all but [`ClientError::Refused`] the connection is of no use any more.
    pub fn send(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send_within(request, Some(self.timeout))
    }

    /// The same with another time-out, or none: a manual pass takes as long as it takes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_within(
        &mut self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> Result<Reply, ClientError> {
        let id = Id::Number(self.next_id.into());
        self.next_id += 1;
        let envelope = Envelope { id: Some(id.clone()), request: request.clone() };
        let mut line = serde_json::to_string(&envelope).map_err(|error| self.protocol(format!("{error}")))?;
        line.push('\n');
        let deadline = timeout.map(|timeout| Instant::now() + timeout);

        self.set_timeouts(deadline, timeout)?;
        // A daemon that refuses the connection answers and closes before it reads; its answer is still there.
        let written = self.stream.get_mut().write_all(line.as_bytes());
        let answer = match self.read_line(longest_answer(request), deadline, timeout) {
            Err(ClientError::Closed(_)) if written.is_err() => return Err(self.closed(written)),
            Err(ClientError::TimedOut { path, timeout, .. }) => {
                let pending = written.is_ok() && changes_something(request);
                return Err(ClientError::TimedOut { path, timeout, pending });
            }
            answer => answer?,
        };
        let answer = Answer::parse(&answer, request)
            .map_err(|error| self.protocol(format!("its answer is not understood ({error})")))?;
        match answer.outcome {
            Err(refusal) => Err(ClientError::Refused(refusal)),
            Ok(_) if answer.id != Some(id) => Err(self.protocol("it answers another request".to_owned())),
            Ok(reply) => Ok(reply),
        }
    }

    fn protocol(&self, why: String) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), why }
    }

    fn closed(&self, written: std::io::Result<()>) -> ClientError {
        match written {
            Err(source) if source.kind() != ErrorKind::BrokenPipe => {
                ClientError::Io { path: self.path.clone(), source }
            }
            _ => ClientError::Closed(self.path.clone()),
        }
    }

    fn timed_out(&self, timeout: Option<Duration>) -> ClientError {
        ClientError::TimedOut {
            path: self.path.clone(),
            timeout: timeout.unwrap_or_default(),
            pending: false,
        }
    }

    /// Sets what is left until `deadline` as the time-out of the next read and write.
    fn set_timeouts(&self, deadline: Option<Instant>, timeout: Option<Duration>) -> Result<(), ClientError> {
        let left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return Err(self.timed_out(timeout)),
            left => left,
        };
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(left)
            .and_then(|()| stream.set_write_timeout(left))
            .map_err(|source| ClientError::Io { path: self.path.clone(), source })
    }

    fn read_line(
        &mut self,
        longest: usize,
        deadline: Option<Instant>,
        timeout: Option<Duration>,
    ) -> Result<String, ClientError> {
        let mut line = Vec::new();
        loop {
            self.set_timeouts(deadline, timeout)?;
            let chunk = match self.stream.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(self.timed_out(timeout)),
                    ErrorKind::ConnectionReset => return Err(ClientError::Closed(self.path.clone())),
                    _ => return Err(ClientError::Io { path: self.path.clone(), source: error }),
                },
            };
            if chunk.is_empty() {
                return Err(ClientError::Closed(self.path.clone()));
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            if line.len() + taken > longest {
                return Err(self.protocol(format!("its answer is longer than {} MB", longest >> 20)));
            }
            line.extend_from_slice(&chunk[..taken]);
            self.stream.consume(end.map_or(taken, |end| end + 1));
            if end.is_some() {
                return String::from_utf8(line)
                    .map_err(|_| self.protocol("its answer is not UTF-8".to_owned()));
            }
        }
    }
}
