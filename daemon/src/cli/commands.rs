//! The commands of the program, each with its exit code.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use super::customers::{self, CustomersProblem};
use super::{BAD_CONFIGURATION, COULD_NOT_START, Command, DoctorArgs, man, token};
use crate::clock::Clock;
use crate::config::{Config, Source};
use crate::control::{receivers, running_daemon};
use crate::store::schema;
use crate::text::with_causes;
use crate::{doctor, telemetry};

/// Carries out a command, with the configuration from `source` if it needs one.
pub fn carry_out(command: &Command, source: &Source) -> ExitCode {
    match command {
        Command::Doctor(arguments) => examine(arguments, source),
        Command::Schema(arguments) => match arguments.table(|| source.table()) {
            Ok((dialect, table)) => {
                let text = schema::statements(dialect, &table, arguments.grants.as_deref());
                print(text.as_bytes(), ExitCode::SUCCESS)
            }
            Err(error) => fail(&error, BAD_CONFIGURATION),
        },
        Command::Customers(what) => match customers::carry_out(what, source) {
            Err(CustomersProblem::Config(error)) => fail(&error, BAD_CONFIGURATION),
            done => finish(done),
        },
        Command::HttpToken { file } => finish(token::write(file)),
        Command::Man { page } => finish(man::write(*page)),
    }
}

/// Prints the outcome of a command.
fn finish(done: Result<impl AsRef<[u8]>, impl Error>) -> ExitCode {
    match done {
        Ok(text) => print(text.as_ref(), ExitCode::SUCCESS),
        Err(error) => fail(&error, COULD_NOT_START),
    }
}

/// Prints the effective configuration.
pub fn show(config: &Config) -> ExitCode {
    print(config.effective.as_bytes(), ExitCode::SUCCESS)
}

/// Prints an error on standard error, before there is a log, and returns the exit code.
pub fn fail(error: &dyn Error, code: u8) -> ExitCode {
    telemetry::print_error(&with_causes(error));
    ExitCode::from(code)
}

fn examine(arguments: &DoctorArgs, source: &Source) -> ExitCode {
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, COULD_NOT_START),
    };
    let running = running_daemon(&config.control.path).map(|daemon| {
        let receivers = receivers(&config.control.path).into_iter();
        doctor::RunningDaemon {
            config_file: daemon.config_file,
            store: daemon.store,
            failing: receivers.filter_map(|receiver| Some((receiver.name, receiver.last_error?))).collect(),
        }
    });
    let report = runtime.block_on(doctor::examine(&config, &Clock::system(), running.as_ref()));
    runtime.shutdown_background();
    let text = if arguments.json { report.json() } else { report.to_string() };
    print(text.as_bytes(), ExitCode::from(report.exit_code()))
}

/// Prints `text` and returns `code`. A reader that closes the pipe is not an error.
fn print(text: &[u8], code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&error, COULD_NOT_START),
        _ => code,
    }
}
