//! The sealed blocks in a node's journal, read in place beside a live node.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsStr,
    path::Path,
};

use warifu_client_sdk::store::{JournalReader, JournalRecord, StreamId};
use warifu_consensus::{
    agree::{Erasure, Record},
    party::Sub,
    wire,
};

use super::{Found, Place, WalkError};

/// Longest entry of an account's stream in bytes, as the node writes them.
pub const MAX_ENTRY: usize = 256 * 1024;

/// Reads a journal record by record; every byte of it is checked on the way.
#[derive(Debug)]
pub struct JournalBlocks {
    reader: JournalReader,
    /// Blocks of the record read last.
    waiting: VecDeque<Found>,
    /// The different tombstones of each account that has any, as the journal has them.
    tombstones: BTreeMap<Sub, Vec<Erasure>>,
    /// Sizes of the segments' files, in order.
    sizes: Vec<u64>,
    done: u64,
    ended: bool,
}

impl JournalBlocks {
    /// Opens the journal of a data directory.
    ///
    /// # Errors
    /// [`WalkError::Journal`].
    pub fn open(data: &Path) -> Result<JournalBlocks, WalkError> {
        let reader = JournalReader::open(data)?;
        Ok(JournalBlocks {
            reader,
            waiting: VecDeque::new(),
            tombstones: BTreeMap::new(),
            sizes: segment_sizes(&data.join("journal")),
            done: 0,
            ended: false,
        })
    }

    pub(super) fn iss(&self) -> &str {
        &self.reader.ledger().origin
    }

    pub(super) const fn tombstones(&self) -> &BTreeMap<Sub, Vec<Erasure>> {
        &self.tombstones
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (self.done, self.sizes.iter().sum())
    }

    fn advance(&mut self) -> Result<Option<Found>, WalkError> {
        loop {
            if let Some(found) = self.waiting.pop_front() {
                return Ok(Some(found));
            }
            let Some(record) = self.reader.next().transpose()? else {
                let bytes = self.reader.torn_bytes();
                return if bytes == 0 {
                    Ok(None)
                } else {
                    Err(WalkError::Torn { bytes })
                };
            };
            let before = usize::try_from(record.segment.saturating_sub(1)).unwrap_or(0);
            self.done = self
                .sizes
                .iter()
                .take(before)
                .sum::<u64>()
                .saturating_add(record.offset);
            self.decode(record)?;
        }
    }

    fn decode(&mut self, record: JournalRecord) -> Result<(), WalkError> {
        // The node's own stream and the log's hold no blocks.
        if [StreamId::NODE, StreamId::LOG].contains(&record.stream) {
            return Ok(());
        }
        let place = Place::Record {
            segment: record.segment,
            offset: record.offset,
        };
        let stream = Sub(record.stream.0);
        for entry in &record.entries {
            let decoded = wire::decode::<Record, MAX_ENTRY>(entry);
            let kept = decoded.map_err(|error| WalkError::Record {
                place,
                stream,
                reason: error.to_string(),
            })?;
            let (sealed, is_conflict) = match kept {
                Record::Sealed(sealed) => (*sealed, false),
                Record::Conflict(sealed) => (*sealed, true),
                Record::Erased {
                    erasure: Some(erasure),
                    ..
                } => {
                    let known = self.tombstones.entry(stream).or_default();
                    if !known.contains(&erasure) {
                        known.push(erasure);
                    }
                    continue;
                }
                _ => continue,
            };
            self.waiting.push_back(Found {
                place,
                sealed,
                stream: Some(stream),
                is_conflict,
                is_behind_tombstone: self.tombstones.contains_key(&stream),
            });
        }
        Ok(())
    }
}

/// For the progress bar only: what can't be read counts as nothing.
pub(crate) fn segment_sizes(dir: &Path) -> Vec<u64> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name(), entry.metadata().ok()?.len())))
        .filter(|(name, _)| is_segment(name))
        .collect();
    files.sort();
    files.into_iter().map(|(_, size)| size).collect()
}

fn is_segment(name: &OsStr) -> bool {
    Path::new(name).extension() == Some(OsStr::new("seg"))
}

/// Whether a journal or a vault was begun in this directory.
pub(crate) fn has_segments(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .any(|name| is_segment(&name))
}

impl Iterator for JournalBlocks {
    type Item = Result<Found, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
