//! The device's machine: it checks, shows, asks the customer, locks, assents, and may always say
//! no.
//!
//! It assents to at most one admit block per height, ever, unless it was restored (rules 1, 8);
//! its lock is durable before its share leaves. It never assents before the customer typed the
//! page's number and the broker's match arrived (rule 10); a genesis is the exception, where the
//! six digits stand for the number.

use std::sync::Arc;

use crate::{
    block::{Block, Class, Kind, Sealed},
    body::{self, Body, ContentKey, Salt, SealedBody},
    chain::Head,
    encoding::Hash,
    party::Role,
    random::Entropy,
    share::{self, KeyShare},
    signature::IdentityKey,
    time::{Time, check_times},
    vote::{Statement, Verb, Vote, Word},
    wire::{Agree, Reason, SaltBytes, SignedCommitment},
};

use super::{
    base::{Base, Founding},
    broker::{MAX_TRIES, after_grace},
    package::{Signing, package_hash, package_of, verify_commitment},
    types::{Event, Fault, HeldWord, Input, Output, Prompt, Record, Refusal},
    words::Words,
};

/// How often an unanswered word, or a stale lock, is told again, in milliseconds.
const REPEAT_MS: u64 = 5_000;

struct Ledgered {
    base: Base,
    lock: Option<Block>,
    words: Words,
    restored_at: Option<Time>,
    conflict: bool,
}

impl Ledgered {
    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Sealed(sealed) => {
                let c = sealed.block.claims();
                if c.kind == Kind::Restored
                    && self.restored_at.is_some_and(|at| {
                        c.iat.saturating_add(crate::time::MAX_AHEAD_S) >= at.seconds()
                    })
                {
                    self.restored_at = None;
                }
                self.base.adopt(sealed)?;
                self.words.sealed(sealed);
                // Rule 5: any valid block at that height releases the lock.
                self.lock = None;
            }
            Record::DeviceLock(block) => self.lock = Some(block.clone()),
            Record::Word(held) => self.words.add((**held).clone()),
            Record::DeviceRestored { at } => self.restored_at = Some(*at),
            Record::Conflict(_) => self.conflict = true,
            Record::Body { .. } => {}
            Record::Dead => {
                if let Base::Founding(f) = &self.base {
                    self.base = Base::Dead(f.clone());
                }
            }
            _ => return Err("record of another party's journal".into()),
        }
        Ok(())
    }
}

/// The proposal in front of the customer.
struct Open {
    block: Block,
    body: Option<SealedBody>,
    salt: Option<SaltBytes>,
    commitments: [SignedCommitment; 2],
    number: Option<u8>,
}

/// The package last answered, and how often this block was (rule 7).
struct Answered {
    hash: Hash,
    commitments: [SignedCommitment; 2],
    assent: Agree,
    tries: u8,
}

/// The device's machine for one account. See the module.
pub struct Device {
    key: Arc<IdentityKey>,
    share: Option<KeyShare>,
    content_key: ContentKey,
    state: Ledgered,
    open: Option<Open>,
    answered: Option<Answered>,
    repeat_at: Option<Time>,
}

struct Turn<'e, E: Entropy> {
    now: Time,
    out: Vec<Output>,
    entropy: &'e mut E,
}

impl<E: Entropy> Turn<'_, E> {
    fn send(&mut self, to: Role, agree: Agree) {
        self.out.push(Output::Send { to, agree });
    }
    fn tell(&mut self, event: Event) {
        self.out.push(Output::Tell(event));
    }
}

impl Device {
    /// A machine from its records; the first is the founding.
    ///
    /// # Errors
    /// Text naming the record that doesn't fit.
    pub fn recover(
        records: impl IntoIterator<Item = Record>,
        key: Arc<IdentityKey>,
        share: Option<KeyShare>,
        content_key: ContentKey,
    ) -> Result<Self, String> {
        let mut records = records.into_iter();
        let founding: Box<Founding> = match records.next() {
            Some(Record::Founding(f)) => f,
            _ => return Err("first record is no founding, expected one".into()),
        };
        founding.check()?;
        let mut device = Self {
            key,
            share,
            content_key,
            state: Ledgered {
                base: Base::Founding(founding),
                lock: None,
                words: Words::default(),
                restored_at: None,
                conflict: false,
            },
            open: None,
            answered: None,
            repeat_at: None,
        };
        for record in records {
            device.state.apply(&record)?;
        }
        Ok(device)
    }

