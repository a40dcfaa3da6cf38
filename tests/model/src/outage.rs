//! Crashes, and copies that come back.

use crate::{
    guard::Guard,
    model::{Agreement, bit},
    party::Party,
    state::State,
};

impl Agreement {
    pub(crate) fn crash(&self, s: &mut State, party: Party) -> bool {
        match party {
            Party::Device => {
                let d = &mut s.device;
                d.open = None;
                d.tried = false;
                d.matched = false;
                if !self.keeps(Guard::DeviceLockIsDurable) {
                    d.kept.lock = None;
                }
                if !self.keeps(Guard::DeviceWordIsDurable) {
                    d.kept.words = 0;
                }
            }
            Party::Broker => self.broker_crashes(s),
            Party::TrustOperator => {
                self.new_session(s);
                let t = &mut s.trust_operator.kept;
                if !self.keeps(Guard::SealIsDurable) {
                    t.head = t.head.prev();
                }
                if !self.keeps(Guard::OperatorWordIsDurable) {
                    t.words = 0;
                }
            }
        }
        true
    }

    fn broker_crashes(&self, s: &mut State) {
        self.new_session(s);
        // What the line to the device carried is gone with the session.
        s.device.matched = false;
        let b = &mut s.broker;
        if !self.keeps(Guard::BrokerLockIsDurable) {
            b.kept.lock = None;
        }
        if !self.keeps(Guard::BrokerRestrictIsDurable) {
            b.kept.restrict = None;
        }
        if !self.keeps(Guard::AdmittedIsDurable) {
            b.kept.head = b.kept.head.prev();
        }
        if !self.keeps(Guard::OperatorWordIsDurable) {
            b.kept.words = 0;
        }
        b.work = b.kept.lock;
        b.matched = b.work.is_some();
        b.kept.told &= self.keeps(Guard::ToldOnce);
        b.foreign = None;
        b.device_restored = false;
    }

    pub(crate) fn copy(&self, s: &mut State, party: Party) -> bool {
        let copies = &mut s.copies;
        if copies.made & bit(party) != 0 {
            return false;
        }
        copies.made |= bit(party);
        match party {
            Party::Device => copies.device = copies.device.map(|_| s.device.kept),
            Party::Broker => copies.broker = copies.broker.map(|_| s.broker.kept),
            Party::TrustOperator => {
                copies.trust_operator = copies.trust_operator.map(|_| s.trust_operator.kept);
            }
        }
        true
    }

    pub(crate) fn restore(&self, s: &mut State, party: Party) -> bool {
        s.copies.made |= bit(party);
        match party {
            Party::Device => {
                let Some(kept) = s.copies.device.take() else {
                    return false;
                };
                s.device.came_back = Some(false);
                s.device.kept = kept;
                self.crash(s, party);
            }
            Party::Broker => {
                let Some(kept) = s.copies.broker.take() else {
                    return false;
                };
                s.broker.kept = kept;
                // What it was asked and told since is forgotten with the rest; what was answered since stays
                // answered.
                s.broker.wish = s.broker.wish.filter(|w| kept.freeze_above == Some(*w));
                s.broker.heard = kept.words;
                s.broker.came_back = Some(false);
                s.broker.told_height = kept.head.height();
                self.broker_crashes(s);
            }
            Party::TrustOperator => {
                let Some(kept) = s.copies.trust_operator.take() else {
                    return false;
                };
                s.trust_operator.kept = kept;
                s.trust_operator.heard = kept.words;
                self.crash(s, party);
            }
        }
        true
    }
}
