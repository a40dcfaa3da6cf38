//! What goes into a machine, what comes out of it, and what it keeps.

use serde::{Deserialize, Serialize};

use crate::{
    block::{Block, Claims, Kind, Sealed},
    body::{Body, SealedBody},
    chain::{Head, Status},
    encoding::Hash,
    party::Role,
    signature::SignatureBytes,
    time::Time,
    vote::{Vote, Word},
    wire::{Agree, Reason, SaltBytes},
};

use super::{
    base::Founding,
    checkpoint::{Checkpoint, OldCheckpoint},
    erasure::Erasure,
};

/// A login service's name for one login: 16 random bytes made by the broker's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LoginId(pub [u8; 16]);

/// What a party keeps about an account. The fold of these, in order, is the machine's durable
/// state; they live in the journal, except [`Record::Sealed`]'s salt, which the vault keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The account's key exists and this party's share is durable; no genesis yet.
    Founding(Box<Founding>),
    /// The next sealed block: the head moves.
    Sealed(Box<Sealed>),
    /// Device: its one admit signature at the next height (rule 1).
    DeviceLock(Block),
    /// Broker: its one admit signature at the next height (rule 1).
    BrokerLock(Box<BrokerLock>),
    /// Broker: its one restrict signature at the next height (rule 1).
    RestrictLock(Box<RestrictLock>),
    /// An encrypted body that this party saw sealed (its salt is in the vault).
    Body {
        /// The block's hash.
        hash: Hash,
        /// The ciphertext and its commitment.
        body: SealedBody,
    },
    /// The device's own word (device), or one received (operators), with the proposal it names.
    Word(Box<HeldWord>),
    /// Broker: a freeze is pending until one is sealed above this height (rule 4).
    FreezeWanted {
        /// A `freeze` counts when its height is above this.
        above: u64,
    },
    /// Trust operator: the broker acknowledged this head as durable (rule 8).
    Acked(Head),
    /// Broker: restored from an older copy; opens with `restored` at this time (rule 8).
    BrokerRestored {
        /// When the longest proposal that it may have forgotten is dead.
        until: Time,
    },
    /// Device: it missed an admit that it held no lock for (rule 8).
    DeviceRestored {
        /// When it noticed, by its own clock; only a later `restored` block clears it.
        at: Time,
    },
    /// Trust operator: when it sealed the last freeze, by its own clock. The block's `iat` is the
    /// broker's word.
    FrozenAt {
        /// That moment.
        at: Time,
    },
    /// A sealed block that cannot stand in this chain: evidence; this node admits nothing until a
    /// `freeze` is sealed (rule 9).
    Conflict(Box<Sealed>),
    /// The genesis is dead; the share may be deleted.
    Dead,
    /// Behind a sealed block: a checkpoint as it was written before. Nothing begins here.
    OldCheckpoint(Box<OldCheckpoint>),
    /// Behind a sealed block: nothing is owed. What follows later is read when it comes.
    Settled,
    /// Broker: the caller heard that its locked login was refused. It is never told that it was
    /// admitted; the lock is only waited out.
    GivenUp {
        /// The locked block.
        hash: Hash,
    },
    /// Operator: the other one voted for a head that is not in this chain: evidence, and as
    /// [`Record::Conflict`] (rule 9).
    HeadConflict {
        /// The head, as the other operator named it; its vote is on the hash.
        head: Head,
        /// Vote 10 of the other operator.
        vote: Vote,
    },
    /// Behind a sealed block: the fold of everything up to it. A start may begin here.
    Checkpoint(Box<Checkpoint>),
    /// The account's secrets are forgotten, or are about to be: nothing follows, and no machine begins from it
    /// (rule 11).
    Erased {
        /// The broker's word; none at a device, whose customer decides alone.
        erasure: Option<Erasure>,
        /// Broker: the trust operator has its own record of it. Always so elsewhere.
        both: bool,
    },
}

impl Record {
    /// Whether it may become durable after the outputs that follow it, and be lost in a crash.
    ///
    /// Only an acknowledgement: nothing that leaves the trust operator rests on its record. That the
    /// broker holds the block durably is so whether it is written down here or not, so a block given
    /// to a device meanwhile was given rightly (rule 8). Without the record a restarted trust operator
    /// shows a device less, never more, until heads are compared, which comes before anything
    /// is signed, and acknowledges the broker's head again. Rules 1, 3 and 6 never name it.
    #[must_use]
    pub const fn may_be_late(&self) -> bool {
        matches!(self, Self::Acked(_))
    }

    /// Whether it says something about the sealed block before it, and is written with it.
    #[must_use]
    pub const fn is_behind_sealed(&self) -> bool {
        matches!(self, Self::Checkpoint(_) | Self::Settled)
    }
}

