//! A sealed block: a block, the proof that it was agreed, and the votes that say by whom.
//!
//! Holds these together and gives their JOSE forms. Whether they verify is decided in
//! [`crate::chain`].

use serde::{Deserialize, Serialize};

use super::{Block, Class};
use crate::encoding::{self, text_b64};
use crate::vote::{Vote, Word};

/// Signatures over a block's signing input: Ed25519, R ‖ S, 64 bytes each.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Proof {
    /// Of an admit block: the account key's threshold signature.
    Account(#[serde(with = "encoding::bytes")] [u8; 64]),
    /// Of a restrict block: both operators' identity keys over the same input.
    Operators {
        /// The broker's signature.
        #[serde(with = "encoding::bytes")]
        broker: [u8; 64],
        /// The trust operator's signature.
        #[serde(with = "encoding::bytes")]
        trust_operator: [u8; 64],
    },
}

/// The votes kept beside a block.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Votes {
    /// Of a genesis block.
    Genesis {
        /// The device's, on the block.
        assent: Vote,
        /// The broker's, on the block.
        endorse: Vote,
        /// The trust operator's, on the block.
        seal: Vote,
        /// All three on the enrolment transcript, in role order.
        transcript: [Vote; 3],
    },
    /// Of every other admit block.
    Admit {
        /// The device's, on the block.
        assent: Vote,
        /// The broker's, on the block.
        endorse: Vote,
        /// The trust operator's, on the block.
        seal: Vote,
    },
    /// Of a restrict block, whose proof already names the operators.
    Restrict {
        /// The device's refusal, where it gave one; a `deny` block needs it.
        word: Option<Word>,
    },
}

/// A block with its proof and votes. Its parts may contradict one another until a chain verified it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sealed {
    /// The block.
    pub block: Block,
    /// The proof that it was agreed.
    pub proof: Proof,
    /// The votes that say by whom.
    pub votes: Votes,
}

impl Sealed {
    /// The JWS compact form of an admit block, `header.payload.signature` (RFC 7515 §3.1); `None`
    /// for a restrict block.
    #[must_use]
    pub fn compact(&self) -> Option<String> {
        match (self.block.claims().kind.class(), &self.proof) {
            (Class::Admit, Proof::Account(signature)) => {
                Some(format!("{}.{}", self.block.input(), text_b64(signature)))
            }
            _ => None,
        }
    }

    /// The JWS general JSON form of a restrict block (RFC 7515 §7.2.1): the broker's signature,
    /// then the trust operator's, under the same protected header; `None` for an admit block.
    #[must_use]
    pub fn general(&self) -> Option<String> {
        let Proof::Operators {
            broker,
            trust_operator,
        } = &self.proof
        else {
            return None;
        };
        if self.block.claims().kind.class() != Class::Restrict {
            return None;
        }
        let (protected, payload) = self.block.input().split_once('.')?;
        let (broker, trust_operator) = (text_b64(broker), text_b64(trust_operator));
        Some(format!(
            concat!(
                r#"{{"payload":"{payload}","signatures":["#,
                r#"{{"protected":"{protected}","signature":"{broker}"}},"#,
                r#"{{"protected":"{protected}","signature":"{trust_operator}"}}]}}"#,
            ),
            payload = payload,
            protected = protected,
            broker = broker,
            trust_operator = trust_operator,
        ))
    }
}