    /// What the account stands on.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.state.base
    }

    /// The proposal in front of the customer, by hash.
    #[must_use]
    pub fn open_hash(&self) -> Option<Hash> {
        self.open.as_ref().map(|o| o.block.hash())
    }

    /// Whether the device must dial the trust operator: a word or a stale lock stands, or the
    /// genesis is overdue (rules 8, 10).
    #[must_use]
    pub fn needs_trust_operator(&self, now: Time) -> bool {
        let stale = self
            .state
            .lock
            .as_ref()
            .is_some_and(|l| now >= after_grace(l.claims().exp));
        let overdue = self
            .state
            .base
            .founding()
            .is_some_and(|f| now >= f.deadline);
        stale || overdue || !self.state.words.is_empty()
    }

    /// When to call with [`Input::Tick`], if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let open = self
            .open
            .as_ref()
            .map(|o| Time::from_seconds(o.block.claims().exp));
        let lock = match self.repeat_at {
            Some(_) => None,
            None => self
                .state
                .lock
                .as_ref()
                .map(|l| after_grace(l.claims().exp)),
        };
        let founding = match self.repeat_at {
            Some(_) => None,
            None => self.state.base.founding().map(|f| f.deadline),
        };
        [open, lock, founding, self.repeat_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Moves the machine. Perform the outputs in order.
    pub fn handle<E: Entropy>(&mut self, now: Time, input: Input, entropy: &mut E) -> Vec<Output> {
        let mut turn = Turn {
            now,
            out: Vec::new(),
            entropy,
        };
        match input {
            Input::Message { from, agree } => {
                if let Err(refusal) = self.message(from, agree, &mut turn) {
                    turn.tell(Event::Rejected { from, refusal });
                }
            }
            Input::LineUp(role) => self.line_up(role, &mut turn),
            Input::Tick => self.tick(&mut turn),
            Input::Approve { hash, number } => self.approve(hash, number, &mut turn),
            Input::Deny { hash, not_me } => self.deny(hash, not_me, &mut turn),
            Input::FreezeByCustomer => self.freeze(&mut turn),
            _ => {}
        }
        turn.out
    }

    fn store<E: Entropy>(&mut self, record: Record, turn: &mut Turn<'_, E>) {
        if let Err(what) = self.state.apply(&record) {
            turn.tell(Event::Fault(Fault {
                culprit: Role::Device,
                what,
            }));
            return;
        }
        turn.out.push(Output::Store(record));
    }

    /// The customer froze after this device assented to an unfreeze and before it held it: the wish
    /// is the newer one, so it is said again about the block that the operators count from.
    fn renew_freeze<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        let Some(account) = self.state.base.account() else {
            return;
        };
        if self.state.words.freeze_is_outdated(account) {
            let head = account.head().hash;
            self.say(Verb::Freeze, head, None, turn);
        }
    }

    fn line_up<E: Entropy>(&mut self, role: Role, turn: &mut Turn<'_, E>) {
        self.renew_freeze(turn);
        self.say_head(role, turn);
        self.repeat_words(role, turn);
    }

    fn say_head<E: Entropy>(&self, to: Role, turn: &mut Turn<'_, E>) {
        let head = self.state.base.head();
        let vote = head.map(|h| {
            let sub = self.state.base.sub();
            Signing {
                key: &self.key,
                role: Role::Device,
                sub,
                block: h.hash,
            }
            .vote(Verb::Head)
        });
        let notice = self.state.restored_at.is_some();
        turn.send(
            to,
            Agree::HeadIs {
                head,
                vote,
                ask: true,
                notice,
            },
        );
    }

    fn repeat_words<E: Entropy>(&self, to: Role, turn: &mut Turn<'_, E>) {
        for held in self.state.words.iter() {
            let agree = Agree::Word {
                word: held.word,
                proposal: held.proposal.clone(),
            };
            turn.send(to, agree);
        }
    }

    fn tick<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        let now = turn.now;
        if let Some(open) = self
            .open
            .take_if(|o| now >= Time::from_seconds(o.block.claims().exp))
        {
            let hash = open.block.hash();
            turn.tell(Event::PromptGone {
                hash,
                reason: Some(Reason::Expired),
            });
        }
        if self.needs_trust_operator(now) && self.repeat_at.is_none_or(|t| now >= t) {
            for role in [Role::Broker, Role::TrustOperator] {
                self.say_head(role, turn);
                self.repeat_words(role, turn);
            }
            self.repeat_at = Some(Time(now.0.saturating_add(REPEAT_MS)));
        } else if !self.needs_trust_operator(now) {
            self.repeat_at = None;
        }
    }

    fn message<E: Entropy>(
        &mut self,
        from: Role,
        agree: Agree,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), Refusal> {
        let name = agree.name();
        let unfit = |reason: String| Refusal::Unfit {
            message: name.into(),
            reason,
        };
        if self.state.conflict {
            return Err(Refusal::Conflict);
        }
        match (from, agree) {
            (
                Role::Broker,
                Agree::Propose {
                    block,
                    body,
                    salt,
                    commitments,
                },
            ) => self
                .propose(block, body, salt, commitments, turn)
                .map_err(unfit),
            (Role::Broker, Agree::Match { hash }) => self.matched(hash, turn).map_err(unfit),
            (Role::Broker, Agree::Refused { hash, reason }) => {
                if self.open.take_if(|o| o.block.hash() == hash).is_some() {
                    turn.tell(Event::PromptGone {
                        hash,
                        reason: Some(reason),
                    });
                }
                Ok(())
            }
            (_, Agree::Blocks { sealed }) => {
                let several = sealed.len() > 1;
                for block in sealed {
                    self.adopt(block, from, turn).map_err(unfit)?;
                }
                if several {
                    // A frame holds only so many: ask on until nothing comes.
                    let height = self.state.base.next_height();
                    turn.send(from, Agree::BlocksFrom { height });
                }
                Ok(())
            }
            (_, Agree::BlocksFrom { height }) => {
                if let Some(head) = self.state.base.head().filter(|h| height <= h.height) {
                    turn.out.push(Output::SendBlocks {
                        to: from,
                        from: height,
                        until: head.height,
                    });
                }
                Ok(())
            }
            (
                _,
                Agree::HeadIs {
                    head, vote, ask, ..
                },
            ) => self
                .head_is(from, head, vote.as_ref(), ask, turn)
                .map_err(unfit),
            (Role::TrustOperator, Agree::GenesisDead) => {
                if matches!(self.state.base, Base::Founding(_)) {
                    self.store(Record::Dead, turn);
                    self.open = None;
                    turn.out.push(Output::ForgetShare);
                    turn.tell(Event::Dead);
                }
                Ok(())
            }
            (_, _) => Err(Refusal::WrongParty {
                message: name.into(),
                found: from,
                expected: "a party that may send it to a device".into(),
            }),
        }
    }

    /// Rule 2, and what this device said or lost itself.
    fn own_eyes(&self, block: &Block, now: Time) -> Result<(), Reason> {
        let c = block.claims();
        if c.kind.class() != Class::Admit {
            return Err(Reason::Rule(format!(
                "kind `{}` is no admit",
                c.kind.name()
            )));
        }
        self.state.base.check(block).map_err(Reason::Rule)?;
        check_times(now, c.iat, c.exp).map_err(|e| Reason::Clock(e.to_string()))?;
        if self.state.restored_at.is_some() {
            return Err(Reason::Restored);
        }
        if self.state.words.denies(&block.hash()).is_some() {
            return Err(Reason::Denied);
        }
        if self.state.words.freeze().is_some() {
            return Err(Reason::FreezeWanted);
        }
        Ok(())
    }

    fn propose<E: Entropy>(
        &mut self,
        block: Block,
        body: Option<SealedBody>,
        salt: Option<SaltBytes>,
        commitments: [SignedCommitment; 2],
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let (hash, height) = (block.hash(), block.claims().height);
        if height > self.state.base.next_height() {
            // Behind is normal: catch up, the broker repeats.
            self.say_head(Role::Broker, turn);
            return Ok(());
        }
        let (parties, sub) = (*self.state.base.parties(), self.state.base.sub());
        for (role, signed) in [Role::Broker, Role::TrustOperator]
            .into_iter()
            .zip(&commitments)
        {
            verify_commitment(&parties, role, sub, hash, signed)?;
        }
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

    fn open_body(
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

    fn approve<E: Entropy>(&mut self, hash: Hash, number: u8, turn: &mut Turn<'_, E>) {
        match self.open.as_mut().filter(|o| o.block.hash() == hash) {
            // One try (rule 10): the first number stands.
            Some(open) if open.number.is_none_or(|n| n == number) => {
                open.number = Some(number);
                turn.send(Role::Broker, Agree::Number { hash, number });
            }
            _ => turn.tell(Event::NoPrompt { hash }),
        }
    }

    fn matched<E: Entropy>(&mut self, hash: Hash, turn: &mut Turn<'_, E>) -> Result<(), String> {
        if self.state.lock.as_ref().is_some_and(|l| l.hash() == hash) {
            return Ok(());
        }
        match self.open.as_ref().filter(|o| o.block.hash() == hash) {
            Some(open) if open.number.is_some() => self.lock_and_assent(turn),
            Some(_) => Err("match before the customer typed a number".into()),
            None => Err(format!("block {hash} is not open here")),
        }
    }

    fn lock_and_assent<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) -> Result<(), String> {
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
    fn assent_again<E: Entropy>(
        &mut self,
        commitments: [SignedCommitment; 2],
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let Some(block) = self.state.lock.clone() else {
            return Ok(());
        };
        let hash = block.hash();
        let tries = match self.answered.as_ref().filter(|a| a.hash == hash) {
            Some(a) if a.commitments == commitments => {
                let assent = a.assent.clone();
                turn.send(Role::Broker, assent);
                return Ok(());
            }
            Some(a) => a.tries,
            None => 0,
        };
        let refused = if tries >= MAX_TRIES {
            Some(Reason::Tries { limit: MAX_TRIES })
        } else {
            self.own_eyes(&block, turn.now).err()
        };
        if let Some(reason) = refused {
            turn.send(Role::Broker, Agree::Refused { hash, reason });
            return Ok(());
        }
        self.assent(&block, commitments, tries.saturating_add(1), turn)
    }

    fn assent<E: Entropy>(
        &mut self,
        block: &Block,
        commitments: [SignedCommitment; 2],
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
        let own = signing.commitment(commitment);
        let [broker, trust_operator] = commitments.clone();
        let package = package_of(&[own.clone(), broker, trust_operator]);
        let signature = share::sign(share, nonces, block.input().as_bytes(), &hash.0, &package)
            .map_err(|e| e.to_string())?;
        let assent = Agree::Assent {
            hash,
            commitment: own,
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

    fn deny<E: Entropy>(&mut self, hash: Hash, not_me: bool, turn: &mut Turn<'_, E>) {
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

    fn freeze<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if let Some(head) = self.state.base.head() {
            if let Some(open) = self.open.take() {
                let (hash, reason) = (open.block.hash(), Some(Reason::FreezeWanted));
                turn.tell(Event::PromptGone { hash, reason });
            }
            self.say(Verb::Freeze, head.hash, None, turn);
        }
    }

    /// Keeps the word durably, then tells both operators until it is answered (rule 10).
    fn say<E: Entropy>(
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

    fn head_is<E: Entropy>(
        &mut self,
        from: Role,
        head: Option<Head>,
        vote: Option<&Vote>,
        ask: bool,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        if let Some(head) = head {
            let vote = vote.ok_or("head without its vote")?;
            let sub = self.state.base.sub();
            let statement = Statement {
                verb: Verb::Head,
                role: from,
                sub,
                hash: head.hash,
            };
            vote.verify(&statement, self.state.base.parties().key(from))
                .map_err(|e| e.to_string())?;
        }
        let theirs = head.map_or(0, |h| h.height.saturating_add(1));
        let ours = self.state.base.next_height();
        if ask {
            self.say_head(from, turn);
        }
        if theirs > ours {
            turn.send(from, Agree::BlocksFrom { height: ours });
        }
        Ok(())
    }

    fn adopt<E: Entropy>(
        &mut self,
        sealed: Sealed,
        from: Role,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let c = sealed.block.claims();
        let (hash, height, kind) = (sealed.block.hash(), c.height, c.kind);
        let next = self.state.base.next_height();
        if height < next {
            if let Some(head) = self.state.base.head()
                && head.height == height
                && head.hash != hash
            {
                self.state.base.verify_rival(&sealed)?;
                let what = format!("sealed block {hash} at height {height} beside another");
                self.store(Record::Conflict(Box::new(sealed)), turn);
                // Whoever brought it: without the trust operator no pair of sealed blocks exists.
                turn.tell(Event::Fault(Fault {
                    culprit: Role::TrustOperator,
                    what,
                }));
            }
            return Ok(());
        }
        if height > next {
            turn.send(from, Agree::BlocksFrom { height: next });
            return Ok(());
        }
        self.state.base.verify(&sealed)?;
        let held = self.state.lock.as_ref().is_some_and(|l| l.hash() == hash);
        if kind.class() == Class::Admit && kind != Kind::Genesis && !held {
            // Rule 8: an admit that this copy holds no lock for: another copy of it signed.
            self.store(Record::DeviceRestored { at: turn.now }, turn);
        }
        self.store(Record::Sealed(Box::new(sealed.clone())), turn);
        if let Some(open) = self.open.take_if(|o| o.block.claims().height <= height) {
            let hash = open.block.hash();
            turn.tell(Event::PromptGone { hash, reason: None });
        }
        turn.tell(Event::Sealed(Box::new(sealed)));
        self.renew_freeze(turn);
        if self.state.restored_at.is_some() && kind != Kind::Restored {
            self.say_head(Role::Broker, turn);
        }
        if self.state.words.is_empty() && self.state.lock.is_none() {
            self.repeat_at = None;
        }
        Ok(())
    }
}
