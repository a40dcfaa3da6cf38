//! What the operators say to each other about the log, and the broker to a device.
//!
//! The broker offers blocks, the trust operator matches each with one that it sealed, the broker makes them the
//! log's next leaves and signs, the trust operator makes the same leaves and cosigns. Nobody signs what it has not
//! made durable, and the broker signs only what was matched. What is said is bytes only; who acts on it decides.

use serde::{Deserialize, Serialize};

use super::{Digest, Leaf, Opener};
use crate::{agree::Erasure, encoding::Hash, party::Sub};

/// The most blocks of one [`LogMessage::Offer`]: a frame holds them.
pub const MAX_OFFERED: usize = 512;

/// The most leaves of one [`LogMessage::Leaves`]: a frame holds them.
pub const MAX_LEAVES: usize = 1024;

/// The most accounts of one [`LogMessage::Erased`]: a frame holds them.
pub const MAX_ERASED: usize = 400;

/// A block that the broker would log next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its account.
    pub sub: Sub,
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub block: Hash,
    /// The account's opener: kept by the trust operator when it is the first.
    pub opener: Opener,
}

/// Why the trust operator does not match an offered block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unmatched {
    /// A leaf was made of it already: the broker is a restored copy.
    #[error("logged already")]
    Logged,
    /// The trust operator holds no such block at that height, or not yet.
    #[error("not sealed by the trust operator")]
    NotSealed,
    /// A block of the account below it is not logged yet, nor offered before it.
    #[error("offered before the block below it")]
    OutOfTurn,
    /// The account's opener is another one, or was erased.
    #[error("the account's opener is another one")]
    Opener,
}

/// Everything that is said about the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogMessage {
    /// Operator ↔ operator, first on every line: how far the sender's log is.
    State {
        /// Leaves.
        size: u64,
        /// The last checkpoint with both signatures that it holds, a signed note; empty if it holds none.
        note: String,
    },
    /// Broker → trust operator: would you match these, in this order, as the leaves from `size` on?
    Offer {
        /// The log's size before them.
        size: u64,
        /// At most [`MAX_OFFERED`].
        blocks: Vec<Offered>,
    },
    /// Trust operator → broker: all but these.
    Matched {
        /// As offered.
        size: u64,
        /// Places in the offer, from 0, ascending, and what is wrong with each.
        refused: Vec<(u16, Unmatched)>,
    },
    /// Broker → trust operator: the offered blocks are the log's next leaves, durably; this is the checkpoint.
    Signed {
        /// A note with the broker's signature.
        note: String,
    },
    /// Trust operator → broker: they are so here, durably; this is the checkpoint with both signatures.
    Cosigned {
        /// A note with both signatures.
        note: String,
    },
    /// Operator → operator: the sender's log is behind one that it signed itself, so it is a restored copy, and
    /// asks for the leaves that it lost.
    WantLeaves {
        /// The first index wanted.
        from: u64,
    },
    /// The answer.
    Leaves {
        /// Index of the first.
        from: u64,
        /// Each with account and height of its block; at most [`MAX_LEAVES`].
        leaves: Vec<(Leaf, Sub, u64)>,
    },
    /// Device → broker: the largest checkpoint that I saw has this size (0: none).
    Seen {
        /// Leaves.
        size: u64,
    },
    /// Broker → device: the log has grown from that one to this one.
    Grown {
        /// Consistency proof (RFC 6962 §2.1.2) from the size named by the device.
        proof: Vec<Digest>,
        /// A note with both signatures.
        note: String,
    },
    /// Operator ↔ operator, on every new line and until it is answered in kind: these accounts are erased here.
    Erased {
        /// Each with the broker's word; at most [`MAX_ERASED`].
        accounts: Vec<(Sub, Erasure)>,
    },
}
