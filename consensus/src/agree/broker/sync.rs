//! Heads, catching up, and adopting sealed blocks (rules 3, 6, 8).

use super::*;
use crate::chain::Seen;

impl Broker {
    pub(super) fn ask_head<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        self.send_head(Role::TrustOperator, true, turn);
    }

    pub(super) fn send_head<E: Entropy>(&mut self, to: Role, ask: bool, turn: &mut Turn<'_, E>) {
        let head = self.state.base.head();
        let vote = head.map(|h| {
            let sub = self.state.base.sub();
            Signing {
                key: &self.key,
                role: Role::Broker,
                sub,
                block: h.hash,
            }
            .vote(Verb::Head)
        });
        turn.send(
            to,
            Agree::HeadIs {
                head,
                vote,
                ask,
                notice: false,
            },
        );
    }

    pub(super) fn send_blocks<E: Entropy>(&mut self, to: Role, from: u64, turn: &mut Turn<'_, E>) {
        if let Some(head) = self.state.base.head()
            && from <= head.height
        {
            turn.out.push(Output::SendBlocks {
                to,
                from,
                until: head.height,
            });
        }
    }

    pub(super) fn head_is<E: Entropy>(
        &mut self,
        from: Role,
        head: Option<Head>,
        vote: Option<&Vote>,
        (ask, notice): (bool, bool),
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_head(from, head, vote)?;
        let theirs = head.map_or(0, |h| h.height.saturating_add(1));
        let ours = self.state.base.next_height();
        if ask {
            self.send_head(from, false, turn);
        }
        if theirs > ours {
            turn.send(from, Agree::BlocksFrom { height: ours });
            return Ok(());
        }
        if let (Some(head), Some(vote)) = (head, vote)
            && self.state.base.parts_from(&head)
        {
            // The blocks behind both heads, if there are any, say more than votes on them.
            if self.state.conflict.is_none_or(|c| !c.is_shown()) {
                turn.send(
                    from,
                    Agree::BlocksFrom {
                        height: head.height,
                    },
                );
            }
            self.send_blocks(from, head.height, turn);
            if from == Role::TrustOperator {
                let vote = *vote;
                self.found(Record::HeadConflict { head, vote }, turn);
            }
            return Err(not_ours(Some(head)));
        }
        if theirs < ours {
            self.send_blocks(from, theirs, turn);
            if from == Role::TrustOperator {
                // It catches up with blocks that prove themselves, then says so.
                return Ok(());
            }
        } else if head != self.state.base.head() {
            return Err(not_ours(head));
        }
        match from {
            Role::TrustOperator if !self.compared => {
                self.compared = true;
                self.retry_at = None;
                turn.tell(Event::Compared {
                    height: head.map(|h| h.height),
                });
                for held in self.state.words.iter() {
                    let agree = Agree::Word {
                        word: held.word,
                        proposal: held.proposal.clone(),
                    };
                    turn.out.push(Output::Send {
                        to: Role::TrustOperator,
                        agree,
                    });
                }
            }
            Role::Device if notice => self.device_restored = true,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn blocks<E: Entropy>(
        &mut self,
        sealed: Vec<Sealed>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let mut sealed = sealed.into_iter().peekable();
        while let Some(block) = sealed.next() {
            let followed = sealed
                .peek()
                .is_some_and(|next| self.is_followed(&block, next));
            self.adopt(block, followed, turn)?;
        }
        Ok(())
    }

    /// The votes that this broker sent to be sealed: the device's, which it checked, and its own.
    fn seen(&self) -> Seen {
        match self.work.as_ref().map(|w| (w.block.hash(), &w.round)) {
            Some((block, Round::Endorsed(endorse))) => match &**endorse {
                Agree::Endorse {
                    assent, endorse, ..
                } => Seen {
                    block,
                    assent: Some(*assent),
                    endorse: Some(*endorse),
                },
                _ => Seen::NONE,
            },
            _ => Seen::NONE,
        }
    }

    /// Whether a block that this broker signed was sealed, and another one on top of it. Nobody seals
    /// that one without this broker's signature either: it gave it, and forgot.
    fn is_followed(&self, block: &Sealed, next: &Sealed) -> bool {
        let hash = block.block.hash();
        (self.is_locked(hash) || self.signs(hash))
            && next.block.claims().prev == hash
            && self.state.base.verify_rival(next).is_ok()
    }

    fn is_locked(&self, hash: Hash) -> bool {
        let lock = self.state.lock.as_ref();
        lock.is_some_and(|l| l.block.hash() == hash)
    }

    /// Whether this is the restrict block that this broker signed and that is not sealed yet.
    fn signs(&self, hash: Hash) -> bool {
        let restrict = self.state.restrict.as_ref();
        restrict.is_some_and(|r| r.block.hash() == hash)
    }

    /// Verifies and stores one sealed block, then tells: durable before visible.
    fn adopt<E: Entropy>(
        &mut self,
        sealed: Sealed,
        followed: bool,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let hash = sealed.block.hash();
        let height = sealed.block.claims().height;
        let next = self.state.base.next_height();
        if self.state.base.rival_of(&sealed.block).is_some() {
            return self.conflict(sealed, turn);
        }
        if height < next {
            if let Some(head) = self.state.base.head() {
                turn.send(Role::TrustOperator, Agree::Ack { head });
            }
            return Ok(());
        }
        if height > next {
            turn.send(Role::TrustOperator, Agree::BlocksFrom { height: next });
            return Err(format!("block has height {height}, expected {next}"));
        }
        self.state.base.verify_but(&sealed, &self.seen())?;
        let (locked, own_restrict) = (self.is_locked(hash), self.signs(hash));
        let is_known = (locked || own_restrict) && !followed;
        if !is_known && next > 0 {
            // Rule 8: a block that it signed and does not know: this is a restored copy.
            let wait_ms = RESTORED_WAIT_S.saturating_mul(1000);
            let until = Time(turn.now.0.saturating_add(wait_ms));
            self.store(Record::BrokerRestored { until }, turn);
            turn.tell(Event::Restored { until });
            self.end_queued(&Reason::Restored, turn);
        }
        let displaced = self.state.restrict.is_some() && !own_restrict;
        let restored = self.state.restored.is_some();
        // Rule 10: a freeze that reached this broker first is not outrun by an "admitted" that is
        // told after it, wherever the sealed block was on its way.
        let unwanted = self.is_unwanted(hash);
        let exp = sealed.block.claims().exp;
        self.store(Record::Sealed(Box::new(sealed.clone())), turn);
        let head = Head { height, hash };
        turn.send(Role::TrustOperator, Agree::Ack { head });
        turn.send(
            Role::Device,
            Agree::Blocks {
                sealed: vec![sealed.clone()],
            },
        );
        turn.tell(Event::Sealed(Box::new(sealed.clone())));
        if let Some(work) = self
            .work
            .take_if(|w| locked || w.block.claims().height <= height)
        {
            let in_time = turn.now < Time::from_seconds(exp);
            let outcome = if locked && in_time && !displaced && !restored && !unwanted {
                self.pace.clear();
                Outcome::Admitted(Box::new(sealed))
            } else if unwanted {
                Outcome::Refused {
                    by: Role::Broker,
                    reason: Reason::FreezeWanted,
                }
            } else {
                Outcome::Expired
            };
            if !work.told {
                turn.tell(Event::Ended {
                    login: work.login,
                    outcome,
                });
            }
        }
        self.foreign = None;
        // `pursue` says next what there is to say, heads first where they were not compared.
        self.retry_at = None;
        Ok(())
    }

    /// Rule 9: sealed blocks that can't stand in one chain are kept, and stop admits here. Of a pair
    /// that an honest broker may have signed, the trust operator alone sealed both; any other carries
    /// this broker's own signatures, so it says no more than that this is a copy of itself.
    fn conflict<E: Entropy>(
        &mut self,
        sealed: Sealed,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_rival(&sealed)?;
        let (hash, height) = (sealed.block.hash(), sealed.block.claims().height);
        let is_proof = self.state.base.broker_may_have_signed(&sealed.block) == Some(true);
        let what = format!("sealed block {hash} at height {height} beside another");
        let is_news = self.found(Record::Conflict(Box::new(sealed)), turn);
        if is_news && is_proof {
            turn.tell(Event::Fault(Fault {
                culprit: Role::TrustOperator,
                what,
            }));
        }
        Ok(())
    }

    /// Keeps evidence and tells of it; whether it added to what is on record.
    fn found<E: Entropy>(&mut self, evidence: Record, turn: &mut Turn<'_, E>) -> bool {
        let is_news = Conflict::is_news(self.state.conflict, &evidence);
        if is_news {
            let told = conflict::told(&self.state.base, &evidence);
            self.store(evidence, turn);
            turn.out.extend(told.map(Output::Tell));
        }
        is_news
    }

    pub(super) fn genesis_dead<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if matches!(self.state.base, Base::Founding(_)) {
            self.store(Record::Dead, turn);
            self.work = None;
            self.retry_at = None;
            turn.out.push(Output::ForgetShare);
            turn.tell(Event::Dead);
        }
    }
}

fn not_ours(head: Option<Head>) -> String {
    let (height, hash) = head.map_or((0, String::new()), |h| (h.height, h.hash.to_string()));
    format!("head {hash} at height {height} is not this broker's")
}
