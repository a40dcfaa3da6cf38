//! Making a bundle from a node's directory, in place: nothing is locked, nothing changed.
//!
//! Reads the journal twice: for the account's blocks and where their leaves are, then for the hashes that their proofs need.
//! Proofs are made from the journal's leaves, never from the files derived from them, and each is verified before it is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use warifu_client_sdk::{
    runtime::kept_openers,
    store::{JournalRecord, MasterKey, StoreError, StreamId},
};
use warifu_consensus::{
    agree::Record,
    block::Sealed,
    encoding::Hash,
    log::{
        Checkpoint, Digest, Frontier, LogKeys, LogProof, Node, ProofError, SignedNote, TreeError,
        inclusion, leaf_hash,
    },
    party::{Ledger, Sub},
    wire,
};

use super::Bundle;
use crate::{
    export::MAX_ENTRY,
    log::{
        LogRecord,
        audit::{Fault, Journal},
    },
};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Journal or vault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal is damaged.
    #[error("{0}")]
    Fault(Fault),
    /// No such account.
    #[error("no block of account {0} in this directory")]
    Account(Sub),
    /// A login that the account does not have.
    #[error("account {account} has no block with hash {hash} in this directory")]
    Login {
        /// The account.
        account: Sub,
        /// The block's hash.
        hash: Hash,
    },
    /// No checkpoint yet that both operators signed.
    #[error("there is no checkpoint with both signatures in this directory yet")]
    Checkpoint,
    /// The account's opener is gone: nobody can show its leaves any more.
    #[error("account {0} was erased, or its secrets were never here: its leaves can't be opened")]
    Erased(Sub),
    /// The journal's leaves are not the checkpoint's.
    #[error("the journal's leaves are not those of the checkpoint")]
    Root,
    /// A proof.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A proof that was made does not hold: a leaf is not its block's.
    #[error("the proof of the block at height {height} does not hold: {error}")]
    Proof {
        /// The block's height.
        height: u64,
        /// Why not.
        error: ProofError,
    },
}

/// What goes into a bundle.
pub struct Collect {
    /// The data directory.
    pub data: PathBuf,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// The pinned keys of its log.
    pub keys: LogKeys,
    /// Opens the vault.
    pub master_key: MasterKey,
    /// Whose blocks.
    pub account: Sub,
    /// Only genesis and the blocks with these hashes; all, if there is none.
    pub only: Vec<Hash>,
}

#[derive(Default)]
struct Gathered {
    blocks: Vec<Sealed>,
    /// Which leaf each height has.
    leaves: BTreeMap<u64, u64>,
    /// The last note with both signatures in the log's stream.
    note: Option<SignedNote>,
}

impl Collect {
    /// Makes it. `progress` is told bytes done and in all, twice. Blocks.
    ///
    /// # Errors
    /// [`CollectError`].
    pub fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Bundle, CollectError> {
        let mut gathered = Gathered::default();
        self.walk(progress, &mut |record| self.gather(record, &mut gathered))?;
        let Gathered {
            mut blocks,
            leaves,
            note,
        } = gathered;
        if blocks.is_empty() {
            return Err(CollectError::Account(self.account));
        }
        self.choose(&mut blocks)?;
        let (note, checkpoint) = self.checkpoint(note)?;
        let dir = self.data.join("vault");
        let all = (Sub::ZERO, usize::MAX);
        let kept = kept_openers(
            &dir,
            &self.master_key,
            &self.ledger.iss,
            all,
            &mut |_, _| {},
        )?;
        let opener = kept.openers.get(&self.account);
        let opener = opener.ok_or(CollectError::Erased(self.account))?;
        let index = |sealed: &Sealed| {
            let index = leaves.get(&sealed.block.claims().height).copied();
            index.filter(|index| *index < checkpoint.size)
        };
        let mut wanted = BTreeSet::new();
        for index in blocks.iter().filter_map(index) {
            inclusion::<TreeError>(index, checkpoint.size, |node| {
                wanted.insert(node);
                Ok([0; 32])
            })?;
        }
        let nodes = self.nodes(&wanted, &checkpoint, progress)?;
        let mut proven = Vec::new();
        for sealed in blocks {
            let Some(index) = index(&sealed) else {
                proven.push((sealed, None));
                continue;
            };
            let (hash, height) = (sealed.block.hash(), sealed.block.claims().height);
            let path = inclusion(index, checkpoint.size, |node| {
                nodes.get(&node).copied().ok_or(CollectError::Root)
            })?;
            let proof = LogProof {
                opening: opener.opening(&hash),
                index,
                path,
                checkpoint: note.clone(),
            };
            proof
                .verify(&hash, &self.keys.log, &self.keys.witness)
                .map_err(|error| CollectError::Proof { height, error })?;
            proven.push((sealed, Some(proof)));
        }
        Ok(Bundle {
            ledger: self.ledger.clone(),
            keys: self.keys.clone(),
            checkpoint: note,
            blocks: proven,
        })
    }

