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

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::{Answer, Envelope, ErrorCode, Id, Refusal, Reply, Request, Rows, StatusQuery};

/// The longest answer that may list all customers. 100,000 customers take 31 MB, and three times as much while all fail.
const MAX_LONG_ANSWER: usize = 256 << 20;

/// The longest of all other answers. 1000 events or customers take less than 1 MB.
const MAX_ANSWER: usize = 16 << 20;

/// One connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    timeout: Duration,
    next_id: u64,
}

/// Why a request got no reply. The text fits after `error: `; [`ClientError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("cannot reach tbtokend at {}: there is no such socket", .0.display())]
    NotThere(PathBuf),
    /// There is a socket, but no process listens.
    #[error("cannot reach tbtokend at {}: not running", .0.display())]
    NotRunning(PathBuf),
    /// The path is not that of a socket.
    #[error("cannot reach tbtokend at {}: {what}", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// Why it cannot be a socket: `this is a folder, not a socket`.
        what: &'static str,
    },
    /// This user may not use the socket.
    #[error("cannot reach tbtokend at {}: no permission", .0.display())]
    NoPermission(PathBuf),
    /// No answer in time.
    #[error("tbtokend at {} did not answer within {} s{}", path.display(), timeout.as_secs_f64(), pending_note(*.pending))]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long the client waited.
        timeout: Duration,
        /// Whether the request changes something: the daemon may have it, and carry it out later.
        pending: bool,
    },
    /// The daemon closed the connection before it answered.
    #[error("tbtokend at {} closed the connection before it answered", .0.display())]
    Closed(PathBuf),
    /// The answer is not in this protocol.
    #[error("what answers at {} does not speak version {} of the protocol: {why}", path.display(), crate::PROTOCOL_VERSION)]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// Any other error of the operating system.
    #[error("cannot talk to tbtokend at {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The daemon refused the request.
    #[error("{}", .0.error)]
    Refused(Refusal),
}

/// Warns that a request without an answer may still be carried out.
fn pending_note(pending: bool) -> &'static str {
    if pending { "; it may still carry out the request" } else { "" }
}

impl ClientError {
    /// What to do about it, in one line; `None` where the error says it already.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotThere(_) => {
                "check systemctl status tbtokend ; name another socket with --socket PATH or TBTOKEND_SOCKET"
            }
            Self::NotRunning(_) | Self::Closed(_) | Self::TimedOut { .. } => {
                "systemctl status tbtokend ; journalctl -u tbtokend -n 20"
            }
            Self::NotASocket { .. } => {
                let default = crate::DEFAULT_SOCKET;
                return Some(format!(
                    "name the daemon's socket with --socket PATH or TBTOKEND_SOCKET; the default is {default}"
                ));
            }
            Self::NoPermission(path) => {
                let path = path.display();
                return Some(format!(
                    "join the socket's group (ls -l {path}): sudo usermod -aG GROUP USER, then log in again"
                ));
            }
            Self::Protocol { .. } => "install the same version of tbctl, tbtui and tbtokend",
            Self::Io { .. } => return None,
            Self::Refused(refusal) => match refusal.code {
                ErrorCode::UnknownCustomer => "list the customers with tbctl status",
                ErrorCode::IneligibleCustomer => "see which rows count with sudo tbtokend doctor",
                ErrorCode::ReadOnly => "this is the monitor socket; use the control socket for changes",
                ErrorCode::StoreUnavailable => "journalctl -u tbtokend -n 20",
                ErrorCode::BadConfiguration => "correct the file, then: tbctl reload",
                ErrorCode::Busy | ErrorCode::ShuttingDown => "try again in a moment",
                ErrorCode::Internal => "this is a bug; see journalctl -u tbtokend -n 50",
                // The last three occur only over HTTP.
                ErrorCode::BadRequest
                | ErrorCode::UnknownAction
                | ErrorCode::Unknown
                | ErrorCode::Unauthorized
                | ErrorCode::Forbidden
                | ErrorCode::Misdirected => return None,
            },
        };
        Some(hint.to_owned())
    }

    /// Whether there is no daemon that answers at the socket.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NotThere(_)
                | Self::NotASocket { .. }
                | Self::NotRunning(_)
                | Self::Closed(_)
                | Self::Io { .. }
        )
    }
}

/// Connects within `timeout`. A plain `connect` on a Unix socket waits without end if the daemon accepts no client and its
/// queue is full. On Linux the write time-out bounds `connect` (`unix_stream_connect` in the kernel's
/// `net/unix/af_unix.c`); only a socket that is not connected yet can have one set.
fn connect_within(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.connect(&address)?;
    Ok(OwnedFd::from(socket).into())
}

/// Explains a failed connection. The kernel refuses one to a plain file as it does one to a socket without a listener.
fn explain_no_connection(path: PathBuf, timeout: Duration, source: io::Error) -> ClientError {
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
        // `SockAddr::unix` fails like this for a path that does not fit into an address.
        ErrorKind::InvalidInput => {
            ClientError::NotASocket { path, what: "the path of a socket has at most 107 bytes" }
        }
        ErrorKind::PermissionDenied => ClientError::NoPermission(path),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            ClientError::TimedOut { path, timeout, pending: false }
        }
        _ => ClientError::Io { path, source },
    }
}

