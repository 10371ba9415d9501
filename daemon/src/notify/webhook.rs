//! Sends messages to webhooks.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

use super::CONNECT_TIMEOUT;
use super::message::{Format, Frame, id};
use super::queue::{Tried, TryResult};
use super::timing::Message;
use crate::text::{self, with_causes};
use crate::tls::{self, TlsContext};

/// A webhook.
#[derive(Clone)]
pub struct Webhook {
    /// The address, which is a secret.
    url: Url,
    format: Format,
    /// The keys of signatures: one, or an old and a new one.
    keys: Vec<hmac::Key>,
    tls: TlsConnector,
    http: reqwest::Client,
}

/// Reads a secret of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64.
pub fn key(secret: &str) -> Option<hmac::Key> {
    let bytes = STANDARD.decode(secret.trim().strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

impl Webhook {
    /// Makes a client.
    ///
    /// # Errors
    /// HTTP cannot be set up.
    pub fn new(
        url: Url,
        format: Format,
        keys: Vec<hmac::Key>,
        tls: ClientConfig,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("tbtokend/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .tls_backend_preconfigured(tls.clone())
            .build()?;
        Ok(Self { url, format, keys, tls: Arc::new(tls).into(), http })
    }

    /// The part of the address that may be shown.
    pub fn place(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Connects, with TLS if the URL says so, and sends nothing: any request may post a message.
    pub(super) async fn probe(&self) -> Result<String, String> {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_or_known_default().unwrap_or(443);
        let stream = TcpStream::connect((host, port)).await.map_err(|error| with_causes(&error))?;
        if self.url.scheme() != "https" {
            return Ok("accepts connections, without TLS".to_owned());
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let encrypted = self.tls.connect(name, stream).await;
        encrypted.map_err(|error| match error.get_ref().and_then(|it| it.downcast_ref()) {
            Some(error) => {
                let no_tls = "is it an address for http?";
                tls::explain(error, TlsContext { host, ca_file: "notify.receiver.ca_file", no_tls })
            }
            None => with_causes(&error),
        })?;
        Ok("has a valid certificate".to_owned())
    }

    /// Sends a message. Of the answer only the status is read.
    pub(super) async fn send(&self, message: &Message, frame: &Frame, now: DateTime<Utc>) -> Tried {
        let body = frame.body(message, self.format).to_string();
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if self.format == Format::Standard {
            let (id, stamp) = (id(message), now.timestamp().to_string());
            request = request.header("webhook-id", &id).header("webhook-timestamp", &stamp);
            if !self.keys.is_empty() {
                request = request.header("webhook-signature", signatures(&self.keys, &id, &stamp, &body));
            }
        }
        match request.body(body).send().await {
            Ok(response) => judge(&response),
            Err(error) => {
                Tried { said: with_causes(&error.without_url()), result: TryResult::Again(None, Vec::new()) }
            }
        }
    }
}

fn signatures(keys: &[hmac::Key], id: &str, stamp: &str, body: &str) -> String {
    let signed = format!("{id}.{stamp}.{body}");
    let sign = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes())));
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

fn judge(response: &Response) -> Tried {
    let status = response.status();
    let said = format!("HTTP {}", status.as_u16());
    let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let retry_after = || text::retry_after(header(RETRY_AFTER)?, header(DATE));
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let result = match status {
        status if status.is_success() => TryResult::Sent(None),
        StatusCode::GONE => TryResult::Gone,
        status if may_pass || status.is_server_error() => TryResult::Again(retry_after(), Vec::new()),
        _ => TryResult::Rejected,
    };
    Tried { said, result }
}
