//! The bytes of one record, and of the header that opens a segment.
//!
//! Frame: length and group bit u32 LE ‖ length check 8 ‖ chain hash 32 ‖ payload.
//!
//! Records are written and synced in groups. The highest bit of the length is set on the first frame
//! of a group, and is proof that everything before it was durable when it was written: so a crash
//! explains damage only where no such frame follows.
//!
//! The length check binds the length to its place, so that a flipped length can't pass for a torn
//! tail. The chain hash covers the chain hash before it and the payload, so that a record can be
//! neither altered, dropped, moved nor inserted without breaking every later one. Neither is keyed:
//! they find damage, not an attacker who rewrites the whole file.

use serde::{Deserialize, Serialize};

use crate::store::{HeadMove, LedgerId, StreamId, encoding::Bytes};

/// Largest payload of one record in bytes: 256 KiB.
pub const RECORD_LIMIT_BYTES: usize = 256 << 10;

/// Newest version of the format that this release reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 2;

/// Length (4), length check (8), chain hash (32).
pub(crate) const FRAME_HEADER_BYTES: usize = 44;

/// Length and length check: enough to know whether the rest of a frame can be expected.
pub(crate) const LENGTH_BYTES: usize = 12;

/// Set in the length of a group's first frame.
const GROUP_BIT: u32 = 1 << 31;

/// What the first record of a segment is chained to in the first segment.
pub(crate) const CHAIN_START: [u8; 32] = [0; 32];

const LENGTH_CONTEXT: &str = "warifu 2026 journal length v1";
const CHAIN_CONTEXT: &str = "warifu 2026 journal record v1";

/// First 8 bytes of BLAKE3 `derive_key` over length with its group bit u32 LE ‖ offset u64 LE ‖
/// segment u64 LE.
pub(crate) fn length_check(length: u32, offset: u64, segment: u64) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key(LENGTH_CONTEXT);
    hasher.update(&length.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// BLAKE3 `derive_key` over previous chain hash 32 ‖ payload.
pub(crate) fn chain_hash(previous: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CHAIN_CONTEXT);
    hasher.update(previous);
    hasher.update(payload);
    hasher.finalize().into()
}

/// Where a frame will stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Segment number, from 1.
    pub(crate) segment: u64,
    /// Byte offset in the segment's file.
    pub(crate) offset: u64,
    /// It is the first that is written after a sync.
    pub(crate) begins_group: bool,
}

/// Appends a frame; returns its chain hash. The caller has bounded the payload by
/// [`RECORD_LIMIT_BYTES`].
pub(crate) fn push_frame(
    out: &mut Vec<u8>,
    payload: &[u8],
    place: Place,
    previous: &[u8; 32],
) -> [u8; 32] {
    let Place {
        segment,
        offset,
        begins_group,
    } = place;
    let length = u32::try_from(payload.len()).unwrap_or(GROUP_BIT - 1);
    let length = length | if begins_group { GROUP_BIT } else { 0 };
    let chain = chain_hash(previous, payload);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&length_check(length, offset, segment));
    out.extend_from_slice(&chain);
    out.extend_from_slice(payload);
    chain
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    /// Bytes of the payload.
    pub(crate) payload: usize,
    /// It is the first of its group: what stands before it was durable when it was written.
    pub(crate) begins_group: bool,
}

/// A frame's length, if the check at its place agrees.
pub(crate) fn parse_length(
    bytes: &[u8; LENGTH_BYTES],
    segment: u64,
    offset: u64,
) -> Option<Length> {
    let (length, check) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    (check == length_check(length, offset, segment)).then_some(Length {
        payload: (length & !GROUP_BIT) as usize,
        begins_group: length & GROUP_BIT != 0,
    })
}

/// Bytes that a frame with this payload takes on disk.
pub(crate) fn frame_bytes(payload: usize) -> u64 {
    (FRAME_HEADER_BYTES as u64).saturating_add(payload as u64)
}

/// The payload of a segment's first frame. Every version keeps the first four fields (58 bytes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentHeader {
    /// `warifu-journal`, or `warifu-vault` and two zero bytes.
    pub(crate) magic: [u8; 14],
    /// u32 LE.
    pub(crate) version: u32,
    /// The segment's number, u64 LE, from 1.
    pub(crate) segment: u64,
    /// Chain hash of the last record of the segment before; zeros in the first.
    pub(crate) previous: [u8; 32],
    /// Whose records follow: role u8, origin (length u64 LE ‖ UTF-8).
    pub(crate) ledger: LedgerId,
    /// Bytes that the file had, durably, when it got its name: u64 LE. A crash takes none of them.
    pub(crate) created: u64,
}

impl SegmentHeader {
    /// Reads the field `previous` of any version's header.
    pub(crate) fn previous_of(payload: &[u8]) -> Option<[u8; 32]> {
        payload.get(26..58)?.try_into().ok()
    }

    /// Reads the field `version` of any version's header.
    pub(crate) fn version_of(payload: &[u8]) -> Option<u32> {
        Some(u32::from_le_bytes(payload.get(14..18)?.try_into().ok()?))
    }
}

/// The payload of a journal's record: one batch. The stream comes first, so that a damaged record
/// can still be attributed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordBody {
    /// 16 bytes.
    pub(crate) stream: StreamId,
    /// Tag u8, then expected (tag u8, 32 bytes) and next (32 bytes).
    pub(crate) head: Option<HeadMove>,
    /// Count u64 LE, each entry with its length u64 LE.
    pub(crate) entries: Vec<Bytes>,
}
