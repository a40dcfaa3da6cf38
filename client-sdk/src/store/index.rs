//! Where a stream's records lie in the journal.
//!
//! An index answers quickly what a scan of the journal would answer slowly, and is never believed:
//! what is read at a position is checked against the journal's own hashes. Deleting an index loses
//! nothing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{StoreError, StreamId};

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

    /// The stream's records in journal order.
    fn positions(&self, stream: StreamId) -> Result<Vec<Position>, StoreError>;

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
}

/// An index in memory, rebuilt by a scan whenever the store is opened.
///
/// Costs about 100 bytes per stream and 48 per record: meant for devices and tests.
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
            stream.head = record.head.or(stream.head);
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

    fn positions(&self, stream: StreamId) -> Result<Vec<Position>, StoreError> {
        let streams = self.streams_by_id();
        Ok(streams
            .get(&stream)
            .map_or(Vec::new(), |found| found.positions.clone()))
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        Ok(self.streams_by_id().keys().copied().collect())
    }
}
