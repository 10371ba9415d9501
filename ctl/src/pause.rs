//! Waiting between two questions.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether anybody still reads what is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Yes, as far as can be known.
    There,
    /// The other end of the pipe, or the terminal, is closed.
    Gone,
}

/// Waits so long, or until whoever reads standard output has gone: `tbctl events -f | grep -m1 parked` ends with
/// grep and not with the next event.
pub(crate) fn while_somebody_reads(time: Duration) -> Reader {
    let stdout = std::io::stdout();
    // Nothing is asked for: that the other end is closed is always told.
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut fds, within(time)) {
        Ok(1..) => Reader::Gone,
        // A signal that does not end the process ends the pause; so be it.
        _ => Reader::There,
    }
}

/// Waits so long.
pub(crate) fn for_a_while(time: Duration) {
    // Nothing can go wrong with no descriptors but a signal that does not end the process; then the pause is short.
    let _ = poll(&mut [], within(time));
}

fn within(time: Duration) -> PollTimeout {
    // Rounded up, so that a rest of less than a millisecond is not waited for in a circle.
    PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX)
}
