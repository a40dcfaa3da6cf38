//! What is done with a journal when it is opened.
//!
//! Decides where writing goes on. Changes nothing until everything it has to read was found good;
//! then cuts an incomplete last record of the last segment, and syncs: what a crashed process had
//! written but not synced is about to be acted on.

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom},
    path::Path,
};

use super::{
    frame::CHAIN_START,
    segment::{
        Identity, Scanned, SegmentScanner, Tail, create_segment, list_segments, segment_path,
    },
};
use crate::store::{Coverage, StoreError};

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
    dir: &Path,
    identity: &Identity,
    covered: Option<Coverage>,
    first: &mut dyn Iterator<Item = Vec<u8>>,
    visit: &mut dyn FnMut(&SegmentScanner, Scanned) -> Result<(), StoreError>,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<Recovery, StoreError> {
    let segments = list_segments(dir)?;
    let Some(last) = segments.last().copied() else {
        if covered.is_some() {
            return Ok(Recovery::UnknownCoverage);
        }
        return create_segment(dir, identity, 1, CHAIN_START, first).map(Recovery::Ready);
    };
    let start = covered.map_or(1, |covered| covered.segment);
    if !segments.contains(&start) {
        return Ok(Recovery::UnknownCoverage);
    }
    let total = total_bytes(dir, start, last)?;
    let mut done = 0u64;
    let mut pending = covered;
    let mut end = None;
    for segment in start..=last {
        let mut scanner = SegmentScanner::open(dir, segment)?;
        scanner.require(identity)?;
        match end {
            Some((_, chain)) => scanner.require_previous(&chain)?,
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
        end = Some(scanner.reached());
    }
    let Some((offset, chain)) = end else {
        return Ok(Recovery::UnknownCoverage);
    };
    remove_leftovers(dir)?;
    let tail = open_tail(dir, last, offset, chain)?;
    identity.measures().syncs.increment(1);
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
fn remove_leftovers(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn open_tail(dir: &Path, segment: u64, offset: u64, chain: [u8; 32]) -> Result<Tail, StoreError> {
    let path = segment_path(dir, segment);
    let mut file = OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    file.set_len(offset)
        .map_err(StoreError::io("truncate", &path))?;
    file.sync_all().map_err(StoreError::io("sync", &path))?;
    file.seek(SeekFrom::Start(offset))
        .map_err(StoreError::io("seek", &path))?;
    Ok(Tail {
        file,
        path,
        segment,
        offset,
        chain,
    })
}
