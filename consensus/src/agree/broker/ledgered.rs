//! What the broker's records fold to: what it signed, what it owes, what it may not sign again.

use std::collections::VecDeque;

use super::*;

/// Challenges of earlier admits that `begin` refuses to take again.
const REMEMBERED_CHALLENGES: usize = 256;

/// A login service's challenge that a sealed block used up.
#[derive(Debug, Clone)]
pub(super) struct Challenge {
    pub(super) aud: String,
    pub(super) kind: Kind,
    pub(super) nonce: String,
    pub(super) height: u64,
}

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
            self.challenges.push_back(Challenge {
                aud: c.aud.clone(),
                kind: c.kind,
                nonce: c.nonce.clone(),
                height: c.height,
            });
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
