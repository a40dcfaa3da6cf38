//! The broker's machine: it proposes, checks the number, locks, endorses, and tells.
//!
//! State is in three layers: what the chain says ([`Base`]), what this broker signed and may not
//! sign again ([`Ledgered`], the fold of its records), and the proposal at hand ([`Work`], RAM).
//! It never tells "admitted" before the sealed block is durable here (rule 6), never signs a
//! second admit block at a height (rule 1), and signs nothing but a head before it compared heads
//! with the trust operator in this session (rule 8). What it signs next is decided in one place,
//! `pursue`.

mod ledgered;
mod propose;
mod restrict;
mod sync;
mod timing;

use std::sync::Arc;

use crate::{
    block::{Block, Kind, Sealed},
    body::{ContentKey, SealedBody},
    chain::Head,
    encoding::Hash,
    party::Role,
    random::Entropy,
    share::{self, Commitment, KeyShare, Nonces, Package},
    signature::IdentityKey,
    time::{GRACE_S, MAX_LIFETIME_S, Time},
    vote::{Verb, Vote, Word},
    wire::{Agree, OperatorCommitments, Reason, SaltBytes, SignedCommitment, SignedShare},
};

use super::{
    base::Base,
    checkpoint::{Challenge, Checkpoint, NOT_OWN, Own, behind_sealed},
    conflict::{self, Conflict},
    limits::{
        ASKED_LIMIT, ASKED_WINDOW_S, MAX_TRIES, PACE_LIMIT, PACE_WINDOW_S, RESTORED_WAIT_S,
        RETRY_FIRST_MS, RETRY_MAX_MS,
    },
    pace::Pace,
    package::{Signing, package_hash, verify_commitment, verify_share, verify_vote},
    patience::{Patience, is_beyond},
    turn::Turn,
    types::{
        Begin, BrokerLock, Event, Fault, HeldWord, Input, LoginId, Outcome, Output, Record,
        Refusal, RestrictLock,
    },
    words::Words,
};
use ledgered::Ledgered;

/// One attempt at a signature: a FROST package lives in RAM and is used once (rule 7).
#[derive(Debug)]
pub(super) enum Round {
    /// The trust operator was asked for its commitment.
    Preparing,
    /// The device was asked, with these commitments.
    Proposed(Box<Proposed>),
    /// The trust operator was asked to seal.
    Endorsed(Box<Agree>),
    /// A share or vote failed; this block waits for its expiry.
    Failed,
}

/// A package on its way: this broker's nonces and both operators' commitments.
#[derive(Debug)]
pub(super) struct Proposed {
    pub(super) nonces: Nonces,
    pub(super) own: Commitment,
    pub(super) theirs: SignedCommitment,
}

/// The proposal at hand.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) block: Block,
    pub(super) body: Option<SealedBody>,
    pub(super) salt: Option<SaltBytes>,
    pub(super) login: LoginId,
    pub(super) caller: String,
    /// What was asked; kept to propose again one height up (rule 5). None after a restart.
    pub(super) begin: Option<Box<Begin>>,
    /// The number on the page; none for a genesis and after a restart.
    pub(super) number: Option<u8>,
    pub(super) matched: bool,
    /// Its end was told already: it is never told again, and never "admitted" after (rule 6).
    pub(super) told: bool,
    pub(super) round: Round,
    pub(super) tries: u8,
}

/// A login that waits for its turn: heads not compared, or moved one height up.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) begin: Box<Begin>,
    pub(super) number: u8,
    pub(super) exp: u64,
}

/// The broker's machine for one account. See the module.
pub struct Broker {
    pub(super) key: Arc<IdentityKey>,
    pub(super) share: Option<KeyShare>,
    pub(super) content_key: Option<ContentKey>,
    state: Ledgered,
    pub(super) work: Option<Work>,
    pub(super) queued: Option<Queued>,
    /// The block that the device is locked on and this broker never was (rule 5).
    pub(super) foreign: Option<Block>,
    pub(super) device_restored: bool,
    /// The proposal that ended with a wrong number and whose `refuse` is not signed yet.
    pub(super) refusing: Option<Block>,
    pub(super) up: [bool; 3],
    pub(super) compared: bool,
    pub(super) retry_at: Option<Time>,
    pub(super) retry_ms: u64,
    pub(super) pace: Pace,
    /// Restrict blocks signed because the device asked.
    pub(super) asked: Pace,
    /// When to ask again for an overdue genesis.
    pub(super) genesis_ask_at: Option<Time>,
    /// How long what it wrote down about being restored contradicts its clock.
    pub(super) patience: Patience,
}

