//! The settings of the HTTP listener: the address, and the accepted tokens and names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::missing;
use super::file::Settings as Unchecked;
use super::text::Text;
use super::validate::LONGEST_SOCKET_PATH;
use super::{ConfigError, bad_value, named_file};
use crate::control::Binding;
use crate::http::{AccessRules, Address, Settings, TOKEN_LENGTHS, Token, is_host_name};
use crate::systemd;

/// The mode of the listener's Unix socket.
const SOCKET_MODE: u32 = 0o660;

/// The lowest allowed port: the service has no right to a lower one.
const LOWEST_PORT: u16 = 1024;

/// Checks the whole section, even if `listen` is empty, so that an error shows at once.
pub(super) fn settings(unchecked: &Unchecked, control: &Binding) -> Result<Option<Settings>, ConfigError> {
    let token_file = unchecked.text("http.token_file")?;
    let read_token_file = unchecked.text("http.read_token_file")?;
    named_file::is_secret_file(token_file)?;
    named_file::is_secret_file(read_token_file)?;
    let metrics = unchecked.text("http.metrics")?;
    let metrics_open = metrics.choose(&[("read", false), ("open", true)], "use read or open")?;
    let allowed_hosts = unchecked.list("http.allowed_hosts")?;
    if let Some(name) = allowed_hosts.iter().find(|name| !is_host_name(name)) {
        let why = "write a name without scheme and port, for example \"tokens.example.com\"";
        return Err(bad_value("http.allowed_hosts", name, why));
    }
    let listen = unchecked.text("http.listen")?;
    if listen.value.is_empty() {
        return Ok(None);
    }
    let (address, exposed) = address(listen, unchecked.flag("http.behind_proxy")?, control)?;
    let write = token(token_file, "http-token")?;
    let read = token(read_token_file, "http-read-token")?;
    if write.is_some() && write == read {
        let why =
            "it holds the same token as http.token_file; make another one with tbtokend http-token FILE";
        return Err(read_token_file.bad(why));
    }
    if write.is_none() && read.is_none() && matches!(address, Address::Tcp(_)) {
        let what = "http.listen needs a token; make one with `tbtokend http-token` (in /etc/tbtokend/http-token, which the unit passes on), or name a file";
        return Err(missing("http.token_file", what));
    }
    let allowed_hosts = allowed_hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
    let access_rules = AccessRules { write, read, allowed_hosts };
    Ok(Some(Settings { address, exposed, access_rules, metrics_open, page: unchecked.flag("http.page")? }))
}

/// Returns the address, and whether other machines can reach it.
fn address(
    listen: Text<'_>,
    is_behind_proxy: bool,
    control: &Binding,
) -> Result<(Address, bool), ConfigError> {
    if let Some(path) = listen.value.strip_prefix("unix:") {
        if !Path::new(path).is_absolute() || path.len() > LONGEST_SOCKET_PATH {
            return Err(listen.bad("write unix: and an absolute path of at most 107 bytes"));
        }
        let binding = Binding { path: PathBuf::from(path), mode: SOCKET_MODE, group: control.group.clone() };
        return Ok((Address::Unix(binding), false));
    }
    let address: SocketAddr = listen.value.parse().map_err(|_| {
        listen.bad("write an address and a port, for example 127.0.0.1:9137 or [::1]:9137, or unix:/run/tbtokend/http.sock")
    })?;
    if address.port() < LOWEST_PORT {
        return Err(listen
            .bad("the service has no right to a port below 1024; use a higher one, and a proxy in front"));
    }
    let exposed = !address.ip().to_canonical().is_loopback();
    if exposed && !is_behind_proxy {
        return Err(listen.bad(
            "other machines can reach this address, and tbtokend has no TLS of its own; use 127.0.0.1, or put a proxy with TLS in front and set http.behind_proxy = true",
        ));
    }
    Ok((Address::Tcp(address), exposed))
}

/// Reads the token from this file or, if none is named, from this credential.
fn token(file: Text<'_>, credential: &str) -> Result<Option<Token>, ConfigError> {
    let Some(path) = file.path().or_else(|| systemd::credential(credential)) else { return Ok(None) };
    let secret = named_file::read_secret(file.key, &path)?;
    let text = secret.expose().trim();
    if !TOKEN_LENGTHS.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "a token has 32 to 256 printable ASCII characters without spaces; make one with tbtokend http-token FILE";
        return Err(bad_value(file.key, &path.display().to_string(), why));
    }
    Ok(Some(Token::new(text)))
}
