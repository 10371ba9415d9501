//! The settings of notifications: times, and the receivers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use lettre::message::Mailbox;
use tokio_rustls::rustls::pki_types::CertificateDer;
use toml::{Table, Value};
use url::{Host, Url};

use super::error::missing;
use super::file::Settings as Unchecked;
use super::text::{Text, delta};
use super::{ConfigError, bad_value, named_file};
use crate::engine::view::Severity;
use crate::notify::mail::Protection;
use crate::notify::message::{Format, Frame};
use crate::notify::webhook::{self, Webhook};
use crate::notify::{Channel, Filter, Receiver, Settings, Times, mail};
use crate::systemd;
use crate::text::{printable, with_causes};
use crate::tls::{self, Trusted};

/// The most receivers.
const MOST_RECEIVERS: usize = 16;

/// The longest name of a receiver.
const LONGEST_NAME: usize = 32;

/// The longest link, in bytes: a chat must have room for the rest of a message.
const LONGEST_LINK: usize = 500;

/// The keys of mail alone.
const MAIL_KEYS: [&str; 6] = [
    "notify.receiver.to",
    "notify.receiver.from",
    "notify.receiver.smtp",
    "notify.receiver.tls",
    "notify.receiver.user",
    "notify.receiver.password_file",
];

/// The keys of webhooks alone.
const WEBHOOK_KEYS: [&str; 5] = [
    "notify.receiver.format",
    "notify.receiver.url",
    "notify.receiver.url_file",
    "notify.receiver.secret_file",
    "notify.receiver.allow_http",
];

/// The beginnings of all causes.
const CAUSES: [&str; 9] =
    ["server", "parked", "failing", "store", "permission", "schema", "clock", "loop_stopped", "dead_tokens"];

/// Checks the whole section, even without a receiver, so that an error shows at once.
pub(super) fn settings(unchecked: &Unchecked) -> Result<Option<Settings>, ConfigError> {
    let time = |key| time(unchecked.text(key)?);
    let times = Times {
        group_wait: time("notify.group_wait")?,
        group_interval: time("notify.group_interval")?,
        resolve_wait: time("notify.resolve_wait")?,
        repeat_interval: time("notify.repeat_interval")?,
    };
    if times.repeat_interval < times.group_interval {
        let text = unchecked.text("notify.repeat_interval")?;
        return Err(text.bad("it must be at least notify.group_interval"));
    }
    let lead = time("notify.lead")?;
    let link = unchecked.text("notify.link")?;
    if link.given().is_some_and(|link| Url::parse(link).is_err() || link.len() > LONGEST_LINK) {
        return Err(link.bad("write a URL of at most 500 bytes, or nothing"));
    }
    if unchecked.receivers.len() > MOST_RECEIVERS {
        let count = unchecked.receivers.len().to_string();
        return Err(bad_value("notify.receiver", &count, "there are more than 16 receivers"));
    }
    let mut receivers: Vec<Receiver> = Vec::new();
    for unchecked in &unchecked.receivers {
        let name = unchecked.text("notify.receiver.name")?;
        if receivers.iter().any(|receiver| receiver.name == name.value) {
            return Err(name.bad("two receivers have this name"));
        }
        let of_receiver =
            |error| ConfigError::Setting(format!("{error} (receiver {})", printable(name.value)));
        receivers.push(receiver(unchecked, name).map_err(of_receiver)?);
    }
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    let frame = Frame { host, names: unchecked.flag("notify.names")?, link: link.value.to_owned() };
    Ok((!receivers.is_empty()).then_some(Settings { times, lead, frame, receivers }))
}

/// Shows of the URLs of webhooks only the servers, because the rest is a secret.
pub(super) fn hide_urls(table: &mut Table) {
    let receivers = table.get_mut("notify").and_then(|notify| notify.get_mut("receiver"));
    for receiver in receivers.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::String(url)) = receiver.get_mut("url").filter(|url| url.as_str() != Some("")) {
            let place = Url::parse(url).map(|url| url.origin().ascii_serialization());
            *url = format!("{}/***", place.unwrap_or_default());
        }
    }
}

