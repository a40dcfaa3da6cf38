//! The trust operator's side: it cosigns only what it can account for.
//!
//! Every new leaf must be that of a block that it sealed itself, each block once, no block before the one below it. It
//! makes the leaves itself and compares roots: what it cosigns it has made, not taken.

use std::collections::{HashMap, HashSet};

use tokio::sync::mpsc;
use warifu_client_sdk::store::Store;
use warifu_consensus::{
    log::{Checkpoint, Leaf, LogMessage, MAX_OFFERED, Offered, SignedNote, Unmatched},
    party::Sub,
};

use super::{
    LogError, LogEvent, LogParts,
    take_over::{TakeOver, give},
    task::TICK,
};
use crate::observe::counts;

/// What was matched last, without what was refused: the blocks of the next batch.
struct Matched {
    /// The log's size before them.
    size: u64,
    blocks: Vec<Offered>,
}

/// See the module.
pub struct Witness<S: Store> {
    parts: LogParts<S>,
    /// Until heads are compared anew: what they lead to may log these blocks otherwise.
    matched: Option<Matched>,
    taking: Option<TakeOver>,
}

impl<S: Store> Witness<S> {
    /// Of these parts; its key is the witness's.
    #[must_use]
    pub const fn new(parts: LogParts<S>) -> Self {
        Self {
            parts,
            matched: None,
            taking: None,
        }
    }

    /// Works until the queue's other end is gone, or the journal fails.
    ///
    /// # Errors
    /// As [`Sequencer::run`](super::Sequencer::run).
    pub async fn run(mut self, mut events: mpsc::Receiver<LogEvent>) -> Result<(), LogError> {
        loop {
            let outcome = match tokio::time::timeout(TICK, events.recv()).await {
                Ok(None) => return Ok(()),
                Ok(Some(LogEvent::Up)) => {
                    (self.taking, self.matched) = (None, None);
                    self.parts.say_state();
                    Ok(())
                }
                Ok(Some(LogEvent::Down)) => Ok(()),
                Ok(Some(LogEvent::Said(said))) => self.said(*said).await,
                Err(_) => self.parts.follow(),
            };
            if let Err(error) = outcome {
                error.or_stop("broker")?;
                (self.taking, self.matched) = (None, None);
            }
        }
    }

    async fn said(&mut self, said: LogMessage) -> Result<(), LogError> {
        match said {
            LogMessage::State { size, note } => self.state(size, &note),
            LogMessage::WantLeaves { from } => give(&self.parts, from),
            LogMessage::Leaves { from, leaves } => {
                let Some(mut taking) = self.taking.take() else {
                    return Ok(());
                };
                if taking.take(&self.parts, from, leaves).await? {
                    self.matched = None;
                    self.parts.unlogged = super::Unlogged::open(&self.parts.book)?;
                    self.parts.say_state();
                } else {
                    self.taking = Some(taking);
                }
                Ok(())
            }
            LogMessage::Offer { size, blocks } => self.offered(size, blocks),
            LogMessage::Signed { note } => self.signed(&note).await,
            _ => Ok(()),
        }
    }

    fn state(&mut self, size: u64, note: &str) -> Result<(), LogError> {
        self.matched = None;
        let own = self.parts.book.state();
        if let Some((checkpoint, note)) = self.parts.both_signed(note)? {
            if checkpoint.size > own.size {
                self.taking = Some(TakeOver::begin(&self.parts, checkpoint, note));
                return Ok(());
            }
            self.same_past(&checkpoint, &note)?;
        }
        tracing::debug!(own = own.size, broker = size, "logs compared");
        self.parts.say_state();
        Ok(())
    }

    /// What the broker signed is the beginning of this log, or more than it; or the log was forked.
    fn same_past(&self, theirs: &Checkpoint, note: &SignedNote) -> Result<(), LogError> {
        let book = &self.parts.book;
        if theirs.size > book.state().size || book.root_of(theirs.size)? == theirs.root {
            return Ok(());
        }
        let kept = book.keep_evidence(theirs, note)?;
        let kept = kept.map_or("no evidence was added", |_| "the evidence is kept");
        Err(LogError::Peer(format!(
            "signed another log: at {} leaves the roots differ; {kept}",
            theirs.size
        )))
    }

    fn offered(&mut self, size: u64, blocks: Vec<Offered>) -> Result<(), LogError> {
        if blocks.len() > MAX_OFFERED {
            return Err(LogError::Peer(format!(
                "offered {} blocks at once",
                blocks.len()
            )));
        }
        if size != self.parts.book.state().size {
            self.parts.say_state();
            return Ok(());
        }
        // What was just sealed is looked for before it is said not to be there.
        self.parts.follow()?;
        let refused = self.unmatched(&blocks)?;
        let said = refused.iter().map(|(place, why)| (*place, *why)).collect();
        let blocks = (0_u16..)
            .zip(blocks)
            .filter(|(place, _)| !refused.contains_key(place))
            .map(|(_, block)| block)
            .collect();
        self.matched = Some(Matched { size, blocks });
        let mut refused: Vec<_> = said;
        refused.sort_unstable_by_key(|(place, _)| *place);
        (self.parts.say)(LogMessage::Matched { size, refused });
        Ok(())
    }

    /// What is wrong with each of the blocks that can't be matched.
    fn unmatched(&self, blocks: &[Offered]) -> Result<HashMap<u16, Unmatched>, LogError> {
        let mut refused = HashMap::new();
        let mut in_turn: Vec<(u16, &Offered)> = (0..).zip(blocks).collect();
        in_turn.sort_unstable_by_key(|(_, block)| (block.sub, block.height));
        // Of each account the block that was matched here last: the next is above it, under the same opener.
        let mut below: HashMap<Sub, &Offered> = HashMap::new();
        for (place, offered) in in_turn {
            match self.match_one(offered, below.get(&offered.sub).copied())? {
                Ok(()) => drop(below.insert(offered.sub, offered)),
                Err(why) => drop(refused.insert(place, why)),
            }
        }
        Ok(refused)
    }

