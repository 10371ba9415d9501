//! The HTTP client: one request, one bounded answer. It follows no redirect and puts no secret into an error.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use reqwest::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Response, redirect};
use serde::Serialize;
use tokio::time::timeout;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use url::Url;

use super::answer::{self, Answer};
use super::dns::DnsResolver;
use super::no_answer::{Cause, NoAnswer, Route};
use super::proxy::Proxy;
use super::workers::Workers;
use super::{Logins, Probe, RefreshError};
use crate::model::{BaseUrl, Credentials, Failure, Grant, Secret, TokenAnswer};
use crate::tls::{self, Trusted};

/// The longest body that is read, in bytes. Those of ThingsBoard have about 1,500.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The path for logins, below the server's base URL.
const LOGIN: &str = "api/auth/login";

/// The path for refreshes.
const REFRESH: &str = "api/auth/token";

/// The time limit of a check, because a pass may wait for a check alone.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// The path for checks of a token.
const USER: &str = "api/auth/user";

/// The header with the token.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-authorization");

/// How long an idle connection stays open for the next login of a pass.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of the client.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The time limit for connecting, TLS included.
    pub connect_timeout: Duration,
    /// The time limit for the whole request, connecting included.
    pub request_timeout: Duration,
    /// A PEM file with additional authorities, and certificates of servers, to trust.
    pub ca_file: Option<PathBuf>,
    /// The proxy to use. The environment does not set one.
    pub proxy: Option<String>,
}

impl ClientSettings {
    /// Checks whether a client can be built with these settings.
    ///
    /// # Errors
    /// [`ClientError`] names the setting that cannot be used.
    pub fn check(&self) -> Result<(), ClientError> {
        self.authorities()?;
        self.proxy()?;
        Ok(())
    }

    fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, ClientError> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let display = path.display().to_string();
        let pem =
            std::fs::read(path).map_err(|source| ClientError::CaFile { path: display.clone(), source })?;
        tls::certificates(&pem).ok_or(ClientError::NoCertificate { path: display })
    }

    fn proxy(&self) -> Result<Option<Proxy>, ClientError> {
        self.proxy.as_ref().map(|url| Proxy::parse(url).ok_or(ClientError::Proxy)).transpose()
    }
}

/// The reason why the client cannot be built. The text names the setting.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each error explains its fields")]
pub enum ClientError {
    /// The file with the authorities cannot be read.
    #[error("thingsboard.ca_file {path} cannot be read: name a file that the daemon's user may read")]
    CaFile { path: String, source: std::io::Error },
    /// The file holds no usable certificate.
    #[error("thingsboard.ca_file {path} holds no certificate in PEM form")]
    NoCertificate { path: String },
    /// The proxy's URL is not usable.
    #[error(
        "thingsboard.proxy is not the URL of an HTTP proxy; write for example http://proxy.example.com:3128"
    )]
    Proxy,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The system starts no more threads.
    #[error("the threads of the HTTP client cannot be started")]
    Threads(#[source] std::io::Error),
    /// The HTTP library cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Build(#[source] reqwest::Error),
}

/// A client of ThingsBoard servers.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    workers: Workers,
    proxy: Option<Proxy>,
    connect_timeout: Duration,
    request_timeout: Duration,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    username: &'a str,
    password: &'a str,
}

#[derive(Serialize)]
struct RefreshBody<'a> {
    #[serde(rename = "refreshToken")]
    refresh_token: &'a str,
}

impl Client {
    /// Makes a client with these settings.
    ///
    /// # Errors
    /// [`ClientError`] names the setting that cannot be used.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let proxy = settings.proxy()?;
        let tls = tls::client_config(Trusted::Authorities(settings.authorities()?))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tbtokend/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(redirect::Policy::none())
            // The library must not repeat a login that the server may have counted. It still repeats requests of which it
            // has sent nothing.
            .retry(reqwest::retry::never())
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(DnsResolver::default()));
        if let Some(proxy) = &proxy {
            builder = builder.proxy(proxy.to_reqwest().map_err(|_| ClientError::Proxy)?);
        }
        let http = builder.build().map_err(ClientError::Build)?;
        let ClientSettings { connect_timeout, request_timeout, .. } = *settings;
        let workers = Workers::new().map_err(ClientError::Threads)?;
        Ok(Self { http, workers, proxy, connect_timeout, request_timeout })
    }

    async fn post(
        &self,
        base: &BaseUrl,
        path: &str,
        body: &impl Serialize,
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.send_request(Method::POST, base.endpoint(path), None, body, within).await
    }

    async fn send_request(
        &self,
        method: Method,
        url: Url,
        token: Option<HeaderValue>,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        let body_state = Arc::new(AtomicU8::new(UNSENT));
        let body = RequestBody { bytes: body.into(), state: Arc::clone(&body_state) };
        let request = self
            .http
            .request(method, url.clone())
            .header(CONTENT_TYPE, "application/json")
            .headers(token.into_iter().flat_map(check_headers).collect())
            .body(reqwest::Body::wrap(body));
        let request_url = url.clone();
        let answer = self.workers.run(async move { read_answer(request_url, request.send().await?).await });
        let route = Route { url: &url, proxy: self.proxy.as_ref(), connect_timeout: self.connect_timeout };
        let cause = match timeout(within, answer).await {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Ok(Err(error))) => Cause::of(&error, route),
            Ok(Err(_)) => Cause::Connection("tbtokend ended the request".to_owned()),
            Err(_) => Cause::TimedOut,
        };
        // After this, a task that runs late cannot send the body.
        let withheld = body_state.compare_exchange(UNSENT, WITHHELD, Ordering::AcqRel, Ordering::Acquire);
        let was_sent = withheld == Err(SENT);
        let cause = match cause {
            Cause::Connection(why) if url.scheme() == "http" && was_sent => {
                Cause::Connection(format!("{why} (if this port is for https, write https:// into tb_url)"))
            }
            cause => cause,
        };
        Err(NoAnswer { cause, within, was_sent })
    }

    /// Sends a request that needs no user, and returns the HTTP status of the answer.
    ///
    /// # Errors
    /// The server cannot be reached, or its certificate is not trusted.
    pub async fn request_status(&self, base: &BaseUrl) -> Result<u16, Failure> {
        let url = base.endpoint("api/noauth/userPasswordPolicy");
        let answer = self.send_request(Method::GET, url, None, Vec::new(), self.request_timeout).await?;
        match answer::read_wrong_port_or_proxy(&answer) {
            Some(unexpected) => Err(Failure::UnexpectedResponse(unexpected)),
            None => Ok(answer.status),
        }
    }
}

