//! The daemon's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tbtokend::clock::Clock;
use tbtokend::config::{Config, Overrides};
use tbtokend::telemetry;
use tokio_util::sync::CancellationToken;

/// Keeps the ThingsBoard tokens of many customers fresh.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit codes: 0 ended as asked; 1 could not start; 2 usage; 6 configuration.")]
struct Args {
    /// The configuration; missing is fine if the environment or the defaults suffice
    /// [default: /etc/tbtokend/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Checks the configuration, prints the effective one without secrets, and ends
    #[arg(long)]
    check_config: bool,
    /// The control socket, over control.socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// error, warn, info, debug or trace, over log.level
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// It could not start: the socket is taken, for example.
const COULD_NOT_START: u8 = 1;
/// The configuration cannot be used.
const BAD_CONFIGURATION: u8 = 6;

fn main() -> ExitCode {
    let args = Args::parse();
    let overrides = Overrides { file: args.config, socket: args.socket, log_level: args.log_level };
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = match Config::load(&overrides, &environment) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    if args.check_config {
        print!("{}", config.effective);
        return ExitCode::SUCCESS;
    }
    let clock = Clock::system();
    telemetry::init(config.log_level, clock.clone());
    match serve(config, clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref(), COULD_NOT_START),
    }
}

fn serve(config: Config, clock: Clock) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let asked = shutdown.clone();
        tokio::spawn(async move {
            if signals.next().await.is_some() {
                asked.cancel();
            }
        });
        Ok(tbtokend::run(config, clock, shutdown).await?)
    });
    // What still blocks a thread (a name that does not resolve) must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Prints the error with its causes.
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("error: {text}");
    ExitCode::from(code)
}
