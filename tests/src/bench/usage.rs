//! The CPU time and the memory of a process, as the kernel counts them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// A process that is measured from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched(Pid);

/// Its memory, in MB of 2^20 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) resident: f64,
    /// The peak of resident memory since the start or since [`Watched::forget_peak`].
    pub(super) peak: f64,
}

impl Watched {
    pub(super) fn new(pid: i32) -> Self {
        Self(Pid::from_raw(pid))
    }

    /// Returns the CPU time of all of its threads since its start, in nanoseconds. `/proc/PID/stat` has only hundredths of
    /// a second.
    pub(super) fn cpu(self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.0).expect("the process is there");
        clock.now().expect("the clock of a process that is there").into()
    }

    /// The CPU time of its threads of this name, as far as they have not ended.
    pub(super) fn cpu_of_threads(self, name: &str) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process is there");
        let read = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
        let of = |task: PathBuf| {
            let nanoseconds = read(&task, "schedstat").split(' ').next()?.parse().ok()?;
            (read(&task, "comm").trim_end() == name).then(|| Duration::from_nanos(nanoseconds))
        };
        tasks.flatten().filter_map(|task| of(task.path())).sum()
    }

    /// Its memory.
    pub(super) fn memory(self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("the process is there");
        let megabytes = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).expect("a line of its memory");
            line.split_whitespace().nth(1).expect("a value").parse::<f64>().expect("kB") / 1024.0
        };
        Memory { resident: megabytes("VmRSS:"), peak: megabytes("VmHWM:") }
    }

    /// Resets the peak to the memory that is resident now. Returns false if that is not permitted: the daemon is not dumpable,
    /// so these files belong to root.
    pub(super) fn forget_peak(self) -> bool {
        match fs::write(format!("/proc/{}/clear_refs", self.0), "5") {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
            written => {
                written.expect("the process is there");
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let own = Watched::new(i32::try_from(std::process::id()).unwrap());
        let before = own.cpu();
        let block = vec![1_u8; 64 << 20];
        assert!(own.cpu() > before);
        let name = fs::read_to_string("/proc/thread-self/comm").unwrap();
        let of_threads = own.cpu_of_threads(name.trim_end());
        assert!(of_threads > Duration::ZERO && of_threads <= own.cpu());
        assert_eq!(own.cpu_of_threads("no such thread"), Duration::ZERO);
        let with = own.memory();
        assert!(with.resident > 64.0 && with.peak >= with.resident, "{with:?}");
        drop(block);
        assert!(own.forget_peak());
        assert!(own.memory().peak < with.peak);
    }
}
