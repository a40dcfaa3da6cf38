//! What an account stands on: the agreed founding before its genesis is sealed, the fold of its
//! chain after.

use serde::{Deserialize, Serialize};

use crate::{
    block::{Block, Kind, Sealed},
    chain::{Account, Head, Outline, Seen, Status},
    encoding::{Hash, text_b64},
    party::{Ledger, Parties, Role, Sub},
    share::KeyShare,
    time::Time,
    vote::{Statement, Verb, Vote},
    wire::Agree,
};

use super::{types::Input, words::Words};

/// The result of an enrolment: all three voted for one transcript and hold their shares durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Origin and pinned operators.
    pub ledger: Ledger,
    /// The account: first 16 bytes of `derive_key` of the transcript hash.
    pub sub: Sub,
    /// The account's public key, 32 bytes.
    pub account_key: [u8; 32],
    /// The three identity keys.
    pub parties: Parties,
    /// The transcript's hash.
    pub transcript: Hash,
    /// The three transcript votes, in role order.
    pub votes: [Vote; 3],
    /// The enrolment session, 32 bytes: the genesis's `nonce`.
    pub session: [u8; 32],
    /// After this the trust operator declares an unsealed genesis dead.
    pub deadline: Time,
}

impl Founding {
    /// Checks that all three voted for this transcript and that the account is named by it.
    ///
    /// # Errors
    /// Text with found and expected.
    pub fn check(&self) -> Result<(), String> {
        let expected = Sub::of_transcript(&self.transcript);
        if self.sub != expected {
            return Err(format!(
                "account is named {}, expected {expected}",
                self.sub
            ));
        }
        for (role, vote) in Role::ALL.into_iter().zip(&self.votes) {
            let statement = Statement {
                verb: Verb::Transcript,
                role,
                sub: self.sub,
                hash: self.transcript,
            };
            vote.verify(&statement, self.parties.key(role))
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    /// Enrolled, genesis not sealed.
    Founding(Box<Founding>),
    /// The chain stands.
    Standing(Box<Account>),
    /// The genesis is dead.
    Dead(Box<Founding>),
}

impl Base {
    /// The account's name.
    #[must_use]
    pub fn sub(&self) -> Sub {
        match self {
            Self::Founding(f) | Self::Dead(f) => f.sub,
            Self::Standing(a) => a.sub(),
        }
    }

    /// The identity keys.
    #[must_use]
    pub fn parties(&self) -> &Parties {
        match self {
            Self::Founding(f) | Self::Dead(f) => &f.parties,
            Self::Standing(a) => a.parties(),
        }
    }

    /// The account's public key.
    #[must_use]
    pub fn account_key(&self) -> &[u8; 32] {
        match self {
            Self::Founding(f) | Self::Dead(f) => &f.account_key,
            Self::Standing(a) => a.account_key(),
        }
    }

    /// The ledger's origin.
    #[must_use]
    pub fn iss(&self) -> &str {
        match self {
            Self::Founding(f) | Self::Dead(f) => &f.ledger.iss,
            Self::Standing(a) => a.iss(),
        }
    }

    /// The head, once there is a genesis.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        match self {
            Self::Founding(_) | Self::Dead(_) => None,
            Self::Standing(a) => Some(a.head()),
        }
    }

    /// The height of the next block.
    #[must_use]
    pub fn next_height(&self) -> u64 {
        self.head().map_or(0, |h| h.height.saturating_add(1))
    }

