//! Parts of an account's records: its beginning, its end, the blocks of a height range.
//!
//! What is asked for is found by number, through the store's head moves (the founding moves the
//! head once, every block once more), and checked to be what it should be. Nothing here takes
//! longer because a chain is long, [`Keeper::height_of`] aside, which tells what it costs.

use warifu_consensus::{agree::Record, block::Sealed, encoding::Hash, party::Sub};

use super::{FOUNDED, Keeper, KeeperError, TOMBSTONE, decode, stream};
use crate::store::Store;

/// Batches read at once, at most, on the way back from a stream's end.
const READ_BATCHES: u64 = 64;

/// Blocks read at once, at most: more than fit into a frame.
const READ_BLOCKS: u64 = 64;

impl<S: Store> Keeper<S> {
    /// An account's first record: its founding, or a tombstone. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Keeper::records`].
    pub fn first(&self, sub: &Sub) -> Result<Option<Record>, KeeperError> {
        let batches = self.store.read_batches(stream(sub), 0..1)?;
        let bytes = batches.first().and_then(|batch| batch.first());
        bytes.map(|bytes| decode(sub, bytes)).transpose()
    }

    /// An account's last records in order, from the last one that `begins` holds of; all of them
    /// if it holds of none. `begins` is asked from the last record back; nothing much before
    /// the one it takes is read. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Keeper::records`].
    pub fn tail(
        &self,
        sub: &Sub,
        mut begins: impl FnMut(&Record) -> bool,
    ) -> Result<Vec<Record>, KeeperError> {
        let mut end = self.store.extent(stream(sub))?.batches;
        let mut batches = 2u64;
        let mut backwards = Vec::new();
        'read: while end > 0 {
            let start = end.saturating_sub(batches);
            for batch in self
                .store
                .read_batches(stream(sub), start..end)?
                .iter()
                .rev()
            {
                for bytes in batch.iter().rev() {
                    let record = decode(sub, bytes)?;
                    let found = begins(&record);
                    backwards.push(record);
                    if found {
                        break 'read;
                    }
                }
            }
            end = start;
            batches = batches.saturating_mul(2).min(READ_BATCHES);
        }
        backwards.reverse();
        Ok(backwards)
    }

    /// What a machine begins with: everything from the last checkpoint on, or from the founding.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// As [`Keeper::records`].
    pub fn to_recover(&self, sub: &Sub) -> Result<Vec<Record>, KeeperError> {
        self.tail(sub, |record| matches!(record, Record::Checkpoint(_)))
    }

    /// The height of an account's last block, `None` before its genesis.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn height(&self, sub: &Sub) -> Result<Option<u64>, KeeperError> {
        // The founding moves the head once, every block once more.
        Ok(self.store.extent(stream(sub))?.moves.checked_sub(2))
    }

    /// The hash that an account's stream names as its head, `None` before its genesis.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn head(&self, sub: &Sub) -> Result<Option<Hash>, KeeperError> {
        let head = self.store.head(stream(sub))?;
        Ok(head
            .filter(|head| *head != FOUNDED && *head != TOMBSTONE)
            .map(Hash))
    }

    /// The height of the block with that hash, unless it lies below `floor`. Looks from the head
    /// down; blocks on the disk for as long as that takes.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn height_of(
        &self,
        sub: &Sub,
        hash: &Hash,
        floor: u64,
    ) -> Result<Option<u64>, KeeperError> {
        let first = floor.saturating_add(1);
        let found = self.store.move_to(stream(sub), hash.0, first)?;
        Ok(found.and_then(|nth| nth.checked_sub(1)))
    }

    /// The records that brought the blocks of a height range about: everything behind the block
    /// before it, up to its last block. Reads nothing else. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Keeper::records`].
    pub fn between(&self, sub: &Sub, from: u64, until: u64) -> Result<Vec<Record>, KeeperError> {
        let stream = stream(sub);
        let last = self.height(sub)?;
        let Some(until) = last.map(|last| last.min(until)).filter(|u| from <= *u) else {
            return Ok(Vec::new());
        };
        // The block at a height is the head's move of that number and one.
        let before = self.store.batch_of_move(stream, from)?;
        let end = self.store.batch_of_move(stream, until.saturating_add(1))?;
        let (Some(before), Some(end)) = (before, end) else {
            return Err(self.misplaced(sub, from));
        };
        let range = before.saturating_add(1)..end.saturating_add(1);
        let batches = self.store.read_batches(stream, range)?;
        let records = batches.iter().flatten().map(|bytes| decode(sub, bytes));
        records.collect()
    }

    /// An account's sealed blocks of a height range, at most `limit_bytes` of signing input. Reads
    /// nothing before them. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Keeper::records`].
    pub fn blocks(
        &self,
        sub: &Sub,
        from: u64,
        until: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Sealed>, KeeperError> {
        let mut blocks = Vec::new();
        let mut bytes = 0usize;
        let mut next = from;
        while let Some(last) = self.height(sub)?.map(|last| last.min(until))
            && next <= last
        {
            let read = last.min(next.saturating_add(READ_BLOCKS));
            for record in self.between(sub, next, read)? {
                let Record::Sealed(sealed) = record else {
                    continue;
                };
                if sealed.block.claims().height != next {
                    return Err(self.misplaced(sub, next));
                }
                // Proof and votes of the largest kind are below 600 bytes.
                bytes = bytes
                    .saturating_add(sealed.block.input().len())
                    .saturating_add(600);
                if bytes > limit_bytes && !blocks.is_empty() {
                    return Ok(blocks);
                }
                blocks.push(*sealed);
                next = next.saturating_add(1);
            }
            if next <= read {
                return Err(self.misplaced(sub, next));
            }
        }
        Ok(blocks)
    }

    fn misplaced(&self, sub: &Sub, height: u64) -> KeeperError {
        KeeperError::Fold {
            sub: *sub,
            reason: format!("no block at height {height} where the store places it"),
        }
    }
}
