//! What the broker's records fold to: what it signed, what it owes, what it may not sign again.

use std::collections::VecDeque;

use super::super::limits::REMEMBERED_CHALLENGES;
use super::*;

/// What the broker's records fold to.
#[derive(Debug, Clone)]
pub(super) struct Ledgered {
    pub(super) base: Base,
    pub(super) lock: Option<BrokerLock>,
    pub(super) restrict: Option<RestrictLock>,
    pub(super) words: Words,
    /// A freeze is wanted above this height (rule 4).
    pub(super) freeze_above: Option<u64>,
    /// This broker is a restored copy until a `restored` block made after this time is sealed.
    pub(super) restored: Option<Time>,
    pub(super) conflict: bool,
    /// Challenges of the last admits, by relying party and kind: each is good for one (rule 6).
    pub(super) challenges: VecDeque<Challenge>,
}

impl Ledgered {
    pub(super) fn new(base: Base) -> Self {
        Self {
            base,
            lock: None,
            restrict: None,
            words: Words::default(),
            freeze_above: None,
            restored: None,
            conflict: false,
            challenges: VecDeque::new(),
        }
    }

    /// What a checkpoint holds, with no lock and no conflict.
    pub(super) fn of_checkpoint(checkpoint: Checkpoint) -> Result<Self, String> {
        let Own::Broker {
            freeze_above,
            restored,
            challenges,
        } = checkpoint.own
        else {
            return Err(NOT_OWN.into());
        };
        Ok(Self {
            words: checkpoint.words,
            freeze_above,
            restored,
            challenges,
            ..Self::new(Base::Standing(Box::new(checkpoint.account)))
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
            })
        })
    }

    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Founding(_) => return Err("second founding record, expected one".into()),
            Record::Sealed(sealed) => self.apply_sealed(sealed)?,
            Record::BrokerLock(lock) => self.lock = Some((**lock).clone()),
            Record::RestrictLock(lock) => self.restrict = Some((**lock).clone()),
            Record::Word(held) => self.words.add((**held).clone()),
            Record::FreezeWanted { above } => {
                self.freeze_above = Some(self.freeze_above.map_or(*above, |a| a.max(*above)));
            }
            Record::BrokerRestored { until } => self.restored = Some(*until),
            Record::Conflict(_) => self.conflict = true,
            Record::Checkpoint(_) | Record::Settled => {}
            Record::Dead => {
                if let Base::Founding(f) = &self.base {
                    self.base = Base::Dead(f.clone());
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

    fn apply_sealed(&mut self, sealed: &Sealed) -> Result<(), String> {
        let c = sealed.block.claims();
        let own_restrict = self
            .restrict
            .as_ref()
            .is_some_and(|r| r.block.hash() == sealed.block.hash());
        if own_restrict && c.kind == Kind::Restored {
            self.restored = None;
        }
        if c.kind == Kind::Freeze && self.freeze_above.is_some_and(|above| c.height > above) {
            self.freeze_above = None;
        }
        // Rule 4: a freeze that the sealed block displaced stays pending.
        if !own_restrict
            && self
                .restrict
                .as_ref()
                .is_some_and(|r| r.block.claims().kind == Kind::Freeze)
            && self.freeze_above.is_none()
            && c.kind != Kind::Freeze
        {
            self.freeze_above = Some(c.height.saturating_sub(1));
        }
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
        self.restrict = None;
        Ok(())
    }
}
