//! How much callers may ask for at once: begins per caller, and waits that are held open.
//!
//! The account's own pace is the machine's to decide. Limits by network are the login service's:
//! this side sees only the caller's address, never the customer's own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Limits of the HTTP side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Begins (logins, unfreezes, enrolments) of one caller in a minute.
    pub begins_per_minute: u32,
    /// Requests that wait for an end at the same time, of all callers.
    pub waits: usize,
    /// How long a request's body may take.
    pub body_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            begins_per_minute: 6_000,
            waits: 4_096,
            body_time: Duration::from_secs(5),
        }
    }
}

/// A token bucket for each caller: full at first, refilled evenly. Callers are those of the file
/// of tokens, so their number is bounded.
#[derive(Debug)]
pub(super) struct Pace {
    per_minute: u32,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a begin left.
    milli: u64,
    at: Instant,
}

const MINUTE_MS: u64 = 60_000;

impl Pace {
    pub(super) fn new(per_minute: u32) -> Pace {
        Pace {
            per_minute,
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one begin, or says in how many seconds there is one.
    pub(super) fn take(&self, caller: &str) -> Result<(), u64> {
        let now = Instant::now();
        let rate = u64::from(self.per_minute);
        let full = rate.saturating_mul(1000);
        // A bucket is always whole: nothing panics while one is changed.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Bucket {
            milli: full,
            at: now,
        };
        let bucket = buckets.entry(caller.to_owned()).or_insert(fresh);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_for_its_caller_only_and_refills() {
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
}
