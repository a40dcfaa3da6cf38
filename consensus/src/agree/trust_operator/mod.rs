//! The trust operator's machine: its own checks, its own share, and the seal.
//!
//! Its only lock is the sealed block itself (rule 1): commitments and open proposals live in RAM
//! and never stop a restrict block. Its share leaves only inside a signature that verified (rule
//! 7). It never sees a body, and it gives a sealed block to nobody but the broker before the
//! broker acknowledged it as durable (rule 8).

mod restrict;
mod seal;
mod sync;

use std::sync::Arc;

use crate::{
    block::{Block, Class, Kind, Proof, Sealed, Votes},
    chain::Head,
    encoding::Hash,
    party::Role,
    random::Entropy,
    share::{
        self, AggregateError, Commitment, CommitmentBytes, CompleteError, KeyShare, Nonces, Package,
    },
    signature::{IdentityKey, SignatureBytes, verify_strict},
    time::{MAX_AHEAD_S, Time, check_times},
    vote::{Verb, Vote, Word},
    wire::{Agree, Reason, SignedCommitment, SignedShare},
};

use super::{
    base::Base,
    checkpoint::{Checkpoint, NOT_OWN, Own, behind_sealed},
    conflict::{self, Conflict},
    limits::{PREPARE_LIMIT, PREPARE_WINDOW_S, RESTRICT_LIMIT, RESTRICT_WINDOW_S, WORD_REPEAT_MS},
    pace::Pace,
    package::{Signing, package_hash, verify_share, verify_vote},
    patience::is_beyond,
    turn::Turn,
    types::{Event, Fault, HeldWord, Input, Output, Record, Refusal},
    words::Words,
};

/// The trust operator's own policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustOperatorOptions {
    /// Seconds between a freeze and the earliest unfreeze that it seals.
    pub unfreeze_delay_s: u64,
}

/// An open proposal: in RAM, replaced by a newer one (rule 7).
struct Open {
    hash: Hash,
    nonces: Nonces,
    commitment: SignedCommitment,
    exp: u64,
}

/// What the trust operator's records fold to.
#[derive(PartialEq)]
struct Ledgered {
    base: Base,
    words: Words,
    acked: Option<Head>,
    /// When the last `freeze` was sealed here, for the unfreeze delay. The block's `iat` is the
    /// broker's word and no part of it.
    frozen_at: Option<u64>,
    /// The block at the head, in full: a repeat is answered with it.
    last: Option<Sealed>,
    /// Conflicting blocks, or heads, that no freeze answered yet (rule 9).
    conflict: Option<Conflict>,
}

impl Ledgered {
    fn new(base: Base) -> Self {
        Self {
            base,
            words: Words::default(),
            acked: None,
            frozen_at: None,
            last: None,
            conflict: None,
        }
    }

    fn of_checkpoint(checkpoint: Checkpoint) -> Result<Self, String> {
        let (base, words, own) = checkpoint.open()?;
        let Own::TrustOperator {
            acked,
            frozen_at,
            last,
            conflict,
        } = own
        else {
            return Err(NOT_OWN.into());
        };
        Ok(Self {
            words,
            acked,
            frozen_at,
            last: Some(*last),
            conflict,
            ..Self::new(base)
        })
    }

    /// The record behind a sealed block that was just applied.
    fn behind_sealed(&self) -> Option<Record> {
        behind_sealed(&self.base, !self.words.is_empty(), &self.words, || {
            Some(Own::TrustOperator {
                acked: self.acked,
                frozen_at: self.frozen_at,
                last: Box::new(self.last.clone()?),
                conflict: self.conflict,
            })
        })
    }

    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Sealed(sealed) => {
                self.base.adopt(sealed)?;
                self.words.sealed(sealed);
                self.conflict = self.conflict.and_then(|conflict| conflict.after(sealed));
                if sealed.block.claims().kind == Kind::Unfreeze {
                    self.frozen_at = None;
                }
                self.last = Some((**sealed).clone());
            }
            Record::Word(held) => self.words.add((**held).clone()),
            Record::FrozenAt { at } => self.frozen_at = Some(at.seconds()),
            Record::Acked(head) => self.acked = Some(*head),
            Record::Conflict(_) | Record::HeadConflict { .. } => {
                self.conflict = Conflict::with(&self.base, record);
            }
            Record::Checkpoint(_)
            | Record::OldCheckpoint(_)
            | Record::Settled
            | Record::Erased { .. } => {}
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

/// The trust operator's machine for one account. See the module.
pub struct TrustOperator {
    key: Arc<IdentityKey>,
    share: Option<KeyShare>,
    options: TrustOperatorOptions,
    state: Ledgered,
    open: Option<Open>,
    broker_up: bool,
    compared: bool,
    /// Nonces that the broker had made.
    pace: Pace,
    /// Restrict blocks that it had completed.
    restricts: Pace,
    repeat_at: Option<Time>,
}

/// An endorsement as it came from the broker.
struct Endorsement<'a> {
    block: &'a Block,
    commitments: &'a [Commitment; 2],
    own: CommitmentBytes,
    shares: &'a [SignedShare; 2],
    assent: Vote,
    endorse: Vote,
}

