//! Votes: an identity key's signature that says *who* did *what* with which object.
//!
//! A threshold signature names nobody; votes do. This module fixes their bytes (docs/protocol.md,
//! votes) and verifies them against a key that the caller trusts. It never decides what a vote is
//! worth.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::encoding::{self, EncodingError, Hash, VOTE_DOMAIN};
use crate::party::{Role, Sub};
use crate::signature::{IdentityKey, Verify, verify_strict};

/// What a party says it did; the byte after the domain in a vote.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[repr(u8)]
pub enum Verb {
    /// The device agrees to a block.
    Assent = 1,
    /// The broker locked a block and gave its share.
    Endorse = 2,
    /// The trust operator sealed a block.
    Seal = 3,
    /// The device refuses a block.
    Deny = 4,
    /// The device refuses a block and asks for a freeze: "it wasn't me".
    Disown = 5,
    /// A freeze is asked for; the hash is the signer's head.
    Freeze = 6,
    /// A FROST commitment for a block.
    Commitment = 7,
    /// A FROST signature share for a block and package.
    Share = 8,
    /// An enrolment transcript.
    Transcript = 9,
    /// The signer's head.
    Head = 10,
    /// An enrolment ticket; `sub` is zeros.
    Ticket = 11,
    /// An enrolment session key; `sub` is zeros.
    SessionKey = 12,
    /// The broker erases an account; the hash is its head.
    Erase = 13,
}

impl Verb {
    /// All verbs by number.
    pub const ALL: [Verb; 13] = [
        Verb::Assent,
        Verb::Endorse,
        Verb::Seal,
        Verb::Deny,
        Verb::Disown,
        Verb::Freeze,
        Verb::Commitment,
        Verb::Share,
        Verb::Transcript,
        Verb::Head,
        Verb::Ticket,
        Verb::SessionKey,
        Verb::Erase,
    ];

    /// The verb's number, 1 to 13.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The verb's lower-case name, as in canonical JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Assent => "assent",
            Verb::Endorse => "endorse",
            Verb::Seal => "seal",
            Verb::Deny => "deny",
            Verb::Disown => "disown",
            Verb::Freeze => "freeze",
            Verb::Commitment => "commitment",
            Verb::Share => "share",
            Verb::Transcript => "transcript",
            Verb::Head => "head",
            Verb::Ticket => "ticket",
            Verb::SessionKey => "session-key",
            Verb::Erase => "erase",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a vote says, before anybody signed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Statement {
    /// What was done.
    pub verb: Verb,
    /// By which role.
    pub role: Role,
    /// In which account; zeros for tickets and session keys.
    pub sub: Sub,
    /// To which object.
    pub hash: Hash,
}

impl Statement {
    /// The signed bytes: `"warifu-vote/1"` (13) ‖ verb (1) ‖ role (1) ‖ sub (16) ‖ hash (32).
    #[must_use]
    pub fn bytes(&self) -> [u8; 63] {
        let mut bytes = [0_u8; 63];
        let fields = VOTE_DOMAIN
            .iter()
            .copied()
            .chain([self.verb.number(), self.role.number()])
            .chain(self.sub.0)
            .chain(self.hash.0);
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }
}

/// A vote does not verify under the key of the party it is attributed to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{verb} vote does not verify under the {role}'s key")]
pub struct BadVote {
    /// Whose vote it should be.
    pub role: Role,
    /// What it should say.
    pub verb: Verb,
}

/// A signature over a [`Statement`]; an enum, so that other kinds of proof can follow.
///
/// Text: `ed25519:` and 86 characters of base64url.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Vote {
    /// An Ed25519 signature R ‖ S by the party's identity key.
    #[serde(rename = "ed25519")]
    Ed25519(#[serde(with = "encoding::bytes")] [u8; 64]),
}

const ED25519_PREFIX: &str = "ed25519:";

impl Vote {
    /// Signs a statement with the voter's identity key.
    #[must_use]
    pub fn sign(key: &IdentityKey, statement: &Statement) -> Vote {
        Vote::Ed25519(key.sign(&statement.bytes()))
    }

    /// Checks that the holder of `public` made this statement.
    ///
    /// # Errors
    /// [`BadVote`], naming the statement's role and verb.
    pub fn verify(&self, statement: &Statement, public: &[u8; 32]) -> Result<(), BadVote> {
        self.verify_by(statement, public, &mut verify_strict)
    }

    /// [`Vote::verify`], its signature looked at by the caller.
    ///
    /// # Errors
    /// As [`Vote::verify`].
    pub fn verify_by(
        &self,
        statement: &Statement,
        public: &[u8; 32],
        verify: &mut Verify<'_>,
    ) -> Result<(), BadVote> {
        let Vote::Ed25519(signature) = self;
        verify(public, &statement.bytes(), signature).map_err(|_| BadVote {
            role: statement.role,
            verb: statement.verb,
        })
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Vote::Ed25519(signature) = self;
        write!(f, "{ED25519_PREFIX}{}", encoding::text_b64(signature))
    }
}

impl FromStr for Vote {
    type Err = EncodingError;

    fn from_str(text: &str) -> Result<Vote, EncodingError> {
        let signature = text
            .strip_prefix(ED25519_PREFIX)
            .ok_or(EncodingError::Alphabet)?;
        encoding::parse_b64(signature).map(Vote::Ed25519)
    }
}

/// The device's refusing word, kept beside the restrict block that answers it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Word {
    /// [`Verb::Deny`], [`Verb::Disown`] or [`Verb::Freeze`].
    pub verb: Verb,
    /// The refused block, or for a freeze the device's head.
    pub hash: Hash,
    /// The device's vote.
    pub vote: Vote,
}

impl Word {
    /// Signs a word with the device's identity key. A verb other than deny, disown or freeze never
    /// verifies as a word.
    #[must_use]
    pub fn sign(key: &IdentityKey, verb: Verb, sub: Sub, hash: Hash) -> Word {
        let statement = Statement {
            verb,
            role: Role::Device,
            sub,
            hash,
        };
        Word {
            verb,
            hash,
            vote: Vote::sign(key, &statement),
        }
    }

    /// Checks that the device said this about the account.
    ///
    /// # Errors
    /// [`BadVote`] when the verb refuses nothing or the vote does not verify under `device`.
    pub fn verify(&self, sub: Sub, device: &[u8; 32]) -> Result<(), BadVote> {
        self.verify_by(sub, device, &mut verify_strict)
    }

    /// [`Word::verify`], its signature looked at by the caller.
    ///
    /// # Errors
    /// As [`Word::verify`].
    pub fn verify_by(
        &self,
        sub: Sub,
        device: &[u8; 32],
        verify: &mut Verify<'_>,
    ) -> Result<(), BadVote> {
        let refuses = matches!(self.verb, Verb::Deny | Verb::Disown | Verb::Freeze);
        if !refuses {
            return Err(BadVote {
                role: Role::Device,
                verb: self.verb,
            });
        }
        let statement = Statement {
            verb: self.verb,
            role: Role::Device,
            sub,
            hash: self.hash,
        };
        self.vote.verify_by(&statement, device, verify)
    }
}
