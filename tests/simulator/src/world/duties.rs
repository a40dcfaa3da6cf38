//! What machines say of themselves, held against their journals and against what the pages show.
//!
//! A node drops a machine that says it is idle, stops for one that owes nothing, and a device leaves the
//! trust operator alone unless its machine needs it. Whoever says so wrongly forgets a login, or a duty.

use super::*;
use crate::party::Machine;
use warifu_consensus::{agree::Broker, time::GRACE_S};

/// At each multiple of it a checkpoint stands that says nothing of what is owed.
const CHECKPOINT_EVERY: u64 = 32;

/// Whether a journal leaves something owed: for a device, to be told to the trust operator at this
/// time. `None` where it doesn't say.
fn owes(role: Role, records: &[Record], clock: Time) -> Option<bool> {
    let is_device = role == Role::Device;
    let mut owes = false;
    for record in records.iter().rev() {
        match record {
            Record::Settled => return Some(owes),
            Record::Dead | Record::Erased { .. } => return Some(false),
            Record::Founding(f) => return Some(owes || !is_device || clock >= f.deadline),
            Record::Checkpoint(at) => {
                let says = !is_device && !at.head().height.is_multiple_of(CHECKPOINT_EVERY);
                return (owes || says).then_some(true);
            }
            Record::DeviceLock(block) => {
                let dead = Time::from_seconds(block.claims().exp + GRACE_S);
                owes |= clock > dead;
            }
            Record::Conflict(_) | Record::HeadConflict { .. } => owes |= role == Role::Broker,
            Record::Sealed(_)
            | Record::Body { .. }
            | Record::Acked(_)
            | Record::FrozenAt { .. }
            | Record::DeviceRestored { .. }
            | Record::OldCheckpoint(_) => {}
            Record::BrokerLock(_)
            | Record::RestrictLock(_)
            | Record::Word(_)
            | Record::FreezeWanted { .. }
            | Record::BrokerRestored { .. }
            | Record::GivenUp { .. } => owes = true,
        }
    }
    None
}

impl World {
    /// After each move.
    pub(super) fn says_what_it_owes(&mut self, account: usize, role: Role) {
        let clock = self.clock(account, role);
        let seat = self.seat(account, role);
        let Some(machine) = &seat.machine else { return };
        let says = match machine {
            Machine::Device(m) => m.needs_trust_operator(clock),
            Machine::Broker(m) => !m.has_no_duty(),
            Machine::TrustOperator(m) => !m.has_no_duty(),
        };
        let journal = owes(role, &seat.records, clock);
        let mut wrong = vec![];
        if journal.is_some_and(|owes| owes != says) {
            wrong.push(format!(
                "says {says} of what it owes, its journal {journal:?}"
            ));
        }
        if says && machine.is_idle(clock) {
            wrong.push("is idle and owes something".to_owned());
        }
        if let Machine::Broker(broker) = machine {
            wrong.extend(self.says_what_is_open(account, broker, clock));
        }
        for what in wrong {
            self.audit.failed(account, format!("the {role} {what}"));
        }
    }

    /// No login that a page shows is forgotten. After a stop an unlocked one is, by right.
    fn says_what_is_open(&self, account: usize, broker: &Broker, clock: Time) -> Option<String> {
        let (is_idle, is_settled) = (broker.is_idle(clock), broker.is_settled());
        if is_idle && !is_settled || is_settled && !broker.has_no_duty() {
            return Some("is idle, or settled, with something under way".to_owned());
        }
        let mut logins = self.places[account].logins.values();
        let is_open = |login: &Login| login.number.is_some() && login.ended.is_none();
        let forgets = is_settled && !self.audit.broker_crashed && logins.any(is_open);
        forgets.then(|| "is settled while a page waits for the end of its login".to_owned())
    }
}
