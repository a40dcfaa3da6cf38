//! What the global log needs of the journal and the vault: blocks in the order in which they were sealed here, the
//! log's own stream, openers, and what a device saw.

use warifu_consensus::{agree::Record, body::ContentKey, encoding::Hash, log::Opener, party::Sub};

use super::{KIND_CONTENT_KEY, KIND_OPENER, KIND_SEEN, Keeper, KeeperError, decode, key, stream};
use crate::store::{Batch, HeadMove, Place, Store, StreamId};

/// What the encoding of [`Record::Sealed`] begins with.
const SEALED: u8 = 1;

/// A block that became durable here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedHere {
    /// Where the batch before its own stands in the journal: who follows from here meets it again.
    pub before: Place,
    /// Where its batch stands.
    pub place: Place,
    /// Its account.
    pub sub: Sub,
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub block: Hash,
}

impl<S: Store> Keeper<S> {
    /// The blocks that became durable here after a place, in order, and how far the journal was looked
    /// through: at most `batches` batches. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Keeper::records`].
    pub fn sealed_after(
        &self,
        after: Place,
        batches: usize,
    ) -> Result<(Vec<SealedHere>, Place), KeeperError> {
        let mut through = after;
        let mut found = Vec::new();
        for followed in self.store.follow(after, batches)? {
            let before = std::mem::replace(&mut through, followed.place);
            if [StreamId::NODE, StreamId::LOG].contains(&followed.stream) {
                continue;
            }
            let sub = Sub(followed.stream.0);
            for bytes in followed
                .entries
                .iter()
                .filter(|b| b.first() == Some(&SEALED))
            {
                let Record::Sealed(sealed) = decode(&sub, bytes)? else {
                    continue;
                };
                found.push(SealedHere {
                    before,
                    place: followed.place,
                    sub,
                    height: sealed.block.claims().height,
                    block: sealed.block.hash(),
                });
            }
        }
        Ok((found, through))
    }

