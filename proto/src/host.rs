//! What `status` says of the ThingsBoard servers: their clocks, and how gently they are asked.

use serde::{Deserialize, Serialize};

/// A ThingsBoard server that some customer uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Scheme, name, port and path, as [`host_of`] gives it for the `tb_url` of its customers.
    pub host: String,
    /// By how many milliseconds the server's clock is ahead of the daemon's; negative when it is behind, null until a
    /// token came. It is read off the tokens, which know whole seconds, so it is right to about half a second, and
    /// changes only when a new measurement contradicts it. Tokens are timed by their length, so a wrong clock does no
    /// harm here.
    pub skew_ms: Option<i64>,
    /// How many logins it gets at a time at most.
    pub limit: u32,
    /// Whether it is asked at all.
    pub state: BreakerState,
}

/// The circuit breaker of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// It works: it gets logins, up to its limit.
    Closed,
    /// Something other than ThingsBoard answered the probe: one login each poll finds out what it is.
    HalfOpen,
    /// It is treated as down: it gets one probe a poll, without a password of a customer, and its customers wait.
    Open,
    /// A state that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The server of a `tb_url`, as [`Host::host`] names it: `https://tb.example.com` or, where the port is not that of the
/// scheme and there is a path, `http://tb.example.com:8080/iot`. None if the URL names no server that the daemon would ask.
/// A name with letters beyond ASCII is found only if the URL spells it as DNS does (`xn--…`), and a path only if no letter
/// of it is escaped (`%…`).
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
    let mut host = format!("{scheme}://{name}");
    if let Some(port) = port.filter(|port| *port != usual_port) {
        host.push_str(&format!(":{port}"));
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
    Some(path.into_iter().fold(host, |host, part| host + "/" + part))
}
