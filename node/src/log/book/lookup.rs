//! Which block a leaf is of, and which leaf a block has.

use warifu_client_sdk::store::{Place, Store};
use warifu_consensus::{
    block::Sealed,
    log::{Leaf, LogProof},
    party::Sub,
};

use super::{LogBook, read_record};
use crate::log::{LogError, LogRecord};

/// The index of a block's leaf, if the batch has it.
fn index_in(record: &LogRecord, sub: &Sub, height: u64) -> Option<u64> {
    let mut blocks = record.blocks.iter();
    let place = blocks.position(|named| named == &(*sub, height))?;
    Some(record.first().saturating_add(place as u64))
}

impl<S: Store> LogBook<S> {
    /// Leaves, each with account and height of its block.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn named(&self, from: u64, count: usize) -> Result<Vec<(Leaf, Sub, u64)>, LogError> {
        self.within(from.saturating_add(count as u64))?;
        let mut number = self.record_of(from)?;
        let mut named = Vec::with_capacity(count);
        while named.len() < count {
            let record = read_record(&self.keeper, number)?;
            number = number.saturating_add(1);
            let skip = from
                .saturating_add(named.len() as u64)
                .saturating_sub(record.first());
            let leaves = record.leaves.iter().zip(record.blocks);
            let leaves = leaves.skip(usize::try_from(skip).unwrap_or(usize::MAX));
            let left = count.saturating_sub(named.len());
            named.extend(
                leaves
                    .take(left)
                    .map(|(leaf, (sub, height))| (*leaf, sub, height)),
            );
        }
        Ok(named)
    }

    /// How the log grew: after a batch, the time of the batch's first block in seconds since the Unix epoch, rounded down
    /// to the minute, and the log's size. Of at most `most` batches, evenly spread over all, oldest first, the last one
    /// among them.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn growth(&self, most: u64) -> Result<Vec<(u64, u64)>, LogError> {
        let records = self.inner().records;
        let taken = records.min(most);
        let mut grown: Vec<(u64, u64)> = Vec::new();
        for nth in 1..=taken {
            let number = nth.saturating_mul(records) / taken;
            let record = read_record(&self.keeper, number.saturating_sub(1))?;
            let Some((sub, height)) = record.blocks.first() else {
                continue;
            };
            let sealed = self.keeper.blocks(sub, *height, *height, usize::MAX)?;
            // A block that a restored copy did not catch up with yet.
            let Some(sealed) = sealed.first() else {
                continue;
            };
            let time = sealed.block.claims().iat / 60 * 60;
            let before = grown.last().map_or(0, |(time, _)| *time);
            grown.push((time.max(before), record.size));
        }
        Ok(grown)
    }

    /// The number of the record with a leaf that the log has: found by halves.
    fn record_of(&self, index: u64) -> Result<u64, LogError> {
        let (mut low, mut high) = (0, self.inner().records.saturating_sub(1));
        while low < high {
            let middle = low.midpoint(high);
            if read_record(&self.keeper, middle)?.size > index {
                high = middle;
            } else {
                low = middle.saturating_add(1);
            }
        }
        Ok(low)
    }

    /// Where the leaf of an account's block is. Looked for among the batches from the one on that was made after the
    /// block was sealed here, which takes one or two of them; then among those before, where a restored copy that took
    /// leaves over has it: all of them if the block no longer waits for its leaf, else those that may have the leaf of
    /// one that is met later, of which there are none but at such a copy.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn index_of(&self, sub: &Sub, height: u64) -> Result<Option<u64>, LogError> {
        let Some(place) = self.keeper.place_of_block(sub, height)? else {
            return Ok(None);
        };
        let (records, through, since) = {
            let inner = self.inner();
            (inner.records, inner.state.through, inner.state.since)
        };
        let first = self.record_after(place, records)?;
        for number in first..records {
            let record = read_record(&self.keeper, number)?;
            if let Some(index) = index_in(&record, sub, height) {
                return Ok(Some(index));
            }
        }
        let oldest = if place <= through { 0 } else { since };
        for number in (0..first).rev() {
            let record = read_record(&self.keeper, number)?;
            if record.size <= oldest {
                break;
            }
            if let Some(index) = index_in(&record, sub, height) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// A block's proof, once both operators signed a checkpoint with its leaf; `None` until then, and for a block
    /// whose opener was erased.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prove(&self, sealed: &Sealed) -> Result<Option<LogProof>, LogError> {
        let claims = sealed.block.claims();
        let Some((checkpoint, note)) = self.cosigned() else {
            return Ok(None);
        };
        let index = self.index_of(&claims.sub, claims.height)?;
        let Some(index) = index.filter(|index| *index < checkpoint.size) else {
            return Ok(None);
        };
        let opener = match self.keeper.derived_opener(&claims.sub)? {
            None => self.keeper.opener(&claims.sub)?,
            derived => derived,
        };
        let Some(opener) = opener else {
            return Ok(None);
        };
        let block = sealed.block.hash();
        let proof = LogProof {
            opening: opener.opening(&block),
            index,
            path: self.inclusion(index, checkpoint.size)?,
            checkpoint: note,
        };
        // The files may have decayed since they were written: nobody is given a proof that does not hold.
        proof.verify(&block, &self.keys.log, &self.keys.witness)?;
        Ok(Some(proof))
    }

    /// The first record that stands behind a place in the journal: found by halves.
    fn record_after(&self, place: Place, records: u64) -> Result<u64, LogError> {
        let (mut low, mut high) = (0, records);
        while low < high {
            let middle = low.midpoint(high);
            let found = self.keeper.place_of_log_record(middle)?;
            if found.is_none_or(|found| found > place) {
                high = middle;
            } else {
                low = middle.saturating_add(1);
            }
        }
        Ok(low)
    }
}
