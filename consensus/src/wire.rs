//! The messages of the three parties and their bytes.
//!
//! A frame is one version byte and one [`Message`] in `bincode` (variable integers, little endian).
//! This module is the only one that names `bincode`; it decodes with a limit, rejects trailing
//! bytes, and encodes again to accept one spelling only. Nothing here is ever signed: what is
//! signed is built in [`crate::encoding`] and [`crate::vote`].

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    block::{Block, Sealed},
    body::{SealedBody, is_hidden},
    chain::Head,
    encoding::Hash,
    enrol::EnrolMessage,
    log::LogMessage,
    party::Sub,
    share::{Commitment, CommitmentBytes, SignatureShare},
    vote::{Vote, Word},
};

/// The version byte that opens every frame.
pub const WIRE_VERSION: u8 = 1;

/// The largest frame in bytes, version byte included.
pub const MAX_FRAME: usize = 64 * 1024;

/// The largest message in bytes: a frame without its version byte.
const MAX_MESSAGE: usize = MAX_FRAME - 1;

/// The largest limit in bytes that a caller of [`encode`] and [`decode`] may set.
pub const MAX_LIMIT: usize = 256 * 1024;

/// What the decoder lets itself be promised before it reads on, so that a length of 2⁶⁰ allocates nothing. It
/// counts each integer at its full width, up to 8 bytes for one of the encoding: held to the caller's limit
/// it would refuse what [`encode`] wrote.
const MAX_PROMISED: usize = 8 * MAX_LIMIT;

/// The most bytes of sealed blocks that one [`Agree::Blocks`] carries, so that a frame holds them.
pub const MAX_BLOCKS_BYTES: usize = 48 * 1024;

/// Why a frame or a record could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The frame is longer than [`MAX_FRAME`] (or the caller's limit).
    #[error("message has {found} bytes, at most {limit} allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The first byte names another version.
    #[error("message has version {found}, expected {WIRE_VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// The bytes are no message.
    #[error("message is malformed: {reason}")]
    Malformed {
        /// What the decoder met.
        reason: String,
    },
    /// The bytes decode, but are not the one canonical spelling.
    #[error("message is not canonical: {found} bytes found, its canonical form has {expected}")]
    NotCanonical {
        /// Bytes found.
        found: usize,
        /// Bytes of the canonical form.
        expected: usize,
    },
}

/// Encodes a value as canonical `bincode`, at most `LIMIT` bytes ([`MAX_LIMIT`] or less): what [`decode`] with the same
/// limit reads.
///
/// # Errors
/// [`WireError::TooLong`] or [`WireError::Malformed`] when the value has no encoding.
pub fn encode<T: Serialize, const LIMIT: usize>(value: &T) -> Result<Vec<u8>, WireError> {
    const { assert!(LIMIT <= MAX_LIMIT) }
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(value, config).map_err(|e| WireError::Malformed {
        reason: e.to_string(),
    })?;
    if bytes.len() > LIMIT {
        return Err(WireError::TooLong {
            found: bytes.len(),
            limit: LIMIT,
        });
    }
    Ok(bytes)
}

/// Decodes exactly one value: limit first, no trailing bytes, one spelling.
///
/// # Errors
/// [`WireError`] naming what was found.
pub fn decode<T: Serialize + DeserializeOwned, const LIMIT: usize>(
    bytes: &[u8],
) -> Result<T, WireError> {
    if bytes.len() > LIMIT {
        return Err(WireError::TooLong {
            found: bytes.len(),
            limit: LIMIT,
        });
    }
    let config = bincode::config::standard().with_limit::<MAX_PROMISED>();
    let (value, read): (T, usize) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|e| WireError::Malformed {
            reason: e.to_string(),
        })?;
    let again = encode::<T, LIMIT>(&value)?;
    if read != bytes.len() || again != bytes {
        return Err(WireError::NotCanonical {
            found: bytes.len(),
            expected: again.len(),
        });
    }
    Ok(value)
}

/// A body's salt on its way to a party, or to the vault. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct SaltBytes(pub [u8; 32]);

impl std::fmt::Debug for SaltBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SaltBytes(<redacted>)")
    }
}

/// Everything that one party says to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// About one account's next block.
    Agree {
        /// The account.
        sub: Sub,
        /// What is said.
        agree: Box<Agree>,
    },
    /// About an enrolment session.
    Enrol(Box<EnrolMessage>),
    /// Operator ↔ operator: about their clocks. Nothing is ever decided by it.
    Clock(Clock),
    /// Operator ↔ operator, and a device with its broker: about the global log.
    Log(Box<LogMessage>),
}

/// How two operators learn how far their clocks are apart: unsigned, for whoever watches them only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// What does your clock say?
    Ask {
        /// The asker's clock: milliseconds since the Unix epoch.
        asked: u64,
    },
    /// That.
    Answer {
        /// As asked.
        asked: u64,
        /// The answerer's clock: milliseconds since the Unix epoch.
        at: u64,
    },
}

