//! What each honest party keeps, what it has in RAM, and what is remembered about it only to judge it.
//!
//! A cheating party has no state: it can do whatever its keys and what it saw allow, so all that counts
//! is what the honest ones signed. Blocks and votes, once signed, stay signed: a message may be lost
//! (nobody uses it), repeated and reordered (it can be used at any later moment).

use crate::block::{Block, Kind};

/// How many blocks a [`Blocks`] holds.
const ROOM: usize = 5;

/// A small set of blocks, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blocks([Option<Block>; ROOM]);

impl Blocks {
    /// Puts a block in; `false` if there was no room.
    pub fn add(&mut self, block: Block) -> bool {
        if self.has(block) {
            return true;
        }
        let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) else {
            return false;
        };
        *free = Some(block);
        self.sort();
        true
    }

    /// Whether a block is in it.
    #[must_use]
    pub fn has(&self, block: Block) -> bool {
        self.0.contains(&Some(block))
    }

    /// The blocks.
    pub fn iter(&self) -> impl Iterator<Item = Block> + Clone {
        self.0.into_iter().flatten()
    }

    pub(crate) fn map(&mut self, f: impl Fn(Block) -> Option<Block>) {
        for slot in &mut self.0 {
            *slot = slot.and_then(&f);
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.0.sort_unstable_by_key(|slot| (slot.is_none(), *slot));
    }
}

/// What the device says against a block or the account (votes 4, 5, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Not this proposal.
    Deny,
    /// Not this proposal, and freeze.
    Disown,
    /// Freeze.
    Freeze,
}

/// A word of the device's: signed, so anybody may carry it, at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word {
    /// What it says.
    pub verb: Verb,
    /// The proposal, or for a freeze the device's head.
    pub about: Block,
}

impl Word {
    /// The height of the block that it rests on.
    #[must_use]
    pub fn above(self) -> u8 {
        match self.verb {
            Verb::Freeze => self.about.height(),
            _ => self.about.height().saturating_sub(1),
        }
    }

    /// Whether it asks for a freeze.
    #[must_use]
    pub fn freezes(self) -> bool {
        self.verb != Verb::Deny
    }

    /// Whether the chain up to `head` answers it.
    #[must_use]
    pub fn is_answered(self, head: Block) -> bool {
        match self.verb {
            Verb::Deny => head.height() > self.above(),
            _ => head.last(Kind::Freeze) > self.above() || head.last(Kind::Revoke) > 0,
        }
    }

    /// Whether it rests on the chain up to `head`, at or after the last unfreeze.
    #[must_use]
    pub fn counts(self, head: Block) -> bool {
        let rests_on = match self.verb {
            Verb::Freeze => self.about,
            _ => self.about.prev(),
        };
        self.verb == Verb::Deny
            || head.holds(rests_on) && rests_on.height() >= head.last(Kind::Unfreeze)
    }
}

/// All words that the device ever said. Sets of them are bits in this order.
pub(crate) type Said = [Option<Word>; 3];

/// Every word in a set of bits.
pub(crate) fn words(said: &Said, bits: u8) -> impl Iterator<Item = Word> + use<> {
    let words = IntoIterator::into_iter(*said).enumerate();
    words.filter_map(move |(at, word)| word.filter(|_| bits >> at & 1 == 1))
}

/// What a device keeps durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKept {
    /// Its chain.
    pub head: Block,
    /// The admit block that it signed at the next height.
    pub lock: Option<Block>,
    /// Its words that no block has answered.
    pub words: u8,
    /// The tick in which it found out that it is a restored copy.
    pub restored: Option<u8>,
}

/// An honest device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// What survives a crash.
    pub kept: DeviceKept,
    /// The proposal before the customer.
    pub open: Option<Block>,
    /// A wrong number was typed for it.
    pub tried: bool,
    /// The broker's match for it arrived.
    pub matched: bool,
    /// Judging: admit blocks that it ever signed.
    pub signed: Blocks,
    /// Judging: it was restored, and if so, whether a missed admit told it.
    pub came_back: Option<bool>,
}

/// What a broker keeps durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrokerKept {
    /// Its chain.
    pub head: Block,
    /// The admit block that it signed at the next height.
    pub lock: Option<Block>,
    /// The restrict block that it signed at the next height.
    pub restrict: Option<Block>,
    /// The device's words that no block has answered.
    pub words: u8,
    /// Another end than "admitted" was told of its lock.
    pub told: bool,
    /// The desk wants a freeze above this height.
    pub freeze_above: Option<u8>,
    /// The tick in which it found out that it is a restored copy.
    pub restored: Option<u8>,
}

