//! The trust operator's machine: its own checks, its own share, and the seal.
//!
//! Its only lock is the sealed block itself (rule 1): commitments and open proposals live in RAM
//! and never stop a restrict block. Its share leaves only inside a signature that verified (rule
//! 7). It never sees a body, and it gives a sealed block to nobody but the broker before the
//! broker acknowledged it as durable (rule 8).

use std::sync::Arc;

use crate::{
    block::{Block, Class, Kind, Proof, Sealed, Votes},
    chain::Head,
    encoding::Hash,
    party::Role,
    random::Entropy,
    share::{self, AggregateError, KeyShare, Nonces},
    signature::{IdentityKey, SignatureBytes, verify_strict},
    time::{Time, check_times},
    vote::{Statement, Verb, Vote, Word},
    wire::{Agree, Reason, SignedCommitment, SignedShare},
};

use super::{
    base::{Base, Founding},
    pace::Pace,
    package::{Signing, package_hash, package_of, verify_commitment, verify_share, verify_vote},
    types::{Event, Fault, HeldWord, Input, Output, Record, Refusal},
    words::Words,
};

/// Proposals per account in [`PREPARE_WINDOW_S`] before the trust operator refuses (rule 2).
pub(super) const PREPARE_LIMIT: u32 = 120;
/// The window of [`PREPARE_LIMIT`] in seconds.
pub(super) const PREPARE_WINDOW_S: u64 = 60;
/// How often an unanswered device word is repeated to the broker, in milliseconds.
const WORD_REPEAT_MS: u64 = 5_000;

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
struct Ledgered {
    base: Base,
    words: Words,
    acked: Option<Head>,
    /// When the account was frozen, for the unfreeze delay: the later of the block's `iat`, which
    /// is the broker's word, and the moment it was sealed here.
    frozen_at: Option<u64>,
    /// The block at the head, in full: a repeat is answered with it.
    last: Option<Sealed>,
    conflict: bool,
}

