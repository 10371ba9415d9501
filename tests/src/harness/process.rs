//! A child process, and waiting for its end.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child process. The drop kills it, if it still runs.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    exits: Receiver<ExitStatus>,
    exited: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        Self::spawn_and_then(command, |_| ())
    }

    /// Starts `command` and calls `also` on another thread when it has ended.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn_and_then(
        command: &mut Command,
        also: impl FnOnce(ExitStatus) + Send + 'static,
    ) -> io::Result<Self> {
        let (exit, exits) = channel();
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids fit"));
        std::thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            let _ = exit.send(status);
            also(status);
        });
        Ok(Self { pid, exits, exited: None })
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Returns the exit status; `None` while the process runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.exited = self.exited.or_else(|| self.exits.try_recv().ok());
        self.exited
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            // The process may end at this moment; then the signal has no receiver.
            let _ = kill(self.pid, signal);
        }
    }

    /// Waits for the end; returns `None` if `timeout` is over first.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = match self.exits.recv_timeout(timeout) {
                Ok(status) => Some(status),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the thread that waits for process {} is gone", self.pid)
                }
            };
        }
        self.exited
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.exits.recv_timeout(Duration::from_secs(5));
    }
}

/// Makes a command that the kernel ends with SIGTERM when the *thread* that starts it is gone, even if its whole process was
/// killed. Without unsafe code only another program can request that between fork and exec: `setpriv`, of util-linux.
/// Without `setpriv` the child outlives a parent that is killed with SIGKILL.
#[must_use]
pub fn command_that_dies_with_us(program: PathBuf) -> Command {
    static SETPRIV: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let works = || {
        let probe = Command::new("setpriv").args(["--pdeathsig", "TERM", "true"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    if *SETPRIV.get_or_init(works) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Raises the limit of open files to its maximum: a fake that serves a pass needs a descriptor for each login.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the limit can be raised to its end");
}
