//! Why there is no answer, from the errors of the HTTP library. Only their causes are read, which hold no URL.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio_rustls::rustls;
use url::Url;

use super::names::NotFound;
use super::proxy::Proxy;
use crate::model::{Failure, Unexpected};
use crate::text;
use crate::tls::{self, TlsContext};

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) broken: Broken,
    pub(super) within: Duration,
    /// Whether the request, or a part of it, may have left.
    pub(super) was_sent: bool,
}

#[derive(Debug)]
pub(super) enum Broken {
    /// The time is over.
    Late,
    /// There is no connection, or it broke; with the reason.
    Connection(String),
    /// What came is no answer.
    Answer(Unexpected),
}

/// From here to the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) url: &'a Url,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) connect_timeout: Duration,
}

impl NoAnswer {
    /// Whether the connection broke before an answer began: as when the server closes an idle one in the moment in which it
    /// is used again. A renewal may be asked twice, it checks no password and counts nothing; a login may not.
    pub(super) fn was_cut_off(&self) -> bool {
        self.was_sent && matches!(self.broken, Broken::Connection(_))
    }
}

impl From<NoAnswer> for Failure {
    fn from(NoAnswer { broken, within, was_sent }: NoAnswer) -> Self {
        match broken {
            Broken::Late if was_sent => Self::Timeout { after: within },
            Broken::Late => {
                Self::Unreachable { why: format!("no connection within {} s", within.as_secs_f32()) }
            }
            Broken::Connection(why) if was_sent => Self::Interrupted { why },
            Broken::Connection(why) => Self::Unreachable { why },
            Broken::Answer(unexpected) => Self::UnexpectedResponse(unexpected),
        }
    }
}

impl Broken {
    /// What became of a request. What stands above the innermost cause only repeats that it failed.
    pub(super) fn of(error: &reqwest::Error, route: Route<'_>) -> Self {
        if error.is_connect() {
            return Self::Connection(route.no_connection(error));
        }
        for cause in causes(error) {
            if let Some(error) = cause.downcast_ref::<hyper::Error>() {
                if error.is_parse_too_large() {
                    return Self::Answer(Unexpected::LongHead);
                }
                if error.is_parse() {
                    return Self::Answer(Unexpected::NotHttp);
                }
                if error.is_incomplete_message() {
                    return Self::Connection("the server has closed it".to_owned());
                }
            }
            // A server may refuse us after our part of the handshake.
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return Self::Connection(tls::explain(error, route.asked("this server", WRITE_HTTP)));
            }
        }
        Self::Connection(innermost(error))
    }
}

const WRITE_HTTP: &str = "write http:// into tb_url, or the port for https";

impl Route<'_> {
    fn no_connection(self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no connection within {} s", self.connect_timeout.as_secs_f32());
        }
        let tunnel = causes(error).map(ToString::to_string).find(|words| words.starts_with(TUNNEL));
        let Some(proxy) = self.proxy.filter(|_| tunnel.is_some() || self.url.scheme() == "http") else {
            let host = self.url.host_str().unwrap_or_default();
            return connect_words(error, self.asked(host, WRITE_HTTP));
        };
        let words = match tunnel.as_deref().and_then(|words| words.strip_prefix(TUNNEL)) {
            Some("proxy authorization required") => {
                "it asks for a login (HTTP 407): write http://USER:PASSWORD@HOST:PORT".to_owned()
            }
            Some("unsuccessful" | "proxy response headers too long") => {
                "it does not let us through to the server, or is no HTTP proxy".to_owned()
            }
            Some("unexpected end of file") => "it closes the connection".to_owned(),
            _ => connect_words(error, self.asked(proxy.host(), "write http:// into thingsboard.proxy")),
        };
        format!("the proxy of thingsboard.proxy cannot be used: {words}")
    }

    fn asked<'a>(self, host: &'a str, no_tls: &'static str) -> TlsContext<'a> {
        TlsContext { host: host.trim_matches(['[', ']']), ca_file: "thingsboard.ca_file", no_tls }
    }
}

/// What the library puts before everything that goes wrong with a tunnel through a proxy. It has no type of its own.
const TUNNEL: &str = "tunnel error: ";

fn connect_words(error: &reqwest::Error, asked: TlsContext<'_>) -> String {
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return tls::explain(error, asked);
        }
        if let Some(why) = cause.downcast_ref::<NotFound>() {
            return why.to_string();
        }
        if cause.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::UnexpectedEof) {
            return "the server ends the connection in the TLS handshake: does this port speak TLS?"
                .to_owned();
        }
    }
    innermost(error)
}

/// The causes of an error, the nearest first. What is inside of an error of input and output is not its source.
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

fn innermost(error: &reqwest::Error) -> String {
    text::short(&causes(error).last().map_or_else(|| "it failed".to_owned(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::AlertDescription;

    use super::*;

    #[test]
    fn a_refusal_by_tls_is_found_inside_errors_of_input_and_output() {
        #[derive(Debug, thiserror::Error)]
        #[error("it failed")]
        struct Outer(#[source] io::Error);
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, alert.clone()));
        let found = causes(&Outer(error)).find_map(|cause| cause.downcast_ref().cloned());
        assert_eq!(found, Some(alert));
    }
}
