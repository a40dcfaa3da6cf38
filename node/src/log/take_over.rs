//! A restored operator takes over the leaves that it signed before and lost.
//!
//! Its own signature on the other's checkpoint is proof that it held them; the leaves only have to give that root.

use warifu_client_sdk::store::Store;
use warifu_consensus::{
    log::{Checkpoint, Leaf, LogMessage, MAX_LEAVES, SignedNote},
    party::Sub,
};

use super::{LogError, LogParts};

/// Leaves of one record while they are taken over: with the longest note and heights a record holds so many.
pub(super) const RECORD_LEAVES: usize = 2 * MAX_LEAVES;

/// Leaves that came so far.
#[derive(Debug)]
pub(super) struct TakeOver {
    checkpoint: Checkpoint,
    note: SignedNote,
    from: u64,
    leaves: Vec<Leaf>,
    blocks: Vec<(Sub, u64)>,
}

impl TakeOver {
    /// Begins: asks for the first of them.
    pub(super) fn begin<S: Store>(
        parts: &LogParts<S>,
        checkpoint: Checkpoint,
        note: SignedNote,
    ) -> Self {
        let from = parts.book.state().size;
        tracing::warn!(
            size = from,
            signed = checkpoint.size,
            "this log is behind a checkpoint that it signed: a restored copy, it takes over the rest"
        );
        (parts.say)(LogMessage::WantLeaves { from });
        Self {
            checkpoint,
            note,
            from,
            leaves: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Takes leaves; whether all are there, and kept.
    ///
    /// # Errors
    /// [`LogError::Root`] if they are others than those that were signed; nothing is kept then.
    pub(super) async fn take<S: Store>(
        &mut self,
        parts: &LogParts<S>,
        from: u64,
        leaves: Vec<(Leaf, Sub, u64)>,
    ) -> Result<bool, LogError> {
        let have = self.from.saturating_add(self.leaves.len() as u64);
        if from != have || leaves.is_empty() {
            // Said twice, or of another question.
            return Ok(false);
        }
        for (leaf, sub, height) in leaves {
            self.leaves.push(leaf);
            self.blocks.push((sub, height));
        }
        let have = self.from.saturating_add(self.leaves.len() as u64);
        if have < self.checkpoint.size {
            (parts.say)(LogMessage::WantLeaves { from: have });
            return Ok(false);
        }
        let root = parts.book.root_with(&self.leaves);
        if (have, root) != (self.checkpoint.size, self.checkpoint.root) {
            return Err(LogError::Peer(format!(
                "gave {have} leaves that are not those of the checkpoint of {}",
                self.checkpoint.size
            )));
        }
        for (leaf, (sub, height)) in self.leaves.iter().zip(&self.blocks) {
            check_name(parts, leaf, sub, *height)?;
        }
        let mut left = self
            .leaves
            .chunks(RECORD_LEAVES)
            .zip(self.blocks.chunks(RECORD_LEAVES))
            .peekable();
        while let Some((leaves, blocks)) = left.next() {
            let state = parts.book.state();
            // Where to go on in the own journal is as it was: what is met there again is known to be logged.
            let mark = (state.through, state.since);
            let note = left.peek().is_none().then(|| self.note.clone());
            parts
                .book
                .grow(leaves.to_vec(), blocks.to_vec(), mark, |_| Ok(note))
                .await?;
        }
        tracing::info!(size = have, "taken over");
        Ok(true)
    }
}

/// The root says nothing of whose the leaves are: where block and opener are held here, that is looked at.
fn check_name<S: Store>(
    parts: &LogParts<S>,
    leaf: &Leaf,
    sub: &Sub,
    height: u64,
) -> Result<(), LogError> {
    let keeper = parts.book.keeper();
    let opener = match keeper.derived_opener(sub)? {
        None => keeper.opener(sub)?,
        derived => derived,
    };
    let sealed = keeper.blocks(sub, height, height, usize::MAX)?;
    match (opener, sealed.first()) {
        (Some(opener), Some(sealed)) if opener.leaf(&sealed.block.hash()) != *leaf => {
            Err(LogError::Peer(format!(
                "gave a leaf as block {height} of account {sub}, whose leaf is another"
            )))
        }
        _ => Ok(()),
    }
}

/// Answers the other operator's wish for leaves.
///
/// # Errors
/// [`LogError`].
pub(super) fn give<S: Store>(parts: &LogParts<S>, from: u64) -> Result<(), LogError> {
    let size = parts.book.state().size;
    let count = size.saturating_sub(from).min(MAX_LEAVES as u64);
    if count == 0 {
        return Ok(());
    }
    let leaves = parts
        .book
        .named(from, usize::try_from(count).unwrap_or(0))?;
    (parts.say)(LogMessage::Leaves { from, leaves });
    Ok(())
}
