//! The device's rules.

use crate::{
    block::{Block, Kind, Status},
    guard::Guard,
    model::Agreement,
    party::Party,
    property::{self, Broken},
    state::{State, Verb, Word, words},
};

impl Agreement {
    /// Rule 2, and what this device said or lost itself.
    fn device_agrees(&self, s: &State, block: Block) -> bool {
        let kept = &s.device.kept;
        let on_head = block.prev() == kept.head || !self.keeps(Guard::AssentOnlyOnHead);
        let status = self.status(block.prev()).allows(block.kind())
            || !self.keeps(Guard::AssentOnlyWhatStatusAllows);
        let alive = block.time() >= s.now || !self.keeps(Guard::AssentOnlyBeforeExp);
        let ahead = block.time() > s.now && self.keeps(Guard::AssentNothingDatedAhead);
        let stopped = kept.restored.is_some() && self.keeps(Guard::RestoredDeviceStops);
        let mut own = words(&s.said, kept.words);
        let denied = own.any(|w| w.verb != Verb::Freeze && w.about == block)
            && self.keeps(Guard::AssentNothingDenied);
        let frozen = words(&s.said, kept.words).any(Word::freezes)
            && self.keeps(Guard::AssentNothingAfterFreeze);
        block.is_admit() && on_head && status && alive && !ahead && !stopped && !denied && !frozen
    }

    pub(crate) fn prompt(&self, s: &mut State) -> bool {
        let Some(work) = s.broker.work.filter(|_| s.compared) else {
            return false;
        };
        if s.device.kept.lock.is_some() || !self.device_agrees(s, work) {
            return false;
        }
        if s.device.open != Some(work) {
            s.device.open = Some(work);
            s.device.tried = false;
            s.device.matched = false;
        }
        true
    }

    /// Rules 1 and 10: lock, then sign. With a cheating broker the customer is shown any page.
    pub(crate) fn assent(&self, s: &mut State, block: Block) -> bool {
        if self.is_honest(Party::Broker) {
            let matched = s.device.matched || !self.keeps(Guard::LockOnlyAfterMatch);
            if s.device.open != Some(block) || !matched {
                return false;
            }
        }
        let d = &mut s.device;
        let locked_on_other = d.kept.lock.is_some_and(|lock| lock != block);
        if locked_on_other && self.keeps(Guard::DeviceOneAdmitPerHeight) {
            return false;
        }
        if !self.device_agrees(s, block) {
            return false;
        }
        property::judge_assent(self, s, block);
        let d = &mut s.device;
        d.open = None;
        d.tried = false;
        d.matched = false;
        d.kept.lock = Some(block);
        let room = d.signed.add(block);
        property::note(s, !room, Broken::Room);
        property::judge_signature(self, s, block);
        true
    }

    /// Rule 5 forbids it.
    pub(crate) fn release(&self, s: &mut State) -> bool {
        let stale = s.device.kept.lock.is_some_and(|lock| lock.time() < s.now);
        s.device.kept.lock = None;
        stale
    }

    pub(crate) fn device_adopts(&self, s: &mut State, block: Block) -> bool {
        if block.prev() != s.device.kept.head {
            return false;
        }
        let kept = &mut s.device.kept;
        if block.is_admit() && kept.lock != Some(block) {
            // Rule 8: another copy of it signed.
            kept.restored = Some(s.now);
            s.device.came_back = s.device.came_back.map(|_| true);
        }
        let kept = &mut s.device.kept;
        let named = kept.lock == Some(block) || kept.lock == block.superseded();
        if self.keeps(Guard::AnyBlockReleases) || named {
            kept.lock = None;
        }
        if block.kind() == Kind::Restored && kept.restored.is_some_and(|at| block.time() >= at) {
            kept.restored = None;
        }
        kept.head = block;
        if s.device.open.is_some_and(|o| o.height() <= block.height()) {
            s.device.open = None;
            s.device.tried = false;
            s.device.matched = false;
        }
        self.device_drops_answered(s);
        true
    }

    fn device_drops_answered(&self, s: &mut State) {
        let head = s.device.kept.head;
        s.device.kept.words = unanswered(s, s.device.kept.words, head);
        let mut wishes = words(&s.said, s.device.kept.words)
            .filter(|w| w.freezes())
            .peekable();
        let outdated =
            wishes.peek().is_some() && !wishes.any(|w| w.above() >= head.last(Kind::Unfreeze));
        if outdated && self.keeps(Guard::OvertakenFreezeIsRenewed) {
            self.says(s, Verb::Freeze, head);
        }
    }

    /// Whether it was said: there is room for three words.
    fn says(&self, s: &mut State, verb: Verb, about: Block) -> bool {
        let word = Word { verb, about };
        let Some((at, slot)) = (0u8..)
            .zip(&mut s.said)
            .find(|(_, slot)| slot.is_none_or(|w| w == word))
        else {
            return false;
        };
        *slot = Some(word);
        s.device.kept.words |= 1 << at;
        true
    }

    pub(crate) fn say(&self, s: &mut State, verb: Verb, about: Block) -> bool {
        let said = s.said.iter().flatten().count();
        if said >= usize::from(self.config.words) || s.said.contains(&Some(Word { verb, about })) {
            return false;
        }
        if !self.is_honest(Party::Device) {
            return self.says(s, verb, about);
        }
        let fits = match verb {
            Verb::Freeze => about == s.device.kept.head && about.status() != Status::Revoked,
            _ => s.device.open == Some(about),
        };
        if !fits {
            return false;
        }
        s.device.open = None;
        s.device.tried = false;
        s.device.matched = false;
        self.says(s, verb, about)
    }
}

/// Those of the words that the chain up to `head` does not answer.
pub(crate) fn unanswered(s: &State, bits: u8, head: Block) -> u8 {
    let mut left = 0;
    for (at, word) in s.said.iter().enumerate() {
        if bits >> at & 1 == 1 && word.is_some_and(|w| !w.is_answered(head)) {
            left |= 1 << at;
        }
    }
    left
}
