//! Promise 29: a crash leaves no secret on the disk.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use tbtoken_tests::harness::{Installation, Signal};

#[test]
fn p29_a_crash_leaves_no_core_dump() {
    let installation = Installation::new();
    let mut daemon = installation.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "soft and hard");

    // If cores are piped into a program, the limit does not apply, so the process must not be dumpable either. The files of
    // such a process in /proc belong to root. Root can raise the limit, but still gets no core.
    assert_eq!(std::fs::metadata(format!("/proc/{}/environ", daemon.pid())).unwrap().uid(), 0);
    let lift = ["--core=unlimited", "--pid", &daemon.pid().to_string()];
    let _ = Command::new("prlimit").args(lift).output().unwrap();
    daemon.signal(Signal::SIGABRT);
    let status = daemon.wait();
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::SIGABRT as i32), false));
}
