//! From `begin` to the endorsement: proposal, number, lock, own share.

use subtle::ConstantTimeEq;

use super::*;
use crate::{
    agree::Founding,
    block::{Claims, Class},
    body,
    encoding::text_b64,
    time::check_times,
};

impl Broker {
    pub(super) fn begin<E: Entropy>(&mut self, begin: Box<Begin>, turn: &mut Turn<'_, E>) {
        let login = begin.login;
        if let Err(refusal) = self.may_begin(&begin, turn.now) {
            turn.tell(Event::NotBegun { login, refusal });
            return;
        }
        let mut byte = [0u8; 1];
        let number = loop {
            turn.entropy.fill(&mut byte);
            // 200 = 2 × 100: no number is likelier than another.
            if let [n @ 0..200] = byte {
                break n % 100;
            }
        };
        let exp = turn.now.seconds().saturating_add(begin.lifetime_s);
        self.pace.mark(turn.now);
        self.queued = Some(Queued { begin, number, exp });
        turn.tell(Event::Began { login, number, exp });
    }

    fn may_begin(&mut self, begin: &Begin, now: Time) -> Result<(), Refusal> {
        let s = &self.state;
        let status = match &s.base {
            _ if s.conflict.is_some() => return Err(Refusal::Conflict),
            Base::Dead(_) => return Err(Refusal::Dead),
            Base::Founding(_) => return Err(Refusal::NoGenesis),
            Base::Standing(a) => a.status(),
        };
        if status.after(begin.kind).is_none() || !begin.kind.is_asked() {
            return Err(Refusal::StatusForbids {
                found: status,
                kind: begin.kind.name().into(),
            });
        }
        if let Some(queued) = &self.queued {
            return Err(Refusal::Busy { until: queued.exp });
        }
        if let Some(work) = &self.work {
            let exp = work.block.claims().exp;
            let grace = if s.lock.is_some() { GRACE_S } else { 0 };
            return Err(Refusal::Busy {
                until: exp.saturating_add(grace),
            });
        }
        if s.freeze_above.is_some() || s.words.freeze().is_some() {
            return Err(Refusal::Pending {
                first: Kind::Freeze.name().into(),
            });
        }
        if s.restored.is_some() {
            return Err(Refusal::Pending {
                first: Kind::Restored.name().into(),
            });
        }
        if begin.lifetime_s == 0 || begin.lifetime_s > MAX_LIFETIME_S {
            return Err(Refusal::Rule(format!(
                "lifetime is {} s, expected 1 to {MAX_LIFETIME_S}",
                begin.lifetime_s
            )));
        }
        if self.content_key.is_none() || self.share.is_none() {
            return Err(Refusal::NoShare);
        }
        begin
            .body
            .validate()
            .map_err(|e| Refusal::Rule(e.to_string()))?;
        Claims::check_texts(&begin.aud, &begin.nonce).map_err(|e| Refusal::Rule(e.to_string()))?;
        let asked = Challenge::of(&begin.aud, begin.kind, &begin.nonce, 0);
        let used = s.challenges.iter().find(|c| c.is(&asked));
        if let Some(used) = used {
            return Err(Refusal::Replayed {
                height: used.height,
            });
        }
        if !self.is_up(Role::TrustOperator) {
            return Err(Refusal::TrustOperatorDown);
        }
        if self.pace.is_full(now) {
            return Err(Refusal::Pace {
                found: self.pace.found(now),
                limit: self.pace.limit(),
                window_s: self.pace.window_s(),
            });
        }
        Ok(())
    }

