//! Two sealed blocks of one account that cannot stand in one chain: is it evidence, and against
//! whom?
//!
//! Decides protocol rules 4, 8 and 9 for whoever holds such a pair. Both were sealed, so the trust
//! operator signed both; whether the broker may have, as an honest one, is what [`Outline`]s tell.
//! It never looks at who brought a block: a pair proves the same in anybody's hand.

use serde::{Deserialize, Serialize};

use crate::block::{Block, Class, Kind, Sealed};
use crate::chain::{Account, ChainError, ChainFault, check_iss, open};
use crate::encoding::Hash;
use crate::signature::verify_strict;
use crate::time::GRACE_S;

/// What of a block tells whether its broker may have signed another one at its height.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outline {
    /// The block's hash.
    pub hash: Hash,
    /// Its kind.
    pub kind: Kind,
    /// Its `iat`, in seconds since the Unix epoch.
    pub iat: u64,
    /// Its `exp`, in seconds since the Unix epoch.
    pub exp: u64,
    /// The proposal that it supersedes.
    pub supersedes: Option<Hash>,
}

impl Outline {
    /// That of a block.
    #[must_use]
    pub fn of(block: &Block) -> Outline {
        let claims = block.claims();
        Outline {
            hash: block.hash(),
            kind: claims.kind,
            iat: claims.iat,
            exp: claims.exp,
            supersedes: claims.supersedes,
        }
    }

    /// Whether an honest broker may have signed both this block and another one at its height: an
    /// admit and the restrict block that supersedes it (protocol rule 4), or a `restored` block of a
    /// broker that forgot the other, an admit's `exp` + 30 s lying before the `restored` block's `iat`
    /// (protocol rule 8).
    #[must_use]
    pub fn may_stand_beside(&self, other: &Outline) -> bool {
        let excused = |restored: &Outline, forgotten: &Outline| {
            let is_dead = forgotten.exp.saturating_add(GRACE_S) < restored.iat;
            restored.kind == Kind::Restored
                && (forgotten.kind.class() == Class::Restrict || is_dead)
        };
        let supersedes = |restrict: &Outline, admit: &Outline| {
            restrict.kind.class() == Class::Restrict
                && admit.kind.class() == Class::Admit
                && restrict.supersedes == Some(admit.hash)
        };
        self.hash == other.hash
            || supersedes(self, other)
            || supersedes(other, self)
            || excused(self, other)
            || excused(other, self)
    }
}

impl Account {
    /// The hash of this chain's block that the other one cannot stand beside: the own block at its
    /// height, or the head that it should build on and does not. `None` where there is none, or none
    /// at hand: of blocks before the last 128, and before the last `unfreeze`, which settled what was
    /// disputed then, nothing is told.
    #[must_use]
    pub fn rival_of(&self, block: &Block) -> Option<Hash> {
        let claims = block.claims();
        if claims.height == self.head.height.saturating_add(1) {
            return (claims.prev != self.head.hash).then_some(self.head.hash);
        }
        self.hash_at(claims.height)
            .filter(|own| *own != block.hash())
    }

    /// The hash of the block at this height, if it is at hand and not before the last `unfreeze`.
    #[must_use]
    pub fn hash_at(&self, height: u64) -> Option<Hash> {
        let back = self.head.height.checked_sub(height)?;
        if height < self.last_unfreeze {
            return None;
        }
        if back == 0 {
            return Some(self.head.hash);
        }
        let back = usize::try_from(back).ok()?;
        self.recent.iter().rev().nth(back).copied()
    }

    /// Checks that a block is of this account and carries its proof and votes, wherever it stands:
    /// what makes it evidence. Operators prove the restrict blocks of all accounts with one key each,
    /// so a proof alone does not say whose block it is; and votes alone say who signed.
    ///
    /// # Errors
    /// [`ChainError`] with the first thing that does not hold.
    pub fn verify_evidence(&self, sealed: &Sealed) -> Result<(), ChainError> {
        self.evidence(sealed)
            .map_err(|fault| self.error(&sealed.block, fault))
    }

    fn evidence(&self, sealed: &Sealed) -> Result<(), ChainFault> {
        let claims = sealed.block.claims();
        check_iss(&self.ledger, claims)?;
        if claims.sub != self.sub {
            return Err(ChainFault::Sub {
                found: claims.sub,
                expected: self.sub,
            });
        }
        if claims.kind != Kind::Genesis {
            return self.verify_alone_by(sealed, &mut verify_strict);
        }
        let other = open(&self.ledger, sealed, &mut verify_strict)?;
        if other.kid == self.kid {
            Ok(())
        } else {
            Err(ChainFault::Kid {
                found: other.kid,
                expected: self.kid.clone(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(number: u8, kind: Kind, iat: u64, exp: u64) -> Outline {
        Outline {
            hash: Hash([number; 32]),
            kind,
            iat,
            exp,
            supersedes: None,
        }
    }

    #[test]
    fn broker_may_sign_what_supersedes_its_own_lock_and_nothing_else_beside_it() {
        let admit = outline(1, Kind::Login, 1_000, 1_090);
        let other = outline(2, Kind::Login, 1_000, 1_090);
        let bare = outline(3, Kind::Expire, 1_200, 1_290);
        let superseding = Outline {
            supersedes: Some(admit.hash),
            ..bare
        };
        for (one, two, may) in [
            (admit, superseding, true),
            (admit, bare, false),
            (other, superseding, false),
            (admit, other, false),
            (bare, outline(4, Kind::Freeze, 1_200, 1_290), false),
            (admit, admit, true),
        ] {
            assert_eq!(one.may_stand_beside(&two), may, "{one:?} {two:?}");
            assert_eq!(two.may_stand_beside(&one), may, "{two:?} {one:?}");
        }
    }

    #[test]
    fn restored_broker_is_excused_of_what_was_dead_before_its_block() {
        let admit = outline(1, Kind::Login, 1_000, 1_090);
        let expire = outline(2, Kind::Expire, 1_200, 1_290);
        // exp + 30 s = 1120 must lie before.
        for (iat, may) in [(1_120, false), (1_121, true)] {
            let restored = outline(3, Kind::Restored, iat, iat + 90);
            assert_eq!(restored.may_stand_beside(&admit), may);
            assert_eq!(admit.may_stand_beside(&restored), may);
            assert!(restored.may_stand_beside(&expire));
        }
    }
}
