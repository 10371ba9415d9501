//! The HTTP client: one request, one bounded answer, never a redirect followed, never a secret in an error.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, redirect};
use serde::Serialize;
use tokio::time::timeout;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use url::Url;

use super::answer::{self, Answer};
use super::broken::{Broken, NoAnswer, Route};
use super::names::Names;
use super::proxy::Proxy;
use super::workers::Workers;
use super::{Logins, Probe, RefreshError};
use crate::model::{BaseUrl, Credentials, Failure, Grant, Secret, TokenAnswer};
use crate::tls::{self, Trusted};

/// The most that is read of a body. ThingsBoard's own have about 1,500 bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Where a password is sent, below the server's base URL.
const LOGIN: &str = "api/auth/login";

/// Where a refresh token is sent.
const RENEW: &str = "api/auth/token";

/// A pass may wait for the answer to a check and for nothing else.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// Where a token is asked about.
const USER: &str = "api/auth/user";

/// The header with the token.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-authorization");

/// How long a connection is kept for the next login of a pass.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of the client.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// For the whole request, connecting included.
    pub request_timeout: Duration,
    /// A PEM file with further authorities, and certificates of servers, to trust.
    pub ca_file: Option<std::path::PathBuf>,
    /// The proxy to use; none is taken from the environment.
    pub proxy: Option<String>,
}

impl ClientSettings {
    /// Whether a client could be built with these settings, so that it is known before there is need of one.
    ///
    /// # Errors
    /// [`ClientError`] names the setting that cannot be used.
    pub fn check(&self) -> Result<(), ClientError> {
        self.authorities()?;
        self.proxy()?;
        Ok(())
    }

    fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, ClientError> {
        self.ca_file.as_deref().map_or(Ok(Vec::new()), authorities)
    }

    fn proxy(&self) -> Result<Option<Proxy>, ClientError> {
        self.proxy.as_ref().map(|url| Proxy::parse(url).ok_or(ClientError::Proxy)).transpose()
    }
}

/// Why the client cannot be built. The text names the setting.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file with the authorities cannot be read.
    #[error("thingsboard.ca_file {path} cannot be read: name a file that the daemon's user may read")]
    CaFile {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no usable certificate.
    #[error("thingsboard.ca_file {path} holds no certificate in PEM form")]
    NoCertificate {
        /// The file.
        path: String,
    },
    /// The proxy is not one that can be used.
    #[error(
        "thingsboard.proxy is not the URL of an HTTP proxy; write for example http://proxy.example.com:3128"
    )]
    Proxy,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// There are no more threads.
    #[error("the threads of the HTTP client cannot be started")]
    Threads(#[source] std::io::Error),
    /// The HTTP library cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Build(#[source] reqwest::Error),
}

/// Talks to ThingsBoard servers.
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
struct RenewalBody<'a> {
    #[serde(rename = "refreshToken")]
    refresh_token: &'a str,
}

impl Client {
    /// A client with these settings.
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
            // A login that the server may have counted is never repeated behind our back. What is sent a second time by the
            // library are requests of which nothing was sent at all.
            .retry(reqwest::retry::never())
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(Names::default()));
        if let Some(proxy) = &proxy {
            builder = builder.proxy(proxy.for_all().map_err(|_| ClientError::Proxy)?);
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
        self.ask(Method::POST, base.endpoint(path), None, body, within).await
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        token: Option<HeaderValue>,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        let password = Arc::new(AtomicU8::new(HERE));
        let body = Outgoing { bytes: body.into(), state: Arc::clone(&password) };
        let request = self
            .http
            .request(method, url.clone())
            .header(CONTENT_TYPE, "application/json")
            .headers(token.into_iter().map(|token| (TOKEN_HEADER, token)).collect())
            .body(reqwest::Body::wrap(body));
        let asked = url.clone();
        let answer = self.workers.run(async move { read(asked, request.send().await?).await });
        let route = Route { url: &url, proxy: self.proxy.as_ref(), connect_timeout: self.connect_timeout };
        let broken = match timeout(within, answer).await {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Ok(Err(error))) => Broken::of(&error, route),
            Ok(Err(_)) => Broken::Connection("the request was ended within tbtokend".to_owned()),
            Err(_) => Broken::Late,
        };
        // A late daemon may still be about to send it.
        let kept = password.compare_exchange(HERE, KEPT, Ordering::AcqRel, Ordering::Acquire);
        let was_sent = kept == Err(SENT);
        let broken = match broken {
            Broken::Connection(why) if url.scheme() == "http" && was_sent => {
                Broken::Connection(format!("{why} (if this port is for https, write https:// into tb_url)"))
            }
            broken => broken,
        };
        Err(NoAnswer { broken, within, was_sent })
    }

    /// Whether a server answers there: a request for which no user needs to be known. Says the HTTP status.
    ///
    /// # Errors
    /// The server cannot be reached, or its TLS is not believed.
    pub async fn request_status(&self, base: &BaseUrl) -> Result<u16, Failure> {
        let url = base.endpoint("api/noauth/userPasswordPolicy");
        let answer = self.ask(Method::GET, url, None, Vec::new(), self.request_timeout).await?;
        match answer::read_greeting(&answer) {
            Some(unexpected) => Err(Failure::UnexpectedResponse(unexpected)),
            None => Ok(answer.status),
        }
    }
}