    /// The hash that the next block builds on: zeros before the genesis.
    #[must_use]
    pub fn prev(&self) -> Hash {
        self.head().map_or(Hash::ZERO, |h| h.hash)
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Founding(_) | Self::Dead(_) => 0,
            Self::Standing(a) => a.epoch(),
        }
    }

    /// The status, once there is a genesis.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Founding(_) | Self::Dead(_) => None,
            Self::Standing(a) => Some(a.status()),
        }
    }

    /// The chain, once there is a genesis.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Standing(a) => Some(a),
            _ => None,
        }
    }

    /// The founding, while the genesis is not sealed.
    #[must_use]
    pub fn founding(&self) -> Option<&Founding> {
        match self {
            Self::Founding(f) => Some(f),
            _ => None,
        }
    }

    /// Checks that a key share is this party's share of this account's key: what verifies under
    /// the share's group key verifies under the account's.
    ///
    /// # Errors
    /// Text with found and expected.
    pub(super) fn check_share(&self, role: Role, share: &KeyShare) -> Result<(), String> {
        if share.role() != role {
            return Err(format!(
                "key share is the {}'s, expected the {role}'s",
                share.role()
            ));
        }
        let found = share.public_keys().group();
        if found != self.account_key() {
            let (found, expected) = (text_b64(found), text_b64(self.account_key()));
            return Err(format!(
                "key share is of account key {found}, expected {expected}"
            ));
        }
        Ok(())
    }

    /// Rule 2 without the clock: is this block the next one that the chain's rules allow?
    ///
    /// # Errors
    /// Text with found and expected.
    pub fn check(&self, block: &Block) -> Result<(), String> {
        match self {
            Self::Standing(a) => a.check(block).map_err(|e| e.to_string()),
            Self::Dead(_) => Err("the account's genesis is dead".into()),
            Self::Founding(f) => {
                let c = block.claims();
                if c.kind != Kind::Genesis {
                    return Err(format!("kind is `{}`, expected `genesis`", c.kind));
                }
                let Some(g) = &c.genesis else {
                    return Err("genesis claims are missing".into());
                };
                let session = text_b64(&f.session);
                let same = c.sub == f.sub
                    && c.iss == f.ledger.iss
                    && c.nonce == session
                    && g.account_key == f.account_key
                    && g.parties == f.parties
                    && g.transcript == f.transcript
                    && block.kid() == Some(crate::block::thumbprint(&f.account_key).as_str());
                if same {
                    Ok(())
                } else {
                    Err(
                        "genesis names another enrolment than the one that this party voted for"
                            .into(),
                    )
                }
            }
        }
    }

    /// Verifies a sealed block as the next one.
    ///
    /// # Errors
    /// Text with found and expected.
    pub fn verify(&self, sealed: &Sealed) -> Result<(), String> {
        self.verify_but(sealed, &Seen::NONE)
    }

    /// [`Base::verify`], but for votes on this very block that this party made or checked before.
    ///
    /// # Errors
    /// Text with found and expected.
    pub fn verify_but(&self, sealed: &Sealed, seen: &Seen) -> Result<(), String> {
        match self {
            Self::Standing(a) => a.verify_but(sealed, seen).map_err(|e| e.to_string()),
            Self::Dead(_) => Err("the account's genesis is dead".into()),
            Self::Founding(f) => {
                self.check(&sealed.block)?;
                Account::open(&f.ledger, sealed)
                    .map(drop)
                    .map_err(|e| e.to_string())
            }
        }
    }

    /// The own block that a sealed one cannot stand beside (rule 9): see [`Account::rival_of`].
    #[must_use]
    pub fn rival_of(&self, block: &Block) -> Option<Hash> {
        self.account()?.rival_of(block)
    }

    /// Whether a head that another party named is in this chain's place and another block than the
    /// one there. What is in this chain at another height is a wrong number, and no other chain.
    #[must_use]
    pub(super) fn parts_from(&self, head: &Head) -> bool {
        let Some(account) = self.account() else {
            return false;
        };
        let own = account.hash_at(head.height);
        own.is_some_and(|own| own != head.hash)
            && account.height_since_unfreeze(&head.hash).is_none()
    }

    /// Whether a sealed block is this account's and carries its proof and votes, wherever it stands:
    /// what makes it evidence (rule 9).
    ///
    /// # Errors
    /// Text with found and expected.
    pub fn verify_rival(&self, sealed: &Sealed) -> Result<(), String> {
        let account = self.account().ok_or("account has no genesis yet")?;
        account.verify_evidence(sealed).map_err(|e| e.to_string())
    }

    /// Whether an honest broker may have signed the head and this block both: what a pair does not
    /// prove, nobody is blamed for. Of a pair without the head nothing is known.
    #[must_use]
    pub(super) fn broker_may_have_signed(&self, rival: &Block) -> Option<bool> {
        let account = self.account()?;
        let is_of_head = rival.claims().height == account.head().height;
        is_of_head.then(|| account.outline().may_stand_beside(&Outline::of(rival)))
    }

    /// Checks another party's word about its head: vote 10 over the head's hash.
    ///
    /// # Errors
    /// Text with found and expected.
    pub fn verify_head(
        &self,
        from: Role,
        head: Option<Head>,
        vote: Option<&Vote>,
    ) -> Result<(), String> {
        let Some(head) = head else { return Ok(()) };
        let vote = vote.ok_or("head without its vote")?;
        let statement = Statement {
            verb: Verb::Head,
            role: from,
            sub: self.sub(),
            hash: head.hash,
        };
        vote.verify(&statement, self.parties().key(from))
            .map_err(|e| e.to_string())
    }

    /// The hash of a block whose height is to be told by [`Base::locate`] before this input is
    /// handled: a word rests on it, and it is older than what is at hand. Where it can't be told,
    /// the input is handled all the same, and the word counts for nothing.
    #[must_use]
    pub fn unlocated(&self, input: &Input) -> Option<Hash> {
        match input {
            Input::Message {
                agree: Agree::Word { word, proposal },
                ..
            } => Words::unlocated(self, word, proposal.as_ref()),
            Input::Message {
                agree:
                    Agree::Restrict {
                        block,
                        word: Some(word),
                        proposal,
                        ..
                    },
                ..
            } if block.claims().kind == Kind::Freeze => {
                Words::unlocated(self, word, proposal.as_ref())
            }
            _ => None,
        }
    }

    /// Tells the height of one block of this chain, from this party's own records.
    pub fn locate(&mut self, block: Head) {
        if let Self::Standing(account) = self {
            account.locate(block);
        }
    }

    /// Moves the head over a block that verified (now, or before it was stored).
    ///
    /// # Errors
    /// Text, when a first block is no genesis of this account.
    pub fn adopt(&mut self, sealed: &Sealed) -> Result<(), String> {
        match self {
            Self::Standing(a) => a.advance(sealed),
            Self::Dead(_) => return Err("the account's genesis is dead".into()),
            Self::Founding(f) => {
                let account = Account::open(&f.ledger, sealed).map_err(|e| e.to_string())?;
                *self = Self::Standing(Box::new(account));
            }
        }
        Ok(())
    }
}
