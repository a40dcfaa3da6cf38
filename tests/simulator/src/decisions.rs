//! Everything that goes wrong in a run, as a list of decisions that can be taken back one by one.
//!
//! A decision is named by what it is, where, and the how many-th of its kind there. Its randomness
//! comes from the seed and that name alone, so that a run without some of them meets the others as
//! they were: this is what makes a failing story shrink.

use std::collections::{BTreeMap, BTreeSet};

use super::chance::Chance;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum What {
    /// An act of the plan: a login, a freeze, a pulled plug, a set clock, a partition.
    Planned,
    /// A message is late.
    Slow,
    /// A message arrives twice.
    Twice,
    /// A message is overtaken by the one behind it.
    Overtaken,
    /// An end learns of a lost line by the next session only.
    Unnoticed,
    /// A node stops between two outputs.
    Crash,
    /// A sync fails; what it should have kept is lost, kept, or torn.
    SyncFails,
    /// A stop takes the operating system's unsynced pages with it.
    PowerLoss,
    /// An idle account leaves RAM.
    Retire,
    /// The customer does something else than typing the number.
    Customer,
    /// A cheat tampers with a message that leaves.
    TamperSent,
    /// A cheat acts on a message that arrives.
    TamperTaken,
    /// Neutral: how long something takes. Never a fault.
    Pause,
    /// Neutral: what is asked for. Never a fault.
    Content,
}

/// One decision of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision {
    /// What.
    pub what: What,
    /// Where: an account, a node, a line.
    pub place: u32,
    /// The how many-th of its kind there.
    pub number: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Decisions {
    seed: u64,
    muted: BTreeSet<Decision>,
    counts: BTreeMap<(What, u32), u32>,
    /// What went wrong, in order.
    pub fired: Vec<Decision>,
}

impl Decisions {
    /// The decisions of a seed, but for the muted ones.
    #[must_use]
    pub fn new(seed: u64, muted: BTreeSet<Decision>) -> Self {
        Self {
            seed,
            muted,
            counts: BTreeMap::new(),
            fired: vec![],
        }
    }

    fn next(&mut self, what: What, place: usize) -> (Decision, Chance) {
        let place = place as u32;
        let number = self.counts.entry((what, place)).or_default();
        let decision = Decision {
            what,
            place,
            number: *number,
        };
        *number += 1;
        let chance = Chance::of(self.seed, [what as u32, place, decision.number]);
        (decision, chance)
    }

    /// Whether something goes wrong here, once in so many times (0: never); then with this chance.
    pub fn fault(&mut self, what: What, place: usize, one_in: u64) -> Option<Chance> {
        if one_in == 0 {
            return None;
        }
        let (decision, mut chance) = self.next(what, place);
        if !chance.one_in(one_in) || self.muted.contains(&decision) {
            return None;
        }
        self.fired.push(decision);
        Some(chance)
    }

    /// Chance for what is no fault.
    pub fn neutral(&mut self, what: What, place: usize) -> Chance {
        self.next(what, place).1
    }
}