/// The body of a request. It is asked for when its bytes are about to leave, and not before: a password that was not asked
/// for was not sent.
#[derive(Debug)]
struct Outgoing {
    bytes: Bytes,
    state: Arc<AtomicU8>,
}

/// The body was not asked for yet.
const HERE: u8 = 0;
/// It was asked for.
const SENT: u8 = 1;
/// It will not be handed out any more: it was said that it was not sent.
const KEPT: u8 = 2;

/// A body was asked for too late.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up before it was sent")]
struct GivenUp;

impl Body for Outgoing {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.state.compare_exchange(HERE, SENT, Ordering::AcqRel, Ordering::Acquire) == Err(KEPT) {
            return Poll::Ready(Some(Err(GivenUp)));
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

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let display = path.display().to_string();
    let pem = std::fs::read(path).map_err(|source| ClientError::CaFile { path: display.clone(), source })?;
    tls::certificates(&pem).ok_or(ClientError::NoCertificate { path: display })
}

async fn read(asked: Url, mut response: Response) -> reqwest::Result<Answer> {
    let header = |name: HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
    };
    let (location, retry_after, date) = (header(LOCATION), header(RETRY_AFTER), header(DATE));
    let encoding = header(CONTENT_ENCODING);
    let status = response.status().as_u16();
    let body = match bounded_body(&mut response).await {
        Ok(body) => body,
        Err(error) if status == 200 => return Err(error),
        // That it was refused was heard, whatever became of the reason: a password that the server has counted is
        // not sent again because the rest of its answer did not come.
        Err(_) => None,
    };
    Ok(Answer { asked, status, location, retry_after, date, encoding, body })
}

/// The body, or `None` if it is longer than is read.
async fn bounded_body(response: &mut Response) -> reqwest::Result<Option<Vec<u8>>> {
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
            Err(NoAnswer { broken: Broken::Answer(unexpected), .. }) => {
                Probe::NoVerdict(Failure::UnexpectedResponse(unexpected))
            }
            Err(no_answer) => Probe::Bad(no_answer.into()),
        }
    }

    async fn refresh(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, RefreshError> {
        let body = RenewalBody { refresh_token: refresh_token.expose() };
        let began = Instant::now();
        let mut answer = self.post(base, RENEW, &body, self.request_timeout).await;
        if answer.as_ref().is_err_and(NoAnswer::was_cut_off) {
            let rest = self.request_timeout.saturating_sub(began.elapsed());
            answer = self.post(base, RENEW, &body, rest).await;
        }
        answer::read_renewal(&answer.map_err(|no_answer| RefreshError::Failed(no_answer.into()))?)
    }

    async fn check(&self, base: &BaseUrl, token: &Secret) -> TokenAnswer {
        // What is no header can be no token of ThingsBoard.
        let Ok(mut token) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) else {
            return TokenAnswer::Unclear;
        };
        token.set_sensitive(true);
        let url = base.endpoint(USER);
        let within = self.request_timeout.min(LONGEST_CHECK);
        match self.ask(Method::GET, url, Some(token), Vec::new(), within).await {
            Ok(answer) => answer::read_check(&answer),
            Err(NoAnswer { broken: Broken::Answer(_), .. }) => TokenAnswer::Unclear,
            Err(_) => TokenAnswer::NoAnswer,
        }
    }
}
