//! What one batch of leaves left in the journal: the log's own stream, one record a batch, each moving the stream's
//! head from the root before to the root after.

use serde::{Deserialize, Serialize};
use warifu_client_sdk::store::Place;
use warifu_consensus::{
    log::{Digest, Leaf},
    party::Sub,
    wire::{self, WireError},
};

/// The largest record in bytes.
const MAX_RECORD: usize = 200 * 1024;

/// A batch of leaves and the checkpoint over them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The log's size with them.
    pub size: u64,
    /// Its root.
    pub root: Digest,
    /// The checkpoint as it was signed: the broker's signature, at the trust operator its cosignature too. Empty
    /// where leaves were taken over from the other operator and more followed.
    pub note: String,
    /// Blocks whose records stand in the journal up to here are logged, or were left to the other operator's word.
    pub through: Place,
    /// The log's size when the oldest block that is not logged was sealed: no leaf before this is of a block behind
    /// `through`.
    pub since: u64,
    /// The leaves, 32 bytes each.
    pub leaves: Vec<Leaf>,
    /// Whose block each leaf is of, in their order: account and height.
    pub blocks: Vec<(Sub, u64)>,
}

impl LogRecord {
    /// Its bytes: `bincode`, variable integers.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode::<Self, MAX_RECORD>(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`WireError`]: found and expected.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode::<Self, MAX_RECORD>(bytes)
    }

    /// The index of its first leaf.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.size.saturating_sub(self.leaves.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use warifu_consensus::log::MAX_LEAVES;

    use super::*;

    /// What is taken over at once has an encoding, whatever heights the accounts came to and whoever signed the note.
    #[test]
    fn the_largest_record_has_an_encoding() {
        let count = crate::log::take_over::RECORD_LEAVES;
        assert!(count >= MAX_LEAVES);
        let record = LogRecord {
            size: u64::MAX,
            root: [1; 32],
            note: "n".repeat(64 * 1024),
            through: Place::START,
            since: u64::MAX,
            leaves: vec![Leaf([2; 32]); count],
            blocks: vec![(Sub([3; 16]), u64::MAX); count],
        };
        let bytes = record.encode().unwrap();
        assert_eq!(LogRecord::decode(&bytes).unwrap(), record);
    }
}
