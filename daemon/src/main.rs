//! Arguments → configuration → `run` → exit code.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tbtokend::cli::{Args, BAD_CONFIGURATION, COULD_NOT_START, Command, DoctorArgs, man};
use tbtokend::clock::Clock;
use tbtokend::config::{Config, Environment, Overrides, Source};
use tbtokend::store::schema;
use tbtokend::telemetry::{self, Log};
use tbtokend::text::with_causes;
use tbtokend::{Process, doctor, systemd};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let Args { options, command } = Args::parse();
    if let Some(command) = &command {
        return carry_out(command);
    }
    let source = Source { overrides: options.overrides(), environment: environment() };
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    if options.check_config {
        if !options.quiet {
            print!("{}", config.effective);
        }
        return ExitCode::SUCCESS;
    }
    // Before there are other threads: it changes the environment.
    let inherited = match systemd::inherited() {
        Ok(inherited) => inherited,
        Err(error) => return fail(&error, COULD_NOT_START),
    };
    let clock = Clock::system();
    let log = match Log::start(config.log_target, config.log_level, clock.clone()) {
        Ok(log) => Arc::new(log),
        Err(error) => return fail(&error, COULD_NOT_START),
    };
    let (reread, reload) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let process = Process {
        source: Arc::new(source),
        log: Arc::clone(&log),
        clock,
        inherited,
        reload,
        shutdown: shutdown.clone(),
    };
    let code = match serve(config, process, reread, shutdown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::cannot_start(&with_causes(error.as_ref()));
            ExitCode::from(COULD_NOT_START)
        }
    };
    log.flush(LAST_LINES);
    code
}

fn carry_out(command: &Command) -> ExitCode {
    let done = match command {
        Command::Doctor(arguments) => return examine(arguments),
        Command::Schema(arguments) => {
            let text = schema::statements(arguments.dialect(), &arguments.table, arguments.grants.as_deref());
            std::io::stdout().write_all(text.as_bytes())
        }
        Command::Man { page } => man::write(*page, &mut std::io::stdout()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, COULD_NOT_START),
    }
}

fn examine(arguments: &DoctorArgs) -> ExitCode {
    let overrides = Overrides { file: arguments.config.clone(), ..Overrides::default() };
    let config = match (Source { overrides, environment: environment() }).load() {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, COULD_NOT_START),
    };
    let report = runtime.block_on(doctor::examine(&config, &Clock::system()));
    runtime.shutdown_background();
    let text = if arguments.json { report.json() } else { report.to_string() };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(report.exit_code()),
        Err(error) => fail(&error, COULD_NOT_START),
    }
}

fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn serve(
    config: Config,
    process: Process,
    reread: mpsc::Sender<()>,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        tokio::spawn(async move {
            while let Some(signal) = signals.next().await {
                match signal {
                    // An order that waits already stands for this one as well.
                    SIGHUP => drop(reread.try_send(())),
                    _ => shutdown.cancel(),
                }
            }
        });
        Ok(tbtokend::run(config, process).await?)
    });
    // What still blocks a thread (a name that does not resolve) must not hold up the end.
    runtime.shutdown_background();
    result
}

/// How long the last lines of the log may take on their way.
const LAST_LINES: Duration = Duration::from_millis(150);

/// Says why it does not even come to a log.
fn fail(error: &dyn Error, code: u8) -> ExitCode {
    telemetry::complain(&with_causes(error));
    ExitCode::from(code)
}
