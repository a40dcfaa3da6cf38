//! Heads, catching up, acknowledgements, the device's words, and the end of a genesis.

use super::*;

impl TrustOperator {
    pub(super) fn ack<E: Entropy>(&mut self, head: Head, turn: &mut Turn<'_, E>) {
        let newer = self.state.acked.is_none_or(|a| a.height < head.height);
        if newer && self.state.base.head() == Some(head) {
            self.store(Record::Acked(head), turn);
        }
    }

    pub(super) fn send_head<E: Entropy>(&self, to: Role, ask: bool, turn: &mut Turn<'_, E>) {
        let own = self.state.base.head();
        let head = if to == Role::Device {
            self.state.acked
        } else {
            own
        };
        let vote = head.map(|h| {
            let sub = self.state.base.sub();
            Signing {
                key: &self.key,
                role: Role::TrustOperator,
                sub,
                block: h.hash,
            }
            .vote(Verb::Head)
        });
        // The unsigned notice of rule 8: there is more than may be shown; it moves no head.
        let notice = to == Role::Device && head != own;
        turn.send(
            to,
            Agree::HeadIs {
                head,
                vote,
                ask,
                notice,
            },
        );
    }

    pub(super) fn send_blocks<E: Entropy>(&self, to: Role, from: u64, turn: &mut Turn<'_, E>) {
        let head = if to == Role::Device {
            self.state.acked
        } else {
            self.state.base.head()
        };
        if let Some(head) = head
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
        ask: bool,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_head(from, head, vote)?;
        if matches!(self.state.base, Base::Dead(_)) {
            turn.send(from, Agree::GenesisDead);
            return Ok(());
        }
        if head.is_none()
            && self
                .state
                .base
                .founding()
                .is_some_and(|f| turn.now >= f.deadline)
        {
            self.declare_dead(turn);
            turn.send(from, Agree::GenesisDead);
            return Ok(());
        }
        let theirs = head.map_or(0, |h| h.height.saturating_add(1));
        let ours = self.state.base.next_height();
        if from == Role::Device {
            if ask {
                self.send_head(Role::Device, false, turn);
            }
            self.send_blocks(Role::Device, theirs, turn);
            return Ok(());
        }
        if theirs > ours {
            // The broker proves more than this copy knows: catch up first.
            turn.send(Role::Broker, Agree::BlocksFrom { height: ours });
            return Ok(());
        }
        if let (Some(head), Some(vote)) = (head, vote)
            && self.state.base.parts_from(&head)
        {
            // The blocks behind both heads, if there are any, say more than votes on them.
            if self.state.conflict.is_none_or(|c| !c.is_shown()) {
                let height = head.height;
                turn.send(Role::Broker, Agree::BlocksFrom { height });
            }
            self.send_blocks(Role::Broker, head.height, turn);
            let vote = *vote;
            self.found(Record::HeadConflict { head, vote }, turn);
            return Err(not_ours(head));
        }
        if let Some(head) = head.filter(|h| theirs == ours && Some(*h) != self.state.base.head()) {
            return Err(not_ours(head));
        }
        if let Some(head) = head.filter(|_| theirs == ours) {
            self.ack(head, turn);
        }
        if theirs == ours && !self.compared {
            self.compared = true;
            turn.tell(Event::Compared {
                height: head.map(|h| h.height),
            });
        }
        if ask {
            self.send_head(Role::Broker, false, turn);
        }
        self.send_blocks(Role::Broker, theirs, turn);
        Ok(())
    }

    /// Blocks prove themselves: this copy catches up with what the broker holds.
    pub(super) fn blocks<E: Entropy>(
        &mut self,
        sealed: Vec<Sealed>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let before = self.state.base.next_height();
        for block in sealed {
            let height = block.block.claims().height;
            let next = self.state.base.next_height();
            if self.state.base.rival_of(&block.block).is_some() {
                return self.conflict(block, turn);
            }
            if height < next {
                continue;
            }
            self.state.base.verify(&block)?;
            self.store_sealed(&block, turn);
            turn.tell(Event::Sealed(Box::new(block)));
        }
        if self.state.base.next_height() > before {
            self.send_head(Role::Broker, true, turn);
        }
        Ok(())
    }

    /// Rule 9: sealed blocks that can't stand in one chain are kept, and stop admits here. This
    /// party's own signatures are on both, so it is a restored copy; the broker is at fault for a
    /// pair with the head that no honest one signs, and for no other.
    pub(super) fn conflict<E: Entropy>(
        &mut self,
        sealed: Sealed,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_rival(&sealed)?;
        let is_proof = self.state.base.broker_may_have_signed(&sealed.block) == Some(false);
        let what = format!(
            "signed block {} at height {} beside another",
            sealed.block.hash(),
            sealed.block.claims().height
        );
        let is_news = self.found(Record::Conflict(Box::new(sealed)), turn);
        if is_news && is_proof {
            turn.tell(Event::Fault(Fault {
                culprit: Role::Broker,
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
            self.open = None;
            self.store(evidence, turn);
            turn.out.extend(told.map(Output::Tell));
        }
        is_news
    }

    pub(super) fn word<E: Entropy>(
        &mut self,
        from: Role,
        word: &Word,
        proposal: Option<&Block>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let Some(held) = self.state.words.judge(&self.state.base, word, proposal)? else {
            let above = proposal.map_or(0, |p| p.claims().height);
            if from == Role::Device {
                self.send_blocks(Role::Device, above, turn);
            }
            return Ok(());
        };
        let fresh = !self.state.words.holds(word);
        if fresh && self.state.words.is_full(word.verb) {
            return Err("too many words of this device stand already".into());
        }
        if fresh {
            let HeldWord { word, proposal, .. } = held.clone();
            self.store(Record::Word(Box::new(held)), turn);
            if from == Role::Device {
                turn.send(Role::Broker, Agree::Word { word, proposal });
            }
            self.repeat_at = Some(Time(turn.now.0.saturating_add(WORD_REPEAT_MS)));
        }
        Ok(())
    }

    pub(super) fn declare_dead<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if matches!(self.state.base, Base::Founding(_)) {
            self.store(Record::Dead, turn);
            self.open = None;
            turn.out.push(Output::ForgetShare);
            turn.tell(Event::Dead);
        }
    }
}

fn not_ours(head: Head) -> String {
    let Head { height, hash } = head;
    format!("the broker's head {hash} at height {height} is not in this chain")
}
