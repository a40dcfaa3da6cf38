//! Following the journal: all batches of all streams, in the order in which they became durable.
//!
//! A place is a record's segment and offset, so nothing is kept for it, and whoever follows goes on after a
//! restart where it was. What is not durable yet is not shown: it could still be lost.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    sync::{Mutex, PoisonError},
};

use super::JournalStore;
use crate::store::{
    Followed, Index, Place, Position, StoreError, StreamId, encoding,
    journal::{
        RECORD_LIMIT_BYTES,
        frame::{RecordBody, chain_hash, frame_bytes},
        segment::{read_frame_start, segment_path},
    },
};

/// Bits of a place for the offset: segments are below 1 TiB.
const OFFSET_BITS: u32 = 40;

/// Where the last durable record ends: segment and offset.
#[derive(Debug)]
pub(super) struct DurableEnd(Mutex<(u64, u64)>);

impl DurableEnd {
    pub(super) const fn at(segment: u64, offset: u64) -> Self {
        Self(Mutex::new((segment, offset)))
    }

    pub(super) fn reach(&self, segment: u64, offset: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (segment, offset);
    }

    fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The place of the record at this byte of this segment.
    #[must_use]
    pub const fn at(segment: u64, offset: u64) -> Self {
        Self(segment << OFFSET_BITS | offset)
    }

    const fn of(position: &Position) -> Self {
        Self::at(position.segment, position.offset)
    }

    /// Segment and offset of the record there; of the first segment's header for [`Place::START`].
    #[must_use]
    pub fn parts(self) -> (u64, u64) {
        let offset = self.0 & ((1 << OFFSET_BITS) - 1);
        ((self.0 >> OFFSET_BITS).max(1), offset)
    }
}

/// A segment being read, from a record whose frame was read last.
struct Cursor {
    reader: BufReader<File>,
    length: u64,
    segment: u64,
    /// Where the next frame starts.
    at: u64,
    /// The chain hash of the record before it.
    previous: [u8; 32],
}

impl<I: Index> JournalStore<I> {
    pub(super) fn find_place(
        &self,
        stream: StreamId,
        batch: u64,
    ) -> Result<Option<Place>, StoreError> {
        let layout = self.layout(stream)?;
        if batch >= layout.extent().batches {
            return Ok(None);
        }
        let positions = self.positions(stream, &layout, &(batch..batch.saturating_add(1)))?;
        Ok(positions.first().map(Place::of))
    }

    pub(super) fn read_after(
        &self,
        after: Place,
        most: usize,
    ) -> Result<Vec<Followed>, StoreError> {
        let end = self.durable.get();
        let mut followed = Vec::new();
        let (segment, offset) = after.parts();
        let mut cursor = self.after_frame(segment, offset)?;
        while followed.len() < most && (cursor.segment, cursor.at) < end {
            if cursor.segment < end.0 && cursor.at >= cursor.length {
                cursor = self.after_frame(cursor.segment.saturating_add(1), 0)?;
                continue;
            }
            followed.push(self.next_followed(&mut cursor)?);
        }
        Ok(followed)
    }

    /// A cursor behind the frame that starts here: a record that was read before, or a header.
    fn after_frame(&self, segment: u64, offset: u64) -> Result<Cursor, StoreError> {
        let position = Position {
            segment,
            offset,
            previous: [0; 32],
        };
        let path = segment_path(&self.dir, segment);
        let failed = |error| self.unreadable(&position, &path, error);
        let file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut reader = BufReader::with_capacity(256 << 10, file);
        reader.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let start = read_frame_start(&mut reader, segment, offset).map_err(failed)?;
        let (payload, previous) = start.ok_or_else(|| self.mismatch(&position))?;
        reader
            .seek_relative(i64::try_from(payload).unwrap_or(i64::MAX))
            .map_err(failed)?;
        Ok(Cursor {
            reader,
            length,
            segment,
            at: offset.saturating_add(frame_bytes(payload)),
            previous,
        })
    }

    fn next_followed(&self, cursor: &mut Cursor) -> Result<Followed, StoreError> {
        let position = Position {
            segment: cursor.segment,
            offset: cursor.at,
            previous: cursor.previous,
        };
        let path = segment_path(&self.dir, cursor.segment);
        let read = read_after_header(cursor);
        let (chain, payload) = read
            .map_err(|error| self.unreadable(&position, &path, error))?
            .filter(|(chain, payload)| chain_hash(&position.previous, payload) == *chain)
            .ok_or_else(|| self.mismatch(&position))?;
        let body = encoding::decode::<RECORD_LIMIT_BYTES, RecordBody>(&payload)
            .map_err(|_| self.mismatch(&position))?;
        cursor.at = cursor.at.saturating_add(frame_bytes(payload.len()));
        cursor.previous = chain;
        Ok(Followed {
            place: Place::of(&position),
            stream: body.stream,
            entries: body.entries.into_iter().map(|entry| entry.0).collect(),
        })
    }
}

fn read_after_header(cursor: &mut Cursor) -> io::Result<Option<([u8; 32], Vec<u8>)>> {
    let start = read_frame_start(&mut cursor.reader, cursor.segment, cursor.at)?;
    let Some((length, chain)) = start else {
        return Ok(None);
    };
    let mut payload = vec![0; length];
    cursor.reader.read_exact(&mut payload)?;
    Ok(Some((chain, payload)))
}
