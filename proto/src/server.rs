//! The ThingsBoard servers in a `status` answer: their clocks, limits and circuit breakers.

use serde::{Deserialize, Serialize};

/// A ThingsBoard server with at least one customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Scheme, name, port and path, as [`host_of`] derives them from the `tb_url` of its customers.
    #[serde(rename = "server")]
    pub name: String,
    /// The milliseconds by which the server's clock is ahead of the daemon's; negative if it is behind, null before the first
    /// token. It comes from the tokens, which hold whole seconds, so it is exact to about half a second. It changes only
    /// when a new measurement contradicts it. A wrong clock does no harm, because expiries come from the length of tokens.
    pub skew_ms: Option<i64>,
    /// The most logins that it gets at a time.
    pub limit: u32,
    /// Its circuit breaker.
    pub breaker: BreakerState,
}

/// The states of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Normal: the server gets logins, up to its limit.
    Closed,
    /// Something other than ThingsBoard answered the probe: one login per poll finds out what it is.
    HalfOpen,
    /// The server is treated as down: it gets one probe per poll, without a password, and its customers wait.
    Open,
    /// A state that this client does not know.
    #[serde(other)]
    Unknown,
}

/// Returns the server of a `tb_url` as [`Server::name`] spells it: `https://tb.example.com` or, with an unusual port and a
/// path, `http://tb.example.com:8080/iot`. `None` if the URL names no server. It does not decode escapes (`%…`) in a path,
/// nor convert a non-ASCII name to its DNS form (`xn--…`).
pub fn host_of(tb_url: &str) -> Option<String> {
    let (scheme, rest) = tb_url.trim().split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let mut parts = rest.split(['?', '#']).next()?.split(['/', '\\']);
    let authority = parts.next()?;
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, "")) => (name, None),
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, Some(port.parse::<u16>().ok()?))
        }
        _ => (authority, None),
    };
    if name.is_empty() || name.contains('@') {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let mut server = format!("{scheme}://{name}");
    if let Some(port) = port.filter(|port| *port != usual_port) {
        server.push_str(&format!(":{port}"));
    }
    let mut path: Vec<&str> = Vec::new();
    for part in parts {
        match part {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    Some(path.into_iter().fold(server, |server, part| server + "/" + part))
}
