//! `version`: the versions of this tbctl and of the daemon.

use std::path::Path;

use chrono::{DateTime, Utc};
use tbtoken_proto::words::{duration, printable};
use tbtoken_proto::{Daemon, PROTOCOL_VERSION, Request, VersionReply};

use super::json;
use super::status::ledger_line;
use crate::error::Error;
use crate::output::{self, Report};
use crate::session::Session;

/// Prints the version of this tbctl, even if no daemon answers, and that of the daemon.
pub(super) fn run(session: &Session<'_>) -> Result<Report, Error> {
    let asked = session.connect().and_then(|mut client| client.ask::<VersionReply>(&Request::Version {}));
    if session.args.json {
        return json(asked?);
    }
    output::data(&own(), session.args.json).map_err(Error::Output)?;
    Ok(report(&asked?.daemon, &session.socket, session.now()))
}

fn own() -> String {
    format!("tbctl     {}   protocol {PROTOCOL_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

fn report(daemon: &Daemon, socket: &Path, now: DateTime<Utc>) -> Report {
    let mut data = format!(
        "tbtokend  {}   protocol {}   pid {}   up {}   {}   {}\n",
        printable(&daemon.version),
        daemon.protocol,
        daemon.pid,
        duration(now - daemon.started_at),
        printable(&daemon.store),
        printable(&socket.display().to_string()),
    );
    data.push_str(&ledger_line(daemon));
    if let Some(file) = &daemon.config_file {
        data.push_str(&format!("tbtokend has read {}\n", printable(file)));
    }
    if let Some(http) = &daemon.http {
        let trouble = |what: &str, why: &Option<String>| {
            why.as_ref().map_or(String::new(), |why| format!("   {what}{}", printable(why)))
        };
        let error = trouble("does not listen: ", &http.error);
        let warning = trouble("warning: ", &http.warning);
        data.push_str(&format!("HTTP      {}{error}{warning}\n", printable(&http.listen)));
    }
    let remarks = match daemon.protocol {
        PROTOCOL_VERSION => "",
        _ => "the daemon speaks another version of the protocol; install the same version of both\n",
    };
    Report { remarks: remarks.to_owned(), ..Report::of(data) }
}

#[cfg(test)]
mod tests {
    use tbtoken_proto::Revision;

    use super::*;

    #[test]
    fn another_protocol_is_remarked_on() {
        let now: DateTime<Utc> = "2026-11-23T14:03:00Z".parse().unwrap();
        let mut daemon = Daemon {
            version: "1.2.3".to_owned(),
            protocol: 1,
            pid: 4711,
            started_at: now - chrono::TimeDelta::hours(3),
            revision: Revision(1),
            store: "mssql sql01/app".to_owned(),
            store_ok: true,
            store_error: None,
            ledger: None,
            key_mismatch: None,
            config_file: None,
            http: None,
            failing_receivers: Vec::new(),
            renewals_by_login: 0,
            renewals_by_refresh_token: 0,
        };
        let told = report(&daemon, Path::new("/run/x.sock"), now);
        let expected = "tbtokend  1.2.3   protocol 1   pid 4711   up 3h   mssql sql01/app   /run/x.sock";
        assert_eq!(told.data.lines().next(), Some(expected));
        assert_eq!(told.remarks, "");
        daemon.ledger = Some("in /x/ledger.db, because there is no table".to_owned());
        let second = "sent passwords are recorded in /x/ledger.db, because there is no table; that serves one daemon only";
        assert_eq!(report(&daemon, Path::new("/run/x.sock"), now).data.lines().nth(1), Some(second));
        daemon.protocol = 2;
        assert!(report(&daemon, Path::new("/run/x.sock"), now).remarks.contains("another version"));
    }
}