    fn match_one(
        &self,
        offered: &Offered,
        below: Option<&Offered>,
    ) -> Result<Result<(), Unmatched>, LogError> {
        let Offered {
            sub,
            height,
            block,
            opener,
        } = offered;
        let keeper = self.parts.book.keeper();
        let known = keeper.opener(sub)?;
        if known.is_none() && keeper.erased(sub)?.is_some() {
            // It was forgotten, and is not taken again.
            return Ok(Err(Unmatched::Opener));
        }
        let unlogged = &self.parts.unlogged;
        let Some(own) = unlogged.block(sub, *height) else {
            let place = keeper.place_of_block(sub, *height)?;
            let met = place.is_some_and(|place| place <= unlogged.through());
            return Ok(Err(if met {
                Unmatched::Logged
            } else {
                Unmatched::NotSealed
            }));
        };
        if own != *block {
            return Ok(Err(Unmatched::NotSealed));
        }
        let from = below.map_or(0, |below| below.height.saturating_add(1));
        if unlogged.lowest(sub, from) != Some(*height) {
            return Ok(Err(Unmatched::OutOfTurn));
        }
        // An account's first blocks may all be in this offer: the lowest one's opener is the one that is kept.
        let known = known.or_else(|| below.map(|below| below.opener.clone()));
        Ok(match known {
            Some(known) if known != *opener => Err(Unmatched::Opener),
            _ => Ok(()),
        })
    }

    async fn signed(&mut self, note: &str) -> Result<(), LogError> {
        let note = SignedNote::parse(note.as_bytes())?;
        let keys = self.parts.book.keys();
        let checkpoint = Checkpoint::open(&note, &keys.log)?;
        let note = note.reduced(keys);
        let own = self.parts.book.state();
        if (checkpoint.size, checkpoint.root) == (own.size, own.root) {
            // Said again: the answer was lost.
            return self.say_cosigned();
        }
        self.same_past(&checkpoint, &note)?;
        let matched = self.matched.take().filter(|matched| {
            let size = matched.size.saturating_add(matched.blocks.len() as u64);
            (matched.size, size) == (own.size, checkpoint.size)
        });
        let Some(Matched { blocks, .. }) = matched else {
            self.parts.say_state();
            return Ok(());
        };
        self.cosign(&blocks, &checkpoint, note).await?;
        self.say_cosigned()
    }

    /// Makes the tree of what was matched and cosigns its checkpoint, if it is the one that the broker signed.
    async fn cosign(
        &mut self,
        matched: &[Offered],
        checkpoint: &Checkpoint,
        mut note: SignedNote,
    ) -> Result<(), LogError> {
        self.still_wait(matched)?;
        let another = || {
            LogError::Peer(format!(
                "signed another tree of {} leaves than that of the matched blocks",
                checkpoint.size
            ))
        };
        let leaves: Vec<Leaf> = matched.iter().map(|b| b.opener.leaf(&b.block)).collect();
        if self.parts.book.root_with(&leaves) != checkpoint.root {
            return Err(another());
        }
        self.keep_openers(matched).await?;
        let names: Vec<(Sub, u64)> = matched.iter().map(|b| (b.sub, b.height)).collect();
        let logged: HashSet<_> = names.iter().copied().collect();
        let mark = self.parts.unlogged.mark(&logged, checkpoint.size);
        let (key, time) = (&self.parts.key, (self.parts.clock)().seconds());
        let sign = |made: &Checkpoint| {
            if made != checkpoint {
                return Err(another());
            }
            note.sign(key, time);
            Ok(Some(note))
        };
        let grown = self.parts.book.grow(leaves, names.clone(), mark, sign);
        grown.await?;
        for (sub, height) in names {
            if let Some(since) = self.parts.unlogged.logged(&sub, height) {
                counts::log_cosigned(since.elapsed());
            }
        }
        Ok(())
    }

    /// What was matched has no leaf yet, and no account of it was erased meanwhile: that one's opener is not kept again.
    fn still_wait(&self, matched: &[Offered]) -> Result<(), LogError> {
        for Offered {
            sub, height, block, ..
        } in matched
        {
            let waits = self.parts.unlogged.block(sub, *height) == Some(*block);
            if !waits || self.parts.book.keeper().erased(sub)?.is_some() {
                return Err(LogError::Peer(format!(
                    "signed a leaf of block {height} of account {sub}, which has one or was erased meanwhile"
                )));
            }
        }
        Ok(())
    }

    /// Openers are durable before a leaf is signed that only they explain.
    async fn keep_openers(&self, matched: &[Offered]) -> Result<(), LogError> {
        let keeper = self.parts.book.keeper();
        let mut new = HashMap::new();
        for block in matched {
            if keeper.opener(&block.sub)?.is_none() {
                new.insert(block.sub, &block.opener);
            }
        }
        let kept = new
            .iter()
            .map(|(sub, opener)| keeper.keep_opener(sub, opener));
        futures::future::try_join_all(kept).await?;
        Ok(())
    }

    fn say_cosigned(&self) -> Result<(), LogError> {
        if let Some(note) = self.parts.book.state().note {
            (self.parts.say)(LogMessage::Cosigned {
                note: note.to_string(),
            });
        }
        Ok(())
    }
}
