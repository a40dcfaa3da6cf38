//! The trust operator's rules.

use crate::{
    block::{Block, Kind},
    device::unanswered,
    guard::Guard,
    model::Agreement,
    party::Party,
    property::{self, Broken},
    state::{State, Verb, Word, words},
};

impl Agreement {
    fn on_trust_operators_head(&self, s: &State, block: Block) -> bool {
        let head = s.trust_operator.kept.head;
        let beside = block.prev() == head.prev() && block != head;
        block.prev() == head || beside && !self.keeps(Guard::SealOnlyOnHead)
    }

    fn trust_operator_may_sign(&self, s: &State, block: Block) -> bool {
        let heads = s.compared || !self.keeps(Guard::TrustOperatorHeadsFirst);
        let status = self.status(block.prev()).allows(block.kind())
            || !self.keeps(Guard::SealOnlyWhatStatusAllows);
        heads && status && self.on_trust_operators_head(s, block)
    }

    /// Rule 3: the commit point of an admit block.
    pub(crate) fn seal(&self, s: &mut State, block: Block) -> bool {
        let broker_signed = !self.is_honest(Party::Broker) || s.sent.has(block);
        let signed = broker_signed || !self.keeps(Guard::SealOnlyWhatBrokerSigned);
        let assented =
            self.has_signed(s, Party::Device, block) || !self.keeps(Guard::SealOnlyWithAssent);
        let alive = block.time() >= s.now || !self.keeps(Guard::SealOnlyBeforeExp);
        let ahead = block.time() > s.now && self.keeps(Guard::SealNothingDatedAhead);
        let mut held = words(&s.said, s.trust_operator.kept.words);
        let denied = held.any(|w| w.verb != Verb::Freeze && w.about == block)
            && self.keeps(Guard::SealNothingDenied);
        let frozen = words(&s.said, s.trust_operator.kept.words).any(Word::freezes)
            && self.keeps(Guard::SealNothingAfterFreeze);
        let may = (signed && assented && alive && !ahead && !denied && !frozen)
            && block.is_admit()
            && self.trust_operator_may_sign(s, block);
        if !may {
            return false;
        }
        property::judge_seal(s, block);
        self.trust_operator_seals(s, block);
        property::judge_signature(self, s, block);
        true
    }

    /// Rule 4.
    pub(crate) fn seal_restrict(&self, s: &mut State, block: Block) -> bool {
        let Some(c) = block.claims() else {
            return false;
        };
        let signed = !self.is_honest(Party::Broker) || s.sent.has(block);
        let word = block.about().filter(|_| c.kind == Kind::Deny);
        let worded = word.is_some_and(|about| {
            let said = s.said.iter().flatten();
            said.clone()
                .any(|w| w.verb != Verb::Freeze && w.about == about)
        });
        let deny_fits = c.kind != Kind::Deny || worded || !self.keeps(Guard::SealDenyOnlyWithWord);
        let dead = block.superseded().is_none_or(|a| a.time() < s.now);
        let at_once = c.kind == Kind::Freeze || c.kind == Kind::Deny && worded;
        let in_time = dead || at_once || !self.keeps(Guard::SealExpireOnlyAfterGrace);
        let may = (signed || !self.keeps(Guard::SealOnlyWhatBrokerSigned))
            && (deny_fits && in_time && !c.kind.is_admit())
            && self.trust_operator_may_sign(s, block);
        if !may {
            return false;
        }
        property::judge_restrict_seal(s, block);
        self.trust_operator_seals(s, block);
        true
    }

    fn trust_operator_seals(&self, s: &mut State, block: Block) {
        let room = s.trust_operator.sealed.add(block);
        property::note(s, !room, Broken::Room);
        self.trust_operator_moves(s, block);
    }

    fn trust_operator_moves(&self, s: &mut State, block: Block) {
        s.trust_operator.kept.head = block;
        s.trust_operator.kept.words = unanswered(s, s.trust_operator.kept.words, block);
        s.trust_operator.heard = unanswered(s, s.trust_operator.heard, block);
    }

    /// A restored trust operator catches up with what the broker holds.
    pub(crate) fn trust_operator_adopts(&self, s: &mut State, block: Block) -> bool {
        let fits = block.prev() == s.trust_operator.kept.head && s.broker.kept.head.holds(block);
        if fits {
            self.trust_operator_moves(s, block);
        }
        fits
    }
}
