//! `metrics`: what Prometheus reads, printed or written to a file for node_exporter.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tbtoken_proto::{MetricsFormat, Reply, Request};

use super::json;
use crate::args::MetricsArgs;
use crate::error::Error;
use crate::exit;
use crate::output::Report;
use crate::session::Session;

/// Prints the exposition, or writes it to the file. With `--output` a daemon that cannot be reached is data, too.
pub(super) fn run(session: &Session<'_>, wanted: &MetricsArgs) -> Result<Report, Error> {
    let format = if wanted.openmetrics { MetricsFormat::Openmetrics } else { MetricsFormat::Prometheus };
    let asked = session.connect().and_then(|mut client| client.send(&Request::Metrics { format }));
    let Some(file) = &wanted.output else {
        return match asked? {
            reply if session.args.json => json(reply),
            Reply::Metrics(reply) => Ok(Report { data: reply.text, ..Report::default() }),
            _ => Err(Error::Mismatch),
        };
    };
    let (text, answered) = match asked {
        Ok(Reply::Metrics(reply)) => (reply.text, Ok(())),
        Ok(_) => (String::new(), Err(Error::Mismatch)),
        Err(error) => (String::new(), Err(error.into())),
    };
    let text = format!("{text}{}", up(answered.is_ok()));
    replace(file, &text).map_err(|error| Error::File(file.display().to_string(), error))?;
    answered.map(|()| Report { exit: exit::DONE, ..Report::default() })
}

fn up(is_up: bool) -> String {
    let value = u8::from(is_up);
    format!("# HELP tbtokend_up Whether tbtokend answered.\n# TYPE tbtokend_up gauge\ntbtokend_up {value}\n")
}

/// Replaces the file in one step: the collector reads the old text or the new one, never half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = file.with_file_name(name);
    // One that a killed run left, whose process had this number as well.
    let _ = fs::remove_file(&temporary);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    let written = out
        // The umask may be narrower, and the collector is another user.
        .set_permissions(Permissions::from_mode(0o644))
        .and_then(|()| out.write_all(text.as_bytes()))
        .and_then(|()| out.sync_all())
        .and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
