//! The event loop: it waits for an input, updates the app, carries out the effects, and draws.

use std::io::{self, IsTerminal, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tbtoken_proto::socket_path;
use tbtoken_proto::words::show_local_times;

use crate::app::App;
use crate::args::{Args, Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, Options};
use crate::environment::Environment;
use crate::input::{Effect, Ending, Input};
use crate::link::Link;
use crate::terminal::Screen;
use crate::theme::Theme;
use crate::{listen, man, render};

/// The most inputs in the queue. Senders wait for a place, so that a terminal that takes nothing (Ctrl-S, a stalled SSH
/// connection) does not make the memory grow.
const WAITING_INPUTS: usize = 256;

/// The most inputs between two frames.
const INPUTS_PER_FRAME: usize = 64;

/// Runs the dashboard until it is quit; returns the exit code of the process.
pub fn run(args: &Args) -> ExitCode {
    if args.command == Some(Command::Man) {
        return match man::page().and_then(|page| stdout().lock().write_all(&page)) {
            Ok(()) => ExitCode::from(EXIT_OK),
            Err(_) => ExitCode::from(EXIT_FAILED),
        };
    }
    let environment = Environment::of(|name| std::env::var_os(name));
    let (error, hint, code) = if !stdin().is_terminal() || !stdout().is_terminal() {
        let hint = "use tbctl status, which prints the same once";
        ("tbtui needs a terminal, and there is none here".to_owned(), Some(hint), EXIT_USAGE)
    } else if environment.is_dumb() {
        let error = "tbtui needs a terminal that can move its cursor, and this one (TERM=dumb) cannot";
        let hint = "use tbctl status --watch, which prints a line for each change";
        (error.to_owned(), Some(hint), EXIT_USAGE)
    } else {
        match watch(&args.options, &environment) {
            Ok(Ending::Requested) => return ExitCode::from(EXIT_OK),
            Ok(Ending::TerminalGone) => return ExitCode::from(EXIT_FAILED),
            Ok(Ending::Panicked(thread)) => {
                (format!("the {thread} thread panicked; this is a bug"), None, EXIT_FAILED)
            }
            Err(error) => (format!("the terminal cannot be used: {error}"), None, EXIT_FAILED),
        }
    };
    print_error(&error, hint);
    ExitCode::from(code)
}

/// Prints an error on standard error, in the form of all programs here. A closed standard error is ignored.
fn print_error(error: &str, hint: Option<&str>) {
    let mut out = stderr().lock();
    let _ = writeln!(out, "error: {error}");
    if let Some(hint) = hint {
        let _ = writeln!(out, "hint: {hint}");
    }
}

fn watch(options: &Options, environment: &Environment) -> io::Result<Ending> {
    if !options.utc {
        show_local_times();
    }
    let socket = socket_path(options.socket.clone());
    let theme = Theme::new(environment.colors(options.color), options.ascii || environment.wants_ascii());
    let (sender, inputs) = sync_channel(WAITING_INPUTS);

    listen::signals(sender.clone())?;
    let mut screen = Screen::open()?;
    listen::keyboard(sender.clone())?;
    let link = Link::open(socket.clone(), sender)?;

    let mut app = App::new(theme, socket.display().to_string(), screen.size()?, now());
    screen.draw(|frame| render::render(frame, &app))?;
    loop {
        let mut draw = false;
        for input in next_inputs(&inputs) {
            for effect in app.update(input, now()) {
                match effect {
                    Effect::Draw => draw = true,
                    Effect::Redraw => {
                        screen.forget()?;
                        draw = true;
                    }
                    Effect::Suspend => {
                        screen.suspend()?;
                        draw = true;
                    }
                    Effect::Act(action) => link.act(action),
                    Effect::Copy(text) => screen.copy(text)?,
                    Effect::Quit(ending) => return Ok(ending),
                }
            }
        }
        if draw {
            screen.draw(|frame| render::render(frame, &app))?;
        }
    }
}

/// Waits for the next input or the next second, and also returns the other inputs that have come.
fn next_inputs(inputs: &Receiver<Input>) -> impl Iterator<Item = Input> {
    let first = match inputs.recv_timeout(until_next_second(now())) {
        Ok(input) => input,
        Err(RecvTimeoutError::Timeout) => Input::Tick,
        // A thread that panics sends an input first, so this happens only if all threads end at once.
        Err(RecvTimeoutError::Disconnected) => Input::End(Ending::Panicked("last")),
    };
    std::iter::once(first).chain(inputs.try_iter().take(INPUTS_PER_FRAME))
}

/// Returns the time until the next second, so that the screen counts down with the clock.
fn until_next_second(now: DateTime<Utc>) -> Duration {
    let millis = u64::from(now.timestamp_subsec_millis().min(999));
    Duration::from_millis(1000 - millis)
}

#[expect(clippy::disallowed_methods, reason = "the one place of the dashboard that reads the clock")]
fn now() -> DateTime<Utc> {
    Utc::now()
}
