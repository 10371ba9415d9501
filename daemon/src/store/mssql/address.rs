//! Where a server is: `host`, `host,port` or `host\instance`. Pure.

/// The port of a server that says nothing else.
pub(super) const DEFAULT_PORT: u16 = 1433;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name or the IP address.
    pub host: String,
    /// How the port is found.
    pub at: At,
}

/// How the port is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// It is known.
    Port(u16),
    /// SQL Server Browser on that host is asked for the port of this instance.
    Instance(String),
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// There is nothing before the comma or the backslash.
    #[error("the host is missing; write host, host,port or host\\instance")]
    NoHost,
    /// What follows the comma is no port.
    #[error("what follows the comma must be a port from 1 to 65535")]
    NotAPort,
    /// Nothing follows the backslash, or something that no instance is called.
    #[error("what follows the backslash must be the name of an instance")]
    NotAnInstance,
    /// `host:port`.
    #[error("write the port behind a comma, as in host,1433")]
    Colon,
    /// A connection string, which may hold the password.
    #[error("write host only, not a connection string; database, user and password have keys of their own")]
    ConnectionString,
    /// What stands before the comma or the backslash has characters that no name and no IP address has.
    #[error("the host must be a name or an IP address; write host, host,port or host\\instance")]
    NotAHost,
}

impl Address {
    /// Reads an address. `tcp:` before it, as in a connection string, does not matter, nor does an instance beside a
    /// port: the port is what counts.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        if text.contains([';', '=']) {
            return Err(BadAddress::ConnectionString);
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
        // `.` and `(local)` are what SQL Server calls this machine.
        let host = if matches!(host, "." | "(local)") { "localhost" } else { host };
        if host.is_empty() {
            return Err(BadAddress::NoHost);
        }
        if !host.bytes().all(is_of_a_host) {
            return Err(BadAddress::NotAHost);
        }
        // Only an IPv6 address has several colons.
        if host.matches(':').count() == 1 {
            return Err(BadAddress::Colon);
        }
        let at = match (port, instance) {
            (Some(Some(port)), _) => At::Port(port),
            (Some(None), _) => return Err(BadAddress::NotAPort),
            (None, None) => At::Port(DEFAULT_PORT),
            (None, Some(instance)) if is_instance(instance) => At::Instance(instance.to_owned()),
            (None, Some(_)) => return Err(BadAddress::NotAnInstance),
        };
        Ok(Self { host: host.to_owned(), at })
    }

    /// `text` as it may be shown, whether it is an address or not: what is none may hold a password.
    pub fn shown(text: &str) -> &str {
        let is_harmless = |byte| is_of_a_host(byte) || matches!(byte, b',' | b'\\' | b'$' | b'#' | b' ');
        if text.bytes().all(is_harmless) { text } else { "***" }
    }
}

/// What names (Windows knows `_` as well) and IP addresses are made of; `%` stands before the zone of an IPv6 address.
fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'%' | b'-')
}

/// The name of an instance goes into a datagram with a limit of 32 bytes.
fn is_instance(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'#'))
}

/// The question to SQL Server Browser (UDP port 1434): MS-SQLR 2.2.3, `CLNT_UCAST_INST`.
pub(super) fn browser_question(instance: &str) -> Vec<u8> {
    let mut question = vec![4];
    question.extend_from_slice(instance.as_bytes());
    question.push(0);
    question
}

/// What SQL Server Browser says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Located {
    /// It listens on this TCP port.
    Port(u16),
    /// It is there, and listens on no TCP port.
    NoTcp,
}

