//! The stage of the demo: the folder, the daemon, the dashboard, and their end.
//!
//! Every reason to end the demo (the dashboard, a signal, a closed terminal, the daemon itself) arrives as an [`EndReason`]
//! on one channel. Then the dashboard ends, then the daemon, and then the folder is removed.
//!
//! If the demo is killed with SIGKILL, the kernel ends both children, if `setpriv` is installed; the folder stays.

use std::fs::{File, Permissions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tbtoken_proto::Request;
use tbtoken_proto::client::Client;
use tempfile::TempDir;

use super::cast::Cast;
use super::script::Script;
use super::{Options, say};
use crate::canary;
use crate::harness::process::{Process, command_that_dies_with_us};
use crate::harness::{Config, Signal, Table, binaries, http, wait};

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// How many lines of the log are shown if the daemon ends by itself.
const LAST_LINES: usize = 15;

/// The reason why the demo ends.
enum EndReason {
    Signal,
    DashboardEnded(ExitStatus),
    DaemonEnded(ExitStatus),
}

/// Runs the demo to its end.
///
/// # Errors
/// A program or a file is missing, or the daemon ends by itself.
pub(super) fn perform(options: Options) -> io::Result<()> {
    let (reasons, next_reason) = channel();
    listen_for_signals(reasons.clone())?;
    let mut folder = tempfile::Builder::new().prefix("tbt-demo-").tempdir()?;
    folder.disable_cleanup(options.keep);

    let cast = Cast::call();
    let port = http::free_port();
    let config = configuration(folder.path(), port)?;
    let table = Table::at(&folder.path().join("customers.db"));
    table.create();
    table.insert(&cast.rows);
    let mut daemon = start_daemon(folder.path(), &config, reasons.clone())?;
    let script = Script::play(&cast, &table);

    let outcome = if options.headless {
        announce(folder.path(), &cast, port);
        next_reason.recv().map_err(io::Error::other)
    } else {
        show_dashboard(folder.path(), reasons, &next_reason)
    };

    drop(script);
    daemon.signal(Signal::SIGTERM);
    if daemon.wait(GRACE).is_none() {
        say("the daemon does not end; killing it");
    }
    drop(daemon);
    let verdict = judge(outcome?, &folder);
    let place = folder.path().display().to_string();
    let kept = options.keep || verdict.is_err();
    if kept {
        folder.disable_cleanup(true);
    } else {
        folder.close()?;
    }
    let fate = if kept { "stays" } else { "is removed" };
    say(&format!("goodbye; the daemon has stopped, {place} {fate}"));
    verdict
}

/// Returns an error if the demo ended for a wrong reason.
fn judge(reason: EndReason, folder: &TempDir) -> io::Result<()> {
    match reason {
        EndReason::Signal => Ok(()),
        EndReason::DashboardEnded(status) if status.success() => Ok(()),
        // The terminal was closed. The dashboard may notice this before the signal comes.
        EndReason::DashboardEnded(_) if !io::stdout().is_terminal() => Ok(()),
        EndReason::DashboardEnded(status) => Err(io::Error::other(format!("the dashboard failed: {status}"))),
        EndReason::DaemonEnded(status) => Err(io::Error::other(format!(
            "the daemon ended by itself: {status}\n{}",
            last_lines(&log_path(folder.path()))
        ))),
    }
}

/// Turns signals into reasons to end, from here on.
fn listen_for_signals(reasons: Sender<EndReason>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for _ in &mut signals {
            let _ = reasons.send(EndReason::Signal);
        }
    });
    Ok(())
}

/// Makes a configuration with short times, so that a viewer sees events soon, and with the admin page at this port.
fn configuration(folder: &Path, port: u16) -> io::Result<Config> {
    let token = token_path(folder);
    std::fs::write(&token, canary::password("of-the-admin-page-of-the-demo"))?;
    std::fs::set_permissions(&token, Permissions::from_mode(0o600))?;
    let mut config = Config::in_folder(folder);
    config.set("schedule.interval", "10s");
    config.set("schedule.refresh_window", "20s");
    config.set("thingsboard.connect_timeout", "2s");
    config.set("thingsboard.request_timeout", "4s");
    config.set("log.level", "info");
    config.set("http.listen", format!("127.0.0.1:{port}"));
    config.set("http.token_file", token.display().to_string());
    Ok(config)
}

fn start_daemon(folder: &Path, config: &Config, reasons: Sender<EndReason>) -> io::Result<Process> {
    let (file, log) = (folder.join("config.toml"), log_path(folder));
    config.write(&file);
    let output = File::create(&log)?;
    let mut daemon = Process::spawn_and_then(
        command_that_dies_with_us(binaries::path("tbtokend"))
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C at the terminal is for the dashboard only; the demo ends the daemon.
            .process_group(0),
        move |status| drop(reasons.send(EndReason::DaemonEnded(status))),
    )?;
    let socket = socket_path(folder);
    let ready = wait::poll(wait::TIMEOUT, || {
        let answers = || Client::connect(&socket, GRACE).ok()?.send(&Request::Version {}).ok();
        if daemon.exited().is_some() { Some(false) } else { answers().map(|_| true) }
    });
    if ready != Some(true) {
        return Err(io::Error::other(format!("the daemon does not start\n{}", last_lines(&log))));
    }
    Ok(daemon)
}

/// Shows the dashboard until the demo ends.
fn show_dashboard(
    folder: &Path,
    reasons: Sender<EndReason>,
    next_reason: &Receiver<EndReason>,
) -> io::Result<EndReason> {
    let mut dashboard = Process::spawn_and_then(
        command_that_dies_with_us(binaries::path("tbtui")).arg("--socket").arg(socket_path(folder)),
        move |status| drop(reasons.send(EndReason::DashboardEnded(status))),
    )?;
    let reason = next_reason.recv().map_err(io::Error::other)?;
    // The dashboard must restore the terminal before anything is printed on it.
    dashboard.signal(Signal::SIGTERM);
    dashboard.wait(GRACE);
    Ok(reason)
}

/// Prints what a person or a script can do without a dashboard.
fn announce(folder: &Path, cast: &Cast, port: u16) {
    let socket = socket_path(folder);
    let ctl = binaries::path("tbctl");
    let (socket, ctl) = (socket.display(), ctl.display());
    let (customers, servers) = (cast.rows.len(), cast.servers.len());
    let log = log_path(folder);
    let text = format!(
        "socket: {socket}\n\
         log: {}\n\
         page: http://127.0.0.1:{port}/admin/token-refresh, with the token in {}\n\
         \n\
         {customers} customers on {servers} fake ThingsBoards; their tokens live for 20 to 60 seconds. Try:\n\
         \n  \
           {ctl} --socket {socket} status\n  \
           {ctl} --socket {socket} events\n  \
           {ctl} --socket {socket} refresh\n\
         \n\
         Ctrl-C ends it.\n",
        log.display(),
        token_path(folder).display()
    );
    let mut stdout = io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn socket_path(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

fn token_path(folder: &Path) -> PathBuf {
    folder.join("http-token")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("tbtokend.log")
}

fn last_lines(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
