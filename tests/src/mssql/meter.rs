//! A stream that counts its bytes, and ends after a number of them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::faults::Direction;

/// The counters of a stream, and its limits.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    received: u64,
    sent: u64,
    /// The counts at which the connection ends.
    last_received: Option<u64>,
    last_sent: Option<u64>,
}

impl Gate {
    /// Ends the connection after this many more bytes in that direction.
    pub(super) fn cut_after(&self, direction: Direction, bytes: u64) {
        let mut counts = self.lock();
        match direction {
            Direction::Received => counts.last_received = Some(counts.received + bytes),
            Direction::Sent => counts.last_sent = Some(counts.sent + bytes),
        }
    }

    /// Returns the bytes received and sent so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let counts = self.lock();
        (counts.received, counts.sent)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap()
    }
}

impl Counts {
    /// Returns how many more bytes may pass; an error if there are none.
    fn room(&self, direction: Direction) -> io::Result<usize> {
        let left = match direction {
            Direction::Received => self.last_received.map(|last| last - self.received),
            Direction::Sent => self.last_sent.map(|last| last - self.sent),
        };
        match left {
            None => Ok(usize::MAX),
            Some(0) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(left) => Ok(usize::try_from(left).unwrap_or(usize::MAX)),
        }
    }
}

/// A stream with a gate.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    gate: Arc<Gate>,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, gate: Arc<Gate>) -> Self {
        Self { stream, gate }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Held until the bytes are counted, so that their effect is never visible before.
        let mut counts = this.gate.lock();
        let room = counts.room(Direction::Received)?;
        let room = room.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        counts.received += read as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut counts = this.gate.lock();
        let room = match counts.room(Direction::Sent) {
            Ok(room) => room,
            // The allowed bytes must arrive, so they are flushed before the end.
            Err(error) => {
                ready!(Pin::new(&mut this.stream).poll_flush(context))?;
                return Poll::Ready(Err(error));
            }
        };
        let part = &bytes[..bytes.len().min(room)];
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, part))?;
        counts.sent += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn exactly_so_many_bytes_pass() {
        for bytes in [0, 1, 4, 10] {
            let (ours, mut theirs) = duplex(100);
            let gate = Arc::new(Gate::default());
            gate.cut_after(Direction::Sent, bytes);
            gate.cut_after(Direction::Received, bytes);
            let mut metered = Metered::new(ours, Arc::clone(&gate));
            theirs.write_all(b"0123456789abcdef").await.unwrap();
            let mut read = Vec::new();
            assert!(metered.read_to_end(&mut read).await.is_err());
            assert_eq!(read, b"0123456789abcdef"[..usize::try_from(bytes).unwrap()]);
            assert!(metered.write_all(b"0123456789abcdef").await.is_err());
            assert_eq!(gate.counts(), (bytes, bytes));
            drop(metered);
            read.clear();
            theirs.read_to_end(&mut read).await.unwrap();
            assert_eq!(read.len() as u64, bytes);
        }
    }
}
