//! Blocks that were sealed here and have no leaf yet, found by following the journal.
//!
//! Nothing is kept on disk for them but where to go on: each batch of the log says how far the journal was looked
//! through when it was made, and a start follows from there, leaving out what later batches name.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use warifu_client_sdk::{
    runtime::{Keeper, SealedHere},
    store::{Place, Store},
};
use warifu_consensus::{encoding::Hash, party::Sub};

use super::{LogBook, LogError, LogRecord};

/// Batches of the journal that are read at once.
const BATCHES: usize = 1024;

/// Blocks kept in memory, about 200 bytes each: a log that stands still for longer is followed no further.
const MOST: usize = 100_000;

#[derive(Clone, Debug)]
struct Waiting {
    before: Place,
    block: Hash,
    /// The log's size when it was found.
    since: u64,
    /// When that was.
    found: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Unlogged {
    /// By where they stand in the journal, account and height.
    waiting: BTreeMap<(Place, Sub, u64), Waiting>,
    /// The heights that wait of each account, and where they stand.
    accounts: HashMap<Sub, BTreeMap<u64, Place>>,
    /// Logged, and not met in the journal yet: a restored copy has taken their leaves over, and catches up with the
    /// blocks later. With the index of each leaf.
    ahead: HashMap<(Sub, u64), u64>,
    through: Place,
}

impl Unlogged {
    /// What waits according to journal and log. Blocks on the disk.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open<S: Store>(book: &LogBook<S>) -> Result<Self, LogError> {
        let state = book.state();
        let mut unlogged = Self {
            waiting: BTreeMap::new(),
            accounts: HashMap::new(),
            ahead: HashMap::new(),
            through: state.through,
        };
        for record in book.records_back() {
            let record: LogRecord = record?;
            if record.size <= state.since {
                break;
            }
            let first = record.first();
            unlogged
                .ahead
                .extend(record.blocks.into_iter().zip(first..));
        }
        unlogged.follow(book.keeper(), state.since)?;
        let mut strangers = HashMap::new();
        for ((sub, height), index) in unlogged.ahead.drain() {
            // What stands before the place that was followed from was met long ago; what stands behind the one that
            // was followed up to, where too much waits, is met later.
            let place = book.keeper().place_of_block(&sub, height)?;
            if place.is_none_or(|place| place > unlogged.through) {
                strangers.insert((sub, height), index);
            }
        }
        unlogged.ahead = strangers;
        Ok(unlogged)
    }

    /// Looks for blocks that were sealed meanwhile; `size` is the log's now. Blocks on the disk.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn follow<S: Store>(&mut self, keeper: &Keeper<S>, size: u64) -> Result<(), LogError> {
        while self.waiting.len() < MOST {
            let (sealed, through) = keeper.sealed_after(self.through, BATCHES)?;
            if through == self.through {
                return Ok(());
            }
            self.through = through;
            sealed
                .into_iter()
                .for_each(|sealed| self.found(sealed, size));
        }
        Ok(())
    }

    fn found(&mut self, sealed: SealedHere, since: u64) {
        let SealedHere {
            before,
            place,
            sub,
            height,
            block,
        } = sealed;
        if self.ahead.remove(&(sub, height)).is_some() {
            return;
        }
        let waiting = Waiting {
            before,
            block,
            since,
            found: Instant::now(),
        };
        self.waiting.insert((place, sub, height), waiting);
        self.accounts.entry(sub).or_default().insert(height, place);
    }

    /// How far the journal was looked through.
    #[must_use]
    pub const fn through(&self) -> Place {
        self.through
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those that wait, the oldest first: account, height, hash.
    pub fn oldest(&self) -> impl Iterator<Item = (Sub, u64, Hash)> {
        let each = self.waiting.iter();
        each.map(|((_, sub, height), waiting)| (*sub, *height, waiting.block))
    }

    /// The block of an account that waits at this height.
    #[must_use]
    pub fn block(&self, sub: &Sub, height: u64) -> Option<Hash> {
        let place = *self.accounts.get(sub)?.get(&height)?;
        self.waiting
            .get(&(place, *sub, height))
            .map(|waiting| waiting.block)
    }

    /// The lowest height that waits of an account, from a height on.
    #[must_use]
    pub fn lowest(&self, sub: &Sub, from: u64) -> Option<u64> {
        let heights = self.accounts.get(sub)?;
        heights.range(from..).next().map(|(height, _)| *height)
    }

    /// For how long the one that waits longest was known here.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        let oldest = self.waiting.values().next();
        oldest.map_or(Duration::ZERO, |waiting| waiting.found.elapsed())
    }

    /// It has its leaf; since when it waited for that, if it did.
    pub fn logged(&mut self, sub: &Sub, height: u64) -> Option<Instant> {
        let heights = self.accounts.get_mut(sub)?;
        let place = heights.remove(&height);
        if heights.is_empty() {
            self.accounts.remove(sub);
        }
        let waited = self.waiting.remove(&(place?, *sub, height))?;
        Some(waited.found)
    }

    /// What a batch says that leaves `logged` out: where a start follows from, and the log's size when the oldest
    /// of the rest was found (`size`, the log's with the batch, if there is no rest).
    #[must_use]
    pub fn mark(&self, logged: &HashSet<(Sub, u64)>, size: u64) -> (Place, u64) {
        let left = self
            .waiting
            .iter()
            .find(|((_, sub, height), _)| !logged.contains(&(*sub, *height)));
        let (place, since) = left.map_or((self.through, size), |(_, waiting)| {
            (waiting.before, waiting.since)
        });
        let ahead = self.ahead.values().min();
        (place, ahead.map_or(since, |index| since.min(*index)))
    }
}
