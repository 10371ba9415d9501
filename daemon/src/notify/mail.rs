//! Sends messages by mail.

use lettre::address::Address;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::CONNECT_TIMEOUT;
use super::message::{Frame, first_id, id};
use super::queue::{Tried, TryResult};
use super::timing::{Event, Message};
use crate::model::Secret;
use crate::text::with_causes;

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// TLS from the first byte.
    Implicit,
    /// TLS by STARTTLS, without which nothing is sent.
    Starttls,
    /// None: for a mail server on this machine.
    None,
}

/// How this machine names itself: by its full name, or as the library does, because servers refuse a name without a domain.
pub(super) fn hello(name: &str) -> ClientId {
    let is_full =
        name.contains('.') && name.bytes().all(|it| it.is_ascii_alphanumeric() || b".-".contains(&it));
    if is_full { ClientId::Domain(name.to_owned()) } else { ClientId::default() }
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
    /// Authorities to trust besides those of the system.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// A step of a conversation failed.
struct Failure {
    step: &'static str,
    error: Error,
}

fn at(step: &'static str) -> impl Fn(Error) -> Failure {
    move |error| Failure { step, error }
}

impl Failure {
    /// What to say. Of a server's answer only the code is repeated, because the rest may repeat the password.
    fn said(&self) -> String {
        match self.error.status() {
            Some(code) => format!("SMTP {code} to {}", self.step),
            None if self.error.is_response() => format!("{}: unreadable answer", self.step),
            None => format!("{}: {}", self.step, with_causes(&self.error)),
        }
    }
}

impl From<Failure> for Tried {
    fn from(failure: Failure) -> Self {
        let result = match failure.error.is_permanent() {
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
    async fn connect(&self, host: &str) -> Result<AsyncSmtpConnection, Failure> {
        let hello = hello(host);
        let server = (self.host.as_str(), self.port);
        let tls = match self.protection {
            Protection::None => None,
            Protection::Implicit | Protection::Starttls => Some(self.tls().map_err(at("TLS"))?),
        };
        let (implicit, starttls) =
            if self.protection == Protection::Implicit { (tls, None) } else { (None, tls) };
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIMEOUT), &hello, implicit, None)
                .await
                .map_err(at("EHLO"))?;
        if let Some(tls) = starttls {
            connection.starttls(tls, &hello).await.map_err(at("STARTTLS"))?;
        }
        if let Some((user, password)) = &self.login {
            let login = Credentials::new(user.clone(), password.expose().to_owned());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &login).await.map_err(at("AUTH"))?;
        }
        Ok(connection)
    }

    fn tls(&self) -> Result<TlsParameters, Error> {
        let mut builder = TlsParameters::builder(self.host.clone());
        for authority in &self.authorities {
            builder = builder.add_root_certificate(Certificate::from_der(authority.to_vec())?);
        }
        builder.build_rustls()
    }

    /// Connects and logs in without sending a mail.
    pub(super) async fn probe(&self, frame: &Frame) -> Result<String, String> {
        let mut connection = self.connect(&frame.host).await.map_err(|failure| failure.said())?;
        // The answer to QUIT changes nothing any more.
        let _ = connection.quit().await;
        Ok(format!("EHLO{} accepted", if self.login.is_some() { " and AUTH" } else { "" }))
    }

    /// Sends a message to these recipients, or to all if there are none.
    pub(super) async fn send(&self, message: &Message, frame: &Frame, recipients: &[String]) -> Tried {
        let mail = match self.mail(message, frame) {
            Ok(mail) => mail,
            Err(error) => return Tried { said: with_causes(&error), result: TryResult::Rejected },
        };
        let to = self.to.iter().map(|mailbox| &mailbox.email);
        let mut to: Vec<&Address> = to.collect();
        // After a reload, none of those that lack it may be left.
        if to.iter().any(|to| recipients.contains(&to.to_string())) {
            to.retain(|to| recipients.contains(&to.to_string()));
        }
        self.deliver(&to, &mail, frame).await.unwrap_or_else(Tried::from)
    }

    async fn deliver(&self, to: &[&Address], mail: &[u8], frame: &Frame) -> Result<Tried, Failure> {
        let mut connection = self.connect(&frame.host).await?;
        let from = MailFrom::new(Some(self.from.email.clone()), Vec::new());
        connection.command(from).await.map_err(at("MAIL FROM"))?;
        let (mut later, mut refusals, mut accepted) = (Vec::new(), Vec::new(), 0);
        for address in to {
            match connection.command(Rcpt::new((*address).clone(), Vec::new())).await {
                Ok(_) => accepted += 1,
                Err(error) if error.status().is_none() => return Err(at("RCPT TO")(error)),
                Err(error) => {
                    later.extend(error.is_transient().then(|| address.to_string()));
                    refusals.push(format!("{} for {address}", at("RCPT TO")(error).said()));
                }
            }
        }
        if accepted > 0 {
            connection.command(Data).await.map_err(at("DATA"))?;
            connection.message(mail).await.map_err(at("the message"))?;
        }
        // The answer to QUIT changes nothing any more.
        let _ = connection.quit().await;
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
