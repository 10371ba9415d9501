//! The exit codes. They are a promise to scripts: the meaning of a code never changes.

/// Done. For `refresh`: the pass is over, no customer failed, and all named ones are renewed.
pub(crate) const DONE: u8 = 0;
/// The operation failed: the daemon refused it, or a customer of a manual pass failed, or a named one was not renewed. With
/// `status --problems --exit-code`: there are problems.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// The daemon cannot be reached, or closed the connection before it answered. `wait` first waits for it.
pub(crate) const UNREACHABLE: u8 = 3;
/// No permission: the socket does not let this user in, or it is the monitor socket, which changes nothing.
pub(crate) const NO_PERMISSION: u8 = 4;
/// A named customer does not exist, its row cannot be renewed, or the name fits several customers.
pub(crate) const UNKNOWN_CUSTOMER: u8 = 5;
/// No answer within `--timeout`; for `wait`: some customers have not reached the goal within `--timeout`.
pub(crate) const TIMED_OUT: u8 = 7;
/// Interrupted. `tbctl` ends by the signal itself, and the shell reports it with this code.
pub(crate) const INTERRUPTED: u8 = 130;

/// The meaning of each code, in the words of `--help`.
pub(crate) const MEANINGS: [(u8, &str); 8] = [
    (DONE, "done"),
    (
        FAILED,
        "the operation failed; refresh: a customer failed, or a named one was not renewed; status --problems --exit-code: there are problems",
    ),
    (USAGE, "the command line is wrong"),
    (UNREACHABLE, "the daemon cannot be reached; wait: it was still away when the time was over"),
    (NO_PERMISSION, "no permission"),
    (UNKNOWN_CUSTOMER, "no such customer, one that cannot be renewed, or a name that fits several customers"),
    (TIMED_OUT, "no answer in time; wait: some customers were still missing when the time was over"),
    (INTERRUPTED, "interrupted"),
];
