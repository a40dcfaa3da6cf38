//! The device's machine: it checks, shows, asks the customer, locks, assents, and may always say
//! no.
//!
//! It assents to at most one admit block per height, ever, unless it was restored (rules 1, 8);
//! its lock is durable before its share leaves. It never assents before the customer typed the
//! page's number and the broker's match arrived (rule 10); a genesis is the exception, where the
//! six digits stand for the number.

mod assent;
mod refusing;
mod sync;

use std::sync::Arc;

use crate::{
    block::{Block, Class, Kind, Sealed},
    body::{self, Body, ContentKey, Salt, SealedBody},
    chain::{Head, Status},
    encoding::Hash,
    party::Role,
    random::Entropy,
    share::{self, KeyShare, Package},
    signature::IdentityKey,
    time::{GRACE_S, MAX_AHEAD_S, Time, check_times},
    vote::{Verb, Vote, Word},
    wire::{Agree, OperatorCommitments, Reason, SaltBytes},
};

use super::{
    base::Base,
    broker::after_grace,
    checkpoint::{Checkpoint, NOT_OWN, Own, Wish, behind_sealed},
    conflict::{self, Conflict},
    limits::{MAX_TRIES, REPEAT_MS},
    package::{Signing, package_hash, verify_commitment},
    patience::{Patience, is_beyond},
    turn::Turn,
    types::{Event, Fault, HeldWord, Input, Output, Prompt, Record, Refusal},
    words::Words,
};

#[derive(PartialEq)]
struct Ledgered {
    base: Base,
    lock: Option<Block>,
    words: Words,
    restored_at: Option<Time>,
    wish: Wish,
    /// Conflicting blocks that no freeze answered yet (rule 9).
    conflict: Option<Conflict>,
}

impl Ledgered {
    fn new(base: Base) -> Self {
        Self {
            base,
            lock: None,
            words: Words::default(),
            restored_at: None,
            wish: Wish::None,
            conflict: None,
        }
    }

    fn of_checkpoint(checkpoint: Checkpoint) -> Result<Self, String> {
        let (base, words, own) = checkpoint.open()?;
        let Own::Device {
            restored_at,
            wish,
            conflict,
        } = own
        else {
            return Err(NOT_OWN.into());
        };
        Ok(Self {
            words,
            restored_at,
            wish,
            conflict,
            ..Self::new(base)
        })
    }

    /// The record behind a sealed block that was just applied.
    fn behind_sealed(&self) -> Option<Record> {
        let owes =
            !self.words.is_empty() || self.restored_at.is_some() || self.wish == Wish::Overtaken;
        behind_sealed(&self.base, owes, &self.words, || {
            Some(Own::Device {
                restored_at: self.restored_at,
                wish: self.wish,
                conflict: self.conflict,
            })
        })
    }

    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Sealed(sealed) => {
                let c = sealed.block.claims();
                if c.kind == Kind::Restored
                    && self
                        .restored_at
                        .is_some_and(|at| c.iat.saturating_add(MAX_AHEAD_S) >= at.seconds())
                {
                    self.restored_at = None;
                }
                self.base.adopt(sealed)?;
                let wished = self.words.freeze().is_some();
                self.words.sealed(sealed);
                let answered = wished && self.words.freeze().is_none();
                self.wish = self.wish_after(sealed, answered);
                self.conflict = self.conflict.and_then(|conflict| conflict.after(sealed));
                // Rule 5: any valid block at that height releases the lock.
                self.lock = None;
            }
            Record::DeviceLock(block) => self.lock = Some(block.clone()),
            Record::Word(held) => {
                self.words.add((**held).clone());
                if held.word.verb != Verb::Deny {
                    self.wish = Wish::None;
                }
            }
            Record::DeviceRestored { at } => self.restored_at = Some(*at),
            Record::Conflict(_) => self.conflict = Conflict::with(&self.base, record),
            Record::Body { .. }
            | Record::Checkpoint(_)
            | Record::OldCheckpoint(_)
            | Record::Settled
            | Record::Erased { .. } => {}
            Record::Dead => {
                if let Base::Founding(f) = &self.base {
                    self.base = Base::Dead(f.clone());
                    self.lock = None;
                }
            }
            _ => return Err("record of another party's journal".into()),
        }
        Ok(())
    }

    /// What becomes of the last wish to freeze with this block; `answered`: its word fell just now.
    fn wish_after(&self, sealed: &Sealed, answered: bool) -> Wish {
        let hash = sealed.block.hash();
        let held = self.lock.as_ref().is_some_and(|l| l.hash() == hash);
        match (sealed.block.claims().kind, self.wish) {
            (Kind::Freeze, Wish::Overtaken) => Wish::Answered,
            (Kind::Freeze, _) if answered => Wish::Answered,
            (Kind::Unfreeze, _) if held => Wish::None,
            (Kind::Unfreeze, Wish::Answered) => Wish::Overtaken,
            (Kind::Revoke, _) => Wish::None,
            (_, wish) => wish,
        }
    }
}

