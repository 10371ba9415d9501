//! The exit codes. They are a promise to scripts: a code is never given another meaning.

/// Done. For `refresh`: the pass is over and nobody failed.
pub(crate) const DONE: u8 = 0;
/// The operation failed: the daemon refused it, or a manual pass could not renew everyone. With `status --problems --exit-code`:
/// there are problems.
pub(crate) const FAILED: u8 = 1;
/// The command line is not understood.
pub(crate) const USAGE: u8 = 2;
/// The daemon cannot be reached, or hung up before it answered; `wait` waits for it first, as long as `--timeout` says.
pub(crate) const UNREACHABLE: u8 = 3;
/// No permission: the socket does not let this user in, or it is the monitor socket, which changes nothing.
pub(crate) const NO_PERMISSION: u8 = 4;
/// A customer that was named is not there, its row cannot be renewed, or the name fits several.
pub(crate) const UNKNOWN_CUSTOMER: u8 = 5;
/// No answer within `--timeout`; for `wait`: not everyone is where it should be within `--timeout`.
pub(crate) const TIMED_OUT: u8 = 7;
/// Interrupted. `tbctl` ends by the signal itself, as a shell expects it, and the shell makes this code of it.
pub(crate) const INTERRUPTED: u8 = 130;

/// What each code means, in the words of `--help`.
pub(crate) const MEANINGS: [(u8, &str); 8] = [
    (DONE, "done"),
    (
        FAILED,
        "the operation failed; refresh: a customer failed; status --problems --exit-code: there are problems",
    ),
    (USAGE, "the command line is not understood"),
    (UNREACHABLE, "the daemon cannot be reached; wait: it could not when the time was over"),
    (NO_PERMISSION, "no permission"),
    (UNKNOWN_CUSTOMER, "no such customer, one that cannot be renewed, or a name that fits several"),
    (TIMED_OUT, "no answer in time; wait: some customers were still missing when the time was over"),
    (INTERRUPTED, "interrupted"),
];

/// `check`, which has the codes of a monitoring plugin: all is well.
pub(crate) const CHECK_OK: u8 = 0;
/// `check`: somebody should look at it.
pub(crate) const CHECK_WARNING: u8 = 1;
/// `check`: somebody must look at it now.
pub(crate) const CHECK_CRITICAL: u8 = 2;
/// `check`: it could not be found out.
pub(crate) const CHECK_UNKNOWN: u8 = 3;
