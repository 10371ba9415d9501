//! Runs a command: from the arguments to the exit code.

use std::ffi::OsString;

use chrono::{DateTime, Utc};
use clap::{CommandFactory, Parser};
use tbtoken_proto::words::show_local_times;

use crate::args::{Args, Command};
use crate::commands::{self, State, report_bad_arguments};
use crate::error::{Error, failure_json};
use crate::exit;
use crate::output::{self, Report, Style};

/// Carries the command out and prints its output.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>, clock: fn() -> DateTime<Utc>) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return usage(&error, &arguments),
    };
    let style = Style::detect(&args);
    if !args.utc && !args.json {
        show_local_times();
    }
    let done = commands::carry_out(&args, style, clock).and_then(|report| {
        output::data(&report.data, args.json).map_err(Error::Output)?;
        Ok(report)
    });
    match done {
        Ok(Report { remarks, exit, .. }) => {
            if !args.quiet {
                output::remark(&remarks);
            }
            exit
        }
        Err(error) => {
            if args.json {
                // If this cannot be written either, standard error still has the error.
                let _ = output::data(&error.json(), true);
            }
            let hint = error.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            output::remark(&format!("error: {}\n{hint}", error.text()));
            // For the monitoring, a judgement that cannot be printed is unknown.
            if matches!(args.command, Some(Command::Check(_))) { State::Unknown as u8 } else { error.exit() }
        }
    }
}

/// Prints the requested help or version, or what is wrong with the command line.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let printed = error.print();
    if !error.use_stderr() {
        return match printed {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let error = Error::Output(error);
                output::remark(&format!("error: {}\n", error.text()));
                error.exit()
            }
            // A reader that has closed its end is no error.
            _ => exit::DONE,
        };
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let mut before_names = arguments.iter().take_while(|argument| *argument != "--");
    let json = before_names.any(|argument| argument == "--json");
    if is_check(arguments) {
        let report = report_bad_arguments(&format!("{first} (see tbctl check --help)"), json);
        let _ = output::data(&report.data, json);
        return report.exit;
    }
    if json {
        let _ = output::data(&failure_json(first, "usage".into()), true);
    }
    exit::USAGE
}

/// Whether the command is `check`, which has other exit codes.
fn is_check(arguments: &[OsString]) -> bool {
    let lenient = Args::command().ignore_errors(true).try_get_matches_from(arguments);
    lenient.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
}