/// The broker's lock: everything needed to finish the login after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerLock {
    /// The block, in full.
    pub block: Block,
    /// Its body.
    pub body: Option<SealedBody>,
    /// The login it belongs to.
    pub login: LoginId,
    /// The caller that began it.
    pub caller: String,
}

/// The broker's restrict signature, kept until the block is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestrictLock {
    /// The restrict block.
    pub block: Block,
    /// The broker's signature over its signing input, 64 bytes.
    pub signature: SignatureBytes,
    /// The admit lock that it supersedes, in full.
    pub superseded: Option<Block>,
    /// The device's word behind it.
    pub word: Option<Word>,
    /// The proposal that a disown names.
    pub proposal: Option<Block>,
}

/// A device's word with what it needs to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldWord {
    /// The signed word.
    pub word: Word,
    /// The denied or disowned proposal; none for a freeze.
    pub proposal: Option<Block>,
    /// The height of the block that the word builds on: a freeze counts above it.
    pub above: u64,
}

/// What a machine asks its caller to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Make this record durable before performing the next output.
    Store(Record),
    /// Make this salt durable in the vault, under the block's hash, before the next output.
    KeepSalt {
        /// The block.
        hash: Hash,
        /// Its body's salt.
        salt: SaltBytes,
    },
    /// Delete this account's share and content key from the vault.
    ForgetShare,
    /// Send to this party; losing it is allowed, the machine repeats.
    Send {
        /// To whom.
        to: Role,
        /// What.
        agree: Agree,
    },
    /// Read sealed blocks of this height range from the store and send them, at most
    /// [`crate::wire::MAX_BLOCKS_BYTES`] of them, as [`Agree::Blocks`].
    SendBlocks {
        /// To whom.
        to: Role,
        /// First height.
        from: u64,
        /// Last height, inclusive.
        until: u64,
    },
    /// Tell whoever watches this account.
    Tell(Event),
}

/// How a login (or another proposal) ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All three signed; the sealed block is durable here and was unexpired.
    Admitted(Box<Sealed>),
    /// Someone refused.
    Refused {
        /// Who.
        by: Role,
        /// Why.
        reason: Reason,
    },
    /// Nobody refused, time ran out.
    Expired,
}

/// What a machine tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Broker: a proposal is open; show this number on the page.
    Began {
        /// The login.
        login: LoginId,
        /// Two digits, 0 to 99.
        number: u8,
        /// When the proposal dies.
        exp: u64,
    },
    /// Broker: begin was refused; nothing changed.
    NotBegun {
        /// The login.
        login: LoginId,
        /// Why.
        refusal: Refusal,
    },
    /// Broker: a login ended.
    Ended {
        /// The login.
        login: LoginId,
        /// How.
        outcome: Outcome,
    },
    /// Broker: a cancel came too late or named another login.
    NotCancelled {
        /// The login.
        login: LoginId,
        /// Why.
        refusal: Refusal,
    },
    /// Device: ask the customer.
    Prompt(Prompt),
    /// Device: the prompt is gone.
    PromptGone {
        /// The proposal.
        hash: Hash,
        /// Why.
        reason: Option<Reason>,
    },
    /// Device: an approve or deny named nothing open.
    NoPrompt {
        /// The hash that was named.
        hash: Hash,
    },
    /// A sealed block was stored: the head moved.
    Sealed(Box<Sealed>),
    /// The genesis is dead.
    Dead,
    /// A party did what it may not do; the evidence is in the text and, for conflicts, the store.
    Fault(Fault),
    /// Two sealed blocks, or the heads of both operators, that cannot stand in one chain: this node
    /// admits nothing until a `freeze` is sealed (rule 9). The evidence is in the store. Blames nobody:
    /// what a pair proves is told as [`Event::Fault`].
    Conflict {
        /// The height of what was found.
        height: u64,
        /// This chain's block there, or the one that should come before it.
        held: Hash,
        /// The other block.
        found: Hash,
    },
    /// A message that the rules refuse and that changes nothing (found and expected in the text).
    Rejected {
        /// Who sent it.
        from: Role,
        /// What and why.
        refusal: Refusal,
    },
    /// Broker: it found itself to be a restored copy; it signs nothing but a `restored` block, and
    /// that not before this time (rule 8).
    Restored {
        /// When.
        until: Time,
    },
    /// Broker or trust operator: the heads of both were compared in this session.
    Compared {
        /// The own head's height.
        height: Option<u64>,
    },
}

/// What the device shows: the kind and relying party first, in its own words; channel, address
/// and details are the broker's assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The proposal.
    pub hash: Hash,
    /// Its claims.
    pub claims: Claims,
    /// The opened body, for kinds that have one.
    pub body: Option<Body>,
}

/// Evidence against a party.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {culprit} is at fault: {what}")]
pub struct Fault {
    /// Who.
    pub culprit: Role,
    /// What it did: found and expected.
    pub what: String,
}

