//! The HTTP client: one request, one bounded answer, never a redirect followed, never a secret in an error.

use std::error::Error as _;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::header::{DATE, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Proxy, Response, redirect};
use serde::Serialize;

use super::answer::{self, Answer};
use super::{Logins, NotRenewed, Probe};
use crate::model::{BaseUrl, Credentials, Failure, Grant, Secret};
use crate::text;

/// The most that is read of an answer. ThingsBoard's own has about 1,500 bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Where a password is sent, below the server's base URL.
const LOGIN: &str = "api/auth/login";

/// How long a connection is kept for the next login of a pass.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of the client.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// For the whole request, connecting included.
    pub request_timeout: Duration,
    /// A PEM file with further authorities to trust.
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

    fn authorities(&self) -> Result<Option<Vec<Certificate>>, ClientError> {
        self.ca_file.as_deref().map(authorities).transpose()
    }

    fn proxy(&self) -> Result<Option<Proxy>, ClientError> {
        self.proxy.as_ref().map(|url| Proxy::all(url).map_err(|_| ClientError::Proxy)).transpose()
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
    /// The proxy is not a URL.
    #[error("thingsboard.proxy is not a proxy's URL; write for example http://proxy.example.com:3128")]
    Proxy,
    /// TLS cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Build(#[source] reqwest::Error),
}

/// Talks to ThingsBoard servers.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
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
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tbtokend/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(redirect::Policy::none())
            // A login that the server may have counted is never repeated behind our back.
            .retry(reqwest::retry::never())
            .no_proxy();
        if let Some(authorities) = settings.authorities()? {
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some(proxy) = settings.proxy()? {
            builder = builder.proxy(proxy);
        }
        let http = builder.build().map_err(ClientError::Build)?;
        let ClientSettings { connect_timeout, request_timeout, .. } = *settings;
        Ok(Self { http, connect_timeout, request_timeout })
    }

    async fn post(
        &self,
        base: &BaseUrl,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> reqwest::Result<Answer> {
        let mut response = self.http.post(base.endpoint(path)).json(body).timeout(timeout).send().await?;
        let header = |name: HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
        };
        let (location, retry_after, date) = (header(LOCATION), header(RETRY_AFTER), header(DATE));
        let status = response.status().as_u16();
        let body = match bounded_body(&mut response).await {
            Ok(body) => body,
            Err(error) if status == 200 => return Err(error),
            // That it was refused was heard, whatever became of the reason: a password that the server has counted is
            // not sent again because the rest of its answer did not come.
            Err(_) => None,
        };
        Ok(Answer { status, location, retry_after, date, body })
    }

    /// Whether somebody answers there: a request for which nobody needs to be known. Says the HTTP status.
    ///
    /// # Errors
    /// The server cannot be reached, or its TLS is not believed.
    pub async fn greet(&self, base: &BaseUrl) -> Result<u16, Failure> {
        let response = self.http.get(base.endpoint("api/noauth/userPasswordPolicy")).send().await;
        response.map(|response| response.status().as_u16()).map_err(|error| self.failure(error))
    }

    fn failure(&self, error: reqwest::Error) -> Failure {
        if error.is_timeout() && error.is_connect() {
            // Nothing was sent.
            let why = format!("no connection within {} s", self.connect_timeout.as_secs_f32());
            return Failure::Unreachable { why };
        }
        if error.is_timeout() {
            return Failure::Timeout { after: self.request_timeout };
        }
        let was_sent = !error.is_connect();
        let why = innermost_cause(&error.without_url());
        if was_sent { Failure::Interrupted { why } } else { Failure::Unreachable { why } }
    }
}

/// Whether the connection broke before an answer began: as when the server closes an idle one in the moment in which it is
/// used again. A renewal may be asked twice, it checks no password and counts nothing; a login may not. (A request of
/// which nothing was sent at all is sent again by the HTTP library, whatever it is.)
fn was_cut_off(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let display = path.display().to_string();
    let pem = std::fs::read(path).map_err(|source| ClientError::CaFile { path: display.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ClientError::NoCertificate { path: display }),
    }
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

/// What the operating system, TLS or HTTP said at the bottom; what is above it only repeats that it failed.
fn innermost_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    text::short(&cause.map_or_else(|| error.to_string(), ToString::to_string))
}

impl Logins for Client {
    async fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
        within: Duration,
    ) -> Result<Grant, Failure> {
        let body = LoginBody { username: &credentials.username, password: credentials.password.expose() };
        let answer = self.post(base, LOGIN, &body, within.min(self.request_timeout)).await;
        answer::read_login(&answer.map_err(|error| self.failure(error))?)
    }

    async fn probe(&self, base: &BaseUrl) -> Probe {
        let username = format!("tbtokend-probe-{:016x}@probe.invalid", rand::random::<u64>());
        let password = format!("{:032x}", rand::random::<u128>());
        let body = LoginBody { username: &username, password: &password };
        match self.post(base, LOGIN, &body, self.request_timeout).await {
            Ok(answer) => answer::read_probe(&answer),
            Err(error) => Probe::Bad(self.failure(error)),
        }
    }

    async fn renew(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, NotRenewed> {
        let body = RenewalBody { refresh_token: refresh_token.expose() };
        let began = Instant::now();
        let mut answer = self.post(base, "api/auth/token", &body, self.request_timeout).await;
        if answer.as_ref().is_err_and(was_cut_off) {
            let rest = self.request_timeout.saturating_sub(began.elapsed());
            answer = self.post(base, "api/auth/token", &body, rest).await;
        }
        answer::read_renewal(&answer.map_err(|error| NotRenewed::Failed(self.failure(error)))?)
    }
}
