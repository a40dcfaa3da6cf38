//! Reading a stream: where its records lie, and the records themselves.
//!
//! The index and what has become durable behind its back are put together here. A record read
//! through a position is checked against the journal's hashes, its stream, and the head moves
//! around it; where that fails, the journal is walked to find out which of the two is wrong.

use std::{fs::File, io, ops::Range, path::Path};

use super::JournalStore;
use crate::store::{
    Extent, HeadMove, Index, Position, StoreError, StreamId, encoding,
    journal::{
        RECORD_LIMIT_BYTES,
        frame::RecordBody,
        segment::{SegmentScanner, read_record, segment_path},
    },
    recent::RecentRecord,
};

/// Records read at once while a head move is looked for.
const SEARCHED_RECORDS: u64 = 256;

/// Where a stream's records are known from.
pub(super) struct Layout {
    indexed: Extent,
    /// Durable, not in the index, in journal order.
    recent: Vec<RecentRecord>,
}

impl Layout {
    pub(super) fn extent(&self) -> Extent {
        let moves = self.recent.iter().filter(|record| record.moves).count();
        Extent {
            batches: self
                .indexed
                .batches
                .saturating_add(self.recent.len() as u64),
            moves: self.indexed.moves.saturating_add(moves as u64),
        }
    }
}

impl<I: Index> JournalStore<I> {
    /// What the index knows of a stream, and what has become durable since.
    pub(super) fn layout(&self, stream: StreamId) -> Result<Layout, StoreError> {
        // Recent first: what leaves it between the two look-ups is in the index by then.
        let mut recent = self.recent.records(stream);
        let indexed = self.index.extent(stream)?;
        if !recent.is_empty() && indexed.batches > 0 {
            let last = indexed.batches.saturating_sub(1)..indexed.batches;
            if let Some(last) = self.index.positions(stream, last)?.first() {
                recent.retain(|record| record.position.order() > last.order());
            }
        }
        Ok(Layout { indexed, recent })
    }

    pub(super) fn positions(
        &self,
        stream: StreamId,
        layout: &Layout,
        records: &Range<u64>,
    ) -> Result<Vec<Position>, StoreError> {
        let indexed = layout.indexed.batches;
        let end = records.end.min(indexed);
        let start = records.start.min(end);
        let mut positions = self.index.positions(stream, start..end)?;
        if positions.len() as u64 != end.saturating_sub(start) {
            self.index.distrust();
            return Err(StoreError::Index {
                reason: format!("{} positions, expected {start} to {end}", positions.len()),
            });
        }
        let recent = (indexed..).zip(&layout.recent);
        positions.extend(
            recent
                .filter(|(number, _)| records.contains(number))
                .map(|(_, record)| record.position),
        );
        Ok(positions)
    }

    /// Reads records through their positions, checked against the journal's hashes.
    fn bodies(
        &self,
        stream: StreamId,
        positions: &[Position],
        from_start: bool,
    ) -> Result<Vec<RecordBody>, StoreError> {
        let mut bodies = Vec::new();
        let mut open: Option<(u64, File)> = None;
        // The head before the first of them; unknown in the middle of a stream.
        let mut head: Option<Option<[u8; 32]>> = from_start.then_some(None);
        for position in positions {
            let path = segment_path(&self.dir, position.segment);
            let mut file = match open.take() {
                Some((segment, file)) if segment == position.segment => file,
                _ => File::open(&path).map_err(|error| self.unreadable(position, &path, error))?,
            };
            let payload = read_record(&mut file, position)
                .map_err(|error| self.unreadable(position, &path, error))?;
            open = Some((position.segment, file));
            let body = payload
                .and_then(|payload| {
                    encoding::decode::<RECORD_LIMIT_BYTES, RecordBody>(&payload).ok()
                })
                .filter(|body| body.stream == stream && follows(body.head, &mut head));
            let Some(body) = body else {
                return Err(self.mismatch(position));
            };
            bodies.push(body);
        }
        Ok(bodies)
    }

    pub(super) fn read_range(
        &self,
        stream: StreamId,
        records: &Range<u64>,
    ) -> Result<Vec<RecordBody>, StoreError> {
        let layout = self.layout(stream)?;
        let positions = self.positions(stream, &layout, records)?;
        self.bodies(stream, &positions, records.start == 0)
    }

    pub(super) fn unreadable(
        &self,
        position: &Position,
        path: &Path,
        error: io::Error,
    ) -> StoreError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => self.mismatch(position),
            _ => StoreError::io("read", path)(error),
        }
    }

    /// Index and journal disagree: finds out which of them is wrong.
    pub(super) fn mismatch(&self, position: &Position) -> StoreError {
        if let Err(error) = walk(&self.dir, position.segment) {
            return error;
        }
        self.index.distrust();
        StoreError::Index {
            reason: format!(
                "no matching record at byte {} of segment {}",
                position.offset, position.segment
            ),
        }
    }

    /// The number of the record that moved the head the `nth` time.
    pub(super) fn record_of_move(
        &self,
        stream: StreamId,
        nth: u64,
    ) -> Result<Option<u64>, StoreError> {
        let layout = self.layout(stream)?;
        if nth < layout.indexed.moves {
            return self.index.record_of_move(stream, nth);
        }
        let moves = (layout.indexed.batches..)
            .zip(&layout.recent)
            .filter(|(_, record)| record.moves);
        let found = (layout.indexed.moves..).zip(moves).find(|(n, _)| *n == nth);
        Ok(found.map(|(_, (number, _))| number))
    }

    /// Looks for the head move to `head` from the last one back, down to the one numbered `first`.
    pub(super) fn find_move(
        &self,
        stream: StreamId,
        head: [u8; 32],
        first: u64,
    ) -> Result<Option<u64>, StoreError> {
        let Extent { batches, moves } = self.layout(stream)?.extent();
        let Some(floor) = self.record_of_move(stream, first)? else {
            return Ok(None);
        };
        let (mut end, mut nth) = (batches, moves);
        while end > floor {
            let start = end.saturating_sub(SEARCHED_RECORDS).max(floor);
            for body in self.read_range(stream, &(start..end))?.iter().rev() {
                let Some(step) = body.head else { continue };
                nth = nth.saturating_sub(1);
                if step.next == head {
                    return Ok(Some(nth));
                }
            }
            end = start;
        }
        Ok(None)
    }
}

/// Whether a record's head move follows the one before it in the same stream, where that is known.
fn follows(step: Option<HeadMove>, head: &mut Option<Option<[u8; 32]>>) -> bool {
    let Some(step) = step else { return true };
    head.replace(Some(step.next))
        .is_none_or(|before| before == step.expected)
}

fn walk(dir: &Path, segment: u64) -> Result<(), StoreError> {
    let mut scanner = SegmentScanner::open(dir, segment)?;
    while scanner.next_record()?.is_some() {}
    Ok(())
}
