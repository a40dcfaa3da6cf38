//! Whether a block is this login: verification by a relying party with a key that it pinned.
//!
//! Decides protocol rule 6's second half, the login service's own look at the block, and the same
//! years later as evidence. Keys come from the verifier's pins only, never from what is verified:
//! a header's `kid` must match the pinned key, it never chooses one. Restrict blocks, votes and
//! anything that an operator signed with its identity key are never taken for a login. Never asks
//! anyone, never reads a clock.
//!
//! [`verify_login`] looks at the block alone, a JWT that any JOSE library verifies too. The account
//! key's signature exists only if all three parties signed, but it names none of them:
//! [`verify_receipt`] looks at the votes kept beside the block as well, which say who did what.

use core::fmt;

use warifu_consensus::block::{
    Block, BlockError, Class, Kind, Sealed, SealedError, Votes, thumbprint,
};
use warifu_consensus::encoding::{EncodingError, Hash, parse_b64};
use warifu_consensus::log::{Checkpoint, LogKeys, LogProof, ProofError};
use warifu_consensus::party::{Ledger, Parties, Role, Sub};
use warifu_consensus::signature::verify_strict;
use warifu_consensus::time::{Time, TimeError, check_lifetime, check_times};
use warifu_consensus::vote::{BadVote, Statement, Verb};

/// Longest compact JWT that is looked at, in bytes: a signing input, a dot and 86 characters.
pub const MAX_COMPACT: usize = warifu_consensus::block::MAX_INPUT + 87;

/// What the verifier knows by itself before it looks at a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expected {
    /// The ledger's origin, from the verifier's own configuration.
    pub iss: String,
    /// The relying party: the verifier's own name.
    pub aud: String,
    /// The customer's pinned account.
    pub account: Sub,
    /// The customer's pinned account key: 32-byte Ed25519 public key.
    pub account_key: [u8; 32],
    /// This session's challenge.
    pub nonce: String,
    /// What was asked for.
    pub kind: Kind,
}

/// At which time a block must hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// Now, by the verifier's clock, to let someone in: `exp` is enforced, and `iat` may lie at
    /// most 30 s ahead.
    Live(Time),
    /// At the block's own `iat`, as evidence later: `exp` limits admission, not proof.
    Evidence,
}

/// A block that verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedLogin {
    /// The block; everything in its claims is agreed by all three parties.
    pub block: Block,
    /// The account key's signature, 64 bytes.
    pub signature: [u8; 64],
}

impl VerifiedLogin {
    /// Distance from genesis.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.block.claims().height
    }

    /// The block's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.block.hash()
    }
}

/// Identity keys (32-byte Ed25519 public keys) by which votes are verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Voters {
    /// The device's, from the customer's genesis; its vote stays unverified without it.
    pub device: Option<[u8; 32]>,
    /// The broker's, pinned.
    pub broker: [u8; 32],
    /// The trust operator's, pinned.
    pub trust_operator: [u8; 32],
}

impl Voters {
    /// Of a verifier that knows the ledger's two operators only.
    #[must_use]
    pub fn operators(ledger: &Ledger) -> Voters {
        Voters {
            device: None,
            broker: ledger.broker,
            trust_operator: ledger.trust_operator,
        }
    }

    fn key(&self, role: Role) -> Option<&[u8; 32]> {
        match role {
            Role::Device => self.device.as_ref(),
            Role::Broker => Some(&self.broker),
            Role::TrustOperator => Some(&self.trust_operator),
        }
    }
}

impl From<Parties> for Voters {
    fn from(parties: Parties) -> Voters {
        Voters {
            device: Some(parties.device),
            broker: parties.broker,
            trust_operator: parties.trust_operator,
        }
    }
}

/// What a verification looked at; its text names each thing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// The time at which the block holds.
    pub moment: Moment,
    /// Whose votes verified, in role order: all three, or the operators' where the device's key was
    /// not known.
    pub votes: Vec<Role>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("form, kid, account key's signature, iss, sub, aud, nonce, kind, ")?;
        f.write_str(match self.moment {
            Moment::Live(_) => "not expired now",
            Moment::Evidence => "lifetime (as evidence, not against a clock)",
        })?;
        let mut before = "; votes of ";
        for role in &self.votes {
            write!(f, "{before}{role}")?;
            before = ", ";
        }
        if !self.votes.contains(&Role::Device) {
            f.write_str("; not the device's vote: its key is not known")?;
        }
        Ok(())
    }
}

/// That a block was in the ledger's log when both operators signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logged {
    /// The leaf's index, from 0.
    pub index: u64,
    /// The checkpoint that both signed.
    pub checkpoint: Checkpoint,
    /// When the trust operator cosigned it, by its own clock: seconds since the Unix epoch.
    pub cosigned: u64,
}

