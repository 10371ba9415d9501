//! Arguments → configuration → `run` → exit code.

use std::process::ExitCode;

use clap::Parser;
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tbtokend::cli::{Args, BAD_CONFIGURATION, COULD_NOT_START, Command};
use tbtokend::clock::Clock;
use tbtokend::config::Config;
use tbtokend::store::schema;
use tbtokend::telemetry;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Schema(asked)) = &args.command {
        print!("{}", schema::statements(asked.dialect(), &asked.table, asked.grants.as_deref()));
        return ExitCode::SUCCESS;
    }
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = match Config::load(&args.overrides(), &environment) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    if args.check_config {
        if !args.quiet {
            print!("{}", config.effective);
        }
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
