//! The broker's rules.

use crate::{
    block::{Block, Claims, Kind, Status},
    device::unanswered,
    guard::Guard,
    model::Agreement,
    party::Party,
    property::{self, Broken},
    state::{State, Verb, Word, words},
};

impl Agreement {
    fn wants_freeze(s: &State) -> bool {
        let kept = &s.broker.kept;
        let asked = kept.freeze_above.is_some() || words(&s.said, kept.words).any(Word::freezes);
        asked && kept.head.status() != Status::Revoked
    }

    fn broker_denies(s: &State, block: Block) -> bool {
        let mut held = words(&s.said, s.broker.kept.words);
        held.any(|w| w.verb != Verb::Freeze && w.about == block)
    }

    /// Ends the proposal that this broker never locked: no block (rule 4).
    pub(crate) fn end_unlocked(&self, s: &mut State) {
        if s.broker.kept.lock.is_some() {
            return;
        }
        if let Some(work) = s.broker.work.take() {
            s.broker.matched = false;
            // One that never reached a device may be begun again with the same bytes.
            let known = s.device.open == Some(work) || self.has_signed(s, Party::Device, work);
            let room = !known || s.broker.ended.add(work);
            property::note(s, !room, Broken::Room);
        }
    }

    pub(crate) fn begin(&self, s: &mut State, kind: Kind, stranger: bool) -> bool {
        let b = &s.broker;
        let kept = &b.kept;
        let locked = kept.lock.is_some() && self.keeps(Guard::BrokerOneAdmitPerHeight);
        let open = b.work.is_some_and(|w| kept.lock != Some(w));
        let restricted = kept.restrict.is_some() && self.keeps(Guard::BrokerNoAdmitAfterRestrict);
        let busy = open || locked || restricted;
        let first = kept.restored.is_some() || Self::wants_freeze(s);
        let heads = s.compared || !self.keeps(Guard::BrokerHeadsFirst);
        if busy || first || !heads {
            return false;
        }
        let head = kept.head;
        let prev = if self.keeps(Guard::EndorseOnlyOnHead) {
            head
        } else {
            head.prev()
        };
        let allowed =
            self.status(prev).allows(kind) || !self.keeps(Guard::EndorseOnlyWhatStatusAllows);
        let work = prev.next(Claims::admit(kind, stranger, s.now));
        let fresh = work.is_some_and(|w| w != head && !s.broker.ended.has(w));
        if !allowed || !fresh {
            return false;
        }
        s.broker.work = work;
        s.broker.matched = false;
        true
    }

    pub(crate) fn locked(&self, s: &mut State, block: Block) -> bool {
        let b = &s.broker;
        let lock_is_so = !self.is_honest(Party::Device) || s.device.kept.lock == Some(block);
        let Some(work) = b.work else {
            return false;
        };
        let next = block.is_admit()
            && block.prev() == b.kept.head
            && self.status(block.prev()).allows(block.kind());
        let free = b.kept.lock.is_none() && b.kept.restrict.is_none();
        if !lock_is_so || !next || !free || work == block {
            return false;
        }
        s.broker.foreign = Some(block);
        true
    }

    /// Rule 10: the customer sees the number only on a page of his own.
    pub(crate) fn number(&self, s: &mut State) -> bool {
        let Some(work) = s.broker.work.filter(|w| s.broker.kept.lock != Some(*w)) else {
            return false;
        };
        let stranger = work.claims().is_some_and(|c| c.stranger);
        if self.is_honest(Party::Device) {
            let guessed = s.device.tried && !self.keeps(Guard::OneTry);
            let right = !stranger && !s.device.tried || guessed;
            let matches = right || !self.keeps(Guard::MatchOnlyTheNumber);
            if s.device.open != Some(work) || !matches {
                return false;
            }
            s.device.matched = true;
        }
        s.broker.matched = true;
        work.time() == s.now
    }

    /// One try: the proposal ends with a `refuse` that supersedes nothing.
    pub(crate) fn wrong_number(&self, s: &mut State) -> bool {
        let Some(work) = s.broker.work.filter(|_| s.broker.kept.lock.is_none()) else {
            return false;
        };
        // A cheating device sends any number at any time.
        let asked = s.device.open == Some(work) || !self.is_honest(Party::Device);
        if s.broker.matched || !asked {
            return false;
        }
        s.device.tried = self.is_honest(Party::Device);
        if self.keeps(Guard::OneTry) {
            self.end_unlocked(s);
            if s.compared && s.broker.kept.restrict.is_none() {
                let refuse = Claims::restrict(Kind::Refuse, s.now, Some(work), false);
                self.sign_restrict(s, refuse);
            }
        }
        true
    }

