//! From the arguments to the exit code.

use std::ffi::OsString;

use chrono::{DateTime, Utc};
use clap::Parser;

use crate::args::Args;
use crate::commands;
use crate::error::{Error, failure_json};
use crate::exit;
use crate::output::{self, Report, Style};

/// Carries the command out and prints what it has to say.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>, clock: fn() -> DateTime<Utc>) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return usage(&error, &arguments),
    };
    let style = Style::detect(&args);
    let done = commands::carry_out(&args, style, clock).and_then(|report| {
        output::data(&report.data).map_err(Error::Output)?;
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
                // Where this cannot be written either, the error on standard error says so.
                let _ = output::data(&error.json());
            }
            let hint = error.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            output::remark(&format!("error: {}\n{hint}", error.text()));
            error.exit()
        }
    }
}

/// Prints the help or the version that was asked for, or what is wrong with the command line.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    // A closed pipe or standard error leaves nobody to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return exit::DONE;
    }
    let before_names = arguments.iter().take_while(|argument| *argument != "--");
    if before_names.into_iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let _ = output::data(&failure_json(first.trim_start_matches("error: "), "usage".into()));
    }
    exit::USAGE
}
