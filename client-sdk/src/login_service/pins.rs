//! Pins: which account, under which key, is a customer's. Written once, by the login service, in
//! its own store.
//!
//! A pin is what a broker can't change: a broker that enrols its own device and names its account
//! for somebody's customer number is refused here, because the customer has a pin, or because the
//! account is another customer's. Later rules of the chain (a device added, re-enrolment after its
//! delay) will be the only ways past a pin; none exists in this version.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use warifu_consensus::party::Sub;

use super::api::{Jwk, JwkError};

/// Longest customer id in bytes of UTF-8.
pub const MAX_CUSTOMER: usize = 256;

/// A customer's account and its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pin {
    /// The account.
    pub account: Sub,
    /// Its 32-byte Ed25519 public key.
    pub account_key: [u8; 32],
}

/// Why a pin was refused or not read.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The customer has another pin.
    #[error(
        "customer {customer} is pinned to account {found}, expected none or {expected} with the same key"
    )]
    Pinned {
        /// The customer id.
        customer: String,
        /// The account pinned.
        found: Sub,
        /// The account offered.
        expected: Sub,
    },
    /// The account is another customer's.
    #[error("account {account} is pinned to another customer than {customer}")]
    Taken {
        /// The account.
        account: Sub,
        /// The customer that it was offered for.
        customer: String,
    },
    /// A customer id that no pin can have.
    #[error("customer id has {found} bytes, expected 1 to {MAX_CUSTOMER}")]
    Customer {
        /// Bytes found.
        found: usize,
    },
    /// The store holds a key that is none.
    #[error("pin of customer {customer}: {error}")]
    Key {
        /// The customer id.
        customer: String,
        /// What is wrong.
        error: JwkError,
    },
    /// The store can't be read or written.
    #[error("pins in {place}: {source}")]
    Io {
        /// Where.
        place: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store is damaged, or of another version.
    #[error("pins in {place}: {what}")]
    Damaged {
        /// Where.
        place: String,
        /// Found and expected.
        what: String,
    },
}

/// Where a login service keeps its pins. `pin` answers only when the pin survives power loss (for
/// stores that last at all), and two calls at once never both succeed with different pins.
pub trait PinStore: Send + Sync {
    /// Pins a customer's account. The same pin again is no error.
    ///
    /// # Errors
    /// [`PinError::Pinned`] when the customer has another pin, [`PinError::Taken`] when the account
    /// is another customer's, or what the store reports.
    fn pin(&self, customer: &str, pin: Pin) -> Result<(), PinError>;

    /// The customer's pin.
    ///
    /// # Errors
    /// What the store reports.
    fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError>;

    /// The pin of an account, whoever's.
    ///
    /// # Errors
    /// What the store reports.
    fn of_account(&self, account: Sub) -> Result<Option<Pin>, PinError>;
}

/// A customer's pin as both stores keep it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPin {
    account: Sub,
    jwk: Jwk,
}

/// The pins of all customers, and the rules between them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct PinTable(BTreeMap<String, StoredPin>);

impl PinTable {
    /// Whether the pin is new: it fits, and must be written.
    pub(super) fn add(&mut self, customer: &str, pin: Pin) -> Result<bool, PinError> {
        let found = customer.len();
        if !(1..=MAX_CUSTOMER).contains(&found) {
            return Err(PinError::Customer { found });
        }
        if let Some(held) = self.pinned(customer)? {
            if held == pin {
                return Ok(false);
            }
            return Err(PinError::Pinned {
                customer: customer.to_owned(),
                found: held.account,
                expected: pin.account,
            });
        }
        let jwk = Jwk::of(&pin.account_key);
        if self
            .0
            .values()
            .any(|held| held.account == pin.account || held.jwk == jwk)
        {
            return Err(PinError::Taken {
                account: pin.account,
                customer: customer.to_owned(),
            });
        }
        let account = pin.account;
        self.0
            .insert(customer.to_owned(), StoredPin { account, jwk });
        Ok(true)
    }

    pub(super) fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        self.0
            .get(customer)
            .map(|held| held.read(customer))
            .transpose()
    }

    pub(super) fn of_account(&self, account: Sub) -> Result<Option<Pin>, PinError> {
        self.0
            .iter()
            .find(|(_, held)| held.account == account)
            .map(|(customer, held)| held.read(customer))
            .transpose()
    }
}

impl StoredPin {
    fn read(&self, customer: &str) -> Result<Pin, PinError> {
        let account_key = self.jwk.key().map_err(|error| PinError::Key {
            customer: customer.to_owned(),
            error,
        })?;
        Ok(Pin {
            account: self.account,
            account_key,
        })
    }
}

/// Pins in memory: for tests and programs that keep them elsewhere.
#[derive(Debug, Default)]
pub struct MemoryPins(Mutex<PinTable>);

impl MemoryPins {
    fn table(&self) -> std::sync::MutexGuard<'_, PinTable> {
        // A table is changed by one insert, so a panic elsewhere can't leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PinStore for MemoryPins {
    fn pin(&self, customer: &str, pin: Pin) -> Result<(), PinError> {
        self.table().add(customer, pin).map(|_| ())
    }

    fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        self.table().pinned(customer)
    }

    fn of_account(&self, account: Sub) -> Result<Option<Pin>, PinError> {
        self.table().of_account(account)
    }
}