    pub(crate) fn endorse(&self, s: &mut State, block: Block) -> bool {
        let kept = &s.broker.kept;
        let heads = s.compared || !self.keeps(Guard::BrokerHeadsFirst);
        let own = s.broker.work == Some(block) && s.broker.matched || kept.lock == Some(block);
        let rival = kept.lock.is_some_and(|l| l != block);
        let free = !rival || !self.keeps(Guard::BrokerOneAdmitPerHeight);
        let unrestricted =
            kept.restrict.is_none() || !self.keeps(Guard::BrokerNoAdmitAfterRestrict);
        let alive = block.time() >= s.now || !self.keeps(Guard::EndorseOnlyBeforeExp);
        let words_allow =
            !Self::broker_denies(s, block) || !self.keeps(Guard::EndorseNothingDenied);
        let wanted = Self::wants_freeze(s) && self.keeps(Guard::NothingBeforeTheFreeze);
        let on_head = block.prev() == kept.head || !self.keeps(Guard::EndorseOnlyOnHead);
        let status = self.status(block.prev()).allows(block.kind())
            || !self.keeps(Guard::EndorseOnlyWhatStatusAllows);
        let assented = self.has_signed(s, Party::Device, block);
        let may = heads
            && (own || !self.keeps(Guard::CompleteOnlyOwn))
            && (free && unrestricted && alive)
            && (words_allow && !wanted)
            && (on_head && status && assented)
            && kept.restored.is_none()
            && !kept.told;
        // Again only with a fresh share, which the device gives while it is locked on the block.
        let gives = !self.is_honest(Party::Device) || s.device.kept.lock == Some(block);
        if !may || kept.lock == Some(block) && !gives {
            return false;
        }
        property::judge_endorsement(s, block);
        let b = &mut s.broker;
        b.kept.lock = Some(block);
        b.work = Some(block);
        b.matched = true;
        let room = b.admits.add(block) & s.sent.add(block);
        property::note(s, !room, Broken::Room);
        property::judge_signature(self, s, block);
        true
    }

    /// The restrict block that is due, in the order of precedence.
    fn due(&self, s: &State) -> Option<Claims> {
        let b = &s.broker;
        let kept = &b.kept;
        let heads = s.compared || !self.keeps(Guard::BrokerHeadsFirst);
        let free = kept.restrict.is_none() || !self.keeps(Guard::BrokerOneRestrictPerHeight);
        if !heads || !free {
            return None;
        }
        let over_lock = |kind| Some(Claims::restrict(kind, s.now, kept.lock, true));
        if let Some(at) = kept.restored {
            let waited = s.now > at || !self.keeps(Guard::RestoredBrokerWaits);
            return over_lock(Kind::Restored).filter(|_| waited);
        }
        let asked = kept.freeze_above.is_some() || self.keeps(Guard::FreezeIsProposed);
        if Self::wants_freeze(s) && asked {
            return over_lock(Kind::Freeze);
        }
        let mut held = words(&s.said, kept.words);
        let denied = held.find(|w| {
            let here = w.verb == Verb::Deny && w.about.prev() == kept.head;
            here && kept.lock.is_none_or(|l| l == w.about)
        });
        if let Some(word) = denied {
            return Some(Claims::restrict(
                Kind::Deny,
                s.now,
                Some(word.about),
                kept.lock.is_some(),
            ));
        }
        if let Some(lock) = kept.lock {
            let dead = lock.time() < s.now || !self.keeps(Guard::ExpireOnlyAfterGrace);
            return over_lock(Kind::Expire).filter(|_| dead);
        }
        if let Some(foreign) = b.foreign
            && self.keeps(Guard::ExpireForeignLocks)
        {
            return Some(Claims::restrict(Kind::Expire, s.now, Some(foreign), false));
        }
        let heard = b.device_restored && self.keeps(Guard::RestoredDeviceIsHeard);
        over_lock(Kind::Restored).filter(|_| heard)
    }

