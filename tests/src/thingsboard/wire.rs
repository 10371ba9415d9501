//! Sends answers in the way that a [`Behaviour`] defines.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::Behaviour;
use super::answer::Answer;

/// Sends `answer` as `behaviour` says. Returns whether the connection can be used again.
pub(super) async fn send(
    stream: &mut TcpStream,
    behaviour: &Behaviour,
    answer: &Answer,
    keeps_alive: bool,
) -> io::Result<bool> {
    match behaviour {
        Behaviour::Silent | Behaviour::BlackHole | Behaviour::Refuse | Behaviour::Frozen => {
            silence(stream).await?;
        }
        Behaviour::Reset => stream.set_zero_linger()?,
        Behaviour::Garbage => stream.write_all(&garbage()).await?,
        Behaviour::EndlessHead => endless_head(stream).await?,
        Behaviour::EndlessInterim => endless_interim(stream).await?,
        Behaviour::EndlessBody => endless_body(stream).await?,
        Behaviour::SlowDrip { every } => drip(stream, &encode(answer, false), *every).await?,
        Behaviour::Cut(bytes) => {
            let encoded = encode(answer, true);
            stream.write_all(&encoded[..encoded.len().min(*bytes)]).await?;
        }
        Behaviour::CutBody(bytes) => {
            stream.write_all(beginning(&encode(answer, true), answer, *bytes)).await?;
        }
        Behaviour::StuckBody(bytes) => {
            stream.write_all(beginning(&encode(answer, true), answer, *bytes)).await?;
            silence(stream).await?;
        }
        Behaviour::Slow(latency) => {
            sleep_until(Instant::now() + *latency).await;
            stream.write_all(&encode(answer, keeps_alive)).await?;
            return Ok(keeps_alive);
        }
        _ => {
            stream.write_all(&encode(answer, keeps_alive)).await?;
            return Ok(keeps_alive);
        }
    }
    Ok(false)
}

/// Encodes the answer. ThingsBoard's web server sends no reason phrase.
fn encode(answer: &Answer, keeps_alive: bool) -> Vec<u8> {
    use std::fmt::Write as _;

    let Answer { status, content_type, headers, body } = answer;
    let mut head = format!("HTTP/1.1 {status} \r\n");
    if !content_type.is_empty() {
        write!(head, "Content-Type: {content_type}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    let connection = if keeps_alive { "keep-alive" } else { "close" };
    write!(
        head,
        "Vary: Origin\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    )
    .unwrap();
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Returns the head and the first bytes of the body.
fn beginning<'a>(encoded: &'a [u8], answer: &Answer, bytes: usize) -> &'a [u8] {
    let missing = answer.body.len().saturating_sub(bytes);
    &encoded[..encoded.len() - missing]
}

/// Reads and answers nothing until the client closes.
pub(super) async fn silence(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

fn garbage() -> Vec<u8> {
    (0..512_u16).map(|n| (n.wrapping_mul(167) >> 1) as u8 | 0x80).collect()
}

async fn endless_head(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 \r\nContent-Type: application/json\r\n").await?;
    let line = format!("X-Filler: {}\r\n", "z".repeat(1000));
    loop {
        stream.write_all(line.as_bytes()).await?;
    }
}

async fn endless_interim(stream: &mut TcpStream) -> io::Result<()> {
    let piece = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    loop {
        stream.write_all(piece.as_bytes()).await?;
    }
}

async fn endless_body(stream: &mut TcpStream) -> io::Result<()> {
    let head = b"HTTP/1.1 200 \r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await?;
    stream.write_all(b"a\r\n{\"token\":\"\r\n").await?;
    let chunk = format!("1000\r\n{}\r\n", "z".repeat(0x1000));
    loop {
        stream.write_all(chunk.as_bytes()).await?;
    }
}

async fn drip(stream: &mut TcpStream, bytes: &[u8], every: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for byte in bytes {
        stream.write_all(std::slice::from_ref(byte)).await?;
        sleep_until(Instant::now() + every).await;
    }
    Ok(())
}
