//! The threads that read the keyboard and receive signals.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::decode::Decoder;
use crate::input::{Ending, Input};

/// Reports the panic of a thread to the loop, so that the dashboard ends instead of running without it.
pub(crate) struct Alarm {
    pub(crate) thread: &'static str,
    pub(crate) inputs: SyncSender<Input>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.inputs.send(Input::End(Ending::Panicked(self.thread)));
        }
    }
}

/// Turns signals into inputs.
///
/// # Errors
/// The operating system refuses to register signals or start a thread.
pub(crate) fn signals(inputs: SyncSender<Input>) -> io::Result<()> {
    // The loop may hang in a write to a terminal that takes nothing. A second signal ends the process anyway.
    let signalled = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_default(signal, Arc::clone(&signalled))?;
        flag::register(signal, Arc::clone(&signalled))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGWINCH, SIGCONT])?;
    spawn("signals", inputs, move |inputs| {
        for signal in signals.forever() {
            let meaning = match signal {
                SIGWINCH => vec![size()],
                // A process in the background gets no SIGWINCH, so the size may have changed.
                SIGCONT => vec![size(), Input::Continued],
                _ => vec![Input::End(Ending::Requested)],
            };
            for input in meaning {
                if inputs.send(input).is_err() {
                    return;
                }
            }
        }
    })
}

/// Returns the current size of the terminal.
fn size() -> Input {
    match crossterm::terminal::size() {
        Ok((columns, rows)) => Input::Resize(columns, rows),
        Err(_) => Input::End(Ending::TerminalGone),
    }
}

/// The longest time between the bytes of one key. After it, an Esc is the key Esc.
const SEQUENCE_MILLIS: u16 = 50;

/// Turns keys into inputs. A hang-up or an error of the terminal ends the thread and, with it, the process.
///
/// # Errors
/// The operating system refuses to start a thread.
pub(crate) fn keyboard(inputs: SyncSender<Input>) -> io::Result<()> {
    // `Stdin` is buffered: it may hold bytes that poll does not report.
    let mut tty = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    spawn("keyboard", inputs, move |inputs| {
        let mut decoder = Decoder::default();
        loop {
            let Ok(Some(read)) = read_keys(&mut tty, &mut decoder) else {
                let _ = inputs.send(Input::End(Ending::TerminalGone));
                return;
            };
            for input in read {
                if inputs.send(input).is_err() {
                    return;
                }
            }
        }
    })
}

/// Waits for the next bytes and decodes them; `None` if the terminal is gone.
fn read_keys(tty: &mut File, decoder: &mut Decoder) -> io::Result<Option<Vec<Input>>> {
    let timeout = if decoder.is_waiting() { PollTimeout::from(SEQUENCE_MILLIS) } else { PollTimeout::NONE };
    let mut fds = [PollFd::new(tty.as_fd(), PollFlags::POLLIN)];
    let state = match poll(&mut fds, timeout) {
        Err(Errno::EINTR) => PollFlags::empty(),
        Err(error) => return Err(error.into()),
        Ok(_) => fds[0].revents().unwrap_or(PollFlags::POLLERR),
    };
    if state.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
        return Ok(None);
    }
    if !state.contains(PollFlags::POLLIN) {
        return Ok(Some(decoder.end_sequence().into_iter().collect()));
    }
    let mut bytes = [0; 1024];
    match tty.read(&mut bytes) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(decoder.feed(&bytes[..count]))),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
            Ok(Some(vec![]))
        }
        Err(error) => Err(error),
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