impl Message {
    /// The frame of this message.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when it does not fit [`MAX_FRAME`].
    pub fn to_frame(&self) -> Result<Vec<u8>, WireError> {
        let mut frame = vec![WIRE_VERSION];
        frame.extend(encode::<Self, MAX_MESSAGE>(self)?);
        Ok(frame)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`WireError`] naming what was found.
    pub fn from_frame(frame: &[u8]) -> Result<Self, WireError> {
        if frame.len() > MAX_FRAME {
            return Err(WireError::TooLong {
                found: frame.len(),
                limit: MAX_FRAME,
            });
        }
        match frame.split_first() {
            None => Err(WireError::Malformed {
                reason: "empty frame".into(),
            }),
            Some((&WIRE_VERSION, rest)) => decode::<Self, MAX_MESSAGE>(rest),
            Some((&found, _)) => Err(WireError::Version { found }),
        }
    }
}

/// The trust operator's FROST commitment, signed by it (vote 7): it reaches the device through the
/// broker, and no share of the trust operator's follows it. The other two sign theirs with their
/// shares: vote 8 covers the whole package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCommitment {
    /// Hiding and binding commitments, 64 bytes.
    pub commitment: Commitment,
    /// Vote 7 of the owner over `derive_key(block hash ‖ commitment)`.
    pub vote: Vote,
}

/// What the device needs from the two operators before it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorCommitments {
    /// The broker's, as it comes on the broker's own line.
    pub broker: Commitment,
    /// The trust operator's, as the broker passes it on.
    pub trust_operator: SignedCommitment,
}

/// A FROST signature share, signed by its owner (vote 8) against one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedShare {
    /// The share, 32 bytes.
    pub share: SignatureShare,
    /// Vote 8 of the owner over `derive_key(block hash ‖ package hash ‖ share)`.
    pub vote: Vote,
}

/// The longest free text of another party that is shown, in characters.
const MAX_PLAIN: usize = 300;

/// Another party's free text, fit for a screen or a log: at most 300 characters, and a control or
/// invisible one, with which it could draw over what the customer reads, shows as U+FFFD.
#[must_use]
pub fn plain(text: &str) -> String {
    let shown = |c| if is_hidden(c) { '\u{fffd}' } else { c };
    text.chars().take(MAX_PLAIN).map(shown).collect()
}

/// Why a party won't take part, as told to another party.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Reason {
    /// The sender's own rules refuse the block: chain, kind, status.
    #[error("{}", plain(.0))]
    Rule(String),
    /// The proposal's times don't fit the sender's clock.
    #[error("{}", plain(.0))]
    Clock(String),
    /// The account's device denied this very block.
    #[error("the device denied this block")]
    Denied,
    /// A freeze was asked for and is not sealed yet.
    #[error("a freeze was asked for and is not sealed yet")]
    FreezeWanted,
    /// Too many proposals for this account.
    #[error("too many proposals for this account, at most {limit} in {window_s} s")]
    Pace {
        /// Proposals allowed in the window.
        limit: u32,
        /// The window in seconds.
        window_s: u64,
    },
    /// The trust operator's own check before an unfreeze is not done.
    #[error("unfreezing is possible {wait_s} s from now")]
    UnfreezeDelay {
        /// Seconds still to wait.
        wait_s: u64,
    },
    /// A signature share or vote failed, and this party is the culprit.
    #[error("the {culprit} sent a share that does not verify")]
    Fault {
        /// Who.
        culprit: crate::party::Role,
    },
    /// The refusing party is a restored copy and signs only after a `restored` block.
    #[error("this party was restored from an older copy and waits for a `restored` block")]
    Restored,
    /// The same block was tried too often with fresh nonces.
    #[error("this block was tried {limit} times")]
    Tries {
        /// Tries allowed.
        limit: u8,
    },
    /// The customer's number was wrong.
    #[error("the number was wrong")]
    WrongNumber,
    /// The proposal's time is over.
    #[error("the proposal expired")]
    Expired,
    /// The login service took the login back.
    #[error("the login service cancelled the login")]
    Cancelled,
    /// The sender holds evidence of conflicting blocks, and admits nothing until a `freeze`.
    #[error("conflicting blocks are on record for this account")]
    Conflict,
    /// The account was never born: its genesis is dead.
    #[error("the account's genesis is dead")]
    Dead,
}