/// What an answer of SQL Server Browser (MS-SQLR 2.2.5, `SVR_RESP`) says of this instance; `None` if it is no such answer,
/// or none about this instance. It comes over UDP from whoever likes to send one.
pub(super) fn browser_answer(answer: &[u8], instance: &str) -> Option<Located> {
    let (&[5, low, high], text) = answer.split_first_chunk::<3>()? else { return None };
    // A port of which the last digits are missing would be another port.
    let text = text.get(..usize::from(u16::from_le_bytes([low, high])))?;
    let text = String::from_utf8_lossy(text);
    let mut fields = text.split(';');
    let mut is_ours = false;
    let mut located = None;
    while let Some(key) = fields.next() {
        match (key, fields.next()) {
            // There may be several, each beginning with the server's name.
            ("ServerName", _) => is_ours = false,
            ("InstanceName", Some(name)) if name.eq_ignore_ascii_case(instance) => {
                is_ours = true;
                located = Some(Located::NoTcp);
            }
            ("tcp", Some(port)) if is_ours => {
                let port = port.parse().ok().filter(|port| *port != 0);
                located = port.map(Located::Port).or(located);
            }
            // Two semicolons end an instance: this was none of a pair.
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

    fn port(host: &str, port: u16) -> Result<Address, BadAddress> {
        Ok(Address { host: host.to_owned(), at: At::Port(port) })
    }

    #[test]
    fn every_form_that_people_write_is_read() {
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
            ("sql01\\CRM", Ok(Address { host: "sql01".to_owned(), at: At::Instance("CRM".to_owned()) })),
            ("", Err(BadAddress::NoHost)),
            (",1433", Err(BadAddress::NoHost)),
            ("sql_01.example", port("sql_01.example", 1433)),
            ("fe80::1%eth0", port("fe80::1%eth0", 1433)),
            ("sql 01", Err(BadAddress::NotAHost)),
            ("jdbc:sqlserver://sql01", Err(BadAddress::NotAHost)),
            ("ops:pw@sql01", Err(BadAddress::NotAHost)),
            ("Server=tcp:sql01,1433;User Id=ops;Password=pw", Err(BadAddress::ConnectionString)),
            ("sql01;Password=pw", Err(BadAddress::ConnectionString)),
            ("sql01,1433;Password=pw", Err(BadAddress::ConnectionString)),
            ("Password=pw", Err(BadAddress::ConnectionString)),
            ("sql01:1433", Err(BadAddress::Colon)),
            ("sql01,", Err(BadAddress::NotAPort)),
            ("sql01,0", Err(BadAddress::NotAPort)),
            ("sql01,65536", Err(BadAddress::NotAPort)),
            ("sql01\\", Err(BadAddress::NotAnInstance)),
            ("sql01\\a b", Err(BadAddress::NotAnInstance)),
        ] {
            assert_eq!(Address::parse(text), address, "{text:?}");
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
            (good, "crm", Some(Located::Port(49172))),
            (&two, "CRM", Some(Located::Port(49172))),
            (&two, "OLD", Some(Located::Port(1400))),
            (good, "CR", None),
            (&two, "OTHER", None),
            // Another one's port is not ours.
            (
                "ServerName;S;InstanceName;CRM;np;x;;ServerName;S;InstanceName;OLD;tcp;1400;;",
                "CRM",
                Some(Located::NoTcp),
            ),
            ("tcp;1400;ServerName;S;InstanceName;CRM;;", "CRM", Some(Located::NoTcp)),
            ("ServerName;S;InstanceName;CRM;tcp;0;;", "CRM", Some(Located::NoTcp)),
            ("ServerName;S;InstanceName;CRM;tcp;65536;;", "CRM", Some(Located::NoTcp)),
            ("ServerName;S;InstanceName;CRM;tcp", "CRM", Some(Located::NoTcp)),
            ("", "CRM", None),
        ] {
            assert_eq!(browser_answer(&answer(text), instance), located, "{instance} in {text}");
        }
        assert_eq!(browser_question("CRM"), b"\x04CRM\0");
    }

    #[test]
    fn what_is_no_whole_answer_of_the_browser_is_none() {
        let whole =
            answer("ServerName;SQL01;InstanceName;CRM;IsClustered;No;Version;16.0.1000.6;tcp;49172;;");
        for length in 0..whole.len() {
            assert_eq!(browser_answer(&whole[..length], "CRM"), None, "{length}");
        }
        assert_eq!(browser_answer(&[&whole[..], b"more"].concat(), "CRM"), Some(Located::Port(49172)));
        assert_eq!(browser_answer(&[&[6], &whole[1..]].concat(), "CRM"), None);
    }

    proptest! {
        #[test]
        fn nothing_from_the_network_panics(datagram in any::<Vec<u8>>(), text in any::<String>()) {
            let _ = browser_answer(&datagram, "CRM");
            let _ = browser_answer(&answer(&text), "CRM");
            if Address::parse(&text).is_ok() {
                prop_assert!(!text.contains([';', '=', '@', '/']));
            }
        }
    }
}
