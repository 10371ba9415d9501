//! The threads that listen to the keyboard and to signals.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use crossterm::event::{self, Event};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::input::Input;

/// Tells the loop when a thread of the dashboard panics, so that no half of it goes on alone.
pub(crate) struct Alarm {
    pub(crate) thread: &'static str,
    pub(crate) inputs: SyncSender<Input>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.inputs.send(Input::Broken(self.thread));
        }
    }
}

/// Turns signals into inputs.
///
/// # Errors
/// The operating system refuses to hand out signals or threads.
pub(crate) fn signals(inputs: SyncSender<Input>) -> io::Result<()> {
    // The loop may be stuck in a write to a terminal that takes nothing. Asking a second time ends it anyway.
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_default(signal, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGWINCH, SIGCONT])?;
    spawn("signals", inputs, move |inputs| {
        for signal in signals.forever() {
            let input = match signal {
                SIGWINCH => match crossterm::terminal::size() {
                    Ok((columns, rows)) => Input::Resize(columns, rows),
                    Err(_) => Input::TerminalGone,
                },
                SIGCONT => Input::Continued,
                _ => Input::Terminate,
            };
            if inputs.send(input).is_err() {
                return;
            }
        }
    })
}

/// Turns keys into inputs.
///
/// crossterm reads on for ever when the terminal is gone, so it is only asked to read what is there already, and
/// the terminal is looked at before: a hang-up or an error ends the thread and, with it, the process.
///
/// # Errors
/// The operating system refuses to start a thread.
pub(crate) fn keyboard(inputs: SyncSender<Input>) -> io::Result<()> {
    spawn("keyboard", inputs, |inputs| {
        loop {
            let input = match next_key() {
                Ok(Some(input)) => input,
                Ok(None) => continue,
                Err(_) => Input::TerminalGone,
            };
            let last = matches!(input, Input::TerminalGone);
            if inputs.send(input).is_err() || last {
                return;
            }
        }
    })
}

fn next_key() -> io::Result<Option<Input>> {
    // One read may have brought several keys.
    if !event::poll(Duration::ZERO)? {
        if !terminal_state(PollTimeout::NONE)? {
            return Ok(Some(Input::TerminalGone));
        }
        if !event::poll(Duration::ZERO)? {
            return Ok(None);
        }
    }
    Ok(match event::read()? {
        Event::Key(key) => Some(Input::Key(key)),
        Event::Paste(text) => Some(Input::Paste(text)),
        // The size comes with the signal, whether keys are read or not.
        Event::Resize(..) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) => None,
    })
}

/// Whether the terminal has hung up, without waiting. The loop asks as well: if the terminal goes away while a key is
/// being read, the keyboard thread does not come back to tell.
pub(crate) fn terminal_is_gone() -> bool {
    !terminal_state(PollTimeout::ZERO).unwrap_or(false)
}

/// Waits for something to read; false if the terminal is gone.
fn terminal_state(timeout: PollTimeout) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
        Ok(_) => {
            let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
            Ok(!fds[0].revents().is_some_and(|events| events.intersects(gone)))
        }
    }
}

/// Starts a named thread that raises an [`Alarm`] if it panics.
///
/// # Errors
/// The operating system refuses to start a thread.
pub(crate) fn spawn(
    name: &'static str,
    inputs: SyncSender<Input>,
    work: impl FnOnce(SyncSender<Input>) + Send + 'static,
) -> io::Result<()> {
    let alarm = Alarm { thread: name, inputs: inputs.clone() };
    let run = move || {
        let _alarm = alarm;
        work(inputs);
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
