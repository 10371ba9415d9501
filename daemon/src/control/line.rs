//! Reads request lines, bounded in length and time.

use std::time::Duration;

use tbtoken_proto::{MAX_REQUEST_BYTES, REQUEST_SECONDS};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};
use tokio::time::{Instant, timeout_at};

/// The result of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its newline.
    Text(String),
    /// More bytes than a line may hold, without a newline.
    TooLong,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A line whose end did not come in time.
    TooSlow,
    /// No byte in the time for the first line.
    Silent,
    /// The client closed the connection, perhaps in the middle of a line.
    End,
}

/// The time for a line from its first byte on, and for the first line from the connection on.
const LINE_TIMEOUT: Duration = Duration::from_secs(REQUEST_SECONDS);

/// Reads the next line. Between two lines a client may be silent for any time; a line that has begun must end in time.
/// The first line must also come in time, because a connection without a request takes the place of another client.
pub(super) async fn read(reader: &mut (impl AsyncBufRead + Unpin), first: bool) -> std::io::Result<Line> {
    let mut line: Vec<u8> = Vec::new();
    let mut deadline = first.then(|| Instant::now() + LINE_TIMEOUT);
    loop {
        let chunk = match deadline {
            None => reader.fill_buf().await?,
            Some(deadline) => match timeout_at(deadline, reader.fill_buf()).await {
                Ok(chunk) => chunk?,
                Err(_) if line.is_empty() => return Ok(Line::Silent),
                Err(_) => return Ok(Line::TooSlow),
            },
        };
        if chunk.is_empty() {
            return Ok(Line::End);
        }
        deadline.get_or_insert_with(|| Instant::now() + LINE_TIMEOUT);
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let taken = end.unwrap_or(chunk.len());
        if line.len() + taken > MAX_REQUEST_BYTES {
            return Ok(Line::TooLong);
        }
        line.extend_from_slice(chunk.get(..taken).unwrap_or_default());
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(String::from_utf8(line).map_or(Line::NotUtf8, Line::Text));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, BufReader, duplex};

    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<Line> {
        let mut reader = BufReader::with_capacity(7, bytes);
        let mut lines = Vec::new();
        loop {
            lines.push(read(&mut reader, false).await.unwrap());
            if !matches!(lines.last(), Some(Line::Text(_))) {
                return lines;
            }
        }
    }

    fn text(text: &str) -> Line {
        Line::Text(text.to_owned())
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_half_a_line_is_none() {
        assert_eq!(
            lines(b"one\n\ntwo and more\nhal").await,
            [text("one"), text(""), text("two and more"), Line::End]
        );
        assert_eq!(lines(b"\xff\xfe\n").await, [Line::NotUtf8]);
    }

    #[tokio::test]
    async fn the_longest_line_passes_and_one_byte_more_does_not() {
        let longest = "x".repeat(MAX_REQUEST_BYTES);
        assert_eq!(lines(format!("{longest}\n").as_bytes()).await, [text(&longest), Line::End]);
        assert_eq!(lines(format!("{longest}x\n").as_bytes()).await, [Line::TooLong]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_be_silent_but_a_line_that_has_begun_must_end() {
        let (mut client, server) = duplex(64);
        let mut server = BufReader::new(server);
        let begun = Instant::now();
        let waiting = tokio::time::timeout(Duration::from_secs(3600), read(&mut server, false));
        assert!(waiting.await.is_err(), "an idle client keeps its connection");
        client.write_all(b"{").await.unwrap();
        assert_eq!(read(&mut server, false).await.unwrap(), Line::TooSlow);
        assert_eq!(begun.elapsed(), Duration::from_secs(3600) + LINE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn p15_the_first_line_must_come_whole_in_time() {
        for (sent, line) in [("", Line::Silent), ("{", Line::TooSlow)] {
            let (mut client, server) = duplex(64);
            let mut server = BufReader::new(server);
            let begun = Instant::now();
            let read = read(&mut server, true);
            let late = async {
                tokio::time::sleep(LINE_TIMEOUT / 2).await;
                client.write_all(sent.as_bytes()).await.unwrap();
            };
            assert_eq!(tokio::join!(read, late).0.unwrap(), line);
            assert_eq!(begun.elapsed(), LINE_TIMEOUT, "the beginning of a line gives no more time");
        }
    }
}
