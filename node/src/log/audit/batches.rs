//! The log's own stream: each batch hashed into the tree, its root, its checkpoint and its signatures.

use std::path::{Path, PathBuf};

use warifu_client_sdk::store::JournalRecord;
use warifu_consensus::{
    log::{Checkpoint, EMPTY_ROOT, Frontier, LogKeys, NoteError, SignedNote, leaf_hash},
    party::Role,
};

use super::{
    accounts::Item,
    derived::Derived,
    fault::{At, Fault},
};
use crate::log::LogRecord;

/// A checkpoint that lies in a file, and is looked for in the log's past.
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) checkpoint: Checkpoint,
    /// The journal's leaves give its root at its size.
    pub(super) is_met: bool,
}

impl Wanted {
    pub(super) fn new(path: PathBuf, checkpoint: Checkpoint) -> Self {
        let is_met = (checkpoint.size, checkpoint.root) == (0, EMPTY_ROOT);
        Self {
            path,
            checkpoint,
            is_met,
        }
    }
}

/// See the module.
pub(super) struct Batches<'a> {
    /// Where the journal's segments lie.
    dir: &'a Path,
    keys: &'a LogKeys,
    role: Role,
    frontier: Frontier,
    /// How far the last batch's maker looked through the journal.
    through: Option<At>,
    /// The last batch came without a checkpoint.
    is_open: bool,
    wanted: Vec<Wanted>,
    records: u64,
    signatures: u64,
}

impl<'a> Batches<'a> {
    pub(super) fn new(dir: &'a Path, keys: &'a LogKeys, role: Role, wanted: Vec<Wanted>) -> Self {
        Self {
            dir,
            keys,
            role,
            frontier: Frontier::new(),
            through: None,
            is_open: false,
            wanted,
            records: 0,
            signatures: 0,
        }
    }

    pub(super) const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    pub(super) const fn through(&self) -> Option<At> {
        self.through
    }

    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    pub(super) const fn signatures(&self) -> u64 {
        self.signatures
    }

    /// The last batch waits for its checkpoint: leaves were being taken over.
    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// The checkpoints that were asked for.
    pub(super) fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// Takes a record of the log's stream; gives each of its leaves to `tell`, and to the files that are derived from them.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn take(
        &mut self,
        record: &JournalRecord,
        mut derived: Option<&mut Derived>,
        mut tell: impl FnMut(Item),
    ) -> Result<(), Fault> {
        let at = At {
            segment: record.segment,
            offset: record.offset,
        };
        let fault = |found: String| at.fault(self.dir, found);
        let [entry] = record.entries.as_slice() else {
            let found = record.entries.len();
            return Err(fault(format!(
                "a batch of the log of {found} entries, expected 1"
            )));
        };
        let batch = LogRecord::decode(entry)
            .map_err(|error| fault(format!("a batch of the log: {error}")))?;
        let (size, root) = (self.frontier.size(), self.frontier.root());
        if batch.first() != size || batch.leaves.is_empty() {
            let found = batch.first();
            return Err(fault(format!(
                "batch begins at leaf {found}, expected {size}"
            )));
        }
        if batch.leaves.len() != batch.blocks.len() {
            let (leaves, blocks) = (batch.leaves.len(), batch.blocks.len());
            return Err(fault(format!(
                "batch of {leaves} leaves names {blocks} blocks"
            )));
        }
        for (leaf, (index, (sub, height))) in batch.leaves.iter().zip((size..).zip(&batch.blocks)) {
            if let Some(derived) = &mut derived {
                derived.leaf(leaf);
            }
            self.frontier.push(leaf_hash(&leaf.0), |node, hash| {
                if let Some(derived) = &mut derived {
                    derived.node(node, hash);
                }
            });
            for wanted in &mut self.wanted {
                if wanted.checkpoint.size == self.frontier.size() {
                    wanted.is_met = wanted.checkpoint.root == self.frontier.root();
                }
            }
            tell(Item::Leaf {
                at,
                sub: *sub,
                height: *height,
                leaf: *leaf,
                index,
            });
        }
        if batch.root != self.frontier.root() {
            return Err(fault(
                "batch's root is not the one that its leaves give".to_owned(),
            ));
        }
        let moved = record.head.map(|step| (step.expected, step.next));
        if moved != Some(((size > 0).then_some(root), batch.root)) {
            return Err(fault(
                "batch does not move the log's root from the one before to its own".to_owned(),
            ));
        }
        let signatures = signed(&batch, self.keys, self.role).map_err(fault)?;
        self.signatures = self.signatures.saturating_add(signatures);
        self.is_open = batch.note.is_empty();
        let (segment, offset) = batch.through.parts();
        self.through = Some(At { segment, offset });
        self.records = self.records.saturating_add(1);
        Ok(())
    }
}

/// How many signatures a batch's note has, which must hold: the log's, and at the witness its own.
fn signed(batch: &LogRecord, keys: &LogKeys, role: Role) -> Result<u64, String> {
    if batch.note.is_empty() {
        return Ok(0);
    }
    let note = SignedNote::parse(batch.note.as_bytes())
        .map_err(|error| format!("batch's checkpoint: {error}"))?;
    let checkpoint = Checkpoint::open(&note, &keys.log)
        .map_err(|error| format!("batch's checkpoint: {error}"))?;
    if (checkpoint.size, checkpoint.root) != (batch.size, batch.root) {
        let (found, expected) = (checkpoint.size, batch.size);
        return Err(format!(
            "batch's checkpoint is of {found} leaves or another root, expected of {expected}"
        ));
    }
    match Checkpoint::cosigned(&note, &keys.witness) {
        Ok(_) => Ok(2),
        // The broker's record is written before the witness signs.
        Err(NoteError::Missing { .. }) if role == Role::Broker => Ok(1),
        Err(error) => Err(format!("batch's checkpoint: {error}")),
    }
}