    /// In every session the broker sends again what it owes. An endorsement needs a fresh share of the
    /// device's, which a locked device gives without asking, before `exp`.
    pub(crate) fn resend(&self, s: &mut State, block: Block) -> bool {
        let owed = s.broker.kept.restrict == Some(block) && s.compared;
        let room = owed && s.sent.add(block);
        property::note(s, owed && !room, Broken::Room);
        owed
    }

    pub(crate) fn restrict(&self, s: &mut State) -> bool {
        let Some(claims) = self.due(s) else {
            return false;
        };
        self.sign_restrict(s, claims);
        true
    }

    fn sign_restrict(&self, s: &mut State, claims: Claims) {
        let claims = Claims {
            supersedes: claims.supersedes && self.keeps(Guard::RestrictNamesTheLock),
            ..claims
        };
        let kept = &mut s.broker.kept;
        let Some(block) = kept
            .head
            .next(claims)
            .filter(|b| self.status(b.prev()).allows(b.kind()))
        else {
            return;
        };
        kept.restrict = Some(block);
        let locked = kept.lock.is_some();
        if self.keeps(Guard::AdmittedNotAfterRestrict) || !locked {
            self.end_unlocked(s);
            s.broker.work = None;
            s.broker.matched = false;
        }
        s.broker.foreign = None;
        s.broker.device_restored &= claims.kind != Kind::Restored;
        property::judge_restrict(s, block);
        let room = s.broker.restricts.add(block) & s.sent.add(block);
        property::note(s, !room, Broken::Room);
    }

    pub(crate) fn broker_adopts(&self, s: &mut State, block: Block) -> bool {
        let kept = s.broker.kept;
        let own_restrict = kept.restrict == Some(block);
        let displaced = kept.restrict.is_some() && !own_restrict;
        if block.prev() != kept.head || displaced && !self.keeps(Guard::AdoptWhatWasSealed) {
            return false;
        }
        let locked = kept.lock == Some(block);
        // What was sealed on top of it had this broker's signature too.
        let top = s.trust_operator.kept.head;
        let followed = self.is_honest(Party::TrustOperator) && block.towards(top).is_some();
        let followed = followed && self.keeps(Guard::BuiltUponShowsACopy);
        let unknown = !locked && !own_restrict || followed;
        if unknown {
            s.broker.came_back = s.broker.came_back.map(|_| true);
            if self.keeps(Guard::RestoredBrokerStops) {
                s.broker.kept.restored = Some(s.now);
            }
        }
        let unwanted = Self::wants_freeze(s) || Self::broker_denies(s, block);
        let in_time = block.time() == s.now || !self.keeps(Guard::AdmittedOnlyBeforeExp);
        let over = displaced && self.keeps(Guard::AdmittedNotAfterRestrict);
        let outrun = unwanted && self.keeps(Guard::AdmittedNotAfterWord);
        let said =
            s.broker.work == Some(block) && locked && in_time && !over && !outrun && !kept.told;
        self.broker_moves(s, block, own_restrict);
        if said && s.broker.kept.restored.is_none() {
            property::judge_admitted(self, s, block, None);
        }
        true
    }

    fn broker_moves(&self, s: &mut State, block: Block, own_restrict: bool) {
        let kept = &mut s.broker.kept;
        if own_restrict && block.kind() == Kind::Restored {
            kept.restored = None;
        }
        let freeze_displaced =
            !own_restrict && kept.restrict.is_some_and(|r| r.kind() == Kind::Freeze);
        let answers = own_restrict || !self.keeps(Guard::OnlyItsOwnFreezeAnswers);
        let above = kept.freeze_above.is_some_and(|a| block.height() > a);
        if block.kind() == Kind::Freeze && above && answers || block.kind() == Kind::Revoke {
            kept.freeze_above = None;
        }
        kept.head = block;
        kept.lock = None;
        kept.restrict = None;
        kept.told = false;
        if freeze_displaced && self.keeps(Guard::FreezeStaysWanted) {
            let since = block.height().saturating_sub(1);
            kept.freeze_above = kept.freeze_above.or(Some(since));
        } else if freeze_displaced {
            kept.freeze_above = None;
            kept.words = 0;
        }
        let b = &mut s.broker;
        b.foreign = None;
        if b.work.is_some_and(|w| w.height() <= block.height()) {
            b.work = None;
            b.matched = false;
        }
        b.refused = b.refused.filter(|r| *r == block);
        b.told_height = b.told_height.max(block.height());
        // A freeze that was lifted since it was sealed is older than a wish that stands.
        let top = s.trust_operator.kept.head;
        let lifted = self.is_honest(Party::TrustOperator)
            && top.holds(block)
            && top.last(Kind::Unfreeze) > block.height();
        let newer = b.wish.is_some_and(|above| block.height() > above);
        if block.kind() == Kind::Freeze && newer && !lifted {
            b.wish = None;
        }
        s.broker.kept.words = unanswered(s, s.broker.kept.words, block);
        s.broker.heard = unanswered(s, s.broker.heard, block);
        let t = &mut s.trust_operator.kept;
        t.acked = t.acked.max(block.height());
    }

