//! From a proposal to the sealed block: own checks, own share, aggregate, commit point.

use super::*;

impl TrustOperator {
    /// Rule 2, and what the device's words and this party's own policy add.
    pub(super) fn own_eyes(&self, block: &Block, now: Time) -> Result<(), Reason> {
        let c = block.claims();
        if c.kind.class() != Class::Admit {
            return Err(Reason::Rule(format!(
                "kind `{}` is no admit",
                c.kind.name()
            )));
        }
        self.state.base.check(block).map_err(Reason::Rule)?;
        check_times(now, c.iat, c.exp).map_err(|e| Reason::Clock(e.to_string()))?;
        if self.state.conflict.is_some() {
            return Err(Reason::Conflict);
        }
        if self.state.words.denies(&block.hash()).is_some() {
            return Err(Reason::Denied);
        }
        if self.state.words.freeze().is_some() {
            return Err(Reason::FreezeWanted);
        }
        if c.kind == Kind::Genesis
            && self
                .state
                .base
                .founding()
                .is_some_and(|f| now >= f.deadline)
        {
            return Err(Reason::Dead);
        }
        if c.kind == Kind::Unfreeze
            && let Some(at) = self.state.frozen_at
        {
            let from = at.saturating_add(self.options.unfreeze_delay_s);
            if now.seconds() < from {
                let wait_s = from.saturating_sub(now.seconds());
                return Err(Reason::UnfreezeDelay { wait_s });
            }
        }
        Ok(())
    }

    pub(super) fn prepare<E: Entropy>(&mut self, block: &Block, turn: &mut Turn<'_, E>) {
        if self.answered(block, turn) {
            return;
        }
        let hash = block.hash();
        if let Some(open) = self.open.as_ref().filter(|o| o.hash == hash)
            && turn.now < Time::from_seconds(open.exp)
        {
            let commitment = open.commitment.clone();
            turn.send(Role::Broker, Agree::Committed { hash, commitment });
            return;
        }
        self.heed_freeze_time(block, turn);
        if let Err(reason) = self.own_eyes(block, turn.now) {
            self.refuse(hash, reason, turn);
            return;
        }
        self.commit(block, turn);
    }

    /// The freeze is dated ahead of the clock: that one stood ahead when the freeze was sealed, and the
    /// delay would last as much longer. It begins now, at an unfreeze whose times fit this clock as it
    /// stands, so that one that stands behind cuts no delay short.
    fn heed_freeze_time<E: Entropy>(&mut self, block: &Block, turn: &mut Turn<'_, E>) {
        let is_ahead = self
            .state
            .frozen_at
            .is_some_and(|at| is_beyond(Time::from_seconds(at), MAX_AHEAD_S, turn.now));
        if is_ahead && let Err(Reason::UnfreezeDelay { .. }) = self.own_eyes(block, turn.now) {
            self.store(Record::FrozenAt { at: turn.now }, turn);
        }
    }

    /// A nonce for a block that passed the own checks, as often as its pace allows.
    pub(super) fn commit<E: Entropy>(&mut self, block: &Block, turn: &mut Turn<'_, E>) {
        let hash = block.hash();
        if self.pace.is_full(turn.now) {
            let (limit, window_s) = (self.pace.limit(), self.pace.window_s());
            self.refuse(hash, Reason::Pace { limit, window_s }, turn);
            return;
        }
        self.pace.mark(turn.now);
        let Some(share) = &self.share else {
            let reason = Reason::Rule("this trust operator holds no share of the account".into());
            self.refuse(hash, reason, turn);
            return;
        };
        let (nonces, commitment) = share::commit(share, hash.0, turn.entropy);
        let sub = self.state.base.sub();
        let signing = Signing {
            key: &self.key,
            role: Role::TrustOperator,
            sub,
            block: hash,
        };
        let commitment = signing.commitment(commitment);
        let exp = block.claims().exp;
        self.open = Some(Open {
            hash,
            nonces,
            commitment: commitment.clone(),
            exp,
        });
        turn.send(Role::Broker, Agree::Committed { hash, commitment });
    }