/// A restrict request as it came from the broker.
struct Restriction<'a> {
    block: &'a Block,
    signature: &'a SignatureBytes,
    superseded: Option<&'a Block>,
    word: Option<&'a Word>,
    proposal: Option<&'a Block>,
}

impl TrustOperator {
    /// A machine from its records; the first is the founding or a checkpoint.
    ///
    /// # Errors
    /// Text naming the record that doesn't fit.
    pub fn recover(
        records: impl IntoIterator<Item = Record>,
        key: Arc<IdentityKey>,
        share: Option<KeyShare>,
        options: TrustOperatorOptions,
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
            state.base.check_share(Role::TrustOperator, share)?;
        }
        let mut machine = Self::fresh(state, key, share, options);
        for record in records {
            machine.state.apply(&record)?;
        }
        Ok(machine)
    }

    fn fresh(
        state: Ledgered,
        key: Arc<IdentityKey>,
        share: Option<KeyShare>,
        options: TrustOperatorOptions,
    ) -> Self {
        Self {
            key,
            share,
            options,
            state,
            open: None,
            broker_up: false,
            compared: false,
            pace: Pace::new(PREPARE_LIMIT, PREPARE_WINDOW_S),
            restricts: Pace::new(RESTRICT_LIMIT, RESTRICT_WINDOW_S),
            repeat_at: None,
        }
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

    /// Nothing is open or owed, and no pace is counted: the machine may be dropped from RAM.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        self.open.is_none()
            && self.pace.is_quiet(now)
            && self.restricts.is_quiet(now)
            && self.has_no_duty()
    }

    /// No durable duty: no word stands, no genesis is awaited.
    #[must_use]
    pub fn has_no_duty(&self) -> bool {
        self.state.words.is_empty() && !matches!(self.state.base, Base::Founding(_))
    }

    /// When to call with [`Input::Tick`], if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let open = self.open.as_ref().map(|o| Time::from_seconds(o.exp));
        let founding = self.state.base.founding().map(|f| f.deadline);
        [open, founding, self.repeat_at].into_iter().flatten().min()
    }

    /// Moves the machine. Perform the outputs in order.
    pub fn handle<E: Entropy>(&mut self, now: Time, input: Input, entropy: &mut E) -> Vec<Output> {
        let mut turn = Turn {
            now,
            out: Vec::new(),
            entropy,
        };
        self.heed_clock(now);
        match input {
            Input::Message { from, agree } => {
                if let Err(refusal) = self.message(from, agree, &mut turn) {
                    turn.tell(Event::Rejected { from, refusal });
                }
            }
            Input::LineUp(Role::Broker) => {
                self.broker_up = true;
                self.compared = false;
                // "A new session kills the old one": what was open belongs to the old one.
                self.open = None;
                self.repeat_words(&mut turn);
            }
            Input::LineDown(Role::Broker) => {
                self.broker_up = false;
                self.compared = false;
            }
            Input::Tick => self.tick(&mut turn),
            _ => {}
        }
        turn.out
    }

    /// What a clock that stood ahead for a moment left in RAM is lowered to what it can honestly be.
    fn heed_clock(&mut self, now: Time) {
        let latest = Time(now.0.saturating_add(WORD_REPEAT_MS));
        self.repeat_at = self.repeat_at.map(|at| at.min(latest));
        self.pace.heed(now);
        self.restricts.heed(now);
    }

    fn store<E: Entropy>(&mut self, record: Record, turn: &mut Turn<'_, E>) {
        if let Err(what) = self.state.apply(&record) {
            turn.tell(Event::Fault(Fault {
                culprit: Role::TrustOperator,
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

    fn tick<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if self
            .open
            .as_ref()
            .is_some_and(|o| turn.now >= Time::from_seconds(o.exp))
        {
            self.open = None;
        }
        if self
            .state
            .base
            .founding()
            .is_some_and(|f| turn.now >= f.deadline)
        {
            self.declare_dead(turn);
        }
        if self.repeat_at.is_some_and(|t| turn.now >= t) {
            self.repeat_words(turn);
        }
    }

    /// Forwards the device's words until they are answered (rule 10).
    fn repeat_words<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        self.repeat_at = None;
        if !self.broker_up || self.state.words.is_empty() {
            return;
        }
        for held in self.state.words.iter() {
            let agree = Agree::Word {
                word: held.word,
                proposal: held.proposal.clone(),
            };
            turn.out.push(Output::Send {
                to: Role::Broker,
                agree,
            });
        }
        self.repeat_at = Some(Time(turn.now.0.saturating_add(WORD_REPEAT_MS)));
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
            (Role::Broker, Agree::Prepare { block }) => {
                self.prepare(&block, turn);
                Ok(())
            }
            (
                Role::Broker,
                Agree::Endorse {
                    block,
                    commitments,
                    own,
                    shares,
                    assent,
                    endorse,
                },
            ) => {
                let e = Endorsement {
                    block: &block,
                    commitments: &commitments,
                    own,
                    shares: &shares,
                    assent,
                    endorse,
                };
                self.endorse(&e, turn).map_err(unfit)
            }
            (
                Role::Broker,
                Agree::Restrict {
                    block,
                    signature,
                    superseded,
                    word,
                    proposal,
                },
            ) => {
                let r = Restriction {
                    block: &block,
                    signature: &signature,
                    superseded: superseded.as_ref(),
                    word: word.as_ref(),
                    proposal: proposal.as_ref(),
                };
                self.restrict(&r, turn).map_err(unfit)
            }
            (Role::Broker, Agree::Ack { head }) => {
                self.ack(head, turn);
                Ok(())
            }
            (Role::Broker, Agree::Blocks { sealed }) => self.blocks(sealed, turn).map_err(unfit),
            (
                Role::Broker | Role::Device,
                Agree::HeadIs {
                    head, vote, ask, ..
                },
            ) => self
                .head_is(from, head, vote.as_ref(), ask, turn)
                .map_err(unfit),
            (Role::Broker | Role::Device, Agree::BlocksFrom { height }) => {
                self.send_blocks(from, height, turn);
                Ok(())
            }
            (Role::Broker | Role::Device, Agree::Word { word, proposal }) => self
                .word(from, &word, proposal.as_ref(), turn)
                .map_err(unfit),
            (_, _) => Err(Refusal::WrongParty {
                message: name.into(),
                found: from,
                expected: "a party that may send it to a trust operator".into(),
            }),
        }
    }

    fn refuse<E: Entropy>(&self, hash: Hash, reason: Reason, turn: &mut Turn<'_, E>) {
        turn.send(Role::Broker, Agree::Refused { hash, reason });
    }

    /// Answers a repeat of what is sealed, or of what it cannot judge yet. `true`: answered.
    fn answered<E: Entropy>(&mut self, block: &Block, turn: &mut Turn<'_, E>) -> bool {
        if let Some(last) = &self.state.last
            && block.claims().height <= last.block.claims().height
        {
            if block.hash() == last.block.hash() {
                turn.send(
                    Role::Broker,
                    Agree::Blocks {
                        sealed: vec![last.clone()],
                    },
                );
            } else {
                self.send_blocks(Role::Broker, block.claims().height, turn);
            }
            return true;
        }
        if !self.compared {
            // Rule 8: heads first.
            self.send_head(Role::Broker, true, turn);
            return true;
        }
        false
    }

    /// A freeze's own time goes before its block: the head moves with what was recorded up to it,
    /// so no crash leaves a freeze that only the broker's clock dates.
    fn store_sealed<E: Entropy>(&mut self, sealed: &Sealed, turn: &mut Turn<'_, E>) {
        if sealed.block.claims().kind == Kind::Freeze {
            self.store(Record::FrozenAt { at: turn.now }, turn);
        }
        self.store(Record::Sealed(Box::new(sealed.clone())), turn);
    }
}
