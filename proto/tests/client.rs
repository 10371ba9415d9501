//! The blocking client against servers that answer, answer slowly, close the connection, or send rubbish.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::{Envelope, ErrorCode, Refusal, Reply, Request, Rows, StatusQuery, socket_path};
use tempfile::TempDir;

/// A time-out that even a slow machine never reaches.
const LONG: Duration = Duration::from_secs(60);
/// A time-out that a test reaches on purpose.
const SHORT: Duration = Duration::from_millis(100);

/// A server in a thread that serves one connection.
struct Server {
    path: PathBuf,
    thread: JoinHandle<()>,
    _folder: TempDir,
}

impl Server {
    fn start(serve: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
        Self { path, thread, _folder: folder }
    }

    /// Starts a server that reads one request, sends `answer` and closes the connection.
    fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            read_request(&stream);
            stream.write_all(&answer).unwrap();
        })
    }

    /// Sends a request to this server, and joins its thread, so that a failure there fails the test.
    fn request_version(self, timeout: Duration) -> Result<Reply, ClientError> {
        let mut client = Client::connect(&self.path, timeout).unwrap();
        let reply = client.send(&Request::Version {});
        drop(client);
        self.thread.join().unwrap();
        reply
    }
}

fn read_request(stream: &UnixStream) -> Envelope {
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    Envelope::parse(line.trim_end_matches('\n')).unwrap()
}

/// Waits until the client closes the connection.
fn wait_for_end(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn version_answer(id: &str) -> String {
    let daemon = r#""daemon":{"version":"9.9.9","protocol":1,"pid":1,"started_at":"2026-11-23T14:00:00Z","revision":1,"store":"sqlite x","store_ok":true}"#;
    format!("{{\"success\":true,\"id\":{id},{daemon}}}\n")
}

fn is_version(reply: Result<Reply, ClientError>) -> bool {
    matches!(reply, Ok(Reply::Version(reply)) if reply.daemon.version == "9.9.9")
}

fn connect_error(path: &Path) -> ClientError {
    Client::connect(path, LONG).unwrap_err()
}

#[test]
fn a_path_without_a_socket_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let error = connect_error(&folder.path().join("no.sock"));
    assert!(matches!(error, ClientError::NotThere(_)), "{error:?}");
    assert!(error.to_string().ends_with("no.sock: there is no such socket"), "{error}");
    assert!(error.hint().unwrap().contains("--socket PATH"));
}

#[test]
fn a_socket_without_a_listener_is_not_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stale.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = connect_error(&path);
    assert!(matches!(error, ClientError::NotRunning(_)), "{error:?}");
    assert!(error.to_string().ends_with("stale.sock: not running"), "{error}");
    assert!(error.hint().unwrap().contains("systemctl status tbtokend"));
}

#[test]
fn a_file_or_folder_in_place_of_the_socket_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let told = |path: &Path, what: &str| {
        let error = connect_error(path);
        assert!(matches!(error, ClientError::NotASocket { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("cannot reach tbtokend at {}: {what}", path.display()));
        let hint = error.hint().unwrap();
        assert!(hint.contains("--socket PATH") && hint.contains("/run/tbtokend/control.sock"), "{hint}");
    };
    told(&file, "this is a file, not a socket");
    told(folder.path(), "this is a folder, not a socket");
    let long = PathBuf::from(format!("/{}", "x".repeat(200)));
    told(&long, "the path of a socket has at most 107 bytes");
    // A path below a file does not exist.
    assert!(matches!(connect_error(&file.join("x.sock")), ClientError::NotThere(_)));
}

#[test]
fn a_path_that_cannot_be_a_socket_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("datagrams.sock");
    let _other_kind = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let error = connect_error(&path);
    assert!(matches!(error, ClientError::Io { .. }), "{error:?}");
    assert!(std::error::Error::source(&error).is_some());
}

