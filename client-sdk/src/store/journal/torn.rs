//! What a power loss leaves of a group that was written and not yet synced.
//!
//! A disk writes sectors in any order, so the file may have its full length and later sectors while
//! an earlier one was never written, and reads as zeros. Decides whether damage looks like that; never
//! calls damage a crash that a crash can't have left: where a later frame proves a sync, or where no
//! sector is missing, something else happened.
//!
//! Rests on a file system that shows zeros, never older content, in what was not written (ext4 in its
//! ordered mode, XFS, btrfs, ZFS).

use super::{
    frame::{FRAME_HEADER_BYTES, LENGTH_BYTES, RECORD_LIMIT_BYTES, parse_length},
    writer::GROUP_BYTES,
};

/// The smallest unit that a disk writes whole.
const SECTOR_BYTES: u64 = 512;

/// Longest group: written once it has this much, whatever its last record adds.
pub(super) const GROUP_LIMIT_BYTES: u64 =
    (GROUP_BYTES + RECORD_LIMIT_BYTES + FRAME_HEADER_BYTES) as u64;

/// Whether a sector that has some of the `bytes` at `offset` is zeros, from `offset` on. `rest` is the
/// file from `offset` to its end.
pub(super) fn lost_sector(rest: &[u8], offset: u64, bytes: u64) -> bool {
    let mut begin = offset;
    let end = offset.saturating_add(bytes);
    let mut rest = rest;
    while begin < end && !rest.is_empty() {
        let length = SECTOR_BYTES.saturating_sub(begin % SECTOR_BYTES);
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let (sector, later) = rest.split_at(length);
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        begin = begin.saturating_add(length as u64);
        rest = later;
    }
    false
}

/// Whether a frame after the one at `offset` of `segment` is the first of its group: it was written
/// after all of the group before it was durable.
pub(super) fn synced_later(rest: &[u8], segment: u64, offset: u64) -> bool {
    (offset..)
        .zip(rest.windows(LENGTH_BYTES))
        .skip(1)
        .filter_map(|(at, window)| Some((at, window.first_chunk()?)))
        .any(|(at, start)| {
            parse_length(start, segment, at).is_some_and(|length| length.begins_group)
        })
}