impl Ledgered {
    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Sealed(sealed) => {
                self.base.adopt(sealed)?;
                self.words.sealed(sealed);
                let c = sealed.block.claims();
                match c.kind {
                    Kind::Freeze => self.frozen_at = self.frozen_at.max(Some(c.iat)),
                    Kind::Unfreeze => self.frozen_at = None,
                    _ => {}
                }
                self.last = Some((**sealed).clone());
            }
            Record::Word(held) => self.words.add((**held).clone()),
            Record::FrozenAt { at } => {
                self.frozen_at = self.frozen_at.max(Some(at.seconds()));
            }
            Record::Acked(head) => self.acked = Some(*head),
            Record::Conflict(_) => self.conflict = true,
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
    pace: Pace,
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

/// An endorsement as it came from the broker.
struct Endorsement<'a> {
    block: &'a Block,
    package: &'a [SignedCommitment; 3],
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
    /// A machine from its records; the first is the founding.
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
        let founding = match records.next() {
            Some(Record::Founding(f)) => f,
            _ => return Err("first record is no founding, expected one".into()),
        };
        founding.check()?;
        let mut machine = Self::fresh(founding, key, share, options);
        for record in records {
            machine.state.apply(&record)?;
        }
        Ok(machine)
    }

    fn fresh(
        founding: Box<Founding>,
        key: Arc<IdentityKey>,
        share: Option<KeyShare>,
        options: TrustOperatorOptions,
    ) -> Self {
        Self {
            key,
            share,
            options,
            state: Ledgered {
                base: Base::Founding(founding),
                words: Words::default(),
                acked: None,
                frozen_at: None,
                last: None,
                conflict: false,
            },
            open: None,
            broker_up: false,
            compared: false,
            pace: Pace::new(PREPARE_LIMIT, PREPARE_WINDOW_S),
            repeat_at: None,
        }
    }

    /// What the account stands on.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.state.base
    }

    /// Nothing is open or owed, and no pace is counted: the machine may be dropped from RAM.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        self.open.is_none() && self.pace.is_quiet(now) && self.has_no_duty()
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

    fn store<E: Entropy>(&mut self, record: Record, turn: &mut Turn<'_, E>) {
        if let Err(what) = self.state.apply(&record) {
            turn.tell(Event::Fault(Fault {
                culprit: Role::TrustOperator,
                what,
            }));
            return;
        }
        turn.out.push(Output::Store(record));
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
        if self.state.conflict {
            return Err(Refusal::Conflict);
        }
        match (from, agree) {
            (Role::Broker, Agree::Prepare { block }) => {
                self.prepare(&block, turn);
                Ok(())
            }
            (
                Role::Broker,
                Agree::Endorse {
                    block,
                    package,
                    shares,
                    assent,
                    endorse,
                },
            ) => {
                let e = Endorsement {
                    block: &block,
                    package: &package,
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

    /// Rule 2, and what the device's words and this party's own policy add.
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

    fn prepare<E: Entropy>(&mut self, block: &Block, turn: &mut Turn<'_, E>) {
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
        if let Err(reason) = self.own_eyes(block, turn.now) {
            self.refuse(hash, reason, turn);
            return;
        }
        if self.pace.is_full(turn.now) {
            let (limit, window_s) = (self.pace.limit(), self.pace.window_s());
            self.refuse(hash, Reason::Pace { limit, window_s }, turn);
            return;
        }
        self.pace.mark(turn.now);
        self.commit(block, turn);
    }

    fn commit<E: Entropy>(&mut self, block: &Block, turn: &mut Turn<'_, E>) {
        let hash = block.hash();
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

    fn endorse<E: Entropy>(
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
        let [_, _, own] = e.package;
        if *own != open.commitment {
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
                self.commit_sealed(sealed, turn)
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

    /// Checks every vote, adds its own share, aggregates, verifies (rules 3, 9).
    fn seal_signature(&self, e: &Endorsement<'_>, open: Open) -> Result<(Proof, Votes), Fault> {
        let blame = |culprit: Role| move |what: String| Fault { culprit, what };
        let (parties, sub) = (self.state.base.parties(), self.state.base.sub());
        let (hash, broker) = (e.block.hash(), Role::Broker);
        let [device_commitment, broker_commitment, _] = e.package;
        let [device_share, broker_share] = e.shares;
        // What the broker forwards must carry its owner's vote; without one the broker is at
        // fault, never the owner.
        verify_vote(parties, broker, Verb::Endorse, sub, hash, &e.endorse)
            .map_err(blame(broker))?;
        verify_vote(parties, Role::Device, Verb::Assent, sub, hash, &e.assent)
            .map_err(blame(broker))?;
        verify_commitment(parties, Role::Device, sub, hash, device_commitment)
            .map_err(blame(broker))?;
        verify_commitment(parties, broker, sub, hash, broker_commitment).map_err(blame(broker))?;
        let package = package_of(e.package);
        let package_hash = package_hash(&package);
        verify_share(parties, Role::Device, sub, hash, package_hash, device_share)
            .map_err(blame(broker))?;
        verify_share(parties, broker, sub, hash, package_hash, broker_share)
            .map_err(blame(broker))?;

        let own_fault = |what: String| Fault {
            culprit: Role::TrustOperator,
            what,
        };
        let key_share = self
            .share
            .as_ref()
            .ok_or_else(|| own_fault("no key share".into()))?;
        let message = e.block.input().as_bytes();
        let own = share::sign(key_share, open.nonces, message, &hash.0, &package)
            .map_err(|e| own_fault(e.to_string()))?;
        let shares = [device_share.share, broker_share.share, own];
        let signature = share::aggregate(key_share.public_keys(), &package, message, &shares)
            .map_err(|e| match e {
                AggregateError::Culprits { roles } => Fault {
                    culprit: roles.first().copied().unwrap_or(Role::TrustOperator),
                    what: format!("signature share for block {hash} does not verify"),
                },
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

    /// The commit point (rule 3): verify as a stranger would, make durable, only then answer.
    fn commit_sealed<E: Entropy>(
        &mut self,
        sealed: Sealed,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify(&sealed)?;
        self.open = None;
        self.store_sealed(&sealed, turn);
        turn.send(
            Role::Broker,
            Agree::Blocks {
                sealed: vec![sealed.clone()],
            },
        );
        turn.tell(Event::Sealed(Box::new(sealed)));
        Ok(())
    }

    /// A freeze's own time goes before its block: the head moves with what was recorded up to it,
    /// so no crash leaves a freeze that only the broker's clock dates.
    fn store_sealed<E: Entropy>(&mut self, sealed: &Sealed, turn: &mut Turn<'_, E>) {
        if sealed.block.claims().kind == Kind::Freeze {
            self.store(Record::FrozenAt { at: turn.now }, turn);
        }
        self.store(Record::Sealed(Box::new(sealed.clone())), turn);
    }

    fn restrict<E: Entropy>(
        &mut self,
        r: &Restriction<'_>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        if self.answered(r.block, turn) {
            return Ok(());
        }
        let (hash, c) = (r.block.hash(), r.block.claims());
        if c.kind.class() != Class::Restrict {
            return Err(format!("kind `{}` is no restrict", c.kind.name()));
        }
        self.state.base.check(r.block)?;
        verify_strict(
            &self.state.base.parties().broker,
            r.block.input().as_bytes(),
            &r.signature.0,
        )
        .map_err(|e| format!("the broker's restrict proof: {e}"))?;
        let word = match r.word {
            None => None,
            Some(word) => {
                word.verify(self.state.base.sub(), &self.state.base.parties().device)
                    .map_err(|e| e.to_string())?;
                Some(*word)
            }
        };
        if let Some(wait_s) = self.too_early(r, turn.now)? {
            turn.send(Role::Broker, Agree::NotYet { hash, wait_s });
            return Ok(());
        }
        self.restrict_word_fits(r)?;
        let signature = self.key.sign(r.block.input().as_bytes());
        let proof = Proof::Operators {
            broker: r.signature.0,
            trust_operator: signature,
        };
        let sealed = Sealed {
            block: r.block.clone(),
            proof,
            votes: Votes::Restrict { word },
        };
        self.commit_sealed(sealed, turn)
    }

    /// Rule 4: what lets a restrict block supersede the broker's lock. `Some` = seconds to wait.
    fn too_early(&self, r: &Restriction<'_>, now: Time) -> Result<Option<u64>, String> {
        let c = r.block.claims();
        let Some(named) = c.supersedes else {
            return match r.superseded {
                None => Ok(None),
                Some(_) => Err("a superseded block is sent, the claim `supersedes` is null".into()),
            };
        };
        let Some(superseded) = r.superseded else {
            return Err(format!("superseded block {named} is missing"));
        };
        if superseded.hash() != named {
            return Err(format!(
                "superseded block is {}, expected {named}",
                superseded.hash()
            ));
        }
        let s = superseded.claims();
        if s.height != c.height || s.prev != c.prev || s.sub != c.sub {
            return Err("superseded block is no rival at this height".into());
        }
        let denied = r
            .word
            .is_some_and(|w| w.verb != Verb::Freeze && w.hash == named);
        if denied || c.kind == Kind::Freeze || now.is_past_grace(s.exp) {
            return Ok(None);
        }
        let free = Time::from_seconds(s.exp.saturating_add(crate::time::GRACE_S)).0;
        Ok(Some(free.saturating_sub(now.0).div_ceil(1000).max(1)))
    }

    /// A `deny` needs the device's word about that very proposal; a word that comes along must
    /// fit the kind.
    fn restrict_word_fits(&self, r: &Restriction<'_>) -> Result<(), String> {
        let c = r.block.claims();
        match (c.kind, r.word, r.proposal) {
            (Kind::Deny, Some(word), Some(proposal)) => {
                let p = proposal.claims();
                let fits = word.verb != Verb::Freeze
                    && proposal.hash() == word.hash
                    && p.sub == c.sub
                    && p.height == c.height
                    && p.prev == c.prev
                    && p.aud == c.aud
                    && p.nonce == c.nonce;
                if fits {
                    Ok(())
                } else {
                    Err("deny names another proposal than its word".into())
                }
            }
            (Kind::Deny, _, _) => Err("deny without the device's word and its proposal".into()),
            (Kind::Freeze, Some(word), _) if word.verb == Verb::Deny => {
                Err("a deny does not ask for a freeze".into())
            }
            (Kind::Freeze, _, _) | (_, None, _) => Ok(()),
            (kind, Some(_), _) => Err(format!("kind `{}` carries a word", kind.name())),
        }
    }

    fn ack<E: Entropy>(&mut self, head: Head, turn: &mut Turn<'_, E>) {
        let newer = self.state.acked.is_none_or(|a| a.height < head.height);
        if newer && self.state.base.head() == Some(head) {
            self.store(Record::Acked(head), turn);
        }
    }

    fn send_head<E: Entropy>(&self, to: Role, ask: bool, turn: &mut Turn<'_, E>) {
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

    fn send_blocks<E: Entropy>(&self, to: Role, from: u64, turn: &mut Turn<'_, E>) {
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
        if theirs == ours && head != self.state.base.head() {
            return Err(format!(
                "the broker's head at height {theirs} is not this one's"
            ));
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
    fn blocks<E: Entropy>(
        &mut self,
        sealed: Vec<Sealed>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let before = self.state.base.next_height();
        for block in sealed {
            let height = block.block.claims().height;
            let next = self.state.base.next_height();
            if height < next {
                if let Some(last) = &self.state.last
                    && last.block.claims().height == height
                    && last.block.hash() != block.block.hash()
                {
                    return self.conflict(block, turn);
                }
                continue;
            }
            if height > next {
                return Err(format!("block has height {height}, expected {next}"));
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

    fn conflict<E: Entropy>(
        &mut self,
        sealed: Sealed,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_rival(&sealed)?;
        let what = format!(
            "sealed block {} at height {} beside another",
            sealed.block.hash(),
            sealed.block.claims().height
        );
        self.store(Record::Conflict(Box::new(sealed)), turn);
        turn.tell(Event::Fault(Fault {
            culprit: Role::Broker,
            what,
        }));
        Ok(())
    }

    fn word<E: Entropy>(
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

    fn declare_dead<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if matches!(self.state.base, Base::Founding(_)) {
            self.store(Record::Dead, turn);
            self.open = None;
            turn.out.push(Output::ForgetShare);
            turn.tell(Event::Dead);
        }
    }
}
