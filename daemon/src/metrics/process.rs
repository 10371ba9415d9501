//! The standard metrics of a process, from `/proc/self`.

use std::fmt;
use std::fs;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::Families;

/// The kernel counts CPU time in this unit, whatever its own clock: `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// This process. Values that the kernel does not give are left out: under the unit, /proc shows only processes.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started_at: DateTime<Utc>,
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        if let Some(fields) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(stat) {
            out.counter("process_cpu_seconds", "CPU time", (fields.user + fields.system) / TICKS_PER_SECOND)?;
            out.gauge("process_virtual_memory_bytes", "Virtual memory", fields.virtual_bytes)?;
            out.gauge("process_threads", "Threads", fields.threads)?;
        }
        out.time("process_start_time_seconds", "When the process started", Some(self.started_at))?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(number)
        {
            out.gauge("process_resident_memory_bytes", "Resident memory", kibibytes * 1_024)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder itself.
            out.gauge("process_open_fds", "Open file descriptors", open.count().saturating_sub(1))?;
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        match limits.lines().find_map(|line| line.strip_prefix("Max open files")).and_then(number) {
            Some(most) => out.gauge("process_max_fds", "The most file descriptors", most),
            None => Ok(()),
        }
    }
}

/// What `/proc/self/stat` says, times in ticks.
struct Stat {
    user: f64,
    system: f64,
    threads: u64,
    virtual_bytes: u64,
}

/// The name of the program stands in brackets and may hold anything; the fields after it are counted from 3 in proc(5).
fn stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let ticks = |number| field(number)?.parse().ok();
    let count = |number| field(number)?.parse().ok();
    Some(Stat { user: ticks(14)?, system: ticks(15)?, threads: count(20)?, virtual_bytes: count(23)? })
}

fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_hold_spaces_and_brackets() {
        let text = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1000 4096 300 18446744073709551615";
        let stat = stat(text).unwrap();
        assert_eq!((stat.user, stat.system, stat.threads), (250.0, 50.0, 4));
        assert_eq!(stat.virtual_bytes, 4_096);
    }
}