    /// Opens what waits for its turn: a login, or the genesis.
    pub(super) fn open_queued<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if let Some(queued) = self.queued.take() {
            let login = queued.begin.login;
            if let Err(reason) = self.open_login_block(queued, turn) {
                turn.tell(Event::Ended {
                    login,
                    outcome: Outcome::Refused {
                        by: Role::Broker,
                        reason: Reason::Rule(reason),
                    },
                });
            }
        }
    }

    fn open_login_block<E: Entropy>(
        &mut self,
        queued: Queued,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let base = &self.state.base;
        let content_key = self.content_key.as_ref().ok_or("no content key")?;
        let begin = &queued.begin;
        let mut claims = Claims {
            iss: base.iss().to_owned(),
            sub: base.sub(),
            aud: begin.aud.clone(),
            iat: turn.now.seconds(),
            exp: queued.exp,
            nonce: begin.nonce.clone(),
            kind: begin.kind,
            height: base.next_height(),
            prev: base.prev(),
            epoch: base.epoch(),
            body: None,
            supersedes: None,
            genesis: None,
        };
        let mut salt = [0u8; 32];
        turn.entropy.fill(&mut salt);
        let salt_bytes = SaltBytes(salt);
        let salt = body::Salt::from_bytes(salt);
        let sealed = body::seal_body(content_key, &salt, &claims, &begin.body, turn.entropy)
            .map_err(|e| e.to_string())?;
        claims.body = Some(sealed.claim());
        let block = Block::new(claims, base.account_key()).map_err(|e| e.to_string())?;
        base.check(&block)?;
        self.work = Some(Work {
            block: block.clone(),
            body: Some(sealed),
            salt: Some(salt_bytes),
            login: begin.login,
            caller: begin.caller.clone(),
            number: Some(queued.number),
            begin: Some(queued.begin),
            matched: false,
            told: false,
            round: Round::Preparing,
            tries: 0,
        });
        turn.send(Role::TrustOperator, Agree::Prepare { block });
        self.first_retry(turn);
        Ok(())
    }

    /// The genesis is proposed once, in the session that founded the account.
    pub fn open_genesis<E: Entropy>(
        &mut self,
        now: Time,
        lifetime_s: u64,
        entropy: &mut E,
    ) -> Vec<Output> {
        let mut turn = Turn {
            now,
            out: Vec::new(),
            entropy,
        };
        let Base::Founding(f) = &self.state.base else {
            return turn.out;
        };
        if self.state.lock.is_some() || self.work.is_some() {
            return turn.out;
        }
        let mut login = [0u8; 16];
        turn.entropy.fill(&mut login);
        let exp = now
            .seconds()
            .saturating_add(lifetime_s.clamp(1, MAX_LIFETIME_S));
        match genesis_block(f, now.seconds(), exp) {
            Ok(block) => {
                self.work = Some(Work {
                    block,
                    body: None,
                    salt: None,
                    login: LoginId(login),
                    caller: String::new(),
                    begin: None,
                    number: None,
                    // Rule 10: the six digits stand for the number.
                    matched: true,
                    told: false,
                    round: Round::Preparing,
                    tries: 0,
                });
            }
            Err(what) => turn.tell(Event::Fault(Fault {
                culprit: Role::Broker,
                what,
            })),
        }
        self.pursue(&mut turn);
        turn.out
    }

    pub(super) fn number<E: Entropy>(
        &mut self,
        hash: Hash,
        number: u8,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        if self.state.lock.is_some() {
            return Err("the proposal is locked, no number is expected".into());
        }
        let Some(work) = self.work.as_mut().filter(|w| w.block.hash() == hash) else {
            return Err(format!("block {hash} is not open here"));
        };
        let Some(expected) = work.number else {
            return Err("this proposal has no number".into());
        };
        if turn.now >= Time::from_seconds(work.block.claims().exp) {
            return Err("the proposal expired".into());
        }
        let right: bool = expected.ct_eq(&number).into();
        if right {
            work.matched = true;
            turn.send(Role::Device, Agree::Match { hash });
            return Ok(());
        }
        if work.matched {
            return Err("the number was matched already".into());
        }
        // One try (rule 10): the proposal ends with a `refuse` block that supersedes nothing.
        let block = work.block.clone();
        self.end_unlocked(
            Outcome::Refused {
                by: Role::Device,
                reason: Reason::WrongNumber,
            },
            Reason::WrongNumber,
            turn,
        );
        self.refusing = Some(block);
        Ok(())
    }

    pub(super) fn assent<E: Entropy>(
        &mut self,
        hash: Hash,
        commitment: Commitment,
        share: &SignedShare,
        assent: Vote,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let (parties, sub) = (*self.state.base.parties(), self.state.base.sub());
        if self.state.restrict.is_some() || self.state.restored.is_some() || !self.compared {
            return Err("this broker signs no admit now".into());
        }
        if self.is_unwanted(hash) {
            return Err("the device's own word stands against this block".into());
        }
        let Some(work) = self.work.as_mut().filter(|w| w.block.hash() == hash) else {
            return Err(format!("block {hash} is not open here"));
        };
        if !work.matched {
            return Err("assent before the number was matched".into());
        }
        let c = work.block.claims();
        check_times(turn.now, c.iat, c.exp).map_err(|e| e.to_string())?;
        self.state.base.check(&work.block)?;
        let Round::Proposed(p) = &work.round else {
            return Err("no package is open for this block".into());
        };
        verify_vote(&parties, Role::Device, Verb::Assent, sub, hash, &assent)?;
        let trust_operator = p.theirs.commitment;
        let package = Package::new([commitment, p.own, trust_operator]);
        // The device's vote on its share is its vote on the package, its own commitment included.
        let package_hash = package_hash(&package);
        verify_share(&parties, Role::Device, sub, hash, package_hash, share)?;

        let own = p.own;
        let Round::Proposed(p) = std::mem::replace(&mut work.round, Round::Failed) else {
            return Err("no package is open for this block".into());
        };
        let key_share = self.share.as_ref().ok_or("no key share")?;
        let own_share = share::sign(
            key_share,
            p.nonces,
            work.block.input().as_bytes(),
            &hash.0,
            &package,
        )
        .map_err(|e| e.to_string())?;
        let signing = Signing {
            key: &self.key,
            role: Role::Broker,
            sub,
            block: hash,
        };
        let endorse = Agree::Endorse {
            block: work.block.clone(),
            commitments: [commitment, own],
            own: (&trust_operator).into(),
            shares: [share.clone(), signing.share(package_hash, own_share)],
            assent,
            endorse: signing.vote(Verb::Endorse),
        };
        work.round = Round::Endorsed(Box::new(endorse.clone()));
        // Rule 1: the lock is durable before the signature leaves.
        if self.state.lock.is_none() {
            let lock = BrokerLock {
                block: work.block.clone(),
                body: work.body.clone(),
                login: work.login,
                caller: work.caller.clone(),
            };
            if let Some(salt) = work.salt.clone() {
                turn.out.push(Output::KeepSalt { hash, salt });
            }
            self.store(Record::BrokerLock(Box::new(lock)), turn);
        }
        turn.send(Role::TrustOperator, endorse);
        self.first_retry(turn);
        Ok(())
    }

    pub(super) fn cancel<E: Entropy>(&mut self, login: LoginId, turn: &mut Turn<'_, E>) {
        let queued = self.queued.as_ref().is_some_and(|q| q.begin.login == login);
        let open = self.work.as_ref().is_some_and(|w| w.login == login);
        let refusal = if queued {
            self.queued = None;
            let outcome = Outcome::Refused {
                by: Role::Broker,
                reason: Reason::Cancelled,
            };
            turn.tell(Event::Ended { login, outcome });
            return;
        } else if open && self.state.lock.is_none() {
            let outcome = Outcome::Refused {
                by: Role::Broker,
                reason: Reason::Cancelled,
            };
            self.end_unlocked(outcome, Reason::Cancelled, turn);
            return;
        } else if open {
            Refusal::Locked
        } else {
            Refusal::NoLogin
        };
        turn.tell(Event::NotCancelled { login, refusal });
    }

    /// Ends a login that still waits for its turn.
    pub(super) fn end_queued<E: Entropy>(&mut self, reason: &Reason, turn: &mut Turn<'_, E>) {
        if let Some(queued) = self.queued.take() {
            let outcome = Outcome::Refused {
                by: Role::Broker,
                reason: reason.clone(),
            };
            turn.tell(Event::Ended {
                login: queued.begin.login,
                outcome,
            });
        }
    }

    /// Ends the open proposal that nobody locked here: no block (rule 4).
    pub(super) fn end_unlocked<E: Entropy>(
        &mut self,
        outcome: Outcome,
        reason: Reason,
        turn: &mut Turn<'_, E>,
    ) {
        if self.state.lock.is_some() {
            return;
        }
        if let Some(work) = self.work.take() {
            self.retry_at = None;
            turn.send(
                Role::Device,
                Agree::Refused {
                    hash: work.block.hash(),
                    reason,
                },
            );
            turn.tell(Event::Ended {
                login: work.login,
                outcome,
            });
        }
    }

    pub(super) fn trust_operator_refused<E: Entropy>(
        &mut self,
        hash: Hash,
        reason: Reason,
        turn: &mut Turn<'_, E>,
    ) {
        let is_open = self.work.as_ref().is_some_and(|w| w.block.hash() == hash);
        if is_open && reason == Reason::Conflict {
            // Rule 9: it admits nothing until a freeze is sealed, which is this broker's to propose.
            self.want_freeze(turn);
        }
        if let Some(work) = self.work.as_mut().filter(|w| w.block.hash() == hash) {
            // Rule 9: the trust operator's word alone blames nobody; what this broker forwarded is
            // here to be checked.
            let by = if share_is_at_fault(self.share.as_ref(), work, &reason) {
                let what = format!("share for block {hash} does not verify");
                turn.tell(Event::Fault(Fault {
                    culprit: Role::Device,
                    what,
                }));
                Role::Device
            } else {
                Role::TrustOperator
            };
            if self.state.lock.is_some() {
                // The lock can only be replaced, after exp + 30 s (rule 4); the caller hears now.
                work.round = Round::Failed;
                self.retry_at = None;
                if !std::mem::replace(&mut work.told, true) {
                    let login = work.login;
                    // Rule 6: durable before the caller hears it, so that no restart takes it back.
                    self.store(Record::GivenUp { hash }, turn);
                    let outcome = Outcome::Refused { by, reason };
                    turn.tell(Event::Ended { login, outcome });
                }
                return;
            }
            self.end_unlocked(
                Outcome::Refused {
                    by,
                    reason: reason.clone(),
                },
                reason,
                turn,
            );
        }
    }

    pub(super) fn device_refused<E: Entropy>(
        &mut self,
        hash: Hash,
        reason: Reason,
        turn: &mut Turn<'_, E>,
    ) {
        if self.work.as_ref().is_some_and(|w| w.block.hash() == hash) {
            if matches!(reason, Reason::Restored) {
                self.device_restored = true;
            }
            self.end_unlocked(
                Outcome::Refused {
                    by: Role::Device,
                    reason: reason.clone(),
                },
                reason,
                turn,
            );
        }
    }

    pub(super) fn device_locked(&mut self, block: Block) -> Result<(), String> {
        let c = block.claims();
        if c.height == 0 {
            return Err("a genesis lock is released by the trust operator alone".into());
        }
        if block.claims().kind.class() != Class::Admit {
            return Err(format!(
                "device is locked on a `{}`, expected an admit",
                block.claims().kind.name()
            ));
        }
        self.state.base.check(&block)?;
        let own = self
            .work
            .as_ref()
            .is_some_and(|w| w.block.hash() == block.hash());
        if !own && self.state.lock.is_none() && self.state.restrict.is_none() {
            self.foreign = Some(block);
        }
        Ok(())
    }
}

