//! The device's refusing words as a party holds them, and what they still stop (rule 10).

use serde::{Deserialize, Serialize};

use crate::{
    block::{Block, Class, Kind, Sealed},
    chain::{Account, Status},
    encoding::Hash,
    vote::{Verb, Word},
};

use super::{
    base::Base,
    limits::{MAX_DENIALS, MAX_WORDS},
    types::HeldWord,
};

/// The words that still stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Words(Vec<HeldWord>);

impl Words {
    /// The block that a word rests on, if the chain knows it and this account does not have it at
    /// hand: its height is to be looked up before the word is judged. Only for words that the
    /// device really signed.
    pub(super) fn unlocated(base: &Base, word: &Word, proposal: Option<&Block>) -> Option<Hash> {
        let account = base.account()?;
        let named = match (word.verb, proposal) {
            (Verb::Freeze, None) => word.hash,
            // Another proposal's `prev` would be looked up for nothing.
            (Verb::Disown, Some(block)) if block.hash() == word.hash => block.claims().prev,
            _ => return None,
        };
        let is_unknown = account.height_since_unfreeze(&named).is_none();
        let signed = || word.verify(base.sub(), &base.parties().device).is_ok();
        (is_unknown && signed()).then_some(named)
    }

    /// Judges a word against the chain: does its vote verify, and does it count?
    ///
    /// `Ok(None)`: it is answered already by what is sealed.
    pub(super) fn judge(
        &self,
        base: &Base,
        word: &Word,
        proposal: Option<&Block>,
    ) -> Result<Option<HeldWord>, String> {
        let Some(account) = base.account() else {
            return Err("account has no genesis, nothing to refuse".into());
        };
        word.verify(base.sub(), &base.parties().device)
            .map_err(|e| e.to_string())?;
        let above = match (word.verb, proposal) {
            (Verb::Freeze, None) => account.height_since_unfreeze(&word.hash).ok_or(
                "freeze names no block at or after the last unfreeze, expected one".to_owned(),
            )?,
            (Verb::Deny | Verb::Disown, Some(block)) => {
                let c = block.claims();
                if block.hash() != word.hash || c.sub != base.sub() || c.iss != base.iss() {
                    return Err(format!(
                        "word names block {}, the proposal beside it is {}",
                        word.hash,
                        block.hash()
                    ));
                }
                let Some(above) = c.height.checked_sub(1) else {
                    return Err("a genesis is not refused by a word".into());
                };
                if word.verb == Verb::Deny && c.height >= base.next_height() {
                    // What can't be the next block can't be sealed: refusing it would stand for ever.
                    // A copy that is behind hears it again when it has caught up.
                    if c.kind.class() != Class::Admit {
                        return Err(format!("denied `{}` is no admit", c.kind.name()));
                    }
                    base.check(block)?;
                }
                if word.verb == Verb::Disown
                    && account.height_since_unfreeze(&c.prev) != Some(above)
                {
                    return Err(
                        "disowned proposal builds on no block at or after the last unfreeze".into(),
                    );
                }
                above
            }
            (verb, _) => return Err(format!("{verb:?} with a wrong proposal beside it")),
        };
        let held = HeldWord {
            word: *word,
            proposal: proposal.cloned(),
            above,
        };
        let answered = match word.verb {
            Verb::Deny => base.next_height() > above.saturating_add(1),
            _ => {
                account.status() == Status::Revoked
                    || account.last_freeze().is_some_and(|h| h > above)
            }
        };
        Ok((!answered).then_some(held))
    }

    pub(super) fn holds(&self, word: &Word) -> bool {
        self.0
            .iter()
            .any(|w| w.word.hash == word.hash && w.word.verb == word.verb)
    }

    /// Whether no more such words are taken. Denials never use up the room of a freeze.
    pub(super) fn is_full(&self, verb: Verb) -> bool {
        let denials = self.0.iter().filter(|w| w.word.verb == Verb::Deny).count();
        if verb == Verb::Deny {
            denials >= MAX_DENIALS
        } else {
            self.0.len().saturating_sub(denials) >= MAX_WORDS
        }
    }

    pub(super) fn add(&mut self, held: HeldWord) {
        if self.holds(&held.word) {
            return;
        }
        if held.word.verb == Verb::Freeze {
            // A later wish to freeze stands for the earlier ones: what answers it answers them.
            self.0
                .retain(|w| w.word.verb == Verb::Deny || w.above > held.above);
        }
        self.0.push(held);
    }

    /// A freeze or disown stands, but names nothing at or after the last unfreeze: no operator
    /// would take it for more than a replay (rule 10).
    pub(super) fn freeze_is_outdated(&self, account: &Account) -> bool {
        self.freeze().is_some() && self.counting(account).is_none()
    }

    /// Drops what a sealed block answers.
    pub(super) fn sealed(&mut self, sealed: &Sealed) {
        let c = sealed.block.claims();
        self.0.retain(|w| match w.word.verb {
            // A denied block could have been this one only: it is dead now.
            Verb::Deny => false,
            // On a revoked account nothing is left to freeze.
            _ => c.kind != Kind::Revoke && !(c.kind == Kind::Freeze && c.height > w.above),
        });
    }

    /// Was this very block denied or disowned?
    pub(super) fn denies(&self, hash: &Hash) -> Option<&HeldWord> {
        self.0
            .iter()
            .find(|w| w.word.verb != Verb::Freeze && w.word.hash == *hash)
    }

    /// A standing freeze or disown.
    pub(super) fn freeze(&self) -> Option<&HeldWord> {
        self.0.iter().find(|w| w.word.verb != Verb::Deny)
    }

    /// A standing freeze or disown that counts (rule 10): one that an `unfreeze` overtook does not.
    pub(super) fn counting(&self, account: &Account) -> Option<&HeldWord> {
        let since = account.last_unfreeze();
        let mut wishes = self.0.iter().filter(|w| w.word.verb != Verb::Deny);
        wishes.find(|w| w.above >= since)
    }

    /// A standing deny. Its proposal would be the next block: only such a one is kept, and it falls
    /// with the next sealed block.
    pub(super) fn denial(&self) -> Option<&HeldWord> {
        self.0.iter().find(|w| w.word.verb == Verb::Deny)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldWord> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