/// A socket's permissions do not bind root, so the refusal itself is tested only as another user. The text is always
/// tested.
#[test]
fn a_socket_with_mode_zero_has_no_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shut.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let error = match Client::connect(&path, LONG) {
        Ok(_) => {
            eprintln!("the refusal itself was not tested: this user may open any socket");
            ClientError::NoPermission(path)
        }
        Err(error) => error,
    };
    assert!(matches!(error, ClientError::NoPermission(_)), "{error:?}");
    assert!(error.to_string().ends_with("shut.sock: no permission"), "{error}");
    assert!(error.hint().unwrap().contains("usermod -aG GROUP USER"));
}

#[test]
fn a_daemon_that_stopped_accepting_times_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _waiting = Client::connect(&path, LONG).unwrap();
    // In a thread: a client without a time-out makes this test fail, not hang.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(Client::connect(&path, SHORT).map(drop)));
    let error = receiver.recv_timeout(LONG).unwrap().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[test]
fn an_answer_is_understood() {
    assert!(is_version(Server::answering(version_answer("1")).request_version(LONG)));
}

#[test]
fn silence_times_out() {
    let server = Server::start(wait_for_end);
    let begin = Instant::now();
    let error = server.request_version(SHORT).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    assert!(error.to_string().ends_with("did not answer within 0.1 s"), "{error}");
    assert!(begin.elapsed() >= SHORT);
}