impl Broker {
    /// A machine from its records; the first is the founding or a checkpoint.
    ///
    /// `share` and `content_key` come from the vault; without them the machine signs no admit.
    ///
    /// # Errors
    /// Text naming the record that doesn't fit.
    pub fn recover(
        records: impl IntoIterator<Item = Record>,
        key: Arc<IdentityKey>,
        share: Option<KeyShare>,
        content_key: Option<ContentKey>,
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
            state.base.check_share(Role::Broker, share)?;
        }
        let mut broker = Self::fresh(state, key, share, content_key);
        for record in records {
            broker.state.apply(&record)?;
        }
        if let Some(lock) = broker.state.lock.clone() {
            broker.work = Some(Work {
                block: lock.block,
                body: lock.body,
                salt: None,
                login: lock.login,
                caller: lock.caller,
                begin: None,
                number: None,
                matched: true,
                told: broker.state.given_up,
                round: if broker.state.given_up {
                    Round::Failed
                } else {
                    Round::Preparing
                },
                tries: 0,
            });
        }
        Ok(broker)
    }

    fn fresh(
        state: Ledgered,
        key: Arc<IdentityKey>,
        share: Option<KeyShare>,
        content_key: Option<ContentKey>,
    ) -> Self {
        Self {
            key,
            share,
            content_key,
            state,
            work: None,
            queued: None,
            foreign: None,
            device_restored: false,
            refusing: None,
            up: [false; 3],
            compared: false,
            retry_at: None,
            retry_ms: RETRY_FIRST_MS,
            pace: Pace::new(PACE_LIMIT, PACE_WINDOW_S),
            asked: Pace::new(ASKED_LIMIT, ASKED_WINDOW_S),
            genesis_ask_at: None,
            patience: Patience::default(),
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

    /// Nothing is open, locked, wanted or owed, and no pace is counted (a machine that comes back
    /// from its records starts a fresh one): the machine may be dropped from RAM.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        self.work.is_none()
            && self.pace.is_quiet(now)
            && self.asked.is_quiet(now)
            && self.queued.is_none()
            && self.foreign.is_none()
            && !self.device_restored
            && self.refusing.is_none()
            && self.has_no_duty()
    }

    /// Nothing that was asked for or owed is under way: the account's status changes only by a new
    /// request.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.work.is_none()
            && self.queued.is_none()
            && self.foreign.is_none()
            && self.refusing.is_none()
            && self.has_no_duty()
    }

    /// Whether heads were compared with the trust operator in this session (rule 8): before that
    /// the chain here may be an old copy.
    #[must_use]
    pub fn has_compared(&self) -> bool {
        self.compared
    }

    /// A freeze was asked for, here or by the device, that no sealed block answers yet (rule 10).
    #[must_use]
    pub fn is_freeze_pending(&self) -> bool {
        self.wants_freeze()
    }

    /// No durable duty: no lock, no restrict signature, no freeze wanted, not restored.
    #[must_use]
    pub fn has_no_duty(&self) -> bool {
        let s = &self.state;
        s.lock.is_none()
            && s.restrict.is_none()
            && s.words.is_empty()
            && s.freeze_above.is_none()
            && s.restored.is_none()
            && !matches!(s.base, Base::Founding(_))
    }

    /// When to call with [`Input::Tick`], if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        // What cannot be acted on now is no deadline: a caller that ticks at once would spin. The
        // line's return, or the answer that is awaited, moves the machine instead.
        let may_sign = self.may_sign_restrict();
        let unlocked = match (&self.work, &self.state.lock) {
            (Some(work), None) => Some(Time::from_seconds(work.block.claims().exp)),
            _ => None,
        };
        let locked = self
            .state
            .lock
            .as_ref()
            .filter(|_| may_sign && self.state.restored.is_none())
            .map(|l| after_grace(l.block.claims().exp));
        let restored = self.restored_due().filter(|_| may_sign);
        let queued = self.queued.as_ref().map(|q| Time::from_seconds(q.exp));
        [
            unlocked,
            locked,
            restored,
            queued,
            self.genesis_due(),
            self.retry_at,
            self.asked_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A restrict block could be signed now: heads compared, none outstanding.
    fn may_sign_restrict(&self) -> bool {
        self.compared
            && self.is_up(Role::TrustOperator)
            && self.state.restrict.is_none()
            && matches!(self.state.base, Base::Standing(_))
    }

    /// When the device's asking is heard again, while it asks for more than its pace allows.
    fn asked_due(&self) -> Option<Time> {
        let asks = !self.state.words.is_empty() || self.foreign.is_some() || self.device_restored;
        self.asked
            .free_at()
            .filter(|_| asks && self.may_sign_restrict() && self.state.restored.is_none())
    }

    /// When to ask, or ask again, what became of the genesis.
    fn genesis_due(&self) -> Option<Time> {
        let founding = self.state.base.founding()?;
        let due = self.genesis_ask_at.unwrap_or(founding.deadline);
        self.is_up(Role::TrustOperator).then_some(due)
    }

    /// Moves the machine. Perform the outputs in order.
    pub fn handle<E: Entropy>(&mut self, now: Time, input: Input, entropy: &mut E) -> Vec<Output> {
        let mut turn = Turn {
            now,
            out: Vec::new(),
            entropy,
        };
        self.heed_clock(turn.now);
        match input {
            Input::Message { from, agree } => {
                if let Err(refusal) = self.message(from, agree, &mut turn) {
                    turn.tell(Event::Rejected { from, refusal });
                }
            }
            Input::LineUp(role) => self.line_up(role, &mut turn),
            Input::LineDown(role) => self.line_down(role),
            Input::Tick => self.tick(&mut turn),
            Input::Begin(begin) => self.begin(begin, &mut turn),
            Input::Cancel { login } => self.cancel(login, &mut turn),
            Input::Freeze => self.want_freeze(&mut turn),
            Input::Approve { .. } | Input::Deny { .. } | Input::FreezeByCustomer => {}
        }
        self.pursue(&mut turn);
        turn.out
    }

    /// Stores a record: folds it here, and asks for it to be made durable.
    pub(super) fn store<E: Entropy>(&mut self, record: Record, turn: &mut Turn<'_, E>) {
        // A record that this machine made itself always folds: both come from the same state.
        if let Err(reason) = self.state.apply(&record) {
            turn.tell(Event::Fault(Fault {
                culprit: Role::Broker,
                what: reason,
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
        set(&mut self.up, role, true);
        match role {
            Role::TrustOperator => {
                // Rule 8: heads first; `pursue` asks, and resumes what is owed.
                self.compared = false;
                self.retry_ms = RETRY_FIRST_MS;
                self.retry_at = None;
                if let Some(work) = &mut self.work
                    && !matches!(work.round, Round::Failed)
                {
                    work.round = Round::Preparing;
                }
            }
            Role::Device => self.repeat_propose(turn),
            Role::Broker => {}
        }
    }

    fn line_down(&mut self, role: Role) {
        set(&mut self.up, role, false);
        if role == Role::TrustOperator {
            self.compared = false;
        }
    }

    pub(super) fn is_up(&self, role: Role) -> bool {
        self.up
            .get(usize::from(role.number()).saturating_sub(1))
            .copied()
            .unwrap_or(false)
    }

    fn message<E: Entropy>(
        &mut self,
        from: Role,
        agree: Agree,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), Refusal> {
        let name = agree.name();
        match (from, agree) {
            (Role::TrustOperator, Agree::Committed { hash, commitment }) => {
                self.committed(hash, commitment, turn).map_err(unfit(name))
            }
            (Role::TrustOperator, Agree::NotYet { wait_s, .. }) => {
                let wait = turn
                    .now
                    .0
                    .saturating_add(wait_s.clamp(1, GRACE_S).saturating_mul(1000));
                self.retry_at = Some(Time(wait));
                Ok(())
            }
            (Role::TrustOperator, Agree::Refused { hash, reason }) => {
                self.trust_operator_refused(hash, reason, turn);
                Ok(())
            }
            (Role::TrustOperator, Agree::GenesisDead) => {
                self.genesis_dead(turn);
                Ok(())
            }
            (Role::Device, Agree::Refused { hash, reason }) => {
                self.device_refused(hash, reason, turn);
                Ok(())
            }
            (Role::Device, Agree::Number { hash, number }) => {
                self.number(hash, number, turn).map_err(unfit(name))
            }
            (
                Role::Device,
                Agree::Assent {
                    hash,
                    commitment,
                    share,
                    vote,
                },
            ) => self
                .assent(hash, commitment, &share, vote, turn)
                .map_err(unfit(name)),
            (Role::Device, Agree::Locked { block }) => {
                self.device_locked(block).map_err(unfit(name))
            }
            (Role::Device | Role::TrustOperator, Agree::Word { word, proposal }) => self
                .word(from, &word, proposal.as_ref(), turn)
                .map_err(unfit(name)),
            (
                Role::Device | Role::TrustOperator,
                Agree::HeadIs {
                    head,
                    vote,
                    ask,
                    notice,
                },
            ) => self
                .head_is(from, head, vote.as_ref(), (ask, notice), turn)
                .map_err(unfit(name)),
            (Role::Device | Role::TrustOperator, Agree::BlocksFrom { height }) => {
                self.send_blocks(from, height, turn);
                Ok(())
            }
            (Role::Device | Role::TrustOperator, Agree::Blocks { sealed }) => {
                self.blocks(sealed, turn).map_err(unfit(name))
            }
            (_, _) => Err(Refusal::WrongParty {
                message: name.into(),
                found: from,
                expected: "a party that may send it to a broker".into(),
            }),
        }
    }

    fn committed<E: Entropy>(
        &mut self,
        hash: Hash,
        theirs: SignedCommitment,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let (parties, sub) = (*self.state.base.parties(), self.state.base.sub());
        let Some(work) = self.work.as_mut().filter(|w| w.block.hash() == hash) else {
            return Err(format!("block {hash} is not the one proposed"));
        };
        verify_commitment(&parties, sub, hash, &theirs)?;
        match &work.round {
            Round::Proposed(p) if p.theirs == theirs => {
                self.repeat_propose(turn);
                return Ok(());
            }
            Round::Failed => return Ok(()),
            // The trust operator lost its nonce: the same block in another package (rule 7).
            Round::Preparing | Round::Proposed(_) | Round::Endorsed(_) => {}
        }
        if turn.now >= Time::from_seconds(work.block.claims().exp) {
            return Err("the proposal expired".into());
        }
        if work.tries >= MAX_TRIES {
            work.round = Round::Failed;
            return Err(format!("block was tried {MAX_TRIES} times"));
        }
        let Some(share) = &self.share else {
            return Err("this broker holds no share of the account".into());
        };
        work.tries = work.tries.saturating_add(1);
        let (nonces, own) = share::commit(share, hash.0, turn.entropy);
        work.round = Round::Proposed(Box::new(Proposed {
            nonces,
            own,
            theirs,
        }));
        self.repeat_propose(turn);
        self.first_retry(turn);
        Ok(())
    }

    /// Sends the open proposal to the device, if there is one and a line.
    fn repeat_propose<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if !self.is_up(Role::Device) {
            return;
        }
        if let Some(work) = &self.work
            && let Round::Proposed(p) = &work.round
        {
            let propose = Agree::Propose {
                block: work.block.clone(),
                body: work.body.clone(),
                salt: work.salt.clone(),
                commitments: OperatorCommitments {
                    broker: p.own,
                    trust_operator: p.theirs.clone(),
                },
            };
            turn.send(Role::Device, propose);
        }
    }
}

fn set(up: &mut [bool; 3], role: Role, value: bool) {
    if let Some(slot) = up.get_mut(usize::from(role.number()).saturating_sub(1)) {
        *slot = value;
    }
}

fn unfit(message: &'static str) -> impl FnOnce(String) -> Refusal {
    move |reason| Refusal::Unfit {
        message: message.into(),
        reason,
    }
}

/// The first moment after `exp` + 30 s: "own now > exp + 30 s" (rule 4).
pub(super) fn after_grace(exp: u64) -> Time {
    Time(
        Time::from_seconds(exp.saturating_add(GRACE_S))
            .0
            .saturating_add(1),
    )
}
