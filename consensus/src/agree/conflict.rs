//! What an account still does on a node that found conflicting blocks, or heads (rule 9).
//!
//! A conflict stops admits, as a wish to freeze does, until a `freeze` above it is sealed: the
//! `unfreeze` that follows, which all three sign after somebody looked, settles it. Restrict blocks,
//! heads, words and catching up go on, so that no account is stuck. It never decides who is right.

use serde::{Deserialize, Serialize};

use crate::block::{Kind, Sealed};

use super::{
    base::Base,
    types::{Event, Record},
};

/// A conflict that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conflict {
    /// The head's height when it was found.
    above: u64,
    /// A sealed block is on record, not only the other operator's vote on its head.
    is_shown: bool,
}

impl Conflict {
    /// What stands with this evidence, on top of what stood; `None` for a record that is none.
    pub(super) fn with(base: &Base, record: &Record) -> Option<Self> {
        let is_shown = match record {
            Record::Conflict(_) => true,
            Record::HeadConflict { .. } => false,
            _ => return None,
        };
        let above = base.head().map_or(0, |head| head.height);
        Some(Self { above, is_shown })
    }

    /// Whether a sealed block is on record, which says more than a vote on a head.
    pub(super) fn is_shown(self) -> bool {
        self.is_shown
    }

    /// What stands after this block.
    pub(super) fn after(self, sealed: &Sealed) -> Option<Self> {
        let c = sealed.block.claims();
        let is_frozen = c.kind == Kind::Freeze && c.height > self.above;
        (!is_frozen && c.kind != Kind::Revoke).then_some(self)
    }

    /// Whether evidence adds to what stands: one of a kind is enough, so that nobody fills a disk.
    pub(super) fn is_news(standing: Option<Self>, record: &Record) -> bool {
        let is_block = matches!(record, Record::Conflict(_));
        standing.is_none_or(|conflict| is_block && !conflict.is_shown)
    }
}

/// What is told of a conflict, once it is on record.
pub(super) fn told(base: &Base, record: &Record) -> Option<Event> {
    let (height, found) = match record {
        Record::Conflict(sealed) => (sealed.block.claims().height, sealed.block.hash()),
        Record::HeadConflict { head, .. } => (head.height, head.hash),
        _ => return None,
    };
    let held = base.account()?.hash_at(height).unwrap_or(base.prev());
    Some(Event::Conflict {
        height,
        held,
        found,
    })
}
