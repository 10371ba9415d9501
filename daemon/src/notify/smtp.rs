//! A conversation with a mail server: RFC 5321, with STARTTLS (RFC 3207) and AUTH (RFC 4954). Of an answer only the code is told,
//! because the rest may repeat the password.

use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::CONNECT_TIMEOUT;
use crate::model::Secret;
use crate::text::with_causes;
use crate::tls::{self, TlsContext};

/// The longest line of an answer, in bytes.
const LONGEST_LINE: u64 = 2_000;

/// The most lines of an answer.
const MOST_LINES: usize = 100;

/// Why a step of the conversation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server refuses the step with this code.
    Refused(&'static str, u16),
    /// There is no usable answer; with the reason.
    Broken(&'static str, String),
}

impl Failure {
    /// What to tell.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Refused(step, code) => format!("SMTP {code} to {step}"),
            Self::Broken(step, why) => format!("{step}: {why}"),
        }
    }

    /// Whether the server would refuse it again.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused(_, 500..))
    }
}

fn broken(step: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Broken(step, with_causes(&error))
}

/// Connects to the first address that answers.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Encrypts a connection; the error says what is wrong with the certificate.
pub(super) async fn encrypt<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &TlsConnector,
    host: &str,
    stream: S,
) -> Result<TlsStream<S>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    tls.connect(name, stream).await.map_err(|error| match error.get_ref().and_then(|it| it.downcast_ref()) {
        Some(error) => {
            let no_tls = "is it a port for STARTTLS, or for http?";
            tls::explain(error, TlsContext { host, ca_file: "notify.receiver.ca_file", no_tls })
        }
        None => with_causes(&error),
    })
}

/// A plain or an encrypted stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A conversation that has begun.
pub(super) struct Smtp {
    stream: BufReader<Box<dyn Stream>>,
    /// How this machine names itself.
    name: String,
    /// What the server can do, in capitals.
    extensions: Vec<String>,
}

impl Smtp {
    /// Begins the conversation, once the server has spoken.
    pub(super) async fn begin(stream: impl Stream + 'static, name: String) -> Result<Self, Failure> {
        let stream = BufReader::new(Box::new(stream) as Box<dyn Stream>);
        let mut smtp = Self { stream, name, extensions: Vec::new() };
        smtp.answer("the connection").await?;
        smtp.hello().await?;
        Ok(smtp)
    }

    async fn hello(&mut self) -> Result<(), Failure> {
        let lines = self.command("EHLO", &format!("EHLO {}", self.name)).await?;
        self.extensions = lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    /// Encrypts the rest of the conversation.
    pub(super) async fn starttls(mut self, tls: &TlsConnector, host: &str) -> Result<Self, Failure> {
        let fail = |why: String| Failure::Broken("STARTTLS", why);
        if !self.extensions.iter().any(|extension| extension == "STARTTLS") {
            return Err(fail("the server does not offer it, so nothing is sent".to_owned()));
        }
        self.command("STARTTLS", "STARTTLS").await?;
        if !self.stream.buffer().is_empty() {
            return Err(fail("the server sent more before the encryption began".to_owned()));
        }
        let stream = encrypt(tls, host, self.stream.into_inner()).await.map_err(fail)?;
        let stream = BufReader::new(Box::new(stream) as Box<dyn Stream>);
        let mut smtp = Self { stream, name: self.name, extensions: Vec::new() };
        smtp.hello().await?;
        Ok(smtp)
    }

    /// Logs in, by PLAIN, or by LOGIN if the server offers only that.
    pub(super) async fn login(&mut self, user: &str, password: &Secret) -> Result<(), Failure> {
        let offers = |mechanism: &str| {
            let offered = self.extensions.iter().find_map(|line| line.strip_prefix("AUTH"));
            offered.is_some_and(|line| line.split([' ', '=']).any(|word| word == mechanism))
        };
        let lines = match (offers("PLAIN"), offers("LOGIN")) {
            (true, _) => {
                let login = STANDARD.encode(format!("\0{user}\0{}", password.expose()));
                vec![format!("AUTH PLAIN {login}")]
            }
            (false, true) => {
                let (user, password) = (STANDARD.encode(user), STANDARD.encode(password.expose()));
                vec!["AUTH LOGIN".to_owned(), user, password]
            }
            (false, false) => {
                let why = "the server offers neither PLAIN nor LOGIN";
                return Err(Failure::Broken("AUTH", why.to_owned()));
            }
        };
        for line in lines {
            self.command("AUTH", &line).await?;
        }
        Ok(())
    }

    /// Sends a command, and returns the lines of the answer without their code.
    pub(super) async fn command(&mut self, step: &'static str, line: &str) -> Result<Vec<String>, Failure> {
        self.send(step, format!("{line}\r\n").as_bytes()).await?;
        self.answer(step).await
    }

    /// Sends a mail whose recipients are known.
    pub(super) async fn mail(&mut self, mail: &[u8]) -> Result<(), Failure> {
        self.command("DATA", "DATA").await?;
        let mut data = Vec::with_capacity(mail.len() + 64);
        for line in mail.split_inclusive(|byte| *byte == b'\n') {
            // A line with only a dot would end the mail.
            data.extend(line.starts_with(b".").then_some(b'.'));
            data.extend(line);
        }
        data.extend(if mail.ends_with(b"\r\n") { &b".\r\n"[..] } else { b"\r\n.\r\n" });
        self.send("the message", &data).await?;
        self.answer("the message").await.map(|_| ())
    }

    /// Ends the conversation. The answer changes nothing any more.
    pub(super) async fn quit(mut self) {
        let _ = self.command("QUIT", "QUIT").await;
    }

    async fn send(&mut self, step: &'static str, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(broken(step))?;
        self.stream.flush().await.map_err(broken(step))
    }

    async fn answer(&mut self, step: &'static str) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut self.stream).take(LONGEST_LINE);
            limited.read_until(b'\n', &mut line).await.map_err(broken(step))?;
            if line.is_empty() {
                return Err(Failure::Broken(step, "the connection was closed".to_owned()));
            }
            let line = String::from_utf8_lossy(&line);
            let parsed = parse(line.trim_end()).filter(|_| line.ends_with('\n') && lines.len() < MOST_LINES);
            let Some((code, is_last, text)) = parsed else {
                return Err(Failure::Broken(step, "unreadable answer".to_owned()));
            };
            lines.push(text.to_owned());
            match code {
                _ if !is_last => {}
                200..400 => return Ok(lines),
                _ => return Err(Failure::Refused(step, code)),
            }
        }
    }
}

/// Splits a line of an answer: the code, whether it is the last line, and the text.
fn parse(line: &str) -> Option<(u16, bool, &str)> {
    let (code, rest) = line.split_at_checked(3)?;
    let code = code.bytes().all(|byte| byte.is_ascii_digit()).then(|| code.parse().ok()).flatten()?;
    match rest.strip_prefix('-') {
        Some(text) => Some((code, false, text)),
        None if rest.is_empty() => Some((code, true, "")),
        None => Some((code, true, rest.strip_prefix(' ')?)),
    }
}

/// How this machine names itself: by its full name, or by its address, because servers refuse a name without a domain.
pub(super) fn hello(name: &str, address: IpAddr) -> String {
    let is_full =
        name.contains('.') && name.bytes().all(|it| it.is_ascii_alphanumeric() || b".-".contains(&it));
    match address {
        _ if is_full => name.to_owned(),
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

#[cfg(test)]
mod tests;
