//! The address of a server: `host`, `host,port` or `host\instance`. Pure.

/// The port of a server without a port or an instance.
pub(super) const DEFAULT_PORT: u16 = 1433;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name or the IP address.
    pub host: String,
    /// The source of the port.
    pub port: PortSource,
}

/// The source of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortSource {
    /// The port itself.
    Port(u16),
    /// The name of an instance. The SQL Server Browser on that host knows its port.
    Instance(String),
}

/// The reason why a text is not an address: what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(&'static str);

impl Address {
    /// Reads an address. It ignores `tcp:` before the address, as in a connection string, and the instance if there is a port
    /// too.
    ///
    /// # Errors
    /// [`AddressError`] says what to write.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.contains([';', '=']) {
            return Err(AddressError(
                "write host only, not a connection string; database, user and password have keys of their own",
            ));
        }
        let text = text.strip_prefix("tcp:").unwrap_or(text);
        let (name, port) = match text.split_once(',') {
            Some((name, port)) => (name, Some(port.trim().parse().ok().filter(|port| *port != 0))),
            None => (text, None),
        };
        let (host, instance) = match name.split_once('\\') {
            Some((host, instance)) => (host.trim(), Some(instance.trim())),
            None => (name.trim(), None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // SQL Server calls this machine `.` or `(local)`.
        let host = if matches!(host, "." | "(local)") { "localhost" } else { host };
        if host.is_empty() {
            return Err(AddressError("the host is missing; write host, host,port or host\\instance"));
        }
        if !host.bytes().all(is_host_byte) {
            return Err(AddressError(
                "the host must be a name or an IP address; write host, host,port or host\\instance",
            ));
        }
        // Only an IPv6 address has several colons.
        if host.matches(':').count() == 1 {
            return Err(AddressError("write the port after a comma, as in host,1433"));
        }
        let source = match (port, instance) {
            (Some(Some(port)), _) => PortSource::Port(port),
            (Some(None), _) => {
                return Err(AddressError("what follows the comma must be a port from 1 to 65535"));
            }
            (None, None) => PortSource::Port(DEFAULT_PORT),
            (None, Some(instance)) if is_instance_name(instance) => PortSource::Instance(instance.to_owned()),
            (None, Some(_)) => {
                return Err(AddressError("what follows the backslash must be the name of an instance"));
            }
        };
        Ok(Self { host: host.to_owned(), port: source })
    }

    /// Returns `text` if it can be shown. A text that is not an address may hold a password.
    pub fn shown(text: &str) -> &str {
        let is_harmless = |byte| is_host_byte(byte) || matches!(byte, b',' | b'\\' | b'$' | b'#' | b' ');
        if text.bytes().all(is_harmless) { text } else { "***" }
    }
}

/// Whether a byte occurs in names (on Windows also `_`) or IP addresses; `%` precedes the zone of an IPv6 address.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'%' | b'-')
}

/// Whether the text is the name of an instance. The datagram has room for 32 bytes.
fn is_instance_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'#'))
}

/// Makes the request to the SQL Server Browser (UDP port 1434): MS-SQLR 2.2.3, `CLNT_UCAST_INST`.
pub(super) fn make_browser_request(instance: &str) -> Vec<u8> {
    let mut request = vec![4];
    request.extend_from_slice(instance.as_bytes());
    request.push(0);
    request
}

/// The answer of the SQL Server Browser about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BrowserAnswer {
    /// The instance listens on this TCP port.
    Port(u16),
    /// The instance exists and listens on no TCP port.
    NoTcp,
}

