//! Pins in memory: for tests, and for trying the SDK out. A restart forgets who is who, and which
//! nonces were used.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use warifu_consensus::party::Sub;
use warifu_consensus::time::Time;

use super::{Pin, PinError, PinStore, Spending, check_customer, is_new};
use crate::login_service::spent::Spent;

/// Pins in memory.
#[derive(Debug, Default)]
pub struct MemoryPins {
    table: Mutex<BTreeMap<String, Pin>>,
    spent: Spent,
}

impl MemoryPins {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Pin>> {
        // A table is changed by one insert, so a panic elsewhere can't leave it half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PinStore for MemoryPins {
    async fn pin(&self, customer: &str, pin: &Pin) -> Result<(), PinError> {
        check_customer(customer)?;
        let mut table = self.table();
        let is_taken = table
            .values()
            .any(|held| held.account == pin.account || held.account_key == pin.account_key);
        if is_new(customer, pin, table.get(customer), is_taken)? {
            table.insert(customer.to_owned(), *pin);
        }
        Ok(())
    }

    async fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        Ok(self.table().get(customer).copied())
    }

    async fn of_account(&self, account: Sub) -> Result<Option<(String, Pin)>, PinError> {
        let table = self.table();
        let mut pins = table.iter();
        let found = pins.find(|(_, held)| held.account == account);
        Ok(found.map(|(customer, held)| (customer.clone(), *held)))
    }

    async fn spend(&self, nonce: &str, ends: Time, now: Time) -> Result<Spending, PinError> {
        Ok(if self.spent.spend(nonce, ends, now) {
            Spending::First
        } else {
            Spending::Again
        })
    }
}
