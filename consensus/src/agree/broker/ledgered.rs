//! What the broker's records fold to: what it signed, what it owes, what it may not sign again.

use std::collections::VecDeque;

use super::super::limits::REMEMBERED_CHALLENGES;
use super::*;
use crate::chain::Status;

/// What the broker's records fold to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ledgered {
    pub(super) base: Base,
    pub(super) lock: Option<BrokerLock>,
    /// The end of the lock's login was told: a refusal (rule 6).
    pub(super) given_up: bool,
    pub(super) restrict: Option<RestrictLock>,
    pub(super) words: Words,
    /// A freeze is wanted above this height (rule 4).
    pub(super) freeze_above: Option<u64>,
    /// This broker is a restored copy until a `restored` block made after this time is sealed.
    pub(super) restored: Option<Time>,
    /// Conflicting blocks, or heads, that no freeze answered yet (rule 9).
    pub(super) conflict: Option<Conflict>,
    /// Challenges of the last admits, by relying party and kind: each is good for one (rule 6).
    pub(super) challenges: VecDeque<Challenge>,
}

impl Ledgered {
    pub(super) fn new(base: Base) -> Self {
        Self {
            base,
            lock: None,
            given_up: false,
            restrict: None,
            words: Words::default(),
            freeze_above: None,
            restored: None,
            conflict: None,
            challenges: VecDeque::new(),
        }
    }

    /// What a checkpoint holds, with no lock.
    pub(super) fn of_checkpoint(checkpoint: Checkpoint) -> Result<Self, String> {
        let (base, words, own) = checkpoint.open()?;
        let Own::Broker {
            freeze_above,
            restored,
            challenges,
            conflict,
        } = own
        else {
            return Err(NOT_OWN.into());
        };
        Ok(Self {
            words,
            freeze_above,
            restored,
            challenges,
            conflict,
            ..Self::new(base)
        })
    }

    /// The record behind a sealed block that was just applied.
    pub(super) fn behind_sealed(&self) -> Option<Record> {
        let owes = !self.words.is_empty() || self.freeze_above.is_some() || self.restored.is_some();
        behind_sealed(&self.base, owes, &self.words, || {
            Some(Own::Broker {
                freeze_above: self.freeze_above,
                restored: self.restored,
                challenges: self.challenges.clone(),
                conflict: self.conflict,
            })
        })
    }

    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Founding(_) => return Err("second founding record, expected one".into()),
            Record::Sealed(sealed) => self.apply_sealed(sealed)?,
            Record::BrokerLock(lock) => self.lock = Some((**lock).clone()),
            Record::GivenUp { hash } => {
                let lock = self.lock.as_ref();
                self.given_up = lock.is_some_and(|l| l.block.hash() == *hash);
            }
            Record::RestrictLock(lock) => self.restrict = Some((**lock).clone()),
            Record::Word(held) => self.words.add((**held).clone()),
            Record::FreezeWanted { above } => self.want_freeze(*above),
            Record::BrokerRestored { until } => self.restored = Some(*until),
            Record::Conflict(_) | Record::HeadConflict { .. } => {
                self.conflict = Conflict::with(&self.base, record);
                if self.base.status() != Some(Status::Revoked) {
                    self.want_freeze(self.base.head().map_or(0, |head| head.height));
                }
            }
            Record::Checkpoint(_)
            | Record::OldCheckpoint(_)
            | Record::Settled
            | Record::Erased { .. } => {}
            Record::Dead => {
                if let Base::Founding(f) = &self.base {
                    self.base = Base::Dead(f.clone());
                    self.lock = None;
                    self.given_up = false;
                }
            }
            Record::DeviceLock(_)
            | Record::DeviceRestored { .. }
            | Record::Body { .. }
            | Record::FrozenAt { .. }
            | Record::Acked(_) => return Err("record of another party's journal".into()),
        }
        Ok(())
    }

    fn want_freeze(&mut self, above: u64) {
        self.freeze_above = Some(self.freeze_above.map_or(above, |a| a.max(above)));
    }

    /// The height of the `freeze` that this broker signed and that is not sealed yet.
    pub(super) fn signs_freeze(&self) -> Option<u64> {
        let c = self.restrict.as_ref()?.block.claims();
        (c.kind == Kind::Freeze).then_some(c.height)
    }

    fn apply_sealed(&mut self, sealed: &Sealed) -> Result<(), String> {
        let c = sealed.block.claims();
        let own_restrict = self
            .restrict
            .as_ref()
            .is_some_and(|r| r.block.hash() == sealed.block.hash());
        if own_restrict && c.kind == Kind::Restored {
            self.restored = None;
        }
        // Rule 10: a wish is answered by a freeze that this broker signed for it. One that it only
        // catches up with may be older than the wish, and lifted since.
        let answers = own_restrict && c.kind == Kind::Freeze;
        let answered = answers && self.freeze_above.is_some_and(|above| c.height > above);
        if answered || c.kind == Kind::Revoke {
            self.freeze_above = None;
        }
        // Rule 4: a freeze that the sealed block displaced stays pending.
        if !own_restrict
            && self.signs_freeze().is_some()
            && self.freeze_above.is_none()
            && c.kind != Kind::Revoke
        {
            self.freeze_above = Some(c.height.saturating_sub(1));
        }
        self.conflict = self.conflict.and_then(|conflict| conflict.after(sealed));
        self.base.adopt(sealed)?;
        if c.kind.is_asked() {
            let used = Challenge::of(&c.aud, c.kind, &c.nonce, c.height);
            self.challenges.push_back(used);
            if self.challenges.len() > REMEMBERED_CHALLENGES {
                self.challenges.pop_front();
            }
        }
        self.words.sealed(sealed);
        self.lock = None;
        self.given_up = false;
        self.restrict = None;
        Ok(())
    }
}
