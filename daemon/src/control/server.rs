//! Accepts clients, a bounded number at a time, and survives whatever they do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tbtoken_proto::{ANSWER_SECONDS, Answer, ErrorCode, MAX_CONNECTIONS, Refusal};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::line::{self, Line};
use super::outgoing::{Outgoing, to_line};
use super::session::Session;
use crate::clock::Clock;
use crate::engine::handle::Handle;

/// What a socket lets its clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Control,
    /// Look, but change nothing.
    Monitor,
}

/// How long the loop pauses when no client can be accepted, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// It is said once in this time that no client can be accepted.
const ACCEPT_SILENCE: Duration = Duration::from_secs(60);

/// So much of an answer must be taken within [`ANSWER_SECONDS`].
const CHUNK: usize = 64 * 1024;

/// Serves clients until `shutdown`, and then lets those finish that wait for an answer.
pub async fn serve(
    listener: UnixListener,
    access: Access,
    handle: Handle,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let clients = TaskTracker::new();
    let mut told: Option<Instant> = None;
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // This may go on for long, with a client let in now and then.
                    if told.is_none_or(|told| told.elapsed() > ACCEPT_SILENCE) {
                        told = Some(Instant::now());
                        warn!("No client can be accepted at the moment: {error}");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let session = Session::new(access, handle.clone(), clock.clone());
                let shutdown = shutdown.clone();
                clients.spawn(async move {
                    if let Err(error) = attend(stream, session, shutdown).await {
                        debug!("A client was dropped: {error}");
                    }
                    drop(place);
                });
            }
            Err(_) => turn_away(stream),
        }
    }
    clients.close();
    clients.wait().await;
}

/// Tells one client too many. What fits the socket's buffer is sent at once or not at all: nobody waits for a client
/// that has no place.
fn turn_away(stream: UnixStream) {
    let error = format!("tbtokend serves {MAX_CONNECTIONS} clients at a time; try again in a moment");
    let answer = Answer { id: None, outcome: Err(Refusal { error, code: ErrorCode::Busy }) };
    if let Ok(line) = to_line(&answer)
        && let Err(error) = stream.try_write(&line)
    {
        debug!("A client could not be told that there are too many: {error}");
    }
}

/// Serves one client until it hangs up, misbehaves, or the daemon ends.
async fn attend(stream: UnixStream, session: Session, shutdown: CancellationToken) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = tokio::select! {
            // What has been asked is answered; what has not been asked yet never will be.
            () = shutdown.cancelled() => return Ok(()),
            line = line::read(&mut reader) => line?,
        };
        let (answer, goes_on) = match line {
            Line::End => return Ok(()),
            Line::Text(text) => (session.answer(&text).await?, true),
            Line::TooLong => (bad_line("the line is longer than 64 KiB")?, false),
            Line::NotUtf8 => (bad_line("the line is not UTF-8")?, false),
            Line::TooSlow => (bad_line("the line was not finished within 10 s")?, false),
        };
        send(&mut writer, answer).await?;
        if !goes_on {
            return Ok(());
        }
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