/// Whether the device's share really fails against the package that it signed. The sum cannot
/// verify without the trust operator's share, so the library then checks each share alone.
fn share_is_at_fault(share: Option<&KeyShare>, work: &Work, reason: &Reason) -> bool {
    let (Some(key_share), Round::Endorsed(message), Reason::Fault { culprit }) =
        (share, &work.round, reason)
    else {
        return false;
    };
    let Agree::Endorse {
        block,
        commitments: [device_commitment, own_commitment],
        own: theirs,
        shares: [device, own],
        ..
    } = &**message
    else {
        return false;
    };
    let Ok(theirs) = Commitment::decode(&theirs.0) else {
        return false;
    };
    let checked = share::aggregate(
        key_share.public_keys(),
        &Package::new([*device_commitment, *own_commitment, theirs]),
        block.input().as_bytes(),
        &[device.share, own.share, own.share],
    );
    *culprit == Role::Device
        && matches!(checked, Err(share::AggregateError::Culprits { roles }) if roles.contains(&Role::Device))
}

fn genesis_block(f: &Founding, iat: u64, exp: u64) -> Result<Block, String> {
    let claims = Claims {
        iss: f.ledger.iss.clone(),
        sub: f.sub,
        aud: f.ledger.iss.clone(),
        iat,
        exp,
        nonce: text_b64(&f.session),
        kind: Kind::Genesis,
        height: 0,
        prev: Hash::ZERO,
        epoch: 0,
        body: None,
        supersedes: None,
        genesis: Some(crate::block::GenesisClaims {
            account_key: f.account_key,
            parties: f.parties,
            transcript: f.transcript,
        }),
    };
    Block::new(claims, &f.account_key).map_err(|e| e.to_string())
}
