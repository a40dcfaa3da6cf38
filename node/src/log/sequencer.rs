//! The broker's side: it makes the log.
//!
//! One batch at a time: offered, matched, made durable, signed, cosigned. What the trust operator does not match is not
//! signed, so nothing is ever taken back. Whatever is lost on the way, heads are compared again and it goes on from there.

use std::{collections::HashSet, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use warifu_client_sdk::{runtime::os_entropy, store::Store};
use warifu_consensus::{
    encoding::Hash,
    log::{Checkpoint, Leaf, LogMessage, MAX_OFFERED, Offered, SignedNote, Unmatched},
    party::Sub,
    random::Entropy,
};

use super::{
    LogError, LogEvent, LogParts, LogRecord, Unlogged,
    take_over::{TakeOver, give},
    task::{ANSWER, TICK},
};
use crate::observe::counts;

/// How long a block that was not matched is left out of offers.
const HELD: Duration = Duration::from_secs(1);

/// From one batch to the next, unless a whole one waits: each costs a checkpoint and syncs at both operators, and the
/// more leaves are shuffled, the less their order tells.
const GATHER: Duration = Duration::from_millis(100);

enum Phase {
    /// Heads are being compared, or there is no line to compare them over.
    Comparing,
    /// Nothing is on its way.
    Ready,
    /// Offered; for a batch that was signed before, its note.
    Offered {
        /// The log's size before them.
        size: u64,
        blocks: Vec<Offered>,
        signed: Option<SignedNote>,
    },
    /// Signed; the cosignature is waited for.
    Signed,
    /// Being restored.
    Taking(Box<TakeOver>),
}

/// See the module.
pub struct Sequencer<S: Store> {
    parts: LogParts<S>,
    phase: Phase,
    /// When the other operator was last asked something.
    asked: Instant,
    /// Left out of offers until then.
    held: HashSet<(Sub, u64)>,
    held_until: Instant,
    /// No batch that is not full is offered before.
    next_offer: Instant,
    /// Since when each leaf waited that the witness has not signed yet: those of the last batch.
    uncosigned: Vec<Instant>,
}

impl<S: Store> Sequencer<S> {
    /// Of these parts; its key is the log's.
    #[must_use]
    pub fn new(parts: LogParts<S>) -> Self {
        let now = Instant::now();
        Self {
            parts,
            phase: Phase::Comparing,
            asked: now,
            held: HashSet::new(),
            held_until: now,
            next_offer: now,
            uncosigned: Vec::new(),
        }
    }

    /// Works until the queue's other end is gone, or the journal fails.
    ///
    /// # Errors
    /// [`LogError::Keeper`], [`LogError::Files`], [`LogError::Record`], [`LogError::Root`]: the node must stop.
    pub async fn run(mut self, mut events: mpsc::Receiver<LogEvent>) -> Result<(), LogError> {
        loop {
            let outcome = match tokio::time::timeout(self.wait(), events.recv()).await {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => self.event(event).await,
                Err(_) => self.tick(),
            };
            if let Err(error) = outcome.and_then(|()| self.offer_if_ready()) {
                error.or_stop("trust operator")?;
                // Compared anew after a while: what is wrong now may be so for long.
                self.phase = Phase::Comparing;
                self.asked = Instant::now();
            }
        }
    }

    /// How long to wait for an event: until the next batch is due, if that is sooner than the next look.
    fn wait(&self) -> Duration {
        let due = self.next_offer.saturating_duration_since(Instant::now());
        if due.is_zero() { TICK } else { due.min(TICK) }
    }

    async fn event(&mut self, event: LogEvent) -> Result<(), LogError> {
        match event {
            LogEvent::Up => self.compare(),
            LogEvent::Down => self.phase = Phase::Comparing,
            LogEvent::Said(said) => return self.said(*said).await,
        }
        Ok(())
    }

    fn compare(&mut self) {
        self.phase = Phase::Comparing;
        self.asked = Instant::now();
        self.parts.say_state();
    }

    fn tick(&mut self) -> Result<(), LogError> {
        let waits = !matches!(self.phase, Phase::Ready);
        if waits && self.asked.elapsed() > ANSWER {
            self.compare();
        }
        if self.held_until <= Instant::now() {
            self.held.clear();
        }
        self.parts.follow()
    }

    async fn said(&mut self, said: LogMessage) -> Result<(), LogError> {
        match (said, std::mem::replace(&mut self.phase, Phase::Comparing)) {
            (LogMessage::State { size, note }, _) => self.state(size, &note).await,
            (LogMessage::WantLeaves { from }, phase) => {
                self.phase = phase;
                give(&self.parts, from)
            }
            (LogMessage::Leaves { from, leaves }, Phase::Taking(mut taking)) => {
                self.asked = Instant::now();
                if taking.take(&self.parts, from, leaves).await? {
                    // What has its leaf now must not be offered.
                    self.parts.unlogged = Unlogged::open(&self.parts.book)?;
                    self.compare();
                } else {
                    self.phase = Phase::Taking(taking);
                }
                Ok(())
            }
            (
                LogMessage::Matched { size, refused },
                Phase::Offered {
                    size: offered,
                    blocks,
                    signed,
                },
            ) if size == offered => self.matched(blocks, &refused, signed).await,
            (LogMessage::Cosigned { note }, phase) => {
                self.phase = phase;
                self.cosigned(&note)
            }
            (_, phase) => {
                self.phase = phase;
                Ok(())
            }
        }
    }

    async fn state(&mut self, size: u64, note: &str) -> Result<(), LogError> {
        let own = self.parts.book.state();
        let said = self.parts.both_signed(note)?;
        let signed = said.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        if signed != size {
            return Err(LogError::Peer(format!(
                "has {size} leaves, and a checkpoint of {signed}"
            )));
        }
        let Some((checkpoint, note)) = said else {
            return self.offer_again(0);
        };
        if size > own.size {
            let taking = TakeOver::begin(&self.parts, checkpoint, note);
            self.phase = Phase::Taking(Box::new(taking));
            return Ok(());
        }
        self.same_past(&checkpoint, &note)?;
        if size < own.size {
            return self.offer_again(size);
        }
        self.parts.book.publish(&note)?;
        self.all_cosigned();
        Ok(())
    }

    /// What the witness signed is the beginning of this log, or the log was forked.
    fn same_past(&self, theirs: &Checkpoint, note: &SignedNote) -> Result<(), LogError> {
        let root = self.parts.book.root_of(theirs.size)?;
        if root == theirs.root {
            return Ok(());
        }
        let kept = self.parts.book.keep_evidence(theirs, note)?;
        let kept = kept.map_or("no evidence was added", |_| "the evidence is kept");
        Err(LogError::Peer(format!(
            "cosigned another log: at {} leaves the roots differ; {kept}",
            theirs.size
        )))
    }

    /// The witness is behind: the batch that begins at its size is offered again, in its order.
    fn offer_again(&mut self, size: u64) -> Result<(), LogError> {
        if size == self.parts.book.state().size {
            self.phase = Phase::Ready;
            return Ok(());
        }
        let mut found = None;
        for record in self.parts.book.records_back() {
            let record: LogRecord = record?;
            if record.first() <= size {
                found = Some(record);
                break;
            }
        }
        let Some(record) = found.filter(|r| r.first() == size && !r.note.is_empty()) else {
            // A restored witness asks for what it signed; until then it is waited for.
            self.phase = Phase::Comparing;
            return Ok(());
        };
        if record.blocks.len() != record.leaves.len() {
            self.phase = Phase::Comparing;
            return Ok(());
        }
        let mut blocks = Vec::with_capacity(record.blocks.len());
        for (sub, height) in &record.blocks {
            let sealed = self
                .parts
                .book
                .keeper()
                .blocks(sub, *height, *height, usize::MAX)?;
            let Some(sealed) = sealed.first() else {
                // A restored copy that took the leaves over and did not catch up with the blocks yet.
                tracing::warn!(account = %sub, height, "a block of a batch to be offered again is not held");
                self.phase = Phase::Comparing;
                return Ok(());
            };
            blocks.push(self.offered(*sub, *height, sealed.block.hash())?);
        }
        let signed = Some(SignedNote::parse(record.note.as_bytes())?);
        self.send_offer(size, blocks, signed);
        Ok(())
    }

    fn offered(&self, sub: Sub, height: u64, block: Hash) -> Result<Offered, LogError> {
        let opener = self.parts.book.keeper().derived_opener(&sub)?;
        let opener = opener.ok_or(LogError::Erased { sub, height })?;
        Ok(Offered {
            sub,
            height,
            block,
            opener,
        })
    }

    fn send_offer(&mut self, size: u64, blocks: Vec<Offered>, signed: Option<SignedNote>) {
        (self.parts.say)(LogMessage::Offer {
            size,
            blocks: blocks.clone(),
        });
        self.asked = Instant::now();
        self.phase = Phase::Offered {
            size,
            blocks,
            signed,
        };
    }

    fn offer_if_ready(&mut self) -> Result<(), LogError> {
        if !matches!(self.phase, Phase::Ready) {
            return Ok(());
        }
        self.parts.follow()?;
        let left = self.next_offer.saturating_duration_since(Instant::now());
        let free = self.parts.unlogged.len().saturating_sub(self.held.len());
        if free < MAX_OFFERED && !left.is_zero() {
            return Ok(());
        }
        let free = |(sub, height, _): &(Sub, u64, Hash)| !self.held.contains(&(*sub, *height));
        let next: Vec<_> = self
            .parts
            .unlogged
            .oldest()
            .filter(free)
            .take(MAX_OFFERED)
            .collect();
        let mut blocks = Vec::with_capacity(next.len());
        for (sub, height, block) in next {
            match self.offered(sub, height, block) {
                // A restored copy that has not met its leaf again: it has one, or nothing would be erased.
                Err(LogError::Erased { .. }) => {
                    self.parts.unlogged.logged(&sub, height);
                }
                offered => blocks.push(offered?),
            }
        }
        if blocks.is_empty() {
            return Ok(());
        }
        self.next_offer = Instant::now() + GATHER;
        shuffle(&mut blocks)?;
        let size = self.parts.book.state().size;
        self.send_offer(size, blocks, None);
        Ok(())
    }

    async fn matched(
        &mut self,
        mut blocks: Vec<Offered>,
        refused: &[(u16, Unmatched)],
        signed: Option<SignedNote>,
    ) -> Result<(), LogError> {
        if let Some(note) = signed {
            if let Some((_, why)) = refused.first() {
                return Err(LogError::Peer(format!(
                    "does not match a batch that is signed: {why}"
                )));
            }
            return self.send_signed(&note);
        }
        let is_in_order = refused.is_sorted_by(|(a, _), (b, _)| a < b);
        for (place, why) in refused.iter().rev() {
            let place = usize::from(*place);
            if place >= blocks.len() || !is_in_order {
                return Err(LogError::Peer(
                    "refused a block that was not offered, or one twice".to_owned(),
                ));
            }
            let Offered { sub, height, .. } = blocks.remove(place);
            // Even if it says that there is a leaf: this log has the same leaves, and none of this block.
            tracing::warn!(account = %sub, height, %why, "a block is not logged yet");
            self.held_until = Instant::now() + HELD;
            self.held.insert((sub, height));
        }
        if blocks.is_empty() {
            self.phase = Phase::Ready;
            return Ok(());
        }
        let leaves: Vec<Leaf> = blocks.iter().map(|b| b.opener.leaf(&b.block)).collect();
        let names: Vec<(Sub, u64)> = blocks.iter().map(|b| (b.sub, b.height)).collect();
        let size = self
            .parts
            .book
            .state()
            .size
            .saturating_add(leaves.len() as u64);
        let mark = self
            .parts
            .unlogged
            .mark(&names.iter().copied().collect(), size);
        let key = &self.parts.key;
        let book = &self.parts.book;
        let sign = |checkpoint: &Checkpoint| Ok(Some(checkpoint.signed(key)));
        book.grow(leaves, names.clone(), mark, sign).await?;
        for (sub, height) in names {
            let since = self.parts.unlogged.logged(&sub, height);
            self.uncosigned.extend(since);
        }
        match self.parts.book.state().note {
            Some(note) => self.send_signed(&note),
            None => Ok(()),
        }
    }

    fn send_signed(&mut self, note: &SignedNote) -> Result<(), LogError> {
        (self.parts.say)(LogMessage::Signed {
            note: note.to_string(),
        });
        self.asked = Instant::now();
        self.phase = Phase::Signed;
        Ok(())
    }

    /// Both have signed all of it.
    fn all_cosigned(&mut self) {
        self.phase = Phase::Ready;
        for since in self.uncosigned.drain(..) {
            counts::log_cosigned(since.elapsed());
        }
    }

    fn cosigned(&mut self, note: &str) -> Result<(), LogError> {
        let Some((checkpoint, note)) = self.parts.both_signed(note)? else {
            return Err(LogError::Peer("sent no checkpoint".to_owned()));
        };
        if checkpoint.size <= self.parts.book.state().size {
            self.same_past(&checkpoint, &note)?;
        }
        self.parts.book.publish(&note)?;
        if matches!(self.phase, Phase::Signed) {
            if checkpoint.size == self.parts.book.state().size {
                self.all_cosigned();
            } else {
                // The next of the batches that it was behind.
                self.offer_again(checkpoint.size)?;
            }
        }
        Ok(())
    }
}

/// In an order that tells nothing of when each was sealed.
fn shuffle(blocks: &mut [Offered]) -> Result<(), LogError> {
    let mut entropy = os_entropy()?;
    blocks.sort_by_cached_key(|_| {
        let mut key = [0; 16];
        entropy.fill(&mut key);
        key
    });
    Ok(())
}
