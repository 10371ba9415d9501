//! Pauses between two requests.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits for so long, or until standard output has no reader any more: `tbctl events -f | grep -m1 parked` ends with grep,
/// not with the next event. Returns whether there is still a reader, as far as that is known.
pub(crate) fn wait_while_read(time: Duration) -> bool {
    let stdout = std::io::stdout();
    // Without a request for events, poll still reports that the other end is closed.
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    // A signal that does not end the process ends the pause early.
    !matches!(poll(&mut fds, timeout(time)), Ok(1..))
}

/// Waits for so long; a signal that does not end the process makes the pause shorter.
pub(crate) fn wait(time: Duration) {
    let _ = poll(&mut [], timeout(time));
}

fn timeout(time: Duration) -> PollTimeout {
    // Rounded up, so that a rest of less than a millisecond does not make a loop spin.
    PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX)
}
