//! From a proposal to the assent: check, show, the customer's number, lock, share.

use super::*;

impl Device {
    pub(super) fn propose<E: Entropy>(
        &mut self,
        block: Block,
        body: Option<SealedBody>,
        salt: Option<SaltBytes>,
        commitments: OperatorCommitments,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let (hash, height) = (block.hash(), block.claims().height);
        if height > self.state.base.next_height() {
            // Behind is normal: catch up, the broker repeats.
            self.say_head(Role::Broker, turn);
            return Ok(());
        }
        let (parties, sub) = (*self.state.base.parties(), self.state.base.sub());
        verify_commitment(&parties, sub, hash, &commitments.trust_operator)?;
        if let Some(lock) = &self.state.lock {
            if lock.hash() == hash {
                return self.assent_again(commitments, turn);
            }
            turn.send(
                Role::Broker,
                Agree::Locked {
                    block: lock.clone(),
                },
            );
            return Ok(());
        }
        if let Err(reason) = self.own_eyes(&block, turn.now) {
            turn.send(Role::Broker, Agree::Refused { hash, reason });
            return Ok(());
        }
        if let Some(open) = self.open.as_mut().filter(|o| o.block.hash() == hash) {
            open.commitments = commitments;
            if let Some(number) = open.number {
                turn.send(Role::Broker, Agree::Number { hash, number });
            }
            return Ok(());
        }
        let shown = match self.open_body(&block, body.as_ref(), salt.as_ref()) {
            Ok(shown) => shown,
            Err(reason) => {
                turn.send(
                    Role::Broker,
                    Agree::Refused {
                        hash,
                        reason: Reason::Rule(reason),
                    },
                );
                return Ok(());
            }
        };
        if let Some(old) = self.open.take() {
            turn.tell(Event::PromptGone {
                hash: old.block.hash(),
                reason: None,
            });
        }
        let claims = block.claims().clone();
        let genesis = claims.kind == Kind::Genesis;
        self.open = Some(Open {
            block,
            body,
            salt,
            commitments,
            number: None,
        });
        if genesis {
            // Rule 10: the six digits, typed by the customer, stand for the number; the broker's
            // transcript vote, which the founding holds, is its word that they matched.
            return self.lock_and_assent(turn);
        }
        turn.tell(Event::Prompt(Prompt {
            hash,
            claims,
            body: shown,
        }));
        Ok(())
    }

    pub(super) fn open_body(
        &self,
        block: &Block,
        body: Option<&SealedBody>,
        salt: Option<&SaltBytes>,
    ) -> Result<Option<Body>, String> {
        match (block.claims().body, body, salt) {
            (None, None, None) => Ok(None),
            (Some(_), Some(sealed), Some(salt)) => {
                let salt = Salt::from_bytes(salt.0);
                body::open_body(&self.content_key, &salt, block, sealed)
                    .map(Some)
                    .map_err(|e| e.to_string())
            }
            _ => Err("the proposal's body and its salt don't fit its claims".into()),
        }
    }

    pub(super) fn approve<E: Entropy>(&mut self, hash: Hash, number: u8, turn: &mut Turn<'_, E>) {
        match self.open.as_mut().filter(|o| o.block.hash() == hash) {
            // One try (rule 10): the first number stands.
            Some(open) if open.number.is_none_or(|n| n == number) => {
                open.number = Some(number);
                turn.send(Role::Broker, Agree::Number { hash, number });
            }
            _ => turn.tell(Event::NoPrompt { hash }),
        }
    }

    pub(super) fn matched<E: Entropy>(
        &mut self,
        hash: Hash,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        if self.state.lock.as_ref().is_some_and(|l| l.hash() == hash) {
            return Ok(());
        }
        match self.open.as_ref().filter(|o| o.block.hash() == hash) {
            Some(open) if open.number.is_some() => self.lock_and_assent(turn),
            Some(_) => Err("match before the customer typed a number".into()),
            None => Err(format!("block {hash} is not open here")),
        }
    }

    pub(super) fn lock_and_assent<E: Entropy>(
        &mut self,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let hash = open.block.hash();
        if let Err(reason) = self.own_eyes(&open.block, turn.now) {
            turn.send(
                Role::Broker,
                Agree::Refused {
                    hash,
                    reason: reason.clone(),
                },
            );
            turn.tell(Event::PromptGone {
                hash,
                reason: Some(reason),
            });
            return Ok(());
        }
        // Rule 1: the lock is durable before the signature leaves.
        if let (Some(body), Some(salt)) = (open.body, open.salt) {
            turn.out.push(Output::KeepSalt { hash, salt });
            self.store(Record::Body { hash, body }, turn);
        }
        self.store(Record::DeviceLock(open.block.clone()), turn);
        self.assent(&open.block, open.commitments, 1, turn)
    }

    /// The same block again: the cached answer for the same package, else a fresh nonce, no
    /// prompt, before `exp` only, at most three times (rule 7).
    pub(super) fn assent_again<E: Entropy>(
        &mut self,
        commitments: OperatorCommitments,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let Some(block) = self.state.lock.clone() else {
            return Ok(());
        };
        let hash = block.hash();
        // Rule 10: from a freeze on it assents to nothing, nor says again that it did: the first time
        // may have been lost on the way.
        if let Err(reason) = self.own_eyes(&block, turn.now) {
            turn.send(Role::Broker, Agree::Refused { hash, reason });
            return Ok(());
        }
        let tries = match self.answered.as_ref().filter(|a| a.hash == hash) {
            Some(a) if a.commitments == commitments => {
                let assent = a.assent.clone();
                turn.send(Role::Broker, assent);
                return Ok(());
            }
            Some(a) => a.tries,
            None => 0,
        };
        if tries >= MAX_TRIES {
            let reason = Reason::Tries { limit: MAX_TRIES };
            turn.send(Role::Broker, Agree::Refused { hash, reason });
            return Ok(());
        }
        self.assent(&block, commitments, tries.saturating_add(1), turn)
    }

    pub(super) fn assent<E: Entropy>(
        &mut self,
        block: &Block,
        commitments: OperatorCommitments,
        tries: u8,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let (hash, sub) = (block.hash(), self.state.base.sub());
        let share = self
            .share
            .as_ref()
            .ok_or("this device holds no share of the account")?;
        let signing = Signing {
            key: &self.key,
            role: Role::Device,
            sub,
            block: hash,
        };
        let (nonces, commitment) = share::commit(share, hash.0, turn.entropy);
        let operators = [commitments.broker, commitments.trust_operator.commitment];
        let [broker, trust_operator] = operators;
        let package = Package::new([commitment, broker, trust_operator]);
        let signature = share::sign(share, nonces, block.input().as_bytes(), &hash.0, &package)
            .map_err(|e| e.to_string())?;
        let assent = Agree::Assent {
            hash,
            commitment,
            share: signing.share(package_hash(&package), signature),
            vote: signing.vote(Verb::Assent),
        };
        turn.send(Role::Broker, assent.clone());
        self.answered = Some(Answered {
            hash,
            commitments,
            assent,
            tries,
        });
        Ok(())
    }
}