    /// A cancel, or time: only before the lock (rule 6).
    pub(crate) fn end(&self, s: &mut State) -> bool {
        if s.broker.work.is_none() {
            return false;
        }
        if s.broker.kept.lock.is_none() {
            self.end_unlocked(s);
            return true;
        }
        if self.keeps(Guard::CancelOnlyBeforeLock) || s.broker.kept.told {
            return false;
        }
        let room = s.broker.work.is_none_or(|w| s.broker.ended.add(w));
        property::note(s, !room, Broken::Room);
        true
    }

    /// The trust operator may refuse at any time: a limit, a clock ahead.
    pub(crate) fn refused(&self, s: &mut State) -> bool {
        if s.broker.work.is_none() || !s.compared {
            return false;
        }
        if s.broker.kept.lock.is_none() {
            self.end_unlocked(s);
        } else {
            s.broker.kept.told = true;
            s.broker.refused = s.broker.kept.lock;
        }
        true
    }

    pub(crate) fn desk_freeze(&self, s: &mut State) -> bool {
        let head = s.broker.kept.head;
        if s.broker.wish.is_some() || head.status() == Status::Revoked {
            return false;
        }
        // A freeze that it signed already answers only where it is known to stand on the true head: it may
        // have been sealed, and lifted, before this copy was made or asked.
        let signed = s.broker.kept.restrict;
        let signed = signed.filter(|r| r.kind() == Kind::Freeze);
        let stands = s.compared || !self.keeps(Guard::EarlierFreezeAnswersNothing);
        let above = match signed {
            Some(_) if stands => None,
            Some(freeze) => Some(freeze.height()),
            None => Some(head.height()),
        };
        let kept = &mut s.broker.kept;
        kept.freeze_above = kept.freeze_above.max(above);
        s.broker.wish = Some(head.height());
        self.end_unlocked(s);
        true
    }

    /// A device that found out that it is a restored copy says so.
    pub(crate) fn hear_restored(&self, s: &mut State) -> bool {
        let says = s.device.kept.restored.is_some() && self.is_honest(Party::Device);
        if !says || s.device.kept.head != s.broker.kept.head || s.broker.device_restored {
            return false;
        }
        s.broker.device_restored = true;
        true
    }

    /// A word reaches an operator: repeated by the device, forwarded, or replayed (rule 10).
    pub(crate) fn hear(&self, s: &mut State, party: Party, at: u8) -> bool {
        let Some(word) = s.said.get(usize::from(at)).copied().flatten() else {
            return false;
        };
        let head = match party {
            Party::Broker => s.broker.kept.head,
            _ => s.trust_operator.kept.head,
        };
        let rests = word.verb == Verb::Deny || head.holds(word.about.at(word.above()));
        let counts = word.counts(head) || !self.keeps(Guard::OldWordsDontCount);
        if !rests || !counts || word.is_answered(head) {
            return false;
        }
        let bit = 1 << at;
        if party != Party::Broker {
            let new = s.trust_operator.kept.words & bit == 0;
            s.trust_operator.kept.words |= bit;
            s.trust_operator.heard |= bit;
            return new;
        }
        let new = s.broker.kept.words & bit == 0;
        s.broker.kept.words |= bit;
        s.broker.heard |= bit;
        if s.broker.work == Some(word.about) || word.freezes() {
            self.end_unlocked(s);
        }
        new
    }
}
