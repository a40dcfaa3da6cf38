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
        if theirs < ours {
            self.send_blocks(from, theirs, turn);
            if from == Role::TrustOperator {
                // It catches up with blocks that prove themselves, then says so.
                return Ok(());
            }
        } else if head != self.state.base.head() {
            return Err(format!(
                "head {} at height {} is not this broker's",
                head.map_or_else(String::new, |h| h.hash.to_string()),
                ours.saturating_sub(1)
            ));
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
        from: Role,
        sealed: Vec<Sealed>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let before = self.state.base.next_height();
        for block in sealed {
            self.adopt(block, turn)?;
        }
        if from == Role::TrustOperator && !self.compared && self.state.base.next_height() > before {
            self.ask_head(turn);
            self.first_retry(turn);
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

    /// Verifies and stores one sealed block, then tells: durable before visible.
    fn adopt<E: Entropy>(&mut self, sealed: Sealed, turn: &mut Turn<'_, E>) -> Result<(), String> {
        let hash = sealed.block.hash();
        let height = sealed.block.claims().height;
        let next = self.state.base.next_height();
        if height < next {
            if let Some(head) = self.state.base.head()
                && head.height == height
                && head.hash != hash
            {
                return self.conflict(sealed, turn);
            }
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
        let locked = self
            .state
            .lock
            .as_ref()
            .is_some_and(|l| l.block.hash() == hash);
        let own_restrict = self
            .state
            .restrict
            .as_ref()
            .is_some_and(|r| r.block.hash() == hash);
        if !locked && !own_restrict && next > 0 {
            // Rule 8: a block that it endorsed and does not know: this is a restored copy.
            let wait_s = MAX_LIFETIME_S
                .saturating_add(GRACE_S)
                .saturating_add(GRACE_S);
            let until = Time(turn.now.0.saturating_add(wait_s.saturating_mul(1000)));
            self.store(Record::BrokerRestored { until }, turn);
            turn.tell(Event::Restored { until });
            self.end_queued(&Reason::Restored, turn);
        }
        let displaced = self.state.restrict.is_some() && !own_restrict;
        let restored = self.state.restored.is_some();
        // Rule 10: a freeze that reached this broker first is not outrun by an "admitted" that is
        // told after it, wherever the sealed block was on its way.
        let unwanted = self.wants_freeze() || self.state.words.denies(&hash).is_some();
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
        self.retry_at = None;
        Ok(())
    }

    /// Rule 9: two sealed blocks at one height are kept, and stop the account here.
    fn conflict<E: Entropy>(
        &mut self,
        sealed: Sealed,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_rival(&sealed)?;
        let hash = sealed.block.hash();
        let height = sealed.block.claims().height;
        self.store(Record::Conflict(Box::new(sealed)), turn);
        let what = format!("sealed block {hash} at height {height} beside another");
        turn.tell(Event::Fault(Fault {
            culprit: Role::TrustOperator,
            what,
        }));
        Ok(())
    }

    pub(super) fn genesis_dead<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if matches!(self.state.base, Base::Founding(_)) {
            self.store(Record::Dead, turn);
            self.work = None;
            turn.out.push(Output::ForgetShare);
            turn.tell(Event::Dead);
        }
    }
}
