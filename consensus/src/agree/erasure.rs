//! The end of an account's secrets: what the broker says when it erases one, and what both operators keep of it.
//!
//! The chain ends with the block that is named here (protocol rule 11): nothing is sealed behind it, so nothing is
//! left that a content key, a share or an opener would be needed for. Never decides when an account may be erased.

use serde::{Deserialize, Serialize};

use crate::{
    encoding::Hash,
    party::{Role, Sub},
    vote::{BadVote, Statement, Verb, Vote},
};

/// The broker's word that an account is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The account's last block.
    pub head: Hash,
    /// The broker's vote 13 on it.
    pub vote: Vote,
}

impl Erasure {
    /// What the broker signs for it.
    #[must_use]
    pub const fn statement(sub: Sub, head: Hash) -> Statement {
        Statement {
            verb: Verb::Erase,
            role: Role::Broker,
            sub,
            hash: head,
        }
    }

    /// Checks that the broker with this key said it of this account.
    ///
    /// # Errors
    /// [`BadVote`].
    pub fn verify(&self, sub: Sub, broker: &[u8; 32]) -> Result<(), BadVote> {
        self.vote.verify(&Self::statement(sub, self.head), broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::IdentityKey;

    #[test]
    fn an_erasure_is_of_one_account_one_head_and_one_broker() {
        let (key, sub, head) = (IdentityKey::from_seed([5; 32]), Sub([1; 16]), Hash([2; 32]));
        let erasure = Erasure {
            head,
            vote: Vote::sign(&key, &Erasure::statement(sub, head)),
        };
        erasure.verify(sub, &key.public()).unwrap();
        erasure.verify(Sub([9; 16]), &key.public()).unwrap_err();
        let other = Erasure {
            head: Hash([9; 32]),
            ..erasure
        };
        other.verify(sub, &key.public()).unwrap_err();
        let stranger = IdentityKey::from_seed([6; 32]);
        erasure.verify(sub, &stranger.public()).unwrap_err();
    }
}