/// Whether a request changes the state of the daemon.
fn changes_something(request: &Request) -> bool {
    match request {
        Request::Start {}
        | Request::Stop {}
        | Request::Refresh(_)
        | Request::Reload {}
        | Request::NotifyTest { .. } => true,
        Request::Status(_)
        | Request::Events { .. }
        | Request::Version {}
        | Request::Metrics { .. }
        | Request::NotifyList {} => false,
    }
}

/// The longest accepted answer to a request: another program at the socket must not fill the client's memory.
fn longest_answer(request: &Request) -> usize {
    match request {
        Request::Status(StatusQuery { customers: Rows::All | Rows::Only(_), .. }) | Request::Refresh(_) => {
            MAX_LONG_ANSWER
        }
        _ => MAX_ANSWER,
    }
}

impl Client {
    /// Connects to the daemon at `path`. `timeout` also bounds each [`send`](Self::send).
    ///
    /// # Errors
    /// [`ClientError::NotThere`], [`ClientError::NotASocket`], [`ClientError::NotRunning`],
    /// [`ClientError::NoPermission`], [`ClientError::TimedOut`] or [`ClientError::Io`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = connect_within(path, timeout)
            .map_err(|source| explain_no_connection(path.to_owned(), timeout, source))?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned(), timeout, next_id: 1 })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Any [`ClientError`]. After all but [`ClientError::Refused`] the connection is unusable.
    pub fn send(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send_within(request, Some(self.timeout))
    }

    /// Sends a request and waits for its answer, whose type belongs to the request: a [`StatusReply`](crate::StatusReply) to
    /// [`Request::Status`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ask<T: TryFrom<Reply>>(&mut self, request: &Request) -> Result<T, ClientError> {
        self.ask_within(request, Some(self.timeout))
    }

    /// The same with another time-out, or none, as [`send_within`](Self::send_within).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ask_within<T: TryFrom<Reply>>(
        &mut self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> Result<T, ClientError> {
        let reply = self.send_within(request, timeout)?;
        reply.try_into().map_err(|_| self.protocol("it answers another request".to_owned()))
    }

    /// Sends a request with another time-out, or none: the length of a manual pass has no bound.
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
        // A daemon that refuses the connection answers and closes before it reads; its answer can still be read.
        let written =
            self.set_timeouts(deadline).and_then(|()| self.stream.get_mut().write_all(line.as_bytes()));
        let pending = written.is_ok() && changes_something(request);
        let answer = self
            .read_line(longest_answer(request), deadline)
            .map_err(|error| self.explain_no_answer(error, written, timeout.unwrap_or_default(), pending))?;
        let answer = Answer::parse(&answer, request)
            .map_err(|error| self.protocol(format!("its answer is not understood ({error})")))?;
        match answer.outcome {
            Err(refusal) => Err(ClientError::Refused(refusal)),
            Ok(_) if answer.id != Some(id) => {
                Err(self.protocol("its answer belongs to another request".to_owned()))
            }
            Ok(reply) => Ok(reply),
        }
    }

    fn protocol(&self, why: String) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), why }
    }

    fn explain_no_answer(
        &self,
        read: io::Error,
        written: io::Result<()>,
        timeout: Duration,
        pending: bool,
    ) -> ClientError {
        let path = self.path.clone();
        match (read.kind(), written) {
            (ErrorKind::WouldBlock | ErrorKind::TimedOut, _) => {
                ClientError::TimedOut { path, timeout, pending }
            }
            (ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset, Err(source))
                if source.kind() != ErrorKind::BrokenPipe =>
            {
                ClientError::Io { path, source }
            }
            (ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset, _) => ClientError::Closed(path),
            (ErrorKind::InvalidData, _) => ClientError::Protocol { path, why: read.to_string() },
            _ => ClientError::Io { path, source: read },
        }
    }

    /// Sets the time until `deadline` as the time-out of the next read and write.
    fn set_timeouts(&self, deadline: Option<Instant>) -> io::Result<()> {
        let left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return Err(ErrorKind::TimedOut.into()),
            left => left,
        };
        let stream = self.stream.get_ref();
        stream.set_read_timeout(left).and_then(|()| stream.set_write_timeout(left))
    }

    fn read_line(&mut self, longest: usize, deadline: Option<Instant>) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            self.set_timeouts(deadline)?;
            let chunk = match self.stream.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            if line.len() + taken > longest {
                let why = format!("its answer is longer than {} MB", longest >> 20);
                return Err(io::Error::new(ErrorKind::InvalidData, why));
            }
            line.extend_from_slice(&chunk[..taken]);
            self.stream.consume(end.map_or(taken, |end| end + 1));
            if end.is_some() {
                let wrong = |_| io::Error::new(ErrorKind::InvalidData, "its answer is not UTF-8");
                return String::from_utf8(line).map_err(wrong);
            }
        }
    }
}
