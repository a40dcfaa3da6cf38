//! How much callers may ask for: begins per network, account and caller (protocol rule 10),
//! unfreezes per caller and account, waits that are held open, connections.
//!
//! A freeze is never counted: it protects a customer, and an account that is frozen already is
//! answered with the earlier block.
//!
//! The account's own pace is the machine's to decide; these limits come before it. A customer's
//! network is what the login service says it is: an address is counted by its network and
//! forgotten, never logged. Memory is bounded by [`MAX_COUNTED`] of each kind.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use warifu_consensus::party::Sub;

use super::network::Network;
use super::problem::Refused;

/// Callers, accounts or networks that are counted at the same time. Beyond that the ones that were
/// not heard of longest begin afresh.
pub const MAX_COUNTED: usize = 65_536;

/// Longest head of a request in bytes, and what is read ahead of it: a token and a few fields are
/// less than one.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// Most header fields of a request: proxies add some, nobody adds so many.
pub(super) const MAX_HEADERS: usize = 64;

/// How long requests that are under way at a stop may take; a node stops within as long.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(5);

/// Limits of the HTTP side. Each count is 1 or more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Begins (logins and enrolments) of one caller in a minute.
    pub begins_per_minute_per_caller: u32,
    /// Begins on one account in a minute, of all callers.
    pub begins_per_minute_per_account: u32,
    /// Begins from one network of customers in a minute: a /24 of IPv4, a /56 of IPv6.
    pub begins_per_minute_per_network: u32,
    /// Begins of an unfreeze, of one caller in a minute.
    pub unfreezes_per_minute_per_caller: u32,
    /// Begins of an unfreeze of one frozen account in a minute, of all callers.
    pub unfreezes_per_minute_per_account: u32,
    /// Requests that wait for an end at the same time, of all callers.
    pub waits: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Connections at the same time from one network of callers (a /24 or a /56); loopback is
    /// counted in `connections` only, since a proxy's callers all come from there.
    pub connections_per_network: usize,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
    /// How long a request's head may take, and how long a connection may idle before it.
    pub head_time: Duration,
    /// How long a request's body may take.
    pub body_time: Duration,
    /// How long a peer may take nothing of an answer that is on its way.
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            begins_per_minute_per_caller: 6_000,
            begins_per_minute_per_account: 100,
            begins_per_minute_per_network: 600,
            unfreezes_per_minute_per_caller: 600,
            unfreezes_per_minute_per_account: 6,
            waits: 4_096,
            connections: 8_192,
            connections_per_network: 4_096,
            handshake_time: Duration::from_secs(5),
            head_time: Duration::from_secs(20),
            body_time: Duration::from_secs(5),
            write_time: Duration::from_secs(20),
        }
    }
}

/// All paces of the HTTP side.
#[derive(Debug)]
pub(super) struct Paces {
    begins_of_networks: Pace<Network>,
    begins_of_accounts: Pace<Sub>,
    begins_of_callers: Pace<String>,
    unfreezes_of_accounts: Pace<Sub>,
    unfreezes_of_callers: Pace<String>,
}

impl Paces {
    pub(super) fn new(limits: &Limits) -> Paces {
        Paces {
            begins_of_networks: Pace::new(limits.begins_per_minute_per_network),
            begins_of_accounts: Pace::new(limits.begins_per_minute_per_account),
            begins_of_callers: Pace::new(limits.begins_per_minute_per_caller),
            unfreezes_of_accounts: Pace::new(limits.unfreezes_per_minute_per_account),
            unfreezes_of_callers: Pace::new(limits.unfreezes_per_minute_per_caller),
        }
    }

    /// Counts a begin. The network comes first and the caller last: one who is over the limit of
    /// their own network uses up nobody else's.
    pub(super) fn begin(
        &self,
        client_ip: Option<IpAddr>,
        account: Sub,
        caller: &str,
    ) -> Result<(), Refused> {
        if let Some(address) = client_ip {
            self.begins_of_networks
                .take(Network::of(address))
                .map_err(later("begins from this network come too often"))?;
        }
        self.begins_of_accounts
            .take(account)
            .map_err(later("begins on this account come too often"))?;
        self.enrol(caller)
    }

    /// Counts an enrolment, which is a begin without an account.
    pub(super) fn enrol(&self, caller: &str) -> Result<(), Refused> {
        self.begins_of_callers
            .take(caller.to_owned())
            .map_err(later("this caller begins too often"))
    }

