//! Arguments → configuration → `run` → exit code.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tbtokend::cli::commands::{carry_out, fail, show};
use tbtokend::cli::{Args, BAD_CONFIGURATION, COULD_NOT_START};
use tbtokend::clock::Clock;
use tbtokend::config::{Config, Source, environment};
use tbtokend::control::Reload;
use tbtokend::hardening::forbid_core_dumps;
use tbtokend::telemetry::{self, Log};
use tbtokend::text::with_causes;
use tbtokend::{Process, systemd};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    // The daemon starts anyway: tokens end whether it runs or not.
    if let Err(error) = forbid_core_dumps() {
        telemetry::print_error(&format!(
            "core dumps cannot be turned off, and a core dump holds passwords: {error}"
        ));
    }
    let Args { options, command } = Args::read().unwrap_or_else(|error| error.exit());
    let source = match environment() {
        Ok(environment) => Source { overrides: options.overrides(), environment },
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    if let Some(command) = &command {
        return carry_out(command, &source);
    }
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    match (options.check_config, options.quiet) {
        (true, true) => return ExitCode::SUCCESS,
        (true, false) => return show(&config),
        (false, _) => {}
    }
    // Must run before there are other threads, because it changes the environment.
    let inherited = match systemd::take_sockets() {
        Ok(inherited) => inherited,
        Err(error) => return fail(&error, COULD_NOT_START),
    };
    let clock = Clock::system();
    let log = match Log::start(config.log_target, config.log_level, clock.clone()) {
        Ok(log) => Arc::new(log),
        Err(error) => return fail(&error, COULD_NOT_START),
    };
    let (reread, orders) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let process = Process {
        source: Arc::new(source),
        log: Arc::clone(&log),
        clock,
        inherited,
        reload: (reread.clone(), orders),
        shutdown: shutdown.clone(),
    };
    let code = match serve(config, process, reread, shutdown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::log_start_failure(&with_causes(error.as_ref()));
            ExitCode::from(COULD_NOT_START)
        }
    };
    log.flush(LAST_LINES);
    code
}

fn serve(
    config: Config,
    process: Process,
    reread: mpsc::Sender<Reload>,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        tokio::spawn(async move {
            while let Some(signal) = signals.next().await {
                match signal {
                    // A reload that waits already covers this one.
                    SIGHUP => drop(reread.try_send(None)),
                    _ => shutdown.cancel(),
                }
            }
        });
        Ok(tbtokend::run(config, process).await?)
    });
    // A blocked thread (a name that does not resolve) must not delay the end.
    runtime.shutdown_background();
    result
}

/// The time for writing the last lines of the log.
const LAST_LINES: Duration = Duration::from_millis(150);