/// Verifies a proof (C2SP tlog-proof) that a block is in the ledger's log: the leaf is this block's, it is in the
/// tree, and both operators signed the tree's root, under the pinned keys. Offline.
///
/// # Errors
/// [`ProofError`]: what does not hold.
pub fn verify_logged(block: &Block, proof: &str, keys: &LogKeys) -> Result<Logged, ProofError> {
    let proof: LogProof = proof.parse()?;
    let (checkpoint, cosignature) = proof.verify(&block.hash(), &keys.log, &keys.witness)?;
    Ok(Logged {
        index: proof.index,
        checkpoint,
        cosigned: cosignature.time,
    })
}

/// Verifies everything that a login service keeps of a login in one call, offline: block, account key's signature and
/// votes as [`verify_receipt`] does, and that the block is in the ledger's log as [`verify_logged`] does.
///
/// # Errors
/// [`ReceiptError`]; [`ReceiptError::Log`] where the block holds and the proof does not.
pub fn verify_logged_receipt(
    receipt: &str,
    proof: &str,
    expected: &Expected,
    voters: &Voters,
    moment: Moment,
    keys: &LogKeys,
) -> Result<(VerifiedReceipt, Logged), ReceiptError> {
    let verified = verify_receipt(receipt, expected, voters, moment)?;
    let logged = verify_logged(&verified.login.block, proof, keys)?;
    Ok((verified, logged))
}

/// A receipt that verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedReceipt {
    /// The login.
    pub login: VerifiedLogin,
    /// The block with its votes.
    pub sealed: Box<Sealed>,
    /// What was looked at.
    pub checked: Checked,
}