    /// Counts the begin of an unfreeze of a frozen account. The caller comes first: one who is over
    /// their own limit uses up no account's.
    pub(super) fn unfreeze(&self, account: Sub, caller: &str) -> Result<(), Refused> {
        self.unfreezes_of_callers
            .take(caller.to_owned())
            .map_err(later("this caller unfreezes too often"))?;
        self.unfreezes_of_accounts
            .take(account)
            .map_err(later("unfreezes of this account are begun too often"))
    }
}

fn later(what: &'static str) -> impl FnOnce(u64) -> Refused {
    move |retry_after_s| Refused::later(what, retry_after_s)
}

/// A token bucket for each key: full at first, refilled evenly.
///
/// Two generations bound the memory: when the young one is half of [`MAX_COUNTED`], it becomes the
/// old one, and what was old is forgotten.
#[derive(Debug)]
struct Pace<K> {
    per_minute: u32,
    buckets: Mutex<Generations<K>>,
}

#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, Bucket>,
    old: HashMap<K, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a begin left.
    milli: u64,
    at: Instant,
}

const MINUTE_MS: u64 = 60_000;

impl<K: Eq + Hash> Pace<K> {
    fn new(per_minute: u32) -> Pace<K> {
        Pace {
            per_minute,
            buckets: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    /// Takes one, or says in how many seconds there is one.
    fn take(&self, key: K) -> Result<(), u64> {
        let now = Instant::now();
        let rate = u64::from(self.per_minute);
        let full = rate.saturating_mul(1000);
        // A bucket is always whole: nothing panics while one is changed.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.bucket(key, full, now);
        let elapsed_ms = u64::try_from(now.duration_since(bucket.at).as_millis());
        let refilled = elapsed_ms.unwrap_or(MINUTE_MS).min(MINUTE_MS) * rate / 60;
        if refilled > 0 {
            bucket.milli = bucket.milli.saturating_add(refilled).min(full);
            bucket.at = now;
        }
        match bucket.milli.checked_sub(1000) {
            Some(left) => {
                bucket.milli = left;
                Ok(())
            }
            None => {
                let missing = 1000 - bucket.milli;
                Err((missing * 60).div_ceil(rate.max(1) * 1000).max(1))
            }
        }
    }
}

impl<K: Eq + Hash> Generations<K> {
    fn bucket(&mut self, key: K, full: u64, now: Instant) -> &mut Bucket {
        if self.young.len() >= MAX_COUNTED / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let known = self.old.remove(&key);
        let fresh = Bucket {
            milli: full,
            at: now,
        };
        self.young.entry(key).or_insert(known.unwrap_or(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_for_its_key_only_and_refills() {
        let pace = Pace::new(3);
        for _ in 0..3 {
            assert_eq!(pace.take("a"), Ok(()));
        }
        assert_eq!(pace.take("a"), Err(20));
        assert_eq!(pace.take("b"), Ok(()));
        tokio::time::advance(Duration::from_secs(19)).await;
        assert_eq!(pace.take("a"), Err(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.take("a"), Ok(()));
        assert!(pace.take("a").is_err());
        tokio::time::advance(Duration::from_secs(600)).await;
        for _ in 0..3 {
            assert_eq!(pace.take("a"), Ok(()));
        }
        assert!(pace.take("a").is_err(), "a bucket holds a minute's worth");
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_can_fill_no_memory_and_whoever_keeps_coming_stays_counted() {
        let pace = Pace::new(1);
        assert_eq!(pace.take(u32::MAX), Ok(()));
        for n in 0..200_000 {
            assert_eq!(pace.take(n), Ok(()));
            if n % 10_000 == 0 {
                assert!(pace.take(u32::MAX).is_err(), "forgotten after {n}");
            }
        }
        let buckets = pace.buckets.lock().unwrap();
        assert!(buckets.young.len() + buckets.old.len() <= MAX_COUNTED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_over_its_limit_uses_up_neither_account_nor_caller() {
        let paces = Paces::new(&Limits {
            begins_per_minute_per_network: 2,
            begins_per_minute_per_account: 3,
            begins_per_minute_per_caller: 4,
            ..Limits::default()
        });
        let account = Sub([1; 16]);
        let stranger: IpAddr = "198.51.100.9".parse().unwrap();
        let begun = (0..50).filter(|_| paces.begin(Some(stranger), account, "bank").is_ok());
        assert_eq!(begun.count(), 2);
        let customer: IpAddr = "203.0.113.7".parse().unwrap();
        assert!(paces.begin(Some(customer), account, "bank").is_ok());
        assert!(paces.begin(None, account, "bank").is_err(), "the account's");
        assert!(paces.enrol("bank").is_ok());
        assert!(paces.enrol("bank").is_err(), "the caller's");
        assert!(paces.enrol("shop").is_ok());
    }
}