    pub(super) fn endorse<E: Entropy>(
        &mut self,
        e: &Endorsement<'_>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        if self.answered(e.block, turn) {
            return Ok(());
        }
        let hash = e.block.hash();
        if let Err(reason) = self.own_eyes(e.block, turn.now) {
            self.refuse(hash, reason, turn);
            return Ok(());
        }
        let Some(open) = self.open.take_if(|o| o.hash == hash) else {
            // The nonce is lost (restart, newer Prepare): another package, same block (rule 7).
            self.commit(e.block, turn);
            return Ok(());
        };
        if e.own != CommitmentBytes::from(&open.commitment.commitment) {
            // An older package of this block: the nonce of the newer one stays unused.
            let commitment = open.commitment.clone();
            self.open = Some(open);
            turn.send(Role::Broker, Agree::Committed { hash, commitment });
            return Ok(());
        }
        // From here on the nonce is consumed, whatever comes (rule 7).
        match self.seal_signature(e, open) {
            Ok((proof, votes)) => {
                let sealed = Sealed {
                    block: e.block.clone(),
                    proof,
                    votes,
                };
                self.commit_sealed(sealed, turn);
                Ok(())
            }
            Err(fault) => {
                let reason = Reason::Fault {
                    culprit: fault.culprit,
                };
                turn.tell(Event::Fault(fault));
                self.refuse(hash, reason, turn);
                Ok(())
            }
        }
    }

    /// Checks both votes on the block, adds its own share, aggregates, verifies (rules 3, 9).
    pub(super) fn seal_signature(
        &self,
        e: &Endorsement<'_>,
        open: Open,
    ) -> Result<(Proof, Votes), Fault> {
        let (parties, sub) = (self.state.base.parties(), self.state.base.sub());
        let (hash, broker) = (e.block.hash(), Role::Broker);
        let by_broker = |what: String| Fault {
            culprit: broker,
            what,
        };
        // What the broker forwards must carry its owner's vote; without one the broker is at
        // fault, never the owner.
        verify_vote(parties, broker, Verb::Endorse, sub, hash, &e.endorse).map_err(by_broker)?;
        verify_vote(parties, Role::Device, Verb::Assent, sub, hash, &e.assent)
            .map_err(by_broker)?;
        let own_fault = |what: String| Fault {
            culprit: Role::TrustOperator,
            what,
        };
        let key_share = self
            .share
            .as_ref()
            .ok_or_else(|| own_fault("no key share".into()))?;
        let [device, broker] = *e.commitments;
        let package = Package::new([device, broker, open.commitment.commitment]);
        let message = e.block.input().as_bytes();
        let theirs = e.shares.each_ref().map(|signed| signed.share);
        let completed = share::complete(key_share, open.nonces, message, &hash.0, &package, theirs);
        let signature = completed.map_err(|error| match error {
            CompleteError::Aggregate(AggregateError::Culprits { roles }) => {
                self.blame(e, &package, &roles)
            }
            other => own_fault(other.to_string()),
        })?;
        let proof = Proof::Account(signature);
        let signing = Signing {
            key: &self.key,
            role: Role::TrustOperator,
            sub,
            block: hash,
        };
        let seal = signing.vote(Verb::Seal);
        let (assent, endorse) = (e.assent, e.endorse);
        let votes = match &self.state.base {
            Base::Founding(f) => Votes::Genesis {
                assent,
                endorse,
                seal,
                transcript: f.votes,
            },
            _ => Votes::Admit {
                assent,
                endorse,
                seal,
            },
        };
        Ok((proof, votes))
    }

    /// Who is at fault when the shares make no signature. A signature that verifies needs no look at
    /// the votes on shares (8); one that fails does: a share is a fault only against the package
    /// that its sender signed, and what lacks its owner's vote is its forwarder's fault (rule 9).
    fn blame(&self, e: &Endorsement<'_>, package: &Package, roles: &[Role]) -> Fault {
        let (parties, sub) = (self.state.base.parties(), self.state.base.sub());
        let (hash, package) = (e.block.hash(), package_hash(package));
        for (role, signed) in [Role::Device, Role::Broker].into_iter().zip(e.shares) {
            if let Err(what) = verify_share(parties, role, sub, hash, package, signed) {
                return Fault {
                    culprit: Role::Broker,
                    what,
                };
            }
        }
        Fault {
            culprit: roles.first().copied().unwrap_or(Role::TrustOperator),
            what: format!("signature share for block {hash} does not verify"),
        }
    }

    /// The commit point (rule 3): make durable what was verified, only then answer. An admit block
    /// was verified on the way here: its place by `own_eyes`, both others' votes and the signature
    /// under the account's key by `seal_signature`.
    pub(super) fn commit_sealed<E: Entropy>(&mut self, sealed: Sealed, turn: &mut Turn<'_, E>) {
        debug_assert_eq!(self.state.base.verify(&sealed), Ok(()));
        self.open = None;
        self.store_sealed(&sealed, turn);
        turn.send(
            Role::Broker,
            Agree::Blocks {
                sealed: vec![sealed.clone()],
            },
        );
        turn.tell(Event::Sealed(Box::new(sealed)));
    }
}
