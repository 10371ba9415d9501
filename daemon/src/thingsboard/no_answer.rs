//! Explains why a request has no answer, from the errors of the HTTP library. Only their causes are shown: they hold no URL.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio_rustls::rustls;
use url::Url;

use super::dns::LookupError;
use super::proxy::Proxy;
use crate::model::{Failure, UnexpectedAnswer};
use crate::text;
use crate::tls::{self, TlsContext};

/// The lack of an answer to a request.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) cause: Cause,
    pub(super) within: Duration,
    /// Whether the request, or a part of it, may have been sent.
    pub(super) was_sent: bool,
}

/// The cause of the lack of an answer.
#[derive(Debug)]
pub(super) enum Cause {
    /// The time limit has passed.
    TimedOut,
    /// The connection failed or broke; with the reason.
    Connection(String),
    /// The server sent something that is not an answer.
    Answer(UnexpectedAnswer),
}

/// The route to the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) url: &'a Url,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) connect_timeout: Duration,
}

impl NoAnswer {
    /// Whether the connection broke after the request was sent, as when the server closes an idle connection at the moment of
    /// its next use. A refresh may be sent twice, because it checks no password and counts nothing. A login may not.
    pub(super) fn was_interrupted(&self) -> bool {
        self.was_sent && matches!(self.cause, Cause::Connection(_))
    }
}

impl From<NoAnswer> for Failure {
    fn from(NoAnswer { cause, within, was_sent }: NoAnswer) -> Self {
        match cause {
            Cause::TimedOut if was_sent => Self::Timeout { after: within },
            Cause::TimedOut => {
                Self::Unreachable { why: format!("no connection within {} s", within.as_secs_f32()) }
            }
            Cause::Connection(why) if was_sent => Self::Interrupted { why },
            Cause::Connection(why) => Self::Unreachable { why },
            Cause::Answer(unexpected) => Self::UnexpectedResponse(unexpected),
        }
    }
}

impl Cause {
    /// Returns the cause of a failed request. The errors above the innermost cause only repeat that it failed.
    pub(super) fn of(error: &reqwest::Error, route: Route<'_>) -> Self {
        if error.is_connect() {
            return Self::Connection(route.explain_no_connection(error));
        }
        for cause in causes(error) {
            if let Some(error) = cause.downcast_ref::<hyper::Error>() {
                if error.is_parse_too_large() {
                    return Self::Answer(UnexpectedAnswer::LongHead);
                }
                if error.is_parse() {
                    return Self::Answer(UnexpectedAnswer::NotHttp);
                }
                if error.is_incomplete_message() {
                    return Self::Connection("the server has closed it".to_owned());
                }
            }
            // A server may reject the client after the client's part of the handshake.
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return Self::Connection(tls::explain(error, route.tls_context("this server", USE_HTTP)));
            }
        }
        Self::Connection(innermost_cause(error))
    }
}

const USE_HTTP: &str = "write http:// into tb_url, or the port for https";

impl Route<'_> {
    fn explain_no_connection(self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no connection within {} s", self.connect_timeout.as_secs_f32());
        }
        let tunnel = causes(error).map(ToString::to_string).find(|words| words.starts_with(TUNNEL));
        let Some(proxy) = self.proxy.filter(|_| tunnel.is_some() || self.url.scheme() == "http") else {
            let host = self.url.host_str().unwrap_or_default();
            return explain_connect_error(error, self.tls_context(host, USE_HTTP));
        };
        let words = match tunnel.as_deref().and_then(|words| words.strip_prefix(TUNNEL)) {
            Some("proxy authorization required") => {
                "it requires a login (HTTP 407): write http://USER:PASSWORD@HOST:PORT".to_owned()
            }
            Some("unsuccessful" | "proxy response headers too long") => {
                "it does not let tbtokend through to the server, or is no HTTP proxy".to_owned()
            }
            Some("unexpected end of file") => "it closes the connection".to_owned(),
            _ => explain_connect_error(
                error,
                self.tls_context(proxy.host(), "write http:// into thingsboard.proxy"),
            ),
        };
        format!("the proxy of thingsboard.proxy cannot be used: {words}")
    }

    fn tls_context<'a>(self, host: &'a str, no_tls: &'static str) -> TlsContext<'a> {
        TlsContext { host: host.trim_matches(['[', ']']), ca_file: "thingsboard.ca_file", no_tls }
    }
}

/// The prefix of the library's errors about a tunnel through a proxy, which have no type of their own.
const TUNNEL: &str = "tunnel error: ";

fn explain_connect_error(error: &reqwest::Error, context: TlsContext<'_>) -> String {
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return tls::explain(error, context);
        }
        if let Some(why) = cause.downcast_ref::<LookupError>() {
            return why.to_string();
        }
        if cause.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::UnexpectedEof) {
            return "the server ends the connection in the TLS handshake: does this port speak TLS?"
                .to_owned();
        }
    }
    innermost_cause(error)
}

/// Returns the causes of an error, the nearest first. The error inside an I/O error counts too, although it is not its source.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
        Some(cause)
    })
}

fn innermost_cause(error: &reqwest::Error) -> String {
    text::short(&causes(error).last().map_or_else(|| "it failed".to_owned(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::AlertDescription;

    use super::*;

    #[test]
    fn a_tls_alert_is_found_inside_io_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("it failed")]
        struct Outer(#[source] io::Error);
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, alert.clone()));
        let found = causes(&Outer(error)).find_map(|cause| cause.downcast_ref().cloned());
        assert_eq!(found, Some(alert));
    }
}