    /// Where the record of an account's block stands in the journal; `None` if there is no such block.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn place_of_block(&self, sub: &Sub, height: u64) -> Result<Option<Place>, KeeperError> {
        let stream = stream(sub);
        // The founding moves the head once before.
        let batch = self.store.batch_of_move(stream, height.saturating_add(1))?;
        match batch {
            Some(batch) => Ok(self.store.place_of(stream, batch)?),
            None => Ok(None),
        }
    }

    /// How many records the log's stream has. May block on the disk.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn log_records(&self) -> Result<u64, KeeperError> {
        Ok(self.store.extent(StreamId::LOG)?.batches)
    }

    /// Where a record of the log's stream stands in the journal. May block on the disk.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn place_of_log_record(&self, number: u64) -> Result<Option<Place>, KeeperError> {
        Ok(self.store.place_of(StreamId::LOG, number)?)
    }

    /// A record of the log's stream by its number, from 0. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn log_record(&self, number: u64) -> Result<Option<Vec<u8>>, KeeperError> {
        let range = number..number.saturating_add(1);
        let batches = self.store.read_batches(StreamId::LOG, range)?;
        Ok(batches.into_iter().flatten().next())
    }

    /// Appends to the log's stream, if its root is still the expected one (`None`: nothing was appended
    /// yet); durable when it returns.
    ///
    /// # Errors
    /// [`KeeperError::Store`]; with another root nothing was written.
    pub async fn append_log(
        &self,
        expected: Option<[u8; 32]>,
        next: [u8; 32],
        record: Vec<u8>,
    ) -> Result<(), KeeperError> {
        let batch = Batch {
            stream: StreamId::LOG,
            head: Some(HeadMove { expected, next }),
            entries: vec![record],
            may_wait: false,
        };
        Ok(self.store.append(batch).await?)
    }

    /// The opener of an account whose content key this party holds; `None` if it was erased.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn derived_opener(&self, sub: &Sub) -> Result<Option<Opener>, KeeperError> {
        let content_key = self.secret32(sub, KIND_CONTENT_KEY, [0; 32])?;
        Ok(content_key.map(|bytes| Opener::of(&ContentKey::from_bytes(*bytes), sub)))
    }

    /// The opener that this party was given for an account; `None` if it was given none, or it was erased.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn opener(&self, sub: &Sub) -> Result<Option<Opener>, KeeperError> {
        let bytes = self.secret32(sub, KIND_OPENER, [0; 32])?;
        Ok(bytes.map(|bytes| Opener::from_bytes(*bytes)))
    }

    /// Makes a given opener durable.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn keep_opener(&self, sub: &Sub, opener: &Opener) -> Result<(), KeeperError> {
        let name = key(sub, KIND_OPENER, [0; 32]);
        Ok(self.vault.put(name, opener.expose()).await?)
    }

    /// The largest checkpoint of the log that this party saw, a signed note's text.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn seen(&self) -> Result<Option<Vec<u8>>, KeeperError> {
        let found = self.vault.get(&key(&Sub::ZERO, KIND_SEEN, [0; 32]))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    /// Remembers a larger one in its place, durably.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn keep_seen(&self, note: &[u8]) -> Result<(), KeeperError> {
        let name = key(&Sub::ZERO, KIND_SEEN, [0; 32]);
        Ok(self.vault.put(name, note).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::keeper::encode;

    #[tokio::test]
    async fn what_a_crash_left_of_erased_secrets_is_gone_after_the_next_start() {
        use std::sync::Arc;

        use crate::store::{JournalOptions, JournalStore, MasterKey, MemoryIndex, Vault};

        let dir = tempfile::tempdir().unwrap();
        let sub = Sub([1; 16]);
        let open = || {
            let options = JournalOptions {
                reserve_bytes: 0,
                ..JournalOptions::new("https://ledger.example", 3)
            };
            let index = || Ok(MemoryIndex::default());
            let store = JournalStore::open(dir.path(), options, index, &mut |_, _| {}).unwrap();
            let master = MasterKey::from_bytes(zeroize::Zeroizing::new([1; 32]));
            let vault = Vault::open(&dir.path().join("vault"), &master, "https://ledger.example");
            Keeper::new(Arc::new(store), Arc::new(vault.unwrap()))
        };
        let file = dir.path().join("vault/00000001.seg");
        let keeper = open();
        let opener = Opener::from_bytes([7; 32]);
        keeper.keep_opener(&sub, &opener).await.unwrap();
        let bytes = std::fs::read(&file).unwrap();
        // A record ends with its ciphertext and tag.
        let sealed = bytes[bytes.len() - 48..].to_vec();
        let holds = || {
            let bytes = std::fs::read(&file).unwrap();
            bytes.windows(sealed.len()).any(|window| window == sealed)
        };
        keeper.forget(&sub).await.unwrap();
        // Here it crashes: what was forgotten still stands in the file.
        drop(keeper);
        assert!(holds());
        let keeper = open();
        assert!(keeper.forget_erased(&[sub]).await.unwrap());
        assert!(!holds());
        assert!(
            !keeper.forget_erased(&[sub]).await.unwrap(),
            "once is enough"
        );
    }

    #[test]
    fn a_sealed_block_s_record_begins_with_its_tag() {
        let chain = include_str!("../../../../consensus/tests/vectors/chain.json");
        let chain: serde_json::Value = serde_json::from_str(chain).unwrap();
        let sealed = chain["sealed"][0].as_str().unwrap();
        let sealed = warifu_consensus::block::Sealed::from_json(sealed).unwrap();
        let tag = |record| encode(&Sub::ZERO, &record).unwrap().first().copied();
        assert_eq!(tag(Record::Sealed(Box::new(sealed))), Some(SEALED));
        // What is skipped unread must be no block.
        for record in [
            Record::Dead,
            Record::Settled,
            Record::FreezeWanted { above: 1 },
        ] {
            assert_ne!(tag(record.clone()), Some(SEALED), "{record:?}");
        }
    }
}