    fn walk(
        &self,
        progress: &mut dyn FnMut(u64, u64),
        take: &mut dyn FnMut(&JournalRecord) -> Result<bool, CollectError>,
    ) -> Result<(), CollectError> {
        let mut journal = Journal::open(&self.data)?;
        while let Some(record) = journal.next_record().map_err(CollectError::Fault)? {
            let (done, total) = journal.progress();
            progress(done, total);
            if !take(&record)? {
                break;
            }
        }
        Ok(())
    }

    fn gather(&self, record: &JournalRecord, to: &mut Gathered) -> Result<bool, CollectError> {
        let name = format!("{:08}.seg", record.segment);
        let path = self.data.join("journal").join(name);
        let fault =
            |found: String| CollectError::Fault(Fault::new(&path, Some(record.offset), found));
        for entry in &record.entries {
            if record.stream == StreamId::LOG {
                let batch = LogRecord::decode(entry).map_err(|error| fault(error.to_string()))?;
                for (index, (sub, height)) in (batch.first()..).zip(&batch.blocks) {
                    if *sub == self.account {
                        to.leaves.insert(*height, index);
                    }
                }
                let note = SignedNote::parse(batch.note.as_bytes()).ok();
                to.note = note.filter(|note| self.is_whole(note)).or(to.note.take());
            } else if record.stream.0 == self.account.0 {
                let read = wire::decode::<Record, MAX_ENTRY>(entry);
                if let Record::Sealed(sealed) = read.map_err(|error| fault(error.to_string()))? {
                    to.blocks.push(*sealed);
                }
            }
        }
        Ok(true)
    }

    fn is_whole(&self, note: &SignedNote) -> bool {
        Checkpoint::open(note, &self.keys.log).is_ok()
            && Checkpoint::cosigned(note, &self.keys.witness).is_ok()
    }

    /// Leaves genesis and the blocks that were asked for.
    fn choose(&self, blocks: &mut Vec<Sealed>) -> Result<(), CollectError> {
        if self.only.is_empty() {
            return Ok(());
        }
        for hash in &self.only {
            if !blocks.iter().any(|sealed| sealed.block.hash() == *hash) {
                let account = self.account;
                return Err(CollectError::Login {
                    account,
                    hash: *hash,
                });
            }
        }
        blocks.retain(|sealed| {
            sealed.block.claims().height == 0 || self.only.contains(&sealed.block.hash())
        });
        Ok(())
    }

    /// The file beside the leaves, at the trust operator else the last record's.
    fn checkpoint(
        &self,
        recorded: Option<SignedNote>,
    ) -> Result<(SignedNote, Checkpoint), CollectError> {
        let kept = std::fs::read(self.data.join("log").join("checkpoint")).ok();
        let kept = kept.and_then(|bytes| SignedNote::parse(&bytes).ok());
        let note = kept.filter(|note| self.is_whole(note)).or(recorded);
        let note = note.ok_or(CollectError::Checkpoint)?;
        let checkpoint =
            Checkpoint::open(&note, &self.keys.log).map_err(|_| CollectError::Checkpoint)?;
        Ok((note, checkpoint))
    }

    /// The hashes of these subtrees, from the journal's leaves.
    fn nodes(
        &self,
        wanted: &BTreeSet<Node>,
        checkpoint: &Checkpoint,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BTreeMap<Node, Digest>, CollectError> {
        let mut known = BTreeMap::new();
        let mut frontier = Frontier::new();
        self.walk(progress, &mut |record| {
            if record.stream != StreamId::LOG {
                return Ok(true);
            }
            for entry in &record.entries {
                let batch = LogRecord::decode(entry).map_err(|_| CollectError::Root)?;
                for leaf in &batch.leaves {
                    if frontier.size() < checkpoint.size {
                        frontier.push(leaf_hash(&leaf.0), |node, hash| {
                            if wanted.contains(&node) {
                                known.insert(node, *hash);
                            }
                        });
                    }
                }
            }
            Ok(frontier.size() < checkpoint.size)
        })?;
        if (frontier.size(), frontier.root()) == (checkpoint.size, checkpoint.root) {
            Ok(known)
        } else {
            Err(CollectError::Root)
        }
    }
}
