//! Walks a journal without a lock and without changing it, for `warifu ledger verify`.
//!
//! Checks every byte: frames, hashes, the chain across segments. May run beside a live node; what
//! the node is just writing looks like a torn tail and ends the walk.

use std::{
    iter::FusedIterator,
    path::{Path, PathBuf},
};

use super::{
    JOURNAL_MAGIC,
    frame::{CHAIN_START, RECORD_LIMIT_BYTES, RecordBody},
    segment::{Identity, Scanned, SegmentScanner, list_segments},
};
use crate::store::{HeadMove, LedgerId, StoreError, StreamId, encoding};

/// One record of a journal: one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Segment number, from 1.
    pub segment: u64,
    /// Byte offset of the record's frame in the segment's file.
    pub offset: u64,
    /// Chain hash (32 bytes) after this record.
    pub chain: [u8; 32],
    /// The batch's stream.
    pub stream: StreamId,
    /// The batch's head move.
    pub head: Option<HeadMove>,
    /// The batch's entries.
    pub entries: Vec<Vec<u8>>,
}

/// A read-only walk over a journal, record by record; ends after the first error.
#[derive(Debug)]
pub struct JournalReader {
    dir: PathBuf,
    identity: Identity,
    scanner: SegmentScanner,
    segment: u64,
    last: u64,
    ended: bool,
}

impl JournalReader {
    /// Opens the journal kept in `dir` (the directory that a store was opened with), whoever's it
    /// is.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::FutureVersion`], or [`StoreError::Io`], also if
    /// there is no journal.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let dir = dir.join("journal");
        let last = list_segments(&dir)?.last().copied().unwrap_or(1);
        let scanner = SegmentScanner::open(&dir, 1)?;
        let identity = Identity {
            magic: JOURNAL_MAGIC,
            ledger: scanner.ledger().clone(),
        };
        scanner.require(&identity)?;
        scanner.require_previous(&CHAIN_START)?;
        Ok(Self {
            dir,
            identity,
            scanner,
            segment: 1,
            last,
            ended: false,
        })
    }

    /// Whose journal this is.
    #[must_use]
    pub fn ledger(&self) -> &LedgerId {
        &self.identity.ledger
    }

    /// How many segments there were when the journal was opened.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.last
    }

    /// Bytes of an unfinished last write, which an opening would cut; final once the walk ended.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.scanner.torn_bytes()
    }

    fn advance(&mut self) -> Result<Option<JournalRecord>, StoreError> {
        loop {
            if let Some(scanned) = self.scanner.next_record()? {
                return self.decode(scanned).map(Some);
            }
            if self.segment >= self.last {
                return Ok(None);
            }
            let (offset, chain) = self.scanner.reached();
            if self.scanner.torn_bytes() > 0 {
                let reason = "record is incomplete, but the segment is not the last";
                return Err(self.scanner.corrupt_at(offset, reason, None));
            }
            self.segment = self.segment.saturating_add(1);
            self.scanner = SegmentScanner::open(&self.dir, self.segment)?;
            self.scanner.require(&self.identity)?;
            self.scanner.require_previous(&chain)?;
        }
    }

    fn decode(&self, scanned: Scanned) -> Result<JournalRecord, StoreError> {
        let body = decode_body(&self.scanner, &scanned)?;
        Ok(JournalRecord {
            segment: scanned.position.segment,
            offset: scanned.position.offset,
            chain: scanned.chain,
            stream: body.stream,
            head: body.head,
            entries: body.entries.into_iter().map(|entry| entry.0).collect(),
        })
    }
}

/// Decodes a record's batch.
pub(crate) fn decode_body(
    scanner: &SegmentScanner,
    scanned: &Scanned,
) -> Result<RecordBody, StoreError> {
    encoding::decode::<RECORD_LIMIT_BYTES, _>(&scanned.payload).map_err(|_| {
        let stream = scanned
            .payload
            .first_chunk::<16>()
            .map(|stream| StreamId(*stream));
        let reason = "record is not a batch in canonical form";
        scanner.corrupt_at(scanned.position.offset, reason, stream)
    })
}

impl Iterator for JournalReader {
    type Item = Result<JournalRecord, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl FusedIterator for JournalReader {}
