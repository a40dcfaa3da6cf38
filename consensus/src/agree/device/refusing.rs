//! The device's refusing words: deny, disown, freeze (rule 10).

use super::*;

impl Device {
    pub(super) fn deny<E: Entropy>(&mut self, hash: Hash, not_me: bool, turn: &mut Turn<'_, E>) {
        let Some(open) = self.open.take_if(|o| o.block.hash() == hash) else {
            turn.tell(Event::NoPrompt { hash });
            return;
        };
        let verb = if not_me { Verb::Disown } else { Verb::Deny };
        self.say(verb, hash, Some(open.block), turn);
        turn.tell(Event::PromptGone {
            hash,
            reason: Some(Reason::Denied),
        });
    }

    pub(super) fn freeze<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if self.state.base.status() == Some(Status::Revoked) {
            // No `freeze` could answer it: it would be told for ever.
            turn.tell(Event::Rejected {
                from: Role::Device,
                refusal: Refusal::nothing_to_freeze(),
            });
            return;
        }
        if let Some(head) = self.state.base.head() {
            if let Some(open) = self.open.take() {
                let (hash, reason) = (open.block.hash(), Some(Reason::FreezeWanted));
                turn.tell(Event::PromptGone { hash, reason });
            }
            self.say(Verb::Freeze, head.hash, None, turn);
        }
    }

    /// Keeps the word durably, then tells both operators until it is answered (rule 10).
    pub(super) fn say<E: Entropy>(
        &mut self,
        verb: Verb,
        hash: Hash,
        proposal: Option<Block>,
        turn: &mut Turn<'_, E>,
    ) {
        let word = Word::sign(&self.key, verb, self.state.base.sub(), hash);
        if self.state.words.holds(&word) {
            return;
        }
        let above = match &proposal {
            Some(p) => p.claims().height.saturating_sub(1),
            None => self.state.base.head().map_or(0, |h| h.height),
        };
        let held = HeldWord {
            word,
            proposal: proposal.clone(),
            above,
        };
        self.store(Record::Word(Box::new(held)), turn);
        for role in [Role::Broker, Role::TrustOperator] {
            turn.send(
                role,
                Agree::Word {
                    word,
                    proposal: proposal.clone(),
                },
            );
        }
        self.repeat_at = Some(Time(turn.now.0.saturating_add(REPEAT_MS)));
    }

    /// The customer froze after this device assented to an unfreeze and before it held it, or on a
    /// restored copy that had yet to hear of an older freeze and its end: the wish is the newer one,
    /// so it is said again about a block that the operators count.
    pub(super) fn renew_freeze<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        let Some(account) = self.state.base.account() else {
            return;
        };
        let is_overtaken = self.state.wish == Wish::Overtaken;
        if is_overtaken || self.state.words.freeze_is_outdated(account) {
            let head = account.head().hash;
            self.say(Verb::Freeze, head, None, turn);
        }
    }

    pub(super) fn repeat_words<E: Entropy>(&self, to: Role, turn: &mut Turn<'_, E>) {
        for held in self.state.words.iter() {
            let agree = Agree::Word {
                word: held.word,
                proposal: held.proposal.clone(),
            };
            turn.send(to, agree);
        }
    }
}