fn time(text: Text<'_>) -> Result<TimeDelta, ConfigError> {
    let time = text.duration()?;
    if !(Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)).contains(&time) {
        return Err(text.bad("use a time from 1s to 7d"));
    }
    Ok(delta(time))
}

fn receiver(unchecked: &Unchecked, name: Text<'_>) -> Result<Receiver, ConfigError> {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=LONGEST_NAME).contains(&name.value.len()) || !name.value.bytes().all(is_name) {
        return Err(name.bad("a name has 1 to 32 of the characters a-z, 0-9 and -"));
    }
    if name.value.ends_with("-secret") {
        return Err(name.bad("a name does not end in -secret, as the systemd credentials of secrets do"));
    }
    let severities = [("warning", Severity::Warning), ("critical", Severity::Critical)];
    let min_severity = unchecked.text("notify.receiver.min_severity")?;
    let min_severity = min_severity.choose(&severities, "use warning or critical")?;
    let is_cause = |prefix: &str| {
        let group = prefix.split_once(':').map(|(group, _)| group);
        let begins = |cause: &&str| cause.starts_with(prefix) || group == Some(*cause);
        !prefix.is_empty() && CAUSES.iter().any(begins)
    };
    let causes = unchecked.list("notify.receiver.causes")?;
    if let Some(cause) = causes.iter().find(|cause| !is_cause(cause)) {
        let why = format!("no cause begins so; use {}", CAUSES.join(", "));
        return Err(bad_value("notify.receiver.causes", cause, why));
    }
    let kind = unchecked.text("notify.receiver.kind")?;
    let channel = match kind.value {
        "email" => Channel::Mail(Box::new(mail(unchecked, name.value)?)),
        "webhook" => Channel::Webhook(Box::new(webhook(unchecked, name.value)?)),
        _ => return Err(kind.bad("use email or webhook")),
    };
    let causes = causes.into_iter().map(str::to_owned).collect();
    let send_resolved = unchecked.flag("notify.receiver.send_resolved")?;
    let filter = Filter { min_severity, causes, send_resolved };
    Ok(Receiver { name: name.value.to_owned(), filter, channel })
}

/// The file of a secret: the named one, or else that of the credential.
fn secret_file(file: Text<'_>, credential: &str) -> Result<Option<PathBuf>, ConfigError> {
    named_file::is_secret_file(file)?;
    Ok(file.path().or_else(|| systemd::credential(credential)))
}

/// The certificates to trust besides those of the system.
fn authorities(unchecked: &Unchecked) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let file = unchecked.text("notify.receiver.ca_file")?;
    named_file::is_absolute(file)?;
    let Some(path) = file.path() else { return Ok(Vec::new()) };
    let pem = std::fs::read(path).map_err(|error| file.bad(format!("the file cannot be read: {error}")))?;
    tls::certificates(&pem).ok_or_else(|| file.bad("the file holds no certificate in PEM form"))
}

