//! What processes used, as Linux tells it in `/proc`.
//!
//! CPU time is read to the nanosecond from the scheduler's count of each thread; where threads ended
//! in between, their part is only in the process's own count, which has ticks of 10 ms.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

use crate::output::{Exit, Failure};

/// Nanoseconds of one tick in `/proc/PID/stat`: `USER_HZ` is 100 on every Linux.
const TICK_NS: u64 = 10_000_000;

/// CPU time of one process at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpu {
    /// Of every thread that lives, in nanoseconds.
    threads: BTreeMap<u32, u64>,
    /// Of the whole process, threads that ended included, in ticks.
    ticks: u64,
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Io, format!("could not read {path}: {error}")))
}

fn odd(path: &str) -> Failure {
    Failure::new(
        Exit::Io,
        format!("{path} has another form than Linux gives it"),
    )
}

impl Cpu {
    /// The CPU time of process `pid` so far, user and system.
    pub(super) fn of(pid: u32) -> Result<Cpu, Failure> {
        let path = format!("/proc/{pid}/stat");
        let stat = read(&path)?;
        // The command's name stands in parentheses and may hold anything.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest);
        let mut fields = fields
            .ok_or_else(|| odd(&path))?
            .split_whitespace()
            .skip(11);
        let mut tick = || fields.next().and_then(|text| text.parse::<u64>().ok());
        let (Some(user), Some(system)) = (tick(), tick()) else {
            return Err(odd(&path));
        };
        Ok(Cpu {
            threads: threads(pid),
            ticks: user.saturating_add(system),
        })
    }

    /// Nanoseconds used since `before`.
    pub(super) fn since_ns(&self, before: &Cpu) -> u64 {
        let of_threads: u64 = self
            .threads
            .iter()
            .map(|(thread, now)| now.saturating_sub(*before.threads.get(thread).unwrap_or(&0)))
            .sum();
        let of_process = self
            .ticks
            .saturating_sub(before.ticks)
            .saturating_mul(TICK_NS);
        // User and system time are each cut to a tick, at both ends.
        if of_threads.saturating_add(3 * TICK_NS) >= of_process {
            of_threads
        } else {
            of_process
        }
    }
}

/// Nanoseconds that each thread has run; empty where the kernel does not tell.
fn threads(pid: u32) -> BTreeMap<u32, u64> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return BTreeMap::new();
    };
    // A thread that ended meanwhile is in the process's count.
    let running = |task: fs::DirEntry| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ns = text.split_whitespace().next()?.parse().ok()?;
        Some((thread, ns))
    };
    tasks.flatten().filter_map(running).collect()
}

fn status(pid: u32, field: &str) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| odd(&path))
}

/// Memory of a process that is in RAM now, in KiB.
pub(super) fn rss_kib(pid: u32) -> Result<u64, Failure> {
    status(pid, "VmRSS")
}

/// The most that was ever in RAM, in KiB.
pub(super) fn peak_kib(pid: u32) -> Result<u64, Failure> {
    status(pid, "VmHWM")
}

/// Bytes that a process has sent to the disk; zero on file systems in memory.
pub(super) fn written_bytes(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/io");
    let text = read(&path)?;
    text.lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .ok_or_else(|| odd(&path))
}

/// Bytes that the files under `dir` occupy.
pub(super) fn occupied_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => occupied_bytes(&entry.path()),
        // The unit of st_blocks is 512 bytes, whatever the file system's block is.
        Ok(metadata) => metadata.blocks().saturating_mul(512),
        // A file that was just removed occupies nothing.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_and_sleep_is_not() {
        let own = std::process::id();
        let before = Cpu::of(own).unwrap();
        let mut hash = [0; 32];
        for _ in 0..200_000 {
            hash = *blake3::hash(&hash).as_bytes();
        }
        let worked = Cpu::of(own).unwrap();
        assert!(worked.since_ns(&before) > 1_000_000, "{hash:?}");
        assert_eq!(before.since_ns(&worked), 0);
    }

    #[test]
    fn a_thread_that_ended_is_in_the_ticks() {
        let before = Cpu {
            threads: BTreeMap::from([(1, 5), (2, 900)]),
            ticks: 10,
        };
        let after = Cpu {
            threads: BTreeMap::from([(1, 9), (3, 6)]),
            ticks: 13,
        };
        assert_eq!(after.since_ns(&before), 10);
        let after = Cpu { ticks: 14, ..after };
        assert_eq!(after.since_ns(&before), 4 * TICK_NS);
    }

    #[test]
    fn memory_and_files_are_counted() {
        let own = std::process::id();
        assert!(rss_kib(own).unwrap() > 100);
        assert!(peak_kib(own).unwrap() >= rss_kib(own).unwrap() / 2);
        written_bytes(own).unwrap();
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(occupied_bytes(&dir.path().join("absent")), 0);
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("inner/file"), [7; 9000]).unwrap();
        let occupied = occupied_bytes(dir.path());
        assert!((8192..=65_536).contains(&occupied), "{occupied}");
    }
}
