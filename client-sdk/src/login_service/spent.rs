//! Nonces that let someone in: a login's handle can be stored, and therefore copied, but its nonce
//! lets in once (protocol rule 6).
//!
//! Remembers within one process, until the login is over anyway. Between processes, and over a
//! restart, only a store can: [`super::PinStore::spend`].

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use warifu_consensus::time::Time;

/// The nonces that were used and whose logins are not over.
#[derive(Default)]
pub(super) struct Spent(Mutex<Nonces>);

#[derive(Default)]
struct Nonces {
    all: HashSet<String>,
    by_end: BTreeSet<(Time, String)>,
}

impl fmt::Debug for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spent(<redacted>)")
    }
}

impl Spent {
    /// Uses a nonce whose login is over at `ends`; whether it was unused. At or after `ends`
    /// nothing may be admitted by it.
    pub(super) fn spend(&self, nonce: &str, ends: Time, now: Time) -> bool {
        let mut nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while nonces.by_end.first().is_some_and(|(ends, _)| *ends <= now) {
            if let Some((_, over)) = nonces.by_end.pop_first() {
                nonces.all.remove(&over);
            }
        }
        let is_new = nonces.all.insert(nonce.to_owned());
        if is_new {
            nonces.by_end.insert((ends, nonce.to_owned()));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_spent_once_and_forgotten_when_its_login_is_over() {
        let spent = Spent::default();
        assert!(spent.spend("a", Time(100), Time(0)));
        assert!(!spent.spend("a", Time(100), Time(99)));
        assert!(spent.spend("b", Time(200), Time(99)));
        assert!(spent.spend("c", Time(300), Time(150)));
        let nonces = spent.0.lock().unwrap();
        assert_eq!(nonces.all.len(), 2, "the first login is over");
        assert_eq!(nonces.by_end.len(), 2);
    }
}
