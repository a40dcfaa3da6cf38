//! How long a group of records waits for company before it is written and synced.
//!
//! One sync costs the same for one record as for fifty. While a sync runs, what arrives waits and
//! goes together into the next one; where the disk is faster than the records come, that alone
//! would give every record a sync of its own. So while many streams are at work, a group waits as
//! long as the records usually take to make it worth its sync. With n streams at work, a record
//! comes n times as often as one of them writes: what a stream waits for company is to the time
//! from its one record to its next as 3 to n. With few at work nobody waits, since nobody would come.
//!
//! Decides about speed only. Whatever it answers, nothing is acknowledged before its sync.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Records that make a group worth its sync.
const COMPANY: usize = 4;

/// With fewer streams than this at work, a group waits for nobody.
const CROWD: usize = 24;

/// Longest wait. Where not even one more record is likely to come in that time, nobody waits.
const LONGEST: Duration = Duration::from_millis(40);

/// The longest time between two records that is told from any other.
const PAUSE: Duration = Duration::from_millis(200);

/// How many streams are at work and will write again soon, as far as anyone has told.
pub(crate) type AtWork = Arc<AtomicUsize>;

/// How the records have been coming.
#[derive(Debug)]
pub(super) struct Gather {
    at_work: AtWork,
    /// Smoothed time from one record to the next.
    interval: Duration,
    last: Instant,
}

impl Gather {
    pub(super) fn new(at_work: AtWork) -> Self {
        Self {
            at_work,
            interval: PAUSE,
            last: Instant::now(),
        }
    }

    /// How long a group that has `found` records should wait for more.
    pub(super) fn wait(&self, found: usize) -> Duration {
        if self.interval > LONGEST || self.at_work.load(Ordering::Relaxed) < CROWD {
            return Duration::ZERO;
        }
        let missing = u32::try_from(COMPANY.saturating_sub(found)).unwrap_or(0);
        self.interval.saturating_mul(missing).min(LONGEST)
    }

    /// A group of `records` is durable.
    pub(super) fn committed(&mut self, records: usize) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.last);
        self.last = now;
        let Ok(records @ 1..) = u32::try_from(records) else {
            return;
        };
        // A pause says nothing about the crowd that follows it.
        let sample = (elapsed / records).min(PAUSE);
        self.interval = (self.interval.saturating_mul(3).saturating_add(sample)) / 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(at_work: usize, interval_ms: u64) -> Gather {
        Gather {
            interval: Duration::from_millis(interval_ms),
            ..Gather::new(Arc::new(AtomicUsize::new(at_work)))
        }
    }

    #[test]
    fn a_crowd_is_waited_for_as_long_as_company_usually_takes() {
        let gather = gather(CROWD, 1);
        assert_eq!(gather.wait(1), Duration::from_millis(3));
        assert_eq!(gather.wait(3), Duration::from_millis(1));
        assert_eq!(gather.wait(COMPANY), Duration::ZERO);
        assert_eq!(gather.wait(COMPANY + 9), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_for_a_few_or_for_slow_company() {
        assert_eq!(gather(1, 1).wait(1), Duration::ZERO);
        assert_eq!(gather(CROWD - 1, 1).wait(1), Duration::ZERO);
        assert_eq!(gather(CROWD, 30).wait(1), LONGEST);
        assert_eq!(gather(CROWD, 41).wait(1), Duration::ZERO);
        assert_eq!(Gather::new(AtWork::default()).wait(1), Duration::ZERO);
    }
}
