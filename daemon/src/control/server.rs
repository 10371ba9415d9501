//! Accepts clients, a bounded number at a time, and survives whatever they do.

use std::io;
use std::time::Duration;

use tbtoken_proto::{ANSWER_SECONDS, Answer, ErrorCode, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_USER, Refusal};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::line::{self, Line};
use super::outgoing::{Outgoing, to_line};
use super::places::{Full, Place, Places};
use super::session::{Access, Reload, Session};
use super::socket::Socket;
use crate::clock::Clock;
use crate::engine::handle::Handle;

/// How long the loop pauses when no client can be accepted, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// It is said once in this time that no client can be accepted.
const ACCEPT_SILENCE: Duration = Duration::from_secs(60);

/// So much of an answer must be taken within [`ANSWER_SECONDS`].
const CHUNK: usize = 64 * 1024;

/// The time between two checks that the socket's file is still there.
const RESTORE_PAUSE: Duration = Duration::from_secs(2);

/// Lets clients in until `shutdown`; then the socket is gone. They are tasks of `clients`, and those that wait for an
/// answer still get it.
pub async fn serve(
    mut socket: Socket,
    access: Access,
    handle: Handle,
    clock: Clock,
    reload: mpsc::Sender<Reload>,
    shutdown: CancellationToken,
    clients: TaskTracker,
) {
    let places = Places::new(socket.owner());
    let mut told: Option<Instant> = None;
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
                // This may go on for long, with a client let in now and then.
                if told.is_none_or(|told| told.elapsed() > ACCEPT_SILENCE) {
                    told = Some(Instant::now());
                    warn!("No client can be accepted at the moment: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match places.admit(uid) {
            Ok(place) => {
                let session = Session::new(access, handle.clone(), clock.clone(), Some(reload.clone()));
                let shutdown = shutdown.clone();
                clients.spawn(async move {
                    if let Err(error) = attend(stream, session, place, shutdown).await {
                        debug!("A client was dropped: {error}");
                    }
                });
            }
            Err(full) => turn_away(&stream, &too_many(full)),
        }
    }
}

fn too_many(full: Full) -> String {
    let (most, of) = match full {
        Full::User => (MAX_CONNECTIONS_PER_USER, " of one user"),
        Full::Socket => (MAX_CONNECTIONS, ""),
    };
    format!("tbtokend serves {most} clients{of} at a time, and is answering all of them")
}

/// Tells a client that has no place, or none any more. What fits the socket's buffer is sent at once or not at all: the
/// daemon does not wait for it.
fn turn_away(stream: &UnixStream, error: &str) {
    let error = error.to_owned();
    let answer = Answer { id: None, outcome: Err(Refusal { error, code: ErrorCode::Busy }) };
    if let Ok(line) = to_line(&answer)
        && let Err(error) = stream.try_write(&line)
    {
        debug!("A client could not be told that it has no place: {error}");
    }
}

/// Serves one client until it hangs up, misbehaves, loses its place to another one, or the daemon ends.
async fn attend(
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
            // What has been asked is answered; what has not been asked yet never will be.
            () = shutdown.cancelled() => return Ok(()),
            () = place.lost() => Line::End,
            line = line::read(&mut reader, first) => line?,
        };
        // A request that is not begun is not carried out either.
        if !place.begin() {
            turn_away(writer.as_ref(), "another client has got the place of this connection, which was idle");
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
        place.rest();
        first = false;
    }
}

fn bad_line(error: &str) -> io::Result<Outgoing> {
    let error = format!("{error}; send one JSON object per line");
    let answer = Answer { id: None, outcome: Err(Refusal { error, code: ErrorCode::BadRequest }) };
    Outgoing::line(&answer)
}

/// Sends an answer, piece by piece; a client that does not read is dropped.
async fn send(writer: &mut (impl AsyncWrite + Unpin), mut answer: Outgoing) -> io::Result<()> {
    let patience = Duration::from_secs(ANSWER_SECONDS);
    let mut piece = Vec::new();
    loop {
        answer.next(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        for chunk in piece.chunks(CHUNK) {
            timeout(patience, writer.write_all(chunk))
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it does not read its answer"))??;
        }
        // A client that reads as fast as we write must not keep the others waiting.
        yield_now().await;
    }
}
