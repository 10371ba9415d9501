//! Packets: a header of eight bytes, and a message in pieces of the agreed size.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(in crate::mssql) const HEADER: usize = 8;

/// The longest message that a client may send.
const MAX_MESSAGE: usize = 64 << 20;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mssql) enum Kind {
    Batch,
    Rpc,
    Answer,
    Attention,
    Login,
    Prelogin,
    /// A kind that a store never sends.
    Other(u8),
}

impl Kind {
    fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Batch,
            3 => Self::Rpc,
            4 => Self::Answer,
            6 => Self::Attention,
            16 => Self::Login,
            18 => Self::Prelogin,
            other => Self::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::Rpc => 3,
            Self::Answer => 4,
            Self::Attention => 6,
            Self::Login => 16,
            Self::Prelogin => 18,
            Self::Other(other) => other,
        }
    }
}

/// A whole message, joined from its packets.
#[derive(Debug)]
pub(in crate::mssql) struct Message {
    pub(in crate::mssql) kind: Kind,
    pub(in crate::mssql) body: Vec<u8>,
}

/// Reads the next message; `None` if the client closed the connection between two messages.
pub(in crate::mssql) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    packet_size: usize,
) -> io::Result<Option<Message>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut message: Option<Message> = None;
    loop {
        let mut header = [0; HEADER];
        let first = stream.read(&mut header[..1]).await?;
        if first == 0 {
            return match message {
                None => Ok(None),
                Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        stream.read_exact(&mut header[1..]).await?;
        let kind = Kind::from_byte(header[0]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let length = length.checked_sub(HEADER).ok_or_else(|| bad("a packet shorter than its header"))?;
        if length + HEADER > packet_size {
            return Err(bad("a packet larger than was agreed on"));
        }
        let message = message.get_or_insert_with(|| Message { kind, body: Vec::new() });
        if message.kind != kind {
            return Err(bad("a packet of another message in the middle of one"));
        }
        let start = message.body.len();
        if start + length > MAX_MESSAGE {
            return Err(bad("a message without end"));
        }
        message.body.resize(start + length, 0);
        stream.read_exact(&mut message.body[start..]).await?;
        let is_last = header[1] & 1 != 0;
        if is_last {
            return Ok(Some(Message { kind, body: std::mem::take(&mut message.body) }));
        }
    }
}

/// Sends a message in packets of this size.
pub(in crate::mssql) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    body: &[u8],
    packet_size: usize,
) -> io::Result<()> {
    stream.write_all(&pack(kind, body, packet_size)).await?;
    stream.flush().await
}

/// Cuts a message into packets.
fn pack(kind: Kind, body: &[u8], packet_size: usize) -> Vec<u8> {
    let room = packet_size - HEADER;
    let pieces = body.len().div_ceil(room).max(1);
    let mut bytes = Vec::with_capacity(body.len() + pieces * HEADER);
    for number in 0..pieces {
        let piece = &body[number * room..body.len().min((number + 1) * room)];
        let length = u16::try_from(piece.len() + HEADER).expect("a packet is smaller than 32 KiB");
        bytes.extend([kind.byte(), u8::from(number + 1 == pieces)]);
        bytes.extend(length.to_be_bytes());
        // The id of the session, which is not used, and the number of the packet, which wraps.
        bytes.extend([0, 0, u8::try_from((number + 1) % 256).expect("less than 256"), 0]);
        bytes.extend(piece);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_of_any_length_comes_back() {
        for length in [0, 1, 503, 504, 505, 1008, 5000] {
            let body: Vec<u8> = (0..length).map(|n: usize| u8::try_from(n % 251).unwrap()).collect();
            let mut packed = &pack(Kind::Rpc, &body, 512)[..];
            let message = read(&mut packed, 512).await.unwrap().unwrap();
            assert_eq!((message.kind, message.body), (Kind::Rpc, body), "{length}");
            assert!(read(&mut packed, 512).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_packet_over_the_agreed_size_is_refused() {
        let packed = pack(Kind::Batch, &[0; 1000], 4096);
        assert!(read(&mut &packed[..], 512).await.is_err());
        assert!(read(&mut &packed[..500], 4096).await.is_err(), "cut in the middle");
    }
}