/// Why a text is not the expected login.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptError {
    /// The proof that the block is in the ledger's log.
    #[error("the ledger's log: {0}")]
    Log(#[from] ProofError),
    /// Longer than any block.
    #[error("block has {found} bytes, at most {MAX_COMPACT} allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not `header.payload.signature`.
    #[error("block has {found} parts, expected 3")]
    Parts {
        /// Parts found.
        found: usize,
    },
    /// The signature's text is not 64 bytes of canonical base64url.
    #[error("block's signature: {0}")]
    Signature(EncodingError),
    /// Header or claims are not a block's: other `alg`, other `typ`, not canonical.
    #[error("block: {0}")]
    Block(#[from] BlockError),
    /// The block is of a class that only the operators sign.
    #[error("block is a `{found}`, which only the operators sign, expected `{expected}`")]
    Class {
        /// The kind found.
        found: Kind,
        /// The kind asked for.
        expected: Kind,
    },
    /// The verifier expects a kind that nobody asks a customer for.
    #[error("`{kind}` is never asked of a customer")]
    NeverAsked {
        /// The kind expected.
        kind: Kind,
    },
    /// The header names another key than the pinned one.
    #[error("block's kid is {found}, expected {expected}, the pinned key's")]
    Kid {
        /// The thumbprint found.
        found: String,
        /// The pinned key's.
        expected: String,
    },
    /// The signature does not verify strictly under the pinned account key.
    #[error("block's signature does not verify under the pinned account key")]
    Proof,
    /// A claim is not the expected one.
    #[error("block's {claim} is {found}, expected {expected}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// The value found.
        found: String,
        /// The verifier's own.
        expected: String,
    },
    /// Its time is over, not yet, or longer than the ledger allows.
    #[error("block: {0}")]
    Time(#[from] TimeError),
    /// The receipt is no sealed block.
    #[error("receipt: {0}")]
    Sealed(#[from] SealedError),
    /// Beside the block are the votes, or the proof, of another class of block.
    #[error("receipt of a `{kind}` carries the proof or the votes of another class")]
    Form {
        /// The block's kind.
        kind: Kind,
    },
    /// A vote is not its party's.
    #[error("receipt's {0}")]
    Vote(#[from] BadVote),
}

/// Verifies that `compact` (JWS compact serialisation, RFC 7515 §3.1) is exactly the expected
/// login: one canonical text, fixed `alg` and `typ`, `kid` and signature of the pinned account
/// key, and `iss`, `sub`, `aud`, `nonce`, `kind` equal to the verifier's own values.
///
/// Single use of the nonce is the caller's: `login_service` keeps it by moving the session, and by
/// remembering the nonces that let someone in.
///
/// # Errors
/// [`ReceiptError`] with found and expected.
pub fn verify_login(
    compact: &str,
    expected: &Expected,
    moment: Moment,
) -> Result<VerifiedLogin, ReceiptError> {
    if !expected.kind.is_asked() {
        return Err(ReceiptError::NeverAsked {
            kind: expected.kind,
        });
    }
    let (block, signature) = split(compact)?;
    let claims = block.claims();
    let (Class::Admit, Some(kid)) = (claims.kind.class(), block.kid()) else {
        return Err(ReceiptError::Class {
            found: claims.kind,
            expected: expected.kind,
        });
    };
    let pinned_kid = thumbprint(&expected.account_key);
    if kid != pinned_kid {
        return Err(ReceiptError::Kid {
            found: kid.to_owned(),
            expected: pinned_kid,
        });
    }
    verify_strict(&expected.account_key, block.input().as_bytes(), &signature)
        .map_err(|_| ReceiptError::Proof)?;
    check_claims(&block, expected)?;
    match moment {
        Moment::Live(now) => check_times(now, claims.iat, claims.exp)?,
        Moment::Evidence => check_lifetime(claims.iat, claims.exp)?,
    }
    Ok(VerifiedLogin { block, signature })
}

/// Verifies a receipt, the sealed block's canonical JSON that the login service got with
/// "admitted": [`verify_login`], then the votes of assent, endorsement and seal beside the block
/// by every identity key in `voters`.
///
/// # Errors
/// [`ReceiptError`] with found and expected, or with the party whose vote does not verify.
pub fn verify_receipt(
    receipt: &str,
    expected: &Expected,
    voters: &Voters,
    moment: Moment,
) -> Result<VerifiedReceipt, ReceiptError> {
    let sealed = Box::new(Sealed::from_json(receipt)?);
    let found = sealed.block.claims().kind;
    let compact = match (found.class(), sealed.compact()) {
        (Class::Admit, Some(compact)) => compact,
        (Class::Admit, None) => return Err(ReceiptError::Form { kind: found }),
        (Class::Restrict, _) => {
            let expected = expected.kind;
            return Err(ReceiptError::Class { found, expected });
        }
    };
    let login = verify_login(&compact, expected, moment)?;
    let votes = verify_votes(&sealed, voters)?;
    Ok(VerifiedReceipt {
        login,
        sealed,
        checked: Checked { moment, votes },
    })
}

/// Whose votes beside an admit block other than a genesis verify: assent, endorse and seal on its hash, in role order;
/// without the device's where its key is not known. Says nothing about the account key's signature.
///
/// # Errors
/// [`ReceiptError::Form`] for another class of block, [`ReceiptError::Vote`] with the party whose vote does not verify.
pub fn verify_votes(sealed: &Sealed, voters: &Voters) -> Result<Vec<Role>, ReceiptError> {
    let claims = sealed.block.claims();
    let Votes::Admit {
        assent,
        endorse,
        seal,
    } = &sealed.votes
    else {
        return Err(ReceiptError::Form { kind: claims.kind });
    };
    let cast = [
        (Role::Device, Verb::Assent, assent),
        (Role::Broker, Verb::Endorse, endorse),
        (Role::TrustOperator, Verb::Seal, seal),
    ];
    let mut verified = Vec::with_capacity(cast.len());
    for (role, verb, vote) in cast {
        let Some(key) = voters.key(role) else {
            continue;
        };
        let statement = Statement {
            verb,
            role,
            sub: claims.sub,
            hash: sealed.block.hash(),
        };
        vote.verify(&statement, key)?;
        verified.push(role);
    }
    Ok(verified)
}

fn split(compact: &str) -> Result<(Block, [u8; 64]), ReceiptError> {
    let found = compact.len();
    if found > MAX_COMPACT {
        return Err(ReceiptError::TooLong { found });
    }
    let found = compact.split('.').count();
    let (3, Some((input, signature))) = (found, compact.rsplit_once('.')) else {
        return Err(ReceiptError::Parts { found });
    };
    let signature = parse_b64(signature).map_err(ReceiptError::Signature)?;
    Ok((Block::parse(input)?, signature))
}

fn check_claims(block: &Block, expected: &Expected) -> Result<(), ReceiptError> {
    let claims = block.claims();
    let account = expected.account.to_string();
    let pairs = [
        ("iss", claims.iss.clone(), &expected.iss),
        ("sub", claims.sub.to_string(), &account),
        ("aud", claims.aud.clone(), &expected.aud),
        ("nonce", claims.nonce.clone(), &expected.nonce),
        (
            "kind",
            claims.kind.name().to_owned(),
            &expected.kind.name().to_owned(),
        ),
    ];
    for (claim, found, expected) in pairs {
        if found != *expected {
            return Err(ReceiptError::Claim {
                claim,
                found,
                expected: expected.clone(),
            });
        }
    }
    Ok(())
}