/// An honest broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    /// What survives a crash.
    pub kept: BrokerKept,
    /// The proposal at hand.
    pub work: Option<Block>,
    /// The page's number was typed for it.
    pub matched: bool,
    /// The proposal that only the device is locked on.
    pub foreign: Option<Block>,
    /// The device says that it is a restored copy.
    pub device_restored: bool,
    /// Judging: admit blocks that it ever signed.
    pub admits: Blocks,
    /// Judging: restrict blocks that it ever signed.
    pub restricts: Blocks,
    /// Judging: proposals that it told another end than "admitted", before it locked them.
    pub ended: Blocks,
    /// Judging: the lock that it told another end of.
    pub refused: Option<Block>,
    /// Judging: words that reached it.
    pub heard: u8,
    /// Judging: the desk was told that a freeze above this height will come.
    pub wish: Option<u8>,
    /// Judging: the highest block that it told anybody to be sealed.
    pub told_height: u8,
    /// Judging: it was restored, and if so, whether a block that it didn't know told it.
    pub came_back: Option<bool>,
}

/// What a trust operator keeps durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrustOperatorKept {
    /// Its chain.
    pub head: Block,
    /// The device's words that no block has answered.
    pub words: u8,
    /// The height that the broker acknowledged.
    pub acked: u8,
}

/// An honest trust operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrustOperator {
    /// What survives a crash.
    pub kept: TrustOperatorKept,
    /// Judging: blocks that it ever sealed.
    pub sealed: Blocks,
    /// Judging: words that reached it.
    pub heard: u8,
}

/// An older copy of a party's data that may come back once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copies {
    /// The device's.
    pub device: Option<DeviceKept>,
    /// The broker's.
    pub broker: Option<BrokerKept>,
    /// The trust operator's.
    pub trust_operator: Option<TrustOperatorKept>,
    /// Which of them were made after the start, as bits in the order of [`crate::Party`].
    pub made: u8,
}

/// One moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Ticks passed. Any clock may be as far ahead as to see the present tick's proposals expired,
    /// none sees the last tick's alive, and only then may one see them past the grace: that is what
    /// 30 s of skew and 30 s of grace mean.
    pub now: u8,
    /// Both operators compared heads in this session.
    pub compared: bool,
    /// What the broker sent the trust operator in this session.
    pub sent: Blocks,
    /// The device, if honest.
    pub device: Device,
    /// The broker, if honest.
    pub broker: Broker,
    /// The trust operator, if honest.
    pub trust_operator: TrustOperator,
    /// The device's words.
    pub said: [Option<Word>; 3],
    /// Copies that may come back.
    pub copies: Copies,
    /// Which properties of a step were broken on the way here, as bits of [`crate::Broken`].
    pub broken: u32,
}

impl State {
    /// Every set of blocks and every single block, for [`crate::Agreement`] to shorten.
    pub(crate) fn shorten(&mut self, common: Block, below: u8) {
        let map = |b: Block| b.forget(common);
        let keep = |b: Block| (b.height() >= below).then(|| b.forget(common));
        let State {
            device: d,
            broker: b,
            trust_operator: t,
            ..
        } = self;
        for set in [
            &mut self.sent,
            &mut d.signed,
            &mut b.admits,
            &mut b.restricts,
            &mut t.sealed,
        ] {
            set.map(keep);
        }
        // An ended proposal can come back only as the next block.
        let next = t.kept.head.height();
        b.ended
            .map(|e| (e.height() > next.min(b.kept.head.height())).then(|| e.forget(common)));
        for block in [&mut d.kept.head, &mut b.kept.head, &mut t.kept.head] {
            *block = map(*block);
        }
        for block in [
            &mut d.kept.lock,
            &mut d.open,
            &mut b.kept.lock,
            &mut b.kept.restrict,
            &mut b.work,
            &mut b.foreign,
            &mut b.refused,
        ] {
            *block = block.map(map);
        }
        for word in self.said.iter_mut().flatten() {
            word.about = map(word.about);
        }
        let c = &mut self.copies;
        if let Some(kept) = &mut c.device {
            kept.head = map(kept.head);
            kept.lock = kept.lock.map(map);
        }
        if let Some(kept) = &mut c.broker {
            kept.head = map(kept.head);
            kept.lock = kept.lock.map(map);
            kept.restrict = kept.restrict.map(map);
        }
        if let Some(kept) = &mut c.trust_operator {
            kept.head = map(kept.head);
        }
    }
}
