//! `metrics`: the metrics for Prometheus, printed or written to a file for node_exporter.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tbtoken_proto::{MetricsFormat, MetricsReply, Request};
use tempfile::NamedTempFile;

use super::json;
use crate::args::MetricsArgs;
use crate::error::Error;
use crate::output::Report;
use crate::session::Session;

/// Prints the exposition, or writes it to the file. With `--output`, a daemon that cannot be reached is data too.
pub(super) fn run(session: &Session<'_>, wanted: &MetricsArgs) -> Result<Report, Error> {
    let format = if wanted.openmetrics { MetricsFormat::Openmetrics } else { MetricsFormat::Prometheus };
    let request = Request::Metrics { format };
    let answer: Result<MetricsReply, _> = session.connect().and_then(|mut client| client.ask(&request));
    let Some(file) = &wanted.output else {
        return if session.args.json { json(answer?) } else { Ok(Report::of(answer?.text)) };
    };
    let text = answer.as_ref().map_or("", |reply| &reply.text);
    let is_up = u8::from(answer.is_ok());
    let up = "# HELP tbtokend_up Whether tbtokend answered.\n# TYPE tbtokend_up gauge\ntbtokend_up";
    replace(file, &format!("{text}{up} {is_up}\n"))
        .map_err(|error| Error::File(file.display().to_string(), error))?;
    answer?;
    Ok(Report::default())
}

/// Replaces the file in one step: the collector reads the old text or the new one, never a part.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = NamedTempFile::new_in(folder)?;
    // The collector is another user.
    temporary.as_file().set_permissions(Permissions::from_mode(0o644))?;
    temporary.write_all(text.as_bytes())?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    Ok(())
}