/// Why a request or a message is refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// A proposal is open already.
    #[error("account has a proposal open, expected none: one at a time")]
    Busy {
        /// Seconds since the Unix epoch.
        until: u64,
    },
    /// The account's status doesn't allow the kind.
    #[error("account is {found}, which does not allow `{kind}`")]
    StatusForbids {
        /// The status.
        found: Status,
        /// The kind asked for.
        kind: String,
    },
    /// A freeze or a `restored` block comes first.
    #[error("account waits for a `{first}` block first")]
    Pending {
        /// The kind that comes first.
        first: String,
    },
    /// Too late: the broker's lock is durable.
    #[error("the proposal is locked, too late to cancel")]
    Locked,
    /// The login service's challenge is that of an earlier block.
    #[error("challenge was used for the block at height {height}, expected a fresh one")]
    Replayed {
        /// That block's height.
        height: u64,
    },
    /// No room for admits.
    #[error("the disk is nearly full, admits are refused until there is room")]
    DiskNearlyFull,
    /// Share or content key are gone: this party can sign no admit.
    #[error("this broker holds no key share of the account")]
    NoShare,
    /// Without the trust operator nothing can be admitted.
    #[error("the line to the trust operator is down, a login needs all three parties")]
    TrustOperatorDown,
    /// No such login is open.
    #[error("no such login is open on this account")]
    NoLogin,
    /// A message from a party that may not send it.
    #[error("message `{message}` came from the {found}, expected {expected}")]
    WrongParty {
        /// The message.
        message: String,
        /// Who sent it.
        found: Role,
        /// Who may.
        expected: String,
    },
    /// A message that doesn't fit this state.
    #[error("message `{message}`: {reason}")]
    Unfit {
        /// The message.
        message: String,
        /// Found and expected.
        reason: String,
    },
    /// A request that the chain's rules or the clock refuse.
    #[error("{0}")]
    Rule(String),
    /// Too many proposals.
    #[error("{found} unsuccessful proposals in {window_s} s, at most {limit} allowed")]
    Pace {
        /// Found.
        found: u32,
        /// Allowed.
        limit: u32,
        /// Window in seconds.
        window_s: u64,
    },
    /// The account's genesis is not sealed yet.
    #[error("account has no genesis yet")]
    NoGenesis,
    /// Conflicting blocks are on record: nothing is admitted here until a `freeze` is sealed.
    #[error("conflicting blocks are on record, nothing is admitted until a `freeze` is sealed")]
    Conflict,
    /// The genesis is dead.
    #[error("the account's genesis is dead")]
    Dead,
}

impl Refusal {
    /// A `freeze` of a revoked account: there is nothing left to freeze.
    pub(super) fn nothing_to_freeze() -> Self {
        Self::StatusForbids {
            found: Status::Revoked,
            kind: Kind::Freeze.name().into(),
        }
    }
}

/// A request of a login service to its broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The login's name.
    pub login: LoginId,
    /// Who asks; decides `aud`.
    pub caller: String,
    /// The relying party, fixed by the caller's credential.
    pub aud: String,
    /// The login service's challenge, at least 128 bits in base64url.
    pub nonce: String,
    /// An admit kind other than genesis.
    pub kind: Kind,
    /// What the device shows.
    pub body: Body,
    /// Seconds from `iat` to `exp`, at most 180.
    pub lifetime_s: u64,
}

/// What moves a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message from the party whose line it came on.
    Message {
        /// The line's party.
        from: Role,
        /// The message.
        agree: Agree,
    },
    /// The line to a party came up (a new session: everything unread of the old one is gone).
    LineUp(Role),
    /// The line to a party is gone.
    LineDown(Role),
    /// Time passed; see `deadline()`.
    Tick,
    /// Broker: begin a proposal.
    Begin(Box<Begin>),
    /// Broker: take a proposal back.
    Cancel {
        /// The login.
        login: LoginId,
    },
    /// Broker: freeze the account (desk, login service).
    Freeze,
    /// Device: the customer approves and typed this number.
    Approve {
        /// The proposal.
        hash: Hash,
        /// 0 to 99.
        number: u8,
    },
    /// Device: the customer denies.
    Deny {
        /// The proposal.
        hash: Hash,
        /// "It wasn't me": deny and freeze.
        not_me: bool,
    },
    /// Device: the customer freezes the account.
    FreezeByCustomer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_acknowledgement_may_be_late_and_only_a_fold_stands_behind_its_block() {
        let head = Head {
            height: 1,
            hash: Hash::ZERO,
        };
        for (record, late, behind) in [
            (Record::Acked(head), true, false),
            (Record::Settled, false, true),
            (Record::FreezeWanted { above: 1 }, false, false),
            (Record::Dead, false, false),
        ] {
            assert_eq!(record.may_be_late(), late, "{record:?}");
            assert_eq!(record.is_behind_sealed(), behind, "{record:?}");
        }
    }
}