/// Each byte is in time, but the answer never ends.
#[test]
fn an_answer_that_drips_for_ever_times_out() {
    let server = Server::start(|mut stream| {
        // Waiting for a byte that does not come paces the drops. Their number is limited so that a client without a
        // time-out makes this test fail, not hang.
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut drops = 0;
        while drops < 2000 && stream.write_all(b" ").is_ok() {
            let _ = stream.read(&mut [0; 4096]);
            drops += 1;
        }
    });
    let error = server.request_version(SHORT).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

/// Another program at the socket must not fill the memory of tbctl and tbtui.
#[test]
fn an_answer_without_end_is_given_up() {
    const MEGABYTE: usize = 1 << 20;
    // The server sends twice what the client may read. The limit makes a client without one fail, not hang.
    for (request, most) in [
        (Request::Events { since: None, limit: 1 }, 16),
        (Request::Status(StatusQuery { customers: Rows::InTrouble(1), since: None }), 16),
        (Request::Status(StatusQuery::default()), 256),
    ] {
        let (sender, sent) = std::sync::mpsc::channel();
        let server = Server::start(move |mut stream| {
            read_request(&stream);
            let megabytes = (0..2 * most).take_while(|_| stream.write_all(&[b' '; MEGABYTE]).is_ok());
            sender.send(megabytes.count()).unwrap();
        });
        let mut client = Client::connect(&server.path, LONG).unwrap();
        let error = client.send(&request).unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
        assert!(error.to_string().ends_with(&format!("its answer is longer than {most} MB")), "{error}");
        drop(client);
        assert!(sent.recv_timeout(LONG).unwrap() <= most + 1);
        server.thread.join().unwrap();
    }
}

#[test]
fn closing_without_an_answer_is_closed() {
    for answer in ["", "{\"success\":true,\"id\":1"] {
        let error = Server::answering(answer).request_version(LONG).unwrap_err();
        assert!(matches!(error, ClientError::Closed(_)), "{answer:?}: {error:?}");
        assert!(error.to_string().ends_with("closed the connection before it answered"), "{error}");
    }
}

#[test]
fn closing_without_reading_is_closed() {
    let error = Server::start(drop).request_version(LONG).unwrap_err();
    assert!(matches!(error, ClientError::Closed(_)), "{error:?}");
}

#[test]
fn rubbish_is_not_the_protocol() {
    for answer in [
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        b"\n".to_vec(),
        b"{\"success\":true,\"id\":1}\n".to_vec(),
        b"\xff\xfe\n".to_vec(),
        version_answer("2").into_bytes(),
        version_answer("\"1\"").into_bytes(),
        version_answer("null").into_bytes(),
    ] {
        let text = String::from_utf8_lossy(&answer).into_owned();
        let error = Server::answering(answer).request_version(LONG).unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{text:?}: {error:?}");
        assert!(
            error.to_string().contains("does not speak version 1 of the protocol: its answer")
                || error.to_string().contains("its answer belongs to another request"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("same version"));
    }
}

const BUSY: &str = "{\"success\":false,\"error\":\"64 clients are connected already\",\"code\":\"busy\"}\n";

fn is_busy(reply: &Result<Reply, ClientError>) -> bool {
    matches!(reply, Err(ClientError::Refused(Refusal { code: ErrorCode::Busy, .. })))
}

/// A daemon without a free place refuses and closes the connection before the request is written.
#[test]
fn a_refusal_from_before_the_request_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = Client::connect(&path, LONG).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(BUSY.as_bytes()).unwrap();
    drop(stream);
    let reply = client.send(&Request::Stop {});
    assert!(is_busy(&reply), "{reply:?}");
}

/// A daemon that closes the connection with the request unread resets the connection.
#[test]
fn a_refusal_with_the_request_unread() {
    let server = Server::start(|mut stream| {
        stream.set_read_timeout(Some(LONG)).unwrap();
        // One byte shows that the request has arrived; the rest of it stays unread.
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(BUSY.as_bytes()).unwrap();
    });
    let reply = server.request_version(LONG);
    assert!(is_busy(&reply), "{reply:?}");
}

#[test]
fn every_refusal_has_its_hint() {
    let hint = |code| ClientError::Refused(Refusal { error: String::new(), code }).hint().unwrap_or_default();
    for (code, piece) in [
        (ErrorCode::UnknownCustomer, "tbctl status"),
        (ErrorCode::IneligibleCustomer, "tbtokend doctor"),
        (ErrorCode::ReadOnly, "monitor socket"),
        (ErrorCode::StoreUnavailable, "journalctl"),
        (ErrorCode::BadConfiguration, "tbctl reload"),
        (ErrorCode::Busy, "try again"),
        (ErrorCode::ShuttingDown, "try again"),
        (ErrorCode::Internal, "this is a bug"),
        (ErrorCode::BadRequest, ""),
        (ErrorCode::UnknownAction, ""),
        (ErrorCode::Unknown, ""),
    ] {
        assert!(hint(code).contains(piece), "{code:?}");
    }
}

#[test]
fn an_answer_in_many_pieces_is_one_answer() {
    let server = Server::start(|mut stream| {
        read_request(&stream);
        for byte in version_answer("1").bytes() {
            stream.write_all(&[byte]).unwrap();
        }
    });
    assert!(is_version(server.request_version(LONG)));
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start(|stream| {
        let mut writer = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines() {
            let envelope = Envelope::parse(&line.unwrap()).unwrap();
            let id = serde_json::to_string(&envelope.id).unwrap();
            let answer = match envelope.request {
                Request::Version {} => version_answer(&id),
                _ => BUSY.to_owned(),
            };
            writer.write_all(answer.as_bytes()).unwrap();
        }
    });
    let mut client = Client::connect(&server.path, LONG).unwrap();
    assert!(is_version(client.send(&Request::Version {})));
    let refused = client.send(&Request::Stop {});
    assert!(is_busy(&refused), "{refused:?}");
    assert!(is_version(client.send(&Request::Version {})), "a refusal leaves the connection usable");
    assert!(is_version(client.send_within(&Request::Version {}, None)));
    drop(client);
    server.thread.join().unwrap();
}

#[test]
fn a_large_answer_arrives_whole() {
    let golden = include_str!("golden/answer_status.json").trim_end();
    let mut answer: serde_json::Value = serde_json::from_str(golden).unwrap();
    let row = answer["tokens"]["customers"][0].clone();
    answer["tokens"]["customers"] = vec![row; 20_000].into();
    answer["id"] = 1.into();
    let line = format!("{answer}\n");
    assert!(line.len() > 5_000_000);
    let server = Server::answering(line);
    let mut client = Client::connect(&server.path, LONG).unwrap();
    match client.send(&Request::Status(StatusQuery::default())) {
        Ok(Reply::Status(reply)) => assert_eq!(reply.tokens.customers.unwrap().len(), 20_000),
        other => panic!("{other:?}"),
    }
    server.thread.join().unwrap();
}

#[test]
fn the_socket_is_the_one_given() {
    assert_eq!(socket_path(Some(PathBuf::from("/tmp/x.sock"))), PathBuf::from("/tmp/x.sock"));
}