/// A check keeps no connection open. A renewal is repeated once after an idle connection that the server has closed, and
/// the second try must not find another one.
fn check_headers(token: HeaderValue) -> [(HeaderName, HeaderValue); 2] {
    [(TOKEN_HEADER, token), (CONNECTION, HeaderValue::from_static("close"))]
}

/// The body of a request. The library reads it only when it is about to send the bytes, so a password that was not read was
/// not sent.
#[derive(Debug)]
struct RequestBody {
    bytes: Bytes,
    state: Arc<AtomicU8>,
}

/// The library has not read the body yet.
const UNSENT: u8 = 0;
/// The library has read the body.
const SENT: u8 = 1;
/// The library gets the body no more, because it was reported as not sent.
const WITHHELD: u8 = 2;

/// The error for a body that the library reads too late.
#[derive(Debug, thiserror::Error)]
#[error("the request was abandoned before it was sent")]
struct AbandonedRequest;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = AbandonedRequest;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.state.compare_exchange(UNSENT, SENT, Ordering::AcqRel, Ordering::Acquire) == Err(WITHHELD) {
            return Poll::Ready(Some(Err(AbandonedRequest)));
        }
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready(Some(bytes).filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}

async fn read_answer(request_url: Url, mut response: Response) -> reqwest::Result<Answer> {
    let header = |name: HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
    };
    let (location, retry_after, date) = (header(LOCATION), header(RETRY_AFTER), header(DATE));
    let encoding = header(CONTENT_ENCODING);
    let status = response.status().as_u16();
    let body = match read_bounded_body(&mut response).await {
        Ok(body) => body,
        Err(error) if status == 200 => return Err(error),
        // The status is sufficient without the body. A password that the server has counted must not be sent again
        // because the rest of the answer is missing.
        Err(_) => None,
    };
    Ok(Answer { request_url, status, location, retry_after, date, encoding, body })
}

/// Reads the body; `None` if it is longer than the limit.
async fn read_bounded_body(response: &mut Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

impl Logins for Client {
    async fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
        within: Duration,
    ) -> Result<Grant, Failure> {
        let body = LoginBody { username: &credentials.username, password: credentials.password.expose() };
        answer::read_login(&self.post(base, LOGIN, &body, within.min(self.request_timeout)).await?)
    }

    async fn probe(&self, base: &BaseUrl) -> Probe {
        let username = format!("tbtokend-probe-{:016x}@probe.invalid", rand::random::<u64>());
        let password = format!("{:032x}", rand::random::<u128>());
        let body = LoginBody { username: &username, password: &password };
        match self.post(base, LOGIN, &body, self.request_timeout).await {
            Ok(answer) => answer::read_probe(&answer),
            Err(NoAnswer { cause: Cause::Answer(unexpected), .. }) => {
                Probe::NoVerdict(Failure::UnexpectedResponse(unexpected))
            }
            Err(no_answer) => Probe::Bad(no_answer.into()),
        }
    }

    async fn refresh(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, RefreshError> {
        let body = RefreshBody { refresh_token: refresh_token.expose() };
        let began = Instant::now();
        let mut answer = self.post(base, REFRESH, &body, self.request_timeout).await;
        if answer.as_ref().is_err_and(NoAnswer::was_interrupted) {
            let rest = self.request_timeout.saturating_sub(began.elapsed());
            answer = self.post(base, REFRESH, &body, rest).await;
        }
        answer::read_refresh(&answer.map_err(|no_answer| RefreshError::Failed(no_answer.into()))?)
    }

    async fn check(&self, base: &BaseUrl, token: &Secret) -> TokenAnswer {
        // A text that is not valid in a header is not a token of ThingsBoard.
        let Ok(mut token) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) else {
            return TokenAnswer::Unclear;
        };
        token.set_sensitive(true);
        let url = base.endpoint(USER);
        let within = self.request_timeout.min(LONGEST_CHECK);
        match self.send_request(Method::GET, url, Some(token), Vec::new(), within).await {
            Ok(answer) => answer::read_check(&answer),
            Err(NoAnswer { cause: Cause::Answer(_), .. }) => TokenAnswer::Unclear,
            Err(_) => TokenAnswer::NoAnswer,
        }
    }
}