/// Refuses keys that would be ignored. Their values may be secrets.
fn refuse(unchecked: &Unchecked, keys: &[&'static str], why: &str) -> Result<(), ConfigError> {
    for key in keys {
        if unchecked.is_given(key)? {
            return Err(bad_value(key, "***", why));
        }
    }
    Ok(())
}

fn mail(unchecked: &Unchecked, name: &str) -> Result<mail::Settings, ConfigError> {
    refuse(unchecked, &WEBHOOK_KEYS, "it is for a receiver of the kind webhook")?;
    let smtp = unchecked.text("notify.receiver.smtp")?;
    let place = smtp.value.rsplit_once(':');
    let place =
        place.and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse::<u16>().ok()?)));
    let (host, port) = place
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| smtp.bad("write the mail server and its port, for example mail.example.com:587"))?;
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let tls = unchecked.text("notify.receiver.tls")?;
    let protection = match (tls.value, port) {
        ("auto", 465) | ("implicit", _) => Protection::Implicit,
        ("auto", 25) if is_local => Protection::None,
        ("auto" | "starttls", _) => Protection::Starttls,
        ("none", _) => Protection::None,
        _ => return Err(tls.bad("use auto, implicit, starttls or none")),
    };
    let password_file = unchecked.text("notify.receiver.password_file")?;
    let password = secret_file(password_file, &format!("notify-{name}"))?;
    let user = unchecked.text("notify.receiver.user")?;
    if user.given().is_none() {
        refuse(unchecked, &[password_file.key], "it needs notify.receiver.user")?;
    }
    if user.given().is_some() && protection == Protection::None && !is_local {
        return Err(tls.bad(
            "a password is sent over TLS only; use starttls or implicit, or remove notify.receiver.user",
        ));
    }
    let login = match (user.given(), password) {
        (None, _) => None,
        (Some(user), Some(file)) => {
            Some((user.to_owned(), named_file::read_secret(password_file.key, &file)?))
        }
        (Some(_), None) => {
            let what = "notify.receiver.user needs a password: name a file, or pass the systemd credential notify-NAME";
            return Err(missing(password_file.key, what));
        }
    };
    let address = |key, text: &str| {
        let mailbox = text.parse::<Mailbox>().ok();
        mailbox.filter(|mailbox| AsRef::<str>::as_ref(&mailbox.email).is_ascii()).ok_or_else(|| {
            bad_value(
                key,
                text,
                "it is not a mail address; one with other characters than ASCII cannot be used",
            )
        })
    };
    let to = unchecked.list("notify.receiver.to")?;
    if to.is_empty() {
        let what = "a receiver of the kind email needs at least one address";
        return Err(missing("notify.receiver.to", what));
    }
    Ok(mail::Settings {
        host: host.to_owned(),
        port,
        protection,
        login,
        from: address("notify.receiver.from", unchecked.text("notify.receiver.from")?.value)?,
        to: to.into_iter().map(|to| address("notify.receiver.to", to)).collect::<Result<_, _>>()?,
        authorities: authorities(unchecked)?,
    })
}

fn webhook(unchecked: &Unchecked, name: &str) -> Result<Webhook, ConfigError> {
    refuse(unchecked, &MAIL_KEYS, "it is for a receiver of the kind email")?;
    let formats = [("standard", Format::Standard), ("slack", Format::Slack), ("teams", Format::Teams)];
    let format =
        unchecked.text("notify.receiver.format")?.choose(&formats, "use standard, slack or teams")?;
    let url_file = unchecked.text("notify.receiver.url_file")?;
    let key = url_file.key;
    if url_file.given().is_some() {
        refuse(unchecked, &["notify.receiver.url"], "write it, or notify.receiver.url_file")?;
    }
    let file = secret_file(url_file, &format!("notify-{name}"))?;
    let url = match (unchecked.text("notify.receiver.url")?.given(), file) {
        (Some(url), _) => url.to_owned(),
        (None, Some(file)) => named_file::read_secret(key, &file)?.expose().to_owned(),
        (None, None) => {
            let what = "a receiver of the kind webhook needs a URL: name a file that holds it, or pass the systemd credential notify-NAME";
            return Err(missing(key, what));
        }
    };
    // The URL is a secret, so no error shows it.
    let url = Url::parse(url.trim()).map_err(|_| bad_value(key, "***", "it does not hold a URL"))?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let allow_http = unchecked.flag("notify.receiver.allow_http")?;
    if url.scheme() != "https" && !(url.scheme() == "http" && (is_local || allow_http)) {
        let why = "the URL must be https; http is allowed for this machine, or with notify.receiver.allow_http = true";
        return Err(bad_value(key, "***", why));
    }
    let secret = unchecked.text("notify.receiver.secret_file")?;
    let mut keys = Vec::new();
    if let Some(file) = secret_file(secret, &format!("notify-{name}-secret"))? {
        if format != Format::Standard {
            let why = "only messages of the format standard are signed; remove it";
            return Err(bad_value(secret.key, &file.display().to_string(), why));
        }
        for line in named_file::read_secrets(secret.key, &file)?.expose().lines() {
            let why = "each line must be whsec_ and 24 to 64 bytes in base64";
            keys.push(webhook::key(line).ok_or_else(|| bad_value(secret.key, "***", why))?);
        }
    }
    let tls = tls::client_config(Trusted::Authorities(authorities(unchecked)?));
    let tls = tls.map_err(|error| bad_value("notify.receiver.ca_file", "", with_causes(&error)))?;
    Webhook::new(url, format, keys, tls).map_err(|error| bad_value(key, "***", with_causes(&error)))
}
