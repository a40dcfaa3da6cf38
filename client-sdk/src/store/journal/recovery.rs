//! What is done with a journal when it is opened.
//!
//! Decides where writing goes on. Changes nothing until everything it has to read was found good;
//! then cuts what a crash left incomplete at the end of the last segment, writes the last group once
//! more, and syncs file and directory: what a crashed process had written but not synced is about to
//! be acted on. Written once more, because after a sync that failed the system believes that what it
//! still shows is on the disk, and the next sync would say `Ok` without writing anything.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use super::{
    frame::CHAIN_START,
    segment::{
        Identity, Scanned, SegmentScanner, Tail, create_segment, list_segments, segment_path,
    },
};
use crate::store::{Coverage, Disk, StoreError};

/// Bytes of the last group that are written once more in one step.
const REWRITTEN_BYTES: usize = 1 << 20;

/// What an opening found.
pub(crate) enum Recovery {
    /// Everything asked for was visited.
    Ready(Tail),
    /// The journal has no record that ends where the coverage says; nothing was visited.
    UnknownCoverage,
}

/// Opens the segments of `dir`, visiting every record after `covered` (all, if `None`).
///
/// `first` gives the records that a new journal begins with. `observer` is told the bytes done and
/// the bytes in total.
pub(crate) fn recover(
    disk: &Disk,
    dir: &Path,
    identity: &Identity,
    covered: Option<Coverage>,
    first: &[Vec<u8>],
    visit: &mut dyn FnMut(&SegmentScanner, Scanned) -> Result<(), StoreError>,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<Recovery, StoreError> {
    let segments = list_segments(dir)?;
    let Some(last) = segments.last().copied() else {
        if covered.is_some() {
            return Ok(Recovery::UnknownCoverage);
        }
        let tail = create_segment(disk, dir, identity, 1, CHAIN_START, first);
        return tail.map(Recovery::Ready);
    };
    let start = covered.map_or(1, |covered| covered.segment);
    if !segments.contains(&start) {
        return Ok(Recovery::UnknownCoverage);
    }
    let total = total_bytes(dir, start, last)?;
    let mut done = 0u64;
    let mut pending = covered;
    let mut end: Option<([u8; 32], Range<u64>)> = None;
    for segment in start..=last {
        let mut scanner = SegmentScanner::open(dir, segment)?;
        scanner.require(identity)?;
        match end {
            Some((chain, _)) => scanner.require_previous(&chain)?,
            None if segment == 1 => scanner.require_previous(&CHAIN_START)?,
            None => {}
        }
        if !scan(&mut scanner, &mut pending, visit, &mut |offset| {
            observer(done.saturating_add(offset), total);
        })? {
            return Ok(Recovery::UnknownCoverage);
        }
        if segment < last && scanner.torn_bytes() > 0 {
            let (offset, _) = scanner.reached();
            let reason = "record is incomplete, but the segment is not the last";
            return Err(scanner.corrupt_at(offset, reason, None));
        }
        done = done.saturating_add(scanner.length());
        if scanner.torn_bytes() > 0 {
            let (offset, bytes) = (scanner.reached().0, scanner.torn_bytes());
            tracing::warn!(
                segment,
                offset,
                bytes,
                "a crash left an unfinished write, which is cut"
            );
        }
        end = Some((scanner.reached().1, scanner.last_group()));
    }
    let Some((chain, group)) = end else {
        return Ok(Recovery::UnknownCoverage);
    };
    remove_leftovers(disk, dir)?;
    let tail = open_tail(disk, dir, last, group, chain)?;
    disk.sync_directory(dir)?;
    identity.measures().syncs.increment(2);
    observer(total, total);
    Ok(Recovery::Ready(tail))
}

/// Visits what follows `pending`; false if the segment has no record ending there.
fn scan(
    scanner: &mut SegmentScanner,
    pending: &mut Option<Coverage>,
    visit: &mut dyn FnMut(&SegmentScanner, Scanned) -> Result<(), StoreError>,
    progress: &mut dyn FnMut(u64),
) -> Result<bool, StoreError> {
    loop {
        if let Some(covered) = *pending {
            let (offset, chain) = scanner.reached();
            if offset == covered.offset && chain == covered.chain {
                *pending = None;
            } else if offset >= covered.offset {
                return Ok(false);
            }
        }
        let Some(scanned) = scanner.next_record()? else {
            return Ok(pending.is_none());
        };
        progress(scanned.end);
        if pending.is_none() {
            visit(scanner, scanned)?;
        }
    }
}

fn total_bytes(dir: &Path, start: u64, last: u64) -> Result<u64, StoreError> {
    (start..=last).try_fold(0u64, |total, segment| {
        let path = segment_path(dir, segment);
        let metadata = fs::metadata(&path).map_err(StoreError::io("examine", path))?;
        Ok(total.saturating_add(metadata.len()))
    })
}

/// Removes files that a crash left beside the segments: they were never part of the journal.
fn remove_leftovers(disk: &Disk, dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// Opens the last segment behind its last group, which is made durable.
fn open_tail(
    disk: &Disk,
    dir: &Path,
    segment: u64,
    group: Range<u64>,
    chain: [u8; 32],
) -> Result<Tail, StoreError> {
    let path = segment_path(dir, segment);
    let mut file = disk.open(&path, group.start)?;
    file.set_length(group.end)?;
    let mut reader = File::open(&path).map_err(StoreError::io("open", &path))?;
    reader
        .seek(SeekFrom::Start(group.start))
        .map_err(StoreError::io("seek", &path))?;
    let mut left = group.end.saturating_sub(group.start);
    let mut buffer = vec![0; REWRITTEN_BYTES];
    while left > 0 {
        let length = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let chunk = buffer.get_mut(..length).unwrap_or_default();
        reader
            .read_exact(chunk)
            .map_err(StoreError::io("read", &path))?;
        file.write_all(chunk)?;
        left = left.saturating_sub(length as u64);
    }
    file.sync_all()?;
    Ok(Tail {
        file,
        segment,
        offset: group.end,
        chain,
    })
}