/// What is said about one account's next block. Names: docs/protocol.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Agree {
    /// Broker → trust operator: check this proposal and commit a nonce to it.
    Prepare {
        /// The proposal.
        block: Block,
    },
    /// Trust operator → broker: my commitment for this proposal.
    Committed {
        /// The proposal's hash.
        hash: Hash,
        /// The signed commitment.
        commitment: SignedCommitment,
    },
    /// Broker → device: assent to this?
    Propose {
        /// The proposal.
        block: Block,
        /// Its encrypted body, if the kind has one.
        body: Option<SealedBody>,
        /// The body's salt.
        salt: Option<SaltBytes>,
        /// The two commitments that the device's completes.
        commitments: OperatorCommitments,
    },
    /// Device → broker: the number that the customer typed.
    Number {
        /// The proposal's hash.
        hash: Hash,
        /// 0 to 99.
        number: u8,
    },
    /// Broker → device: the number was right; lock and assent.
    Match {
        /// The proposal's hash.
        hash: Hash,
    },
    /// Device → broker: the device's lock is durable, this is its share.
    Assent {
        /// The proposal's hash.
        hash: Hash,
        /// The device's commitment.
        commitment: Commitment,
        /// The device's share against the package of all three commitments.
        share: SignedShare,
        /// Vote 1 over the block's hash.
        vote: Vote,
    },
    /// Device → broker: I am locked on this other block at that height.
    Locked {
        /// The block of the device's lock.
        block: Block,
    },
    /// Broker → trust operator: all but your own part.
    Endorse {
        /// The block.
        block: Block,
        /// The device's and the broker's commitments.
        commitments: [Commitment; 2],
        /// The trust operator's own commitment, for it to compare.
        own: CommitmentBytes,
        /// The device's and the broker's shares.
        shares: [SignedShare; 2],
        /// Vote 1 of the device over the block's hash.
        assent: Vote,
        /// Vote 2 of the broker over the block's hash.
        endorse: Vote,
    },
    /// Broker → trust operator: complete this restrict block.
    Restrict {
        /// The restrict block.
        block: Block,
        /// The broker's signature over its signing input.
        signature: crate::signature::SignatureBytes,
        /// The block that it supersedes, if the broker had locked one.
        superseded: Option<Block>,
        /// The device's word behind it, if any.
        word: Option<Word>,
        /// The proposal that a disown names, whose `prev` makes it count.
        proposal: Option<Block>,
    },
    /// Trust operator → broker: too early for that restrict block.
    NotYet {
        /// The restrict block's hash.
        hash: Hash,
        /// Seconds to wait by the trust operator's clock.
        wait_s: u64,
    },
    /// Trust operator → broker, broker → device, device → broker: no, and why.
    Refused {
        /// The block's hash.
        hash: Hash,
        /// Why.
        reason: Reason,
    },
    /// Broker → trust operator: this head is durable here.
    Ack {
        /// The broker's head.
        head: Head,
    },
    /// Anyone → anyone: my head.
    HeadIs {
        /// The head; `None` before the genesis is sealed.
        head: Option<Head>,
        /// Vote 10 over the head's hash, present with a head.
        vote: Option<Vote>,
        /// The sender wants the other's head in return.
        ask: bool,
        /// From a device: it is a restored copy. From the trust operator to a device: it has
        /// sealed more than it may show yet.
        notice: bool,
    },
    /// Anyone → anyone: send me the sealed blocks from this height on.
    BlocksFrom {
        /// The first height wanted.
        height: u64,
    },
    /// Anyone → anyone: sealed blocks, consecutive. They prove themselves.
    Blocks {
        /// In ascending height.
        sealed: Vec<Sealed>,
    },
    /// Device → operators, operator → operator: the device denies, disowns or freezes.
    Word {
        /// The signed word.
        word: Word,
        /// The denied or disowned proposal.
        proposal: Option<Block>,
    },
    /// Trust operator → the others: this genesis is dead, durably.
    GenesisDead,
}

impl Agree {
    /// The message's name, for logs and errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare { .. } => "prepare",
            Self::Committed { .. } => "committed",
            Self::Propose { .. } => "propose",
            Self::Number { .. } => "number",
            Self::Match { .. } => "match",
            Self::Assent { .. } => "assent",
            Self::Locked { .. } => "locked",
            Self::Endorse { .. } => "endorse",
            Self::Restrict { .. } => "restrict",
            Self::NotYet { .. } => "not-yet",
            Self::Refused { .. } => "refused",
            Self::Ack { .. } => "ack",
            Self::HeadIs { .. } => "head",
            Self::BlocksFrom { .. } => "blocks-from",
            Self::Blocks { .. } => "blocks",
            Self::Word { .. } => "word",
            Self::GenesisDead => "genesis-dead",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_text_cannot_draw_on_the_screen() {
        let text = "no\u{1b}[2J\u{202e}\r\nadmitted".to_owned();
        let shown = Reason::Rule(text.clone()).to_string();
        assert_eq!(shown, "no\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}admitted");
        assert_eq!(Reason::Clock(text).to_string(), shown);
        let long = Reason::Rule("x".repeat(60_000)).to_string();
        assert_eq!(long.len(), MAX_PLAIN);
    }
}
