//! What the broker signs next when nobody asks it to: the one place that decides ([`pursue`]), and
//! the restrict blocks (rules 4, 5, 8, 10).
//!
//! [`pursue`]: Broker::pursue

use super::*;
use crate::{block::Claims, chain::Status, encoding::text_b64, time::RESTRICT_LIFETIME_S};

impl Broker {
    /// Walks the duties in their order of precedence; signs at most one block.
    pub(super) fn pursue<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if matches!(self.state.base, Base::Dead(_)) {
            return;
        }
        if self.wants_freeze() {
            self.end_queued(&Reason::FreezeWanted, turn);
            let reason = Reason::FreezeWanted;
            let by = if self.state.words.freeze().is_some() {
                Role::Device
            } else {
                Role::Broker
            };
            self.end_unlocked(
                Outcome::Refused {
                    by,
                    reason: reason.clone(),
                },
                reason,
                turn,
            );
        }
        if !self.is_up(Role::TrustOperator) {
            return;
        }
        if !self.compared {
            if self.retry_at.is_none() {
                self.ask_head(turn);
                self.first_retry(turn);
            }
            return;
        }
        if matches!(self.state.base, Base::Standing(_)) && self.pursue_restrict(turn) {
            return;
        }
        if let Some(work) = &self.work {
            // After a new session or a restart: ask for the trust operator's commitment again.
            if matches!(work.round, Round::Preparing)
                && self.retry_at.is_none()
                && turn.now < Time::from_seconds(work.block.claims().exp)
            {
                let block = work.block.clone();
                turn.send(Role::TrustOperator, Agree::Prepare { block });
                self.first_retry(turn);
            }
            return;
        }
        if self.state.lock.is_none() {
            self.open_queued(turn);
        }
    }

    /// Returns whether a restrict block is outstanding or must come first.
    fn pursue_restrict<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) -> bool {
        if self.signs_anew(turn.now) {
            self.sign_own(Kind::Restored, turn);
            return true;
        }
        if self.state.restrict.is_some() {
            if self.retry_at.is_none() {
                self.send_restrict(turn);
                self.first_retry(turn);
            }
            return true;
        }
        if let Some(until) = self.restored_due() {
            // Rule 8: the longest proposal that it may have forgotten is dead before it signs.
            if turn.now < until {
                return true;
            }
            self.sign_own(Kind::Restored, turn);
            return true;
        }
        // What the device alone causes waits while its pace is full: its word stands meanwhile, so
        // nothing that it refused is admitted.
        let heard = !self.asked.is_full(turn.now);
        if self.wants_freeze() {
            if self.state.freeze_above.is_none() {
                if !heard {
                    return true;
                }
                self.asked.mark(turn.now);
            }
            self.sign_own(Kind::Freeze, turn);
            return true;
        }
        if heard
            && let Some(held) = self.state.words.denial().cloned()
            && let Some(proposal) = held.proposal.clone()
        {
            let supersedes_other = self
                .state
                .lock
                .as_ref()
                .is_some_and(|l| l.block.hash() != proposal.hash());
            if !supersedes_other {
                self.asked.mark(turn.now);
                self.sign_about(Kind::Deny, &proposal, Some(held), turn);
                return true;
            }
        }
        if let Some(block) = self.refusing.take()
            && self.state.base.check(&block).is_ok()
        {
            self.sign_about(Kind::Refuse, &block, None, turn);
            return true;
        }
        if let Some(lock) = &self.state.lock {
            if turn.now < after_grace(lock.block.claims().exp) {
                return false;
            }
            let block = lock.block.clone();
            self.sign_about(Kind::Expire, &block, None, turn);
            return true;
        }
        if !heard {
            return false;
        }
        if let Some(block) = self.foreign.take() {
            self.asked.mark(turn.now);
            // Rule 5: bytes that it never locked get an `expire` at once, and its own proposal
            // moves one height up.
            self.requeue();
            self.sign_about(Kind::Expire, &block, None, turn);
            return true;
        }
        if self.device_restored {
            self.device_restored = false;
            self.asked.mark(turn.now);
            self.requeue();
            self.sign_own(Kind::Restored, turn);
            return true;
        }
        false
    }

    pub(super) fn wants_freeze(&self) -> bool {
        let revoked = self.state.base.status() == Some(Status::Revoked);
        !revoked && (self.state.freeze_above.is_some() || self.state.words.freeze().is_some())
    }

    /// A freeze is wanted, or the device denied this very block: nobody is told that it is admitted.
    pub(super) fn is_unwanted(&self, hash: Hash) -> bool {
        self.wants_freeze() || self.state.words.denies(&hash).is_some()
    }

    fn requeue(&mut self) {
        if let Some(work) = self.work.take()
            && let (Some(begin), Some(number)) = (work.begin, work.number)
        {
            self.queued = Some(Queued {
                begin,
                number,
                exp: work.block.claims().exp,
            });
        }
    }

    pub(super) fn want_freeze<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        let Some(head) = self.state.base.head() else {
            return;
        };
        if self.state.base.status() == Some(Status::Revoked) {
            // No `freeze` could answer it: the wish would stand for ever.
            turn.tell(Event::Rejected {
                from: Role::Broker,
                refusal: Refusal::nothing_to_freeze(),
            });
            return;
        }
        let above = match self.state.signs_freeze() {
            // It stands on the true head: whatever displaces it leaves it pending (rule 4).
            Some(_) if self.compared => return,
            // It may have been sealed, and lifted, before this copy was made or asked.
            Some(signed) => signed,
            None => head.height,
        };
        // One wish for a head is enough: a freeze that is asked for again fills no disk.
        if self.state.freeze_above.is_none_or(|wanted| wanted < above) {
            self.store(Record::FreezeWanted { above }, turn);
        }
    }

    /// A `freeze` or `restored`: about the account, with a nonce of its own.
    fn sign_own<E: Entropy>(&mut self, kind: Kind, turn: &mut Turn<'_, E>) {
        let mut nonce = [0u8; 16];
        turn.entropy.fill(&mut nonce);
        // A word that does not count any more is no reason to give; the wish stands all the same.
        let held = match (kind, self.state.base.account()) {
            (Kind::Freeze, Some(account)) => self.state.words.counting(account).cloned(),
            _ => None,
        };
        let aud = self.state.base.iss().to_owned();
        self.sign_restrict(kind, aud, text_b64(&nonce), held, turn);
    }

    /// A `deny`, `refuse` or `expire`: about a proposal, with its `aud` and `nonce`.
    pub(super) fn sign_about<E: Entropy>(
        &mut self,
        kind: Kind,
        proposal: &Block,
        held: Option<HeldWord>,
        turn: &mut Turn<'_, E>,
    ) {
        let c = proposal.claims();
        self.sign_restrict(kind, c.aud.clone(), c.nonce.clone(), held, turn);
    }

    fn sign_restrict<E: Entropy>(
        &mut self,
        kind: Kind,
        aud: String,
        nonce: String,
        held: Option<HeldWord>,
        turn: &mut Turn<'_, E>,
    ) {
        if self.state.restrict.is_some() && !self.signs_anew(turn.now) {
            return;
        }
        let base = &self.state.base;
        let superseded = self.state.lock.as_ref().map(|l| l.block.clone());
        let iat = turn.now.seconds();
        let claims = Claims {
            iss: base.iss().to_owned(),
            sub: base.sub(),
            aud,
            iat,
            exp: iat.saturating_add(RESTRICT_LIFETIME_S),
            nonce,
            kind,
            height: base.next_height(),
            prev: base.prev(),
            epoch: base.epoch(),
            body: None,
            supersedes: superseded.as_ref().map(Block::hash),
            genesis: None,
        };
        let block = match Block::new(claims, base.account_key()) {
            Ok(block) => block,
            Err(e) => {
                let what = format!("cannot form a `{}` block: {e}", kind.name());
                turn.tell(Event::Fault(Fault {
                    culprit: Role::Broker,
                    what,
                }));
                return;
            }
        };
        self.end_superseded(kind, held.as_ref(), turn);
        let signature = self.key.sign(block.input().as_bytes()).into();
        let (word, proposal) = held.map_or((None, None), |h| (Some(h.word), h.proposal));
        let lock = RestrictLock {
            block,
            signature,
            superseded,
            word,
            proposal,
        };
        self.store(Record::RestrictLock(Box::new(lock)), turn);
        self.send_restrict(turn);
        self.first_retry(turn);
    }

    /// From here on nobody is told "admitted" for the superseded proposal (rule 6).
    fn end_superseded<E: Entropy>(
        &mut self,
        kind: Kind,
        held: Option<&HeldWord>,
        turn: &mut Turn<'_, E>,
    ) {
        let Some(work) = self.work.take() else { return };
        let outcome = match (kind, held) {
            (Kind::Expire, _) => Outcome::Expired,
            (_, Some(_)) => Outcome::Refused {
                by: Role::Device,
                reason: Reason::Denied,
            },
            (_, None) => Outcome::Refused {
                by: Role::Broker,
                reason: Reason::FreezeWanted,
            },
        };
        if self.state.lock.is_none() {
            let hash = work.block.hash();
            turn.send(
                Role::Device,
                Agree::Refused {
                    hash,
                    reason: Reason::Denied,
                },
            );
        }
        if !work.told {
            turn.tell(Event::Ended {
                login: work.login,
                outcome,
            });
        }
    }

    pub(super) fn send_restrict<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if let Some(r) = &self.state.restrict {
            turn.send(
                Role::TrustOperator,
                Agree::Restrict {
                    block: r.block.clone(),
                    signature: r.signature,
                    superseded: r.superseded.clone(),
                    word: r.word,
                    proposal: r.proposal.clone(),
                },
            );
        }
    }

    /// The device denied, disowned or froze, directly or through the trust operator (rule 10).
    pub(super) fn word<E: Entropy>(
        &mut self,
        from: Role,
        word: &Word,
        proposal: Option<&Block>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let Some(held) = self.state.words.judge(&self.state.base, word, proposal)? else {
            // Answered by a sealed block already: show it.
            if from == Role::Device {
                self.send_head(Role::Device, false, turn);
                let above = proposal.map_or(0, |p| p.claims().height);
                self.send_blocks(Role::Device, above, turn);
            }
            return Ok(());
        };
        let is_known = self.state.words.holds(word);
        let is_refused = !is_known && self.state.words.is_full(word.verb);
        if !is_known && !is_refused {
            self.store(Record::Word(Box::new(held.clone())), turn);
            if from == Role::Device {
                let agree = Agree::Word {
                    word: held.word,
                    proposal: held.proposal.clone(),
                };
                turn.send(Role::TrustOperator, agree);
            }
        }
        let denied_open = self
            .work
            .as_ref()
            .is_some_and(|w| w.block.hash() == word.hash);
        if denied_open {
            let outcome = Outcome::Refused {
                by: Role::Device,
                reason: Reason::Denied,
            };
            self.end_unlocked(outcome, Reason::Denied, turn);
        }
        if is_refused {
            return Err("too many words of this device stand already".into());
        }
        Ok(())
    }
}
