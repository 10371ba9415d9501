//! `version`: which tbctl this is, and which daemon answers.

use std::path::Path;

use chrono::{DateTime, Utc};
use tbtoken_proto::words::{duration, printable};
use tbtoken_proto::{Daemon, PROTOCOL_VERSION, Reply, Request};

use super::{Session, json};
use crate::error::Error;
use crate::exit;
use crate::output::Report;

/// Asks the daemon for its version and puts it beside our own.
pub(super) fn run(session: &mut Session<'_>, socket: &Path) -> Result<Report, Error> {
    match session.client.send(&Request::Version {})? {
        reply if session.args.json => json(reply),
        Reply::Version(reply) => Ok(report(&reply.daemon, socket, (session.clock)())),
        _ => Err(Error::Mismatch),
    }
}

fn report(daemon: &Daemon, socket: &Path, now: DateTime<Utc>) -> Report {
    let own = env!("CARGO_PKG_VERSION");
    let data = format!(
        "tbctl     {own}   protocol {PROTOCOL_VERSION}\n\
         tbtokend  {}   protocol {}   pid {}   up {}   {}   {}\n",
        printable(&daemon.version),
        daemon.protocol,
        daemon.pid,
        duration(now - daemon.started_at),
        printable(&daemon.store),
        printable(&socket.display().to_string()),
    );
    let remarks = if daemon.protocol == PROTOCOL_VERSION {
        String::new()
    } else {
        "the daemon speaks another version of the protocol; install the same version of both\n".to_owned()
    };
    Report { data, remarks, exit: exit::DONE }
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
            renewals_by_login: 0,
            renewals_by_refresh_token: 0,
        };
        let told = report(&daemon, Path::new("/run/x.sock"), now);
        let expected = "tbtokend  1.2.3   protocol 1   pid 4711   up 3h   mssql sql01/app   /run/x.sock";
        assert_eq!(told.data.lines().nth(1), Some(expected));
        assert_eq!(told.remarks, "");
        daemon.protocol = 2;
        assert!(report(&daemon, Path::new("/run/x.sock"), now).remarks.contains("another version"));
    }
}
