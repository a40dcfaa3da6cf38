//! Pins: which account, under which keys, is a customer's. Written once, by the login service, in
//! its own store.
//!
//! A pin is what a broker can't change: a broker that enrols its own device and names its account
//! for somebody's customer number is refused here, because the customer has a pin, or because the
//! account is another customer's. Later rules of the chain (a device added, re-enrolment after its
//! delay) will be the only ways past a pin; none exists in this version, so no store has a call
//! that changes one.
//!
//! [`MemoryPins`] forgets with the process; `SqlitePins` (feature `sqlite`) keeps pins in one file.
//! A store of one's own, over the database that a login service has anyway, implements
//! [`PinStore`]; [`suite`] is its test.

mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod suite;

use std::error::Error;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use warifu_consensus::block::Sealed;
use warifu_consensus::chain::{Account, ChainError};
use warifu_consensus::encoding::{self, Hash};
use warifu_consensus::party::{Ledger, Parties, Sub};
use warifu_consensus::time::Time;

pub use memory::MemoryPins;
#[cfg(feature = "sqlite")]
pub use sqlite::SqlitePins;

/// What became of a nonce that was to let somebody in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Spending {
    /// It was unused, and is used now.
    First,
    /// It was used before: nobody comes in by it.
    Again,
    /// This store keeps no nonces: the login service remembers by itself, until it ends.
    Unkept,
}

/// Longest customer id in bytes of UTF-8.
pub const MAX_CUSTOMER: usize = 256;

/// A customer's account, its key, and what its genesis fixed. Nothing of it is secret.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The account; text: 22 characters of base64url.
    pub account: Sub,
    /// Its 32-byte Ed25519 public key; text: 43 characters of base64url.
    #[serde(with = "encoding::bytes")]
    pub account_key: [u8; 32],
    /// Hash of the genesis block, with which the account's chain begins.
    pub genesis: Hash,
    /// The identity keys that the genesis fixed. The device's verifies its votes; the operators',
    /// which were this login service's own then, are kept as evidence.
    pub parties: Parties,
}

impl Pin {
    /// The pin of the account that this genesis begins, verified under the pinned ledger.
    ///
    /// # Errors
    /// [`ChainError`] when it is no genesis of this ledger, or a signature or vote doesn't verify.
    pub fn of_genesis(ledger: &Ledger, genesis: &Sealed) -> Result<Pin, ChainError> {
        let account = Account::open(ledger, genesis)?;
        Ok(Pin {
            account: account.sub(),
            account_key: *account.account_key(),
            genesis: genesis.block.hash(),
            parties: *account.parties(),
        })
    }
}

/// Why a pin was refused or not read.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The customer has another pin.
    #[error(
        "customer {customer} is pinned to account {found}, expected none or {expected} with the same keys"
    )]
    Pinned {
        /// The customer id.
        customer: String,
        /// The account pinned.
        found: Sub,
        /// The account offered.
        expected: Sub,
    },
    /// The account, or its key, is another customer's.
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
    /// The store can't be read or written.
    #[error("pins in {place}: {source}")]
    Store {
        /// Where.
        place: String,
        /// What the store says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store holds something else than pins.
    #[error("pins in {place}: {what}")]
    Damaged {
        /// Where.
        place: String,
        /// Found and expected.
        what: String,
    },
    /// The store was written by a later version of this SDK.
    #[error("pins in {place}: schema has version {found}, expected at most {expected}")]
    Version {
        /// Where.
        place: String,
        /// Version found.
        found: u32,
        /// The latest version that this SDK reads.
        expected: u32,
    },
}

/// Where a login service keeps its pins: customer id (opaque, 1 to 256 bytes of UTF-8, compared
/// byte for byte) to [`Pin`].
///
/// The contract, which [`suite`] tests:
/// - a customer's first pin stays for good; the same pin again is no error, another is refused;
/// - an account, and an account key, is one customer's at most;
/// - of concurrent calls that exclude each other, from whatever process, one succeeds;
/// - `Ok` of [`PinStore::pin`] means that the pin survives power loss, for stores that last at all;
/// - what can't be read is an error, never "no pin";
/// - a store that keeps nonces lets each be spent once until its login is over, whoever asks,
///   from whatever process and after whatever restart.
///
/// Futures may be dropped at any time: a pin is then made or not, and asking again is right. They
/// must not block the thread that polls them: stores that block do so in `spawn_blocking`.
pub trait PinStore: Send + Sync {
    /// Pins a customer's account.
    ///
    /// # Errors
    /// [`PinError::Pinned`] when the customer has another pin, [`PinError::Taken`] when the account
    /// or its key is another customer's, [`PinError::Customer`], or what the store reports.
    fn pin(&self, customer: &str, pin: &Pin) -> impl Future<Output = Result<(), PinError>> + Send;

    /// The customer's pin.
    ///
    /// # Errors
    /// What the store reports.
    fn pinned(&self, customer: &str) -> impl Future<Output = Result<Option<Pin>, PinError>> + Send;

    /// The customer whose account it is, and the pin.
    ///
    /// # Errors
    /// What the store reports.
    fn of_account(
        &self,
        account: Sub,
    ) -> impl Future<Output = Result<Option<(String, Pin)>, PinError>> + Send;

    /// Uses up the nonce (22 to 128 characters of base64url) of a login that is over at `ends`, so
    /// that no process that shares the store lets anybody in by it again. `now` and `ends` are by
    /// the login service's clock, `now` before `ends`; a store may forget the nonce after `ends`,
    /// with a margin for processes whose clocks differ. Without an implementation of its own a
    /// store keeps none.
    ///
    /// # Errors
    /// What the store reports; nobody comes in then.
    fn spend(
        &self,
        nonce: &str,
        ends: Time,
        now: Time,
    ) -> impl Future<Output = Result<Spending, PinError>> + Send {
        let _ = (nonce, ends, now);
        std::future::ready(Ok(Spending::Unkept))
    }
}

impl<P: PinStore> PinStore for Arc<P> {
    fn pin(&self, customer: &str, pin: &Pin) -> impl Future<Output = Result<(), PinError>> + Send {
        P::pin(self, customer, pin)
    }

    fn pinned(&self, customer: &str) -> impl Future<Output = Result<Option<Pin>, PinError>> + Send {
        P::pinned(self, customer)
    }

    fn of_account(
        &self,
        account: Sub,
    ) -> impl Future<Output = Result<Option<(String, Pin)>, PinError>> + Send {
        P::of_account(self, account)
    }

    fn spend(
        &self,
        nonce: &str,
        ends: Time,
        now: Time,
    ) -> impl Future<Output = Result<Spending, PinError>> + Send {
        P::spend(self, nonce, ends, now)
    }
}

/// Whether an offered pin must be written, given the customer's own pin, and whether another
/// customer has the account or the key.
fn is_new(
    customer: &str,
    offered: &Pin,
    held: Option<&Pin>,
    is_taken: bool,
) -> Result<bool, PinError> {
    match held {
        Some(held) if held == offered => Ok(false),
        Some(held) => Err(PinError::Pinned {
            customer: customer.to_owned(),
            found: held.account,
            expected: offered.account,
        }),
        None if is_taken => Err(PinError::Taken {
            account: offered.account,
            customer: customer.to_owned(),
        }),
        None => Ok(true),
    }
}

fn check_customer(customer: &str) -> Result<(), PinError> {
    let found = customer.len();
    if (1..=MAX_CUSTOMER).contains(&found) {
        Ok(())
    } else {
        Err(PinError::Customer { found })
    }
}
