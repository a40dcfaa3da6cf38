//! Where a stream's records lie in the journal.
//!
//! An index answers quickly what a scan of the journal would answer slowly, and is never believed:
//! what is read at a position is checked against the journal's own hashes. Deleting an index loses
//! nothing.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Extent, StoreError, StreamId};

/// Where a record starts, and what it must be chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Segment number, from 1.
    pub segment: u64,
    /// Byte offset of the record's frame in the segment's file.
    pub offset: u64,
    /// Chain hash (32 bytes) of the record before it, so that it can be checked by itself.
    pub previous: [u8; 32],
}

impl Position {
    pub(crate) fn order(&self) -> (u64, u64) {
        (self.segment, self.offset)
    }
}

/// How far an index covers the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Segment number, from 1.
    pub segment: u64,
    /// Byte offset where the last covered record ends.
    pub offset: u64,
    /// Chain hash (32 bytes) of the last covered record.
    pub chain: [u8; 32],
}

/// What an index learns of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedRecord {
    /// The record's stream.
    pub stream: StreamId,
    /// The stream's new head, if the record moves it.
    pub head: Option<[u8; 32]>,
    /// Where the record lies.
    pub position: Position,
}

/// A rebuildable map from stream to head and record positions.
///
/// Written by one thread at a time, in journal order. Any error means that the index is to be
/// rebuilt, not that anything was lost.
pub trait Index: Send + Sync + 'static {
    /// How far the journal is covered; `None` for an index that knows nothing.
    fn covered(&self) -> Result<Option<Coverage>, StoreError>;

    /// Forgets everything, whatever state the index is in.
    fn reset(&self) -> Result<(), StoreError>;

    /// Adds records in journal order; `covered` is the end of the last one. All or nothing.
    fn apply(&self, records: &[IndexedRecord], covered: Coverage) -> Result<(), StoreError>;

    /// The stream's head.
    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError>;

    /// How many records the stream has, and how many of them moved its head.
    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError>;

    /// The stream's records with these numbers (from 0), in journal order. An error where one of
    /// them is missing: the caller asks for no more than [`Index::extent`] told.
    fn positions(&self, stream: StreamId, records: Range<u64>)
    -> Result<Vec<Position>, StoreError>;

    /// The number of the record that moved the stream's head the `nth` time, from 0. Takes no
    /// time that grows with the stream but its logarithm's.
    fn record_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError>;

    /// Every stream with a record, sorted.
    fn streams(&self) -> Result<Vec<StreamId>, StoreError>;

    /// The index was caught pointing wrongly: it must cover nothing when it is opened again.
    fn distrust(&self) {}

    /// Whether [`Index::apply`] only moves memory: it then needs no thread of its own.
    fn is_in_memory(&self) -> bool {
        false
    }
}

#[derive(Debug, Default)]
struct MemoryStream {
    head: Option<[u8; 32]>,
    positions: Vec<Position>,
    /// The numbers of the records that moved the head.
    moves: Vec<u64>,
}

/// An index in memory, rebuilt by a scan whenever the store is opened.
///
/// Costs about 130 bytes per stream, 48 per record and 8 per head move: meant for devices and tests.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    streams: Mutex<BTreeMap<StreamId, MemoryStream>>,
}

impl MemoryIndex {
    fn streams_by_id(&self) -> MutexGuard<'_, BTreeMap<StreamId, MemoryStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn is_in_memory(&self) -> bool {
        true
    }

    fn covered(&self) -> Result<Option<Coverage>, StoreError> {
        Ok(None)
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.streams_by_id().clear();
        Ok(())
    }

    fn apply(&self, records: &[IndexedRecord], _covered: Coverage) -> Result<(), StoreError> {
        let mut streams = self.streams_by_id();
        for record in records {
            let stream = streams.entry(record.stream).or_default();
            if record.head.is_some() {
                stream.head = record.head;
                stream.moves.push(stream.positions.len() as u64);
            }
            stream.positions.push(record.position);
        }
        Ok(())
    }

    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        Ok(self
            .streams_by_id()
            .get(&stream)
            .and_then(|found| found.head))
    }

    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError> {
        let streams = self.streams_by_id();
        Ok(streams
            .get(&stream)
            .map_or(Extent::default(), |found| Extent {
                batches: found.positions.len() as u64,
                moves: found.moves.len() as u64,
            }))
    }

    fn positions(
        &self,
        stream: StreamId,
        records: Range<u64>,
    ) -> Result<Vec<Position>, StoreError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let streams = self.streams_by_id();
        let range = number(records.start)?..number(records.end)?;
        let found = streams.get(&stream);
        let found = found.and_then(|found| found.positions.get(range));
        found.map(<[Position]>::to_vec).ok_or_else(missing)
    }

    fn record_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError> {
        let nth = number(nth)?;
        let streams = self.streams_by_id();
        let found = streams.get(&stream);
        Ok(found.and_then(|found| found.moves.get(nth).copied()))
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        Ok(self.streams_by_id().keys().copied().collect())
    }
}

fn number(number: u64) -> Result<usize, StoreError> {
    usize::try_from(number).map_err(|_| missing())
}

fn missing() -> StoreError {
    StoreError::Index {
        reason: "positions are missing".to_owned(),
    }
}
