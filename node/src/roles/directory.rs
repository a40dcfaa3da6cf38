//! Who is who: which device key belongs to which account, and who may hold a line.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use warifu_client_sdk::transport::{Admission, Admit};
use warifu_consensus::party::{Role, Sub};

use super::lock;

#[derive(Default)]
struct Known {
    accounts: HashMap<[u8; 32], Sub>,
    devices: HashMap<Sub, [u8; 32]>,
    enrolling: HashSet<[u8; 32]>,
}

/// The accounts and devices that an operator knows.
pub struct Directory {
    /// The other operator.
    other: Role,
    other_key: [u8; 32],
    /// Strangers may come to enrol: only at the broker, which alone can check a ticket.
    takes_strangers: bool,
    known: Mutex<Known>,
}

impl Directory {
    /// An empty directory beside the pinned other operator.
    #[must_use]
    pub fn new(other: Role, other_key: [u8; 32]) -> Self {
        Self {
            other,
            other_key,
            takes_strangers: other == Role::TrustOperator,
            known: Mutex::default(),
        }
    }

    /// The other operator's role.
    #[must_use]
    pub const fn other(&self) -> Role {
        self.other
    }

    /// Enters an account's device (32-byte identity key).
    pub fn add(&self, sub: Sub, device: [u8; 32]) {
        let mut known = lock(&self.known);
        known.enrolling.remove(&device);
        known.accounts.insert(device, sub);
        known.devices.insert(sub, device);
    }

    /// Whether the account is known here.
    #[must_use]
    pub fn has(&self, sub: &Sub) -> bool {
        lock(&self.known).devices.contains_key(sub)
    }

    /// How many accounts are known here.
    #[must_use]
    pub fn accounts(&self) -> usize {
        lock(&self.known).devices.len()
    }

    /// The account of a device.
    #[must_use]
    pub fn account_of(&self, device: &[u8; 32]) -> Option<Sub> {
        lock(&self.known).accounts.get(device).copied()
    }

    /// The peer behind a role of an account.
    #[must_use]
    pub fn peer(&self, sub: &Sub, role: Role) -> Option<[u8; 32]> {
        if role == self.other {
            return Some(self.other_key);
        }
        if role == Role::Device {
            lock(&self.known).devices.get(sub).copied()
        } else {
            None
        }
    }

    /// A device that a checked session serves may hold a line.
    pub fn enrolling(&self, device: [u8; 32]) {
        lock(&self.known).enrolling.insert(device);
    }

    /// The session of that device is over.
    pub fn not_enrolling(&self, device: &[u8; 32]) {
        lock(&self.known).enrolling.remove(device);
    }

    /// What role a peer speaks in, about this account.
    #[must_use]
    pub fn role_about(&self, sub: &Sub, peer: &[u8; 32]) -> Option<Role> {
        if *peer == self.other_key {
            return Some(self.other);
        }
        (self.account_of(peer) == Some(*sub)).then_some(Role::Device)
    }

    /// Whether the peer is the other operator.
    #[must_use]
    pub fn is_other(&self, peer: &[u8; 32]) -> bool {
        *peer == self.other_key
    }
}

impl Admission for Directory {
    fn admit(&self, peer: &[u8; 32]) -> Admit {
        let known = lock(&self.known);
        if *peer == self.other_key
            || known.accounts.contains_key(peer)
            || known.enrolling.contains(peer)
        {
            Admit::Known
        } else if self.takes_strangers {
            Admit::Stranger
        } else {
            Admit::No
        }
    }

    /// Devices and strangers are many; the operators' own line carries everybody's logins.
    fn is_paced(&self, peer: &[u8; 32]) -> bool {
        *peer != self.other_key
    }
}
