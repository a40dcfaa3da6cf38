//! The disk under the data: room, whether it can be written, and whether a sync does what it says.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use rustix::fs::OFlags;
use warifu_client_sdk::store::JournalOptions;

use super::finding::Report;
use crate::{config::Config, output::Exit};

/// A sync slower than this holds every login up.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// How many syncs are tried; the quickest counts, since others use the disk too.
const SYNCS: usize = 5;

pub(super) fn check(config: &Config, report: &mut Report) {
    // Before the first run the data will lie where its parent is.
    let data = config
        .node
        .data
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(&config.dir);
    room(config, data, report);
    writes(data, report);
}

fn room(config: &Config, data: &Path, report: &mut Report) {
    const MIB: u64 = 1 << 20;
    let options = JournalOptions::new(config.ledger.iss.clone(), config.role().number());
    let reserve = config.node.disk_reserve_bytes;
    let free = match (options.free_space)(data) {
        Ok(free) => free,
        Err(error) => {
            let found = format!("free space of {} can't be read: {error}", data.display());
            report.error(
                "disk",
                Exit::Io,
                found,
                "a file system that tells",
                "look at its mount",
            );
            return;
        }
    };
    let found = format!(
        "{} MiB free, {} MiB are kept in reserve",
        free / MIB,
        reserve / MIB
    );
    if free < reserve {
        let expected = "more than the reserve: admits are refused, restricts still taken";
        report.error(
            "disk",
            Exit::Io,
            found,
            expected,
            "make room; no restart is needed",
        );
    } else if free / 2 < reserve {
        let expected = "twice the reserve or more";
        report.warning(
            "disk",
            found,
            expected,
            "make room before admits are refused",
        );
    } else {
        report.ok("disk", found);
    }
}

/// Writes and syncs a file without a name, which is gone when it is closed, whatever happens.
fn writes(data: &Path, report: &mut Report) {
    match write_and_sync(data) {
        Ok(took) if took > SLOW_SYNC => {
            let found = format!("written, and synced in {} ms", took.as_millis());
            let expected = "a sync in less than 50 ms: each login waits for one";
            report.warning(
                "disk",
                found,
                expected,
                "use a disk with a durable cache, or a quieter one",
            );
        }
        Ok(took) => {
            let millis = took.as_secs_f64() * 1000.0;
            report.ok("disk", format!("written, and synced in {millis:.1} ms"));
        }
        // Not every file system has files without a name.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {
            report.note(
                "disk",
                "writing was not tried: the file system has no unnamed files",
                "",
                "",
            );
        }
        Err(error) => {
            let found = format!("{} can't be written: {error}", data.display());
            let advice = match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => "mount it for writing; ask why it is not",
                io::ErrorKind::StorageFull => "make room",
                _ => "run doctor as the node's user, and look at owner, mode and mount",
            };
            report.error(
                "disk",
                Exit::Io,
                found,
                "a directory that takes writes and syncs",
                advice,
            );
        }
    }
}

fn write_and_sync(data: &Path) -> io::Result<Duration> {
    let flags = i32::try_from(OFlags::TMPFILE.bits()).unwrap_or_default();
    let mut file: File = OpenOptions::new()
        .write(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(data)?;
    let mut least = Duration::MAX;
    for _ in 0..SYNCS {
        file.write_all(&[0; 4096])?;
        let begun = tokio::time::Instant::now();
        file.sync_all()?;
        least = least.min(begun.elapsed());
    }
    Ok(least)
}
