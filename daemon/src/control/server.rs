//! Serves a bounded number of clients, and survives misbehaving ones.

use std::io;
use std::time::Duration;

use tbtoken_proto::{ANSWER_SECONDS, Answer, ErrorCode, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_USER, Refusal};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::line::{self, Line};
use super::outgoing::{Outgoing, to_line};
use super::places::{Full, Place, Places};
use super::session::{Access, Orders, Session};
use super::socket::Socket;
use crate::clock::Clock;
use crate::engine::handle::Handle;

/// The pause after a failure to accept a client, such as a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The shortest time between two log lines about a failure to accept.
const ACCEPT_SILENCE: Duration = Duration::from_secs(60);

/// The bytes of an answer that a client must read within [`ANSWER_SECONDS`].
const CHUNK: usize = 64 * 1024;

/// The time between two checks that the socket's file is still there.
const RESTORE_PAUSE: Duration = Duration::from_secs(2);

/// Accepts clients until `shutdown`, then removes the socket. Each client is a task of `clients`; a client that waits for
/// an answer still gets it.
pub async fn serve(
    mut socket: Socket,
    access: Access,
    handle: Handle,
    clock: Clock,
    orders: Orders,
    shutdown: CancellationToken,
    clients: TaskTracker,
) {
    let places = Places::new(socket.owner());
    let mut warned: Option<Instant> = None;
    let mut restore = interval(RESTORE_PAUSE);
    restore.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            _ = restore.tick() => {
                socket.restore();
                continue;
            }
            accepted = socket.accept() => accepted.and_then(|stream| Ok((stream.peer_cred()?.uid(), stream))),
        };
        let (uid, stream) = match accepted {
            Ok(client) => client,
            Err(error) => {
                // This may last, with a client accepted now and then.
                if warned.is_none_or(|warned| warned.elapsed() > ACCEPT_SILENCE) {
                    warned = Some(Instant::now());
                    warn!("No client can be accepted at the moment: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match places.admit(uid) {
            Ok(place) => {
                let session = Session::new(access, handle.clone(), clock.clone(), Some(orders.clone()));
                let shutdown = shutdown.clone();
                clients.spawn(async move {
                    if let Err(error) = serve_client(stream, session, place, shutdown).await {
                        debug!("A client was dropped: {error}");
                    }
                });
            }
            Err(full) => refuse_as_busy(&stream, &explain_busy(full)),
        }
    }
}

fn explain_busy(full: Full) -> String {
    let (most, of) = match full {
        Full::User => (MAX_CONNECTIONS_PER_USER, " of one user"),
        Full::Socket => (MAX_CONNECTIONS, ""),
    };
    format!("tbtokend serves at most {most} clients{of} at once, and is answering all of them")
}

/// Sends `busy` to a client without a place. The daemon does not wait: the line fits the socket's buffer or is lost.
fn refuse_as_busy(stream: &UnixStream, error: &str) {
    let answer = Answer { id: None, outcome: Err(Refusal::new(ErrorCode::Busy, error)) };
    if let Ok(line) = to_line(&answer)
        && let Err(error) = stream.try_write(&line)
    {
        debug!("The refusal to a client without a place could not be sent: {error}");
    }
}

/// Serves one client until it disconnects, misbehaves, loses its place, or the daemon ends.
async fn serve_client(
    stream: UnixStream,
    session: Session,
    place: Place,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut first = true;
    loop {
        let line = tokio::select! {
            // A request that has arrived is answered; no other one is read.
            () = shutdown.cancelled() => return Ok(()),
            () = place.lost() => Line::End,
            line = line::read(&mut reader, first) => line?,
        };
        // A request on a lost place must not be carried out.
        if !place.begin_request() {
            refuse_as_busy(writer.as_ref(), "another client took the place of this idle connection");
            return Ok(());
        }
        let (answer, goes_on) = match line {
            Line::End => return Ok(()),
            Line::Text(text) => (session.answer(&text).await?, true),
            Line::TooLong => (bad_line("the line is longer than 64 KiB")?, false),
            Line::NotUtf8 => (bad_line("the line is not UTF-8")?, false),
            Line::TooSlow => (bad_line("the line was not finished within 10 s")?, false),
            Line::Silent => (bad_line("no request came within 10 s")?, false),
        };
        send(&mut writer, answer).await?;
        if !goes_on {
            return Ok(());
        }
        place.end_request();
        first = false;
    }
}

fn bad_line(error: &str) -> io::Result<Outgoing> {
    let error = format!("{error}; send one JSON object per line");
    Outgoing::line(&Answer { id: None, outcome: Err(Refusal::new(ErrorCode::BadRequest, error)) })
}

/// Sends an answer piece by piece; a client that does not read is dropped.
async fn send(writer: &mut (impl AsyncWrite + Unpin), mut answer: Outgoing) -> io::Result<()> {
    let limit = Duration::from_secs(ANSWER_SECONDS);
    let mut piece = Vec::new();
    loop {
        answer.next(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        for chunk in piece.chunks(CHUNK) {
            timeout(limit, writer.write_all(chunk)).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")
            })??;
        }
        // A client that reads as fast as the daemon writes must not keep other clients waiting.
        yield_now().await;
    }
}
