//! The settings of the HTTP listener: the address, and the accepted tokens and names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::missing;
use super::file::Http;
use super::validate::LONGEST_SOCKET_PATH;
use super::{ConfigError, bad_value, named_file};
use crate::control::Binding;
use crate::http::{AccessRules, Address, Settings, TOKEN_LENGTHS, Token, is_host_name};
use crate::systemd;

const LISTEN: &str = "http.listen";

/// The mode of the listener's Unix socket.
const SOCKET_MODE: u32 = 0o660;

/// The lowest allowed port: the service has no right to a lower one.
const LOWEST_PORT: u16 = 1024;

/// Checks the whole section, even if `listen` is empty, so that an error shows at once.
pub(super) fn settings(http: &Http, control: &Binding) -> Result<Option<Settings>, ConfigError> {
    named_file::is_secret_file("http.token_file", &http.token_file)?;
    named_file::is_secret_file("http.read_token_file", &http.read_token_file)?;
    let metrics_open = match http.metrics.as_str() {
        "read" => false,
        "open" => true,
        other => return Err(bad_value("http.metrics", other, "use read or open")),
    };
    if let Some(name) = http.allowed_hosts.iter().find(|name| !is_host_name(name)) {
        let why = "write a name without scheme and port, for example \"tokens.example.com\"";
        return Err(bad_value("http.allowed_hosts", name, why));
    }
    if http.listen.is_empty() {
        return Ok(None);
    }
    let (address, exposed) = address(http, control)?;
    let write = token("http.token_file", &http.token_file, "http-token")?;
    let read = token("http.read_token_file", &http.read_token_file, "http-read-token")?;
    if write.is_some() && write == read {
        let why =
            "it holds the same token as http.token_file; make another one with tbtokend http-token FILE";
        return Err(bad_value("http.read_token_file", &http.read_token_file, why));
    }
    if write.is_none() && read.is_none() && matches!(address, Address::Tcp(_)) {
        let what = "http.listen needs a token; make one with `tbtokend http-token` (in /etc/tbtokend/http-token, which the unit passes on), or name a file";
        return Err(missing("http.token_file", what));
    }
    let allowed_hosts = http.allowed_hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
    let access_rules = AccessRules { write, read, allowed_hosts };
    Ok(Some(Settings { address, exposed, access_rules, metrics_open, page: http.page }))
}

/// Returns the address, and whether other machines can reach it.
fn address(http: &Http, control: &Binding) -> Result<(Address, bool), ConfigError> {
    let bad_value = |why: &str| bad_value(LISTEN, &http.listen, why);
    if let Some(path) = http.listen.strip_prefix("unix:") {
        if !Path::new(path).is_absolute() || path.len() > LONGEST_SOCKET_PATH {
            return Err(bad_value("write unix: and an absolute path of at most 107 bytes"));
        }
        let binding = Binding { path: PathBuf::from(path), mode: SOCKET_MODE, group: control.group.clone() };
        return Ok((Address::Unix(binding), false));
    }
    let address: SocketAddr = http.listen.parse().map_err(|_| {
        bad_value("write an address and a port, for example 127.0.0.1:9137 or [::1]:9137, or unix:/run/tbtokend/http.sock")
    })?;
    if address.port() < LOWEST_PORT {
        return Err(bad_value(
            "the service has no right to a port below 1024; use a higher one, and a proxy in front",
        ));
    }
    let exposed = !address.ip().to_canonical().is_loopback();
    if exposed && !http.behind_proxy {
        return Err(bad_value(
            "other machines can reach this address, and tbtokend has no TLS of its own; use 127.0.0.1, or put a proxy with TLS in front and set http.behind_proxy = true",
        ));
    }
    Ok((Address::Tcp(address), exposed))
}

/// Reads the token from this file or, if it is empty, from this credential.
fn token(key: &'static str, file: &str, credential: &str) -> Result<Option<Token>, ConfigError> {
    let Some(file) =
        Some(PathBuf::from(file)).filter(|_| !file.is_empty()).or_else(|| systemd::credential(credential))
    else {
        return Ok(None);
    };
    let secret = named_file::read_secret(key, &file)?;
    let text = secret.expose().trim();
    if !TOKEN_LENGTHS.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "a token has 32 to 256 printable ASCII characters without spaces; make one with tbtokend http-token FILE";
        return Err(bad_value(key, &file.display().to_string(), why));
    }
    Ok(Some(Token::new(text)))
}