/// The proposal in front of the customer.
struct Open {
    block: Block,
    body: Option<SealedBody>,
    salt: Option<SaltBytes>,
    commitments: OperatorCommitments,
    number: Option<u8>,
}

/// The package last answered, and how often this block was (rule 7).
struct Answered {
    hash: Hash,
    commitments: OperatorCommitments,
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
    /// How long the moment at which it noticed that it is a copy contradicts its clock.
    patience: Patience,
}

impl Device {
    /// A machine from its records; the first is the founding or a checkpoint.
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
        let state = match records.next() {
            Some(Record::Founding(f)) => {
                f.check()?;
                Ledgered::new(Base::Founding(f))
            }
            Some(Record::Checkpoint(c)) => Ledgered::of_checkpoint(*c)?,
            _ => return Err("first record is no founding, expected one".into()),
        };
        if let Some(share) = &share {
            state.base.check_share(Role::Device, share)?;
        }
        let mut device = Self {
            key,
            share,
            content_key,
            state,
            open: None,
            answered: None,
            repeat_at: None,
            patience: Patience::default(),
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

    /// Whether both have the same records behind them: locks, words and all that they fold to.
    /// What is only in RAM is not compared.
    #[must_use]
    pub fn stands_as(&self, other: &Self) -> bool {
        self.state == other.state
    }

    /// Tells what [`Base::unlocated`] asked for.
    pub fn locate(&mut self, block: Head) {
        self.state.base.locate(block);
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
        let patience = self.patience.ends_at(GRACE_S);
        [open, lock, founding, self.repeat_at, patience]
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
        self.heed_clock(&mut turn);
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
        let sealed = matches!(record, Record::Sealed(_));
        turn.out.push(Output::Store(record));
        if sealed {
            turn.out
                .extend(self.state.behind_sealed().map(Output::Store));
        }
    }

    fn line_up<E: Entropy>(&mut self, role: Role, turn: &mut Turn<'_, E>) {
        self.renew_freeze(turn);
        self.say_head(role, turn);
        self.repeat_words(role, turn);
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
                let (several, before) = (sealed.len() > 1, self.state.base.next_height());
                for block in sealed {
                    if self.state.base.rival_of(&block.block).is_some() {
                        // What follows stands on it, and would only be asked for again and again.
                        return self.conflict(block, turn).map_err(unfit);
                    }
                    self.adopt(block, from, turn).map_err(unfit)?;
                }
                let height = self.state.base.next_height();
                if several && height > before {
                    // A frame holds only so many: ask on until nothing new comes.
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
        if self.state.conflict.is_some() {
            return Err(Reason::Conflict);
        }
        if self.state.words.denies(&block.hash()).is_some() {
            return Err(Reason::Denied);
        }
        if self.state.words.freeze().is_some() {
            return Err(Reason::FreezeWanted);
        }
        Ok(())
    }
}
