//! Sends messages by mail.

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use tokio_rustls::TlsConnector;

use super::message::{Frame, first_id, id};
use super::queue::{Tried, TryResult};
use super::smtp::{self, Failure, Smtp};
use super::timing::{Event, Message};
use crate::model::Secret;
use crate::text::with_causes;

/// The protection of a connection to a mail server.
#[derive(Clone)]
pub enum Protection {
    /// TLS from the first byte.
    Implicit(TlsConnector),
    /// TLS by STARTTLS, without which nothing is sent.
    Starttls(TlsConnector),
    /// None: for a mail server on this machine.
    None,
}

/// Where and how mails are sent.
#[derive(Clone)]
pub struct Settings {
    /// The mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The protection of the connection.
    pub protection: Protection,
    /// User and password, if the server wants them.
    pub login: Option<(String, Secret)>,
    /// The sender.
    pub from: Mailbox,
    /// The recipients.
    pub to: Vec<Mailbox>,
}

impl From<Failure> for Tried {
    fn from(failure: Failure) -> Self {
        let result = match failure.is_permanent() {
            true => TryResult::Rejected,
            false => TryResult::Again(None, Vec::new()),
        };
        Self { said: failure.said(), result }
    }
}

impl Settings {
    /// The mail server, for people.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Connects, and logs in if there is a login: over TLS, unless the server is on this machine.
    async fn connect(&self, frame: &Frame) -> Result<Smtp, Failure> {
        let failed = |why: String| Failure::Broken("connecting", why);
        let unreachable = |error: std::io::Error| failed(with_causes(&error));
        let stream = smtp::connect(&self.host, self.port).await.map_err(unreachable)?;
        let hello = smtp::hello(&frame.host, stream.local_addr().map_err(unreachable)?.ip());
        let mut smtp = match &self.protection {
            Protection::Implicit(tls) => {
                let stream = smtp::encrypt(tls, &self.host, stream).await.map_err(failed)?;
                Smtp::begin(stream, hello).await?
            }
            Protection::Starttls(tls) => Smtp::begin(stream, hello).await?.starttls(tls, &self.host).await?,
            Protection::None => Smtp::begin(stream, hello).await?,
        };
        if let Some((user, password)) = &self.login {
            smtp.login(user, password).await?;
        }
        Ok(smtp)
    }

    /// Connects and logs in without sending a mail.
    pub(super) async fn probe(&self, frame: &Frame) -> Result<String, String> {
        self.connect(frame).await.map_err(|failure| failure.said())?.quit().await;
        Ok(format!("EHLO{} accepted", if self.login.is_some() { " and AUTH" } else { "" }))
    }

    /// Sends a message to these recipients, or to all if there are none.
    pub(super) async fn send(&self, message: &Message, frame: &Frame, recipients: &[String]) -> Tried {
        let mail = match self.mail(message, frame) {
            Ok(mail) => mail,
            Err(error) => return Tried { said: with_causes(&error), result: TryResult::Rejected },
        };
        let all = self.to.iter().map(|mailbox| mailbox.email.to_string());
        let to: Vec<String> = all.filter(|to| recipients.is_empty() || recipients.contains(to)).collect();
        self.deliver(to, &mail, frame).await.unwrap_or_else(Tried::from)
    }

    async fn deliver(&self, to: Vec<String>, mail: &[u8], frame: &Frame) -> Result<Tried, Failure> {
        let mut smtp = self.connect(frame).await?;
        smtp.command("MAIL FROM", &format!("MAIL FROM:<{}>", self.from.email)).await?;
        let (mut later, mut refusals, mut accepted) = (Vec::new(), Vec::new(), 0);
        for address in to {
            match smtp.command("RCPT TO", &format!("RCPT TO:<{address}>")).await {
                Ok(_) => accepted += 1,
                Err(failure @ Failure::Refused(..)) => {
                    refusals.push(format!("{} for {address}", failure.said()));
                    later.extend((!failure.is_permanent()).then_some(address));
                }
                Err(failure) => return Err(failure),
            }
        }
        if accepted > 0 {
            smtp.mail(mail).await?;
        }
        smtp.quit().await;
        let refusals = (!refusals.is_empty()).then(|| refusals.join(", "));
        let said = refusals.clone().unwrap_or_else(|| "SMTP 250".to_owned());
        let result = match (accepted, later.is_empty()) {
            (0, true) => TryResult::Rejected,
            (0, false) => TryResult::Again(None, later),
            (_, true) => TryResult::Sent(refusals),
            (_, false) => TryResult::Partly(later),
        };
        Ok(Tried { said, result })
    }

    fn mail(&self, message: &Message, frame: &Frame) -> Result<Vec<u8>, lettre::error::Error> {
        let in_angles = |id: String| format!("<{id}@{}>", frame.host);
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(format!("[tbtokend] {}", frame.headline(message)))
            .message_id(Some(in_angles(id(message))))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        if !matches!(message.event, Event::Firing | Event::Test) {
            mail = mail.in_reply_to(in_angles(first_id(message)));
        }
        let mut mail = mail.body(frame.text(message))?;
        // So that no automatic reply comes back.
        let headers = [
            (HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated"),
            (HeaderName::new_from_ascii_str("X-Auto-Response-Suppress"), "All"),
        ];
        for (name, value) in headers {
            mail.headers_mut().insert_raw(HeaderValue::new(name, value.to_owned()));
        }
        Ok(mail.formatted())
    }
}