/// Reads an answer of the SQL Server Browser (MS-SQLR 2.2.5, `SVR_RESP`) about this instance; `None` for any other datagram.
/// Any host can send one, because UDP does not prove the sender.
pub(super) fn parse_browser_answer(answer: &[u8], instance: &str) -> Option<BrowserAnswer> {
    let (&[5, low, high], text) = answer.split_first_chunk::<3>()? else { return None };
    // A port without its last digits would be another port.
    let text = text.get(..usize::from(u16::from_le_bytes([low, high])))?;
    let text = String::from_utf8_lossy(text);
    let mut fields = text.split(';');
    let mut is_ours = false;
    let mut located = None;
    while let Some(key) = fields.next() {
        match (key, fields.next()) {
            // There may be several instances, each beginning with the server's name.
            ("ServerName", _) => is_ours = false,
            ("InstanceName", Some(name)) if name.eq_ignore_ascii_case(instance) => {
                is_ours = true;
                located = Some(BrowserAnswer::NoTcp);
            }
            ("tcp", Some(port)) if is_ours => {
                let port = port.parse().ok().filter(|port| *port != 0);
                located = port.map(BrowserAnswer::Port).or(located);
            }
            // Two semicolons end an instance, so the pairs begin again after the first one.
            ("", Some("ServerName")) => {
                is_ours = false;
                let _ = fields.next();
            }
            _ => {}
        }
    }
    located
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn port(host: &str, port: u16) -> Result<Address, &'static str> {
        Ok(Address { host: host.to_owned(), port: PortSource::Port(port) })
    }

    #[test]
    fn every_usual_form_is_read() {
        for (text, address) in [
            ("sql01", port("sql01", 1433)),
            (" sql01.example.com , 1533 ", port("sql01.example.com", 1533)),
            ("tcp:sql01,1533", port("sql01", 1533)),
            ("10.0.0.7", port("10.0.0.7", 1433)),
            ("::1", port("::1", 1433)),
            ("[fe80::1],1500", port("fe80::1", 1500)),
            (".", port("localhost", 1433)),
            ("(local),1500", port("localhost", 1500)),
            ("sql01\\CRM,1500", port("sql01", 1500)),
            (
                "sql01\\CRM",
                Ok(Address { host: "sql01".to_owned(), port: PortSource::Instance("CRM".to_owned()) }),
            ),
            ("", Err("the host is missing")),
            (",1433", Err("the host is missing")),
            ("sql_01.example", port("sql_01.example", 1433)),
            ("fe80::1%eth0", port("fe80::1%eth0", 1433)),
            ("sql 01", Err("a name or an IP address;")),
            ("jdbc:sqlserver://sql01", Err("a name or an IP address;")),
            ("ops:pw@sql01", Err("a name or an IP address;")),
            ("Server=tcp:sql01,1433;User Id=ops;Password=pw", Err("not a connection string")),
            ("sql01;Password=pw", Err("not a connection string")),
            ("sql01,1433;Password=pw", Err("not a connection string")),
            ("Password=pw", Err("not a connection string")),
            ("sql01:1433", Err("the port after a comma")),
            ("sql01,", Err("must be a port")),
            ("sql01,0", Err("must be a port")),
            ("sql01,65536", Err("must be a port")),
            ("sql01\\", Err("the name of an instance")),
            ("sql01\\a b", Err("the name of an instance")),
        ] {
            match (Address::parse(text), address) {
                (Err(error), Err(words)) => assert!(error.0.contains(words), "{text:?}: {error}"),
                (parsed, address) => assert_eq!(parsed.ok(), address.ok(), "{text:?}"),
            }
        }
    }

    fn answer(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap().to_le_bytes();
        [&[5], &length[..], text.as_bytes()].concat()
    }

    #[test]
    fn only_what_looks_like_an_address_is_shown() {
        for text in ["sql01", "sql01:1433", "sql01\\CRM$1, 1433", "fe80::1%eth0"] {
            assert_eq!(Address::shown(text), text);
        }
        for text in ["sql01;Password=pw", "ops:pw@sql01", "[::1]", "sql/01", "sql\u{202e}01"] {
            assert_eq!(Address::shown(text), "***");
        }
    }

    #[test]
    fn the_port_is_read_from_an_answer_of_the_browser() {
        let good = "ServerName;SQL01;InstanceName;CRM;IsClustered;No;Version;16.0.1000.6;tcp;49172;np;\\\\SQL01\\pipe;;";
        let two = format!("ServerName;SQL01;InstanceName;OLD;IsClustered;No;Version;1;tcp;1400;;{good}");
        for (text, instance, located) in [
            (good, "crm", Some(BrowserAnswer::Port(49172))),
            (&two, "CRM", Some(BrowserAnswer::Port(49172))),
            (&two, "OLD", Some(BrowserAnswer::Port(1400))),
            (good, "CR", None),
            (&two, "OTHER", None),
            // The port of another instance does not count.
            (
                "ServerName;S;InstanceName;CRM;np;x;;ServerName;S;InstanceName;OLD;tcp;1400;;",
                "CRM",
                Some(BrowserAnswer::NoTcp),
            ),
            ("tcp;1400;ServerName;S;InstanceName;CRM;;", "CRM", Some(BrowserAnswer::NoTcp)),
            ("ServerName;S;InstanceName;CRM;tcp;0;;", "CRM", Some(BrowserAnswer::NoTcp)),
            ("ServerName;S;InstanceName;CRM;tcp;65536;;", "CRM", Some(BrowserAnswer::NoTcp)),
            ("ServerName;S;InstanceName;CRM;tcp", "CRM", Some(BrowserAnswer::NoTcp)),
            ("", "CRM", None),
        ] {
            assert_eq!(parse_browser_answer(&answer(text), instance), located, "{instance} in {text}");
        }
        assert_eq!(make_browser_request("CRM"), b"\x04CRM\0");
    }

    #[test]
    fn an_incomplete_answer_of_the_browser_is_ignored() {
        let whole =
            answer("ServerName;SQL01;InstanceName;CRM;IsClustered;No;Version;16.0.1000.6;tcp;49172;;");
        for length in 0..whole.len() {
            assert_eq!(parse_browser_answer(&whole[..length], "CRM"), None, "{length}");
        }
        assert_eq!(
            parse_browser_answer(&[&whole[..], b"more"].concat(), "CRM"),
            Some(BrowserAnswer::Port(49172))
        );
        assert_eq!(parse_browser_answer(&[&[6], &whole[1..]].concat(), "CRM"), None);
    }

    proptest! {
        #[test]
        fn nothing_from_the_network_panics(datagram in any::<Vec<u8>>(), text in any::<String>()) {
            let _ = parse_browser_answer(&datagram, "CRM");
            let _ = parse_browser_answer(&answer(&text), "CRM");
            if Address::parse(&text).is_ok() {
                prop_assert!(!text.contains([';', '=', '@', '/']));
            }
        }
    }
}
