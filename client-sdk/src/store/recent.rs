//! What the index does not know yet: batches that are queued, or durable but not indexed.
//!
//! Decides whether a batch's expected head holds, against the queue and not only against the disk.
//! Holds a stream only while something of it is on its way, so its size is bounded by the queues.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{HeadMove, IndexedRecord, Position, StoreError, StreamId};

#[derive(Debug)]
struct RecentStream {
    /// Records that are queued and not yet durable.
    queued: usize,
    /// The head once everything queued is durable.
    queued_head: Option<[u8; 32]>,
    /// The head that survives power loss now.
    durable_head: Option<[u8; 32]>,
    /// Durable records that the index has not taken.
    positions: VecDeque<RecentRecord>,
}

/// A durable record that the index may lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecentRecord {
    pub(crate) position: Position,
    /// It moved the stream's head.
    pub(crate) moves: bool,
}

/// Streams with something on its way.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    streams: Mutex<HashMap<StreamId, RecentStream>>,
}

impl Recent {
    fn streams_by_id(&self) -> MutexGuard<'_, HashMap<StreamId, RecentStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the head and, if it holds, runs `send` in the same critical section, so that the
    /// order of the queue is the order of the decisions. `indexed_head` is asked if nothing of the
    /// stream is on its way.
    pub(crate) fn queue<R>(
        &self,
        stream: StreamId,
        head: Option<HeadMove>,
        indexed_head: impl FnOnce() -> Result<Option<[u8; 32]>, StoreError>,
        send: impl FnOnce() -> R,
    ) -> Result<R, StoreError> {
        let compare = |found: Option<[u8; 32]>| match head {
            Some(head) if head.expected != found => Err(StoreError::HeadMismatch {
                stream,
                found,
                expected: head.expected,
            }),
            _ => Ok(()),
        };
        let mut streams = self.streams_by_id();
        let entry = match streams.entry(stream) {
            Entry::Occupied(entry) => {
                compare(entry.get().queued_head)?;
                entry.into_mut()
            }
            Entry::Vacant(entry) => {
                let found = indexed_head()?;
                compare(found)?;
                entry.insert(RecentStream {
                    queued: 0,
                    queued_head: found,
                    durable_head: found,
                    positions: VecDeque::new(),
                })
            }
        };
        entry.queued = entry.queued.saturating_add(1);
        entry.queued_head = head.map(|head| head.next).or(entry.queued_head);
        Ok(send())
    }

    /// Records became durable.
    pub(crate) fn durable(
        &self,
        records: impl Iterator<Item = (StreamId, Option<[u8; 32]>, Position)>,
    ) {
        let mut streams = self.streams_by_id();
        for (stream, next, position) in records {
            if let Some(recent) = streams.get_mut(&stream) {
                recent.queued = recent.queued.saturating_sub(1);
                recent.durable_head = next.or(recent.durable_head);
                recent.positions.push_back(RecentRecord {
                    position,
                    moves: next.is_some(),
                });
            }
        }
    }

    /// The index took records.
    pub(crate) fn indexed(&self, records: &[IndexedRecord]) {
        let mut streams = self.streams_by_id();
        for record in records {
            if let Entry::Occupied(mut entry) = streams.entry(record.stream) {
                let recent = entry.get_mut();
                recent.positions.pop_front();
                if recent.queued == 0 && recent.positions.is_empty() {
                    entry.remove();
                }
            }
        }
    }

    /// The durable head, if something of the stream is on its way; else the index knows it.
    pub(crate) fn durable_head(&self, stream: StreamId) -> Option<Option<[u8; 32]>> {
        self.streams_by_id()
            .get(&stream)
            .map(|recent| recent.durable_head)
    }

    /// Durable records that the index may lack, in journal order.
    pub(crate) fn records(&self, stream: StreamId) -> Vec<RecentRecord> {
        let streams = self.streams_by_id();
        streams.get(&stream).map_or(Vec::new(), |recent| {
            recent.positions.iter().copied().collect()
        })
    }

    /// Streams with a durable record that the index may lack.
    pub(crate) fn streams(&self) -> Vec<StreamId> {
        self.streams_by_id()
            .iter()
            .filter(|(_, recent)| !recent.positions.is_empty())
            .map(|(stream, _)| *stream)
            .collect()
    }
}
