//! How long a group of records waits for company before it is written and synced.
//!
//! One sync costs the same for one record as for fifty. While a sync runs, what arrives waits and
//! goes together into the next one; where the disk is faster than the records come, that alone
//! would give every record a sync of its own. So a group waits a moment if many streams are
//! writing, as long as the records usually take to make it worth its sync, and not at all
//! for a few customers: nobody would come, and the one who waits is the one that wrote.
//!
//! Decides about speed only. Whatever it answers, nothing is acknowledged before its sync.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::StreamId;

/// Records that make a group worth its sync.
pub(super) const COMPANY: usize = 4;

/// Longest wait. Where not even one more record is likely to come in that time, nobody waits.
const LONGEST: Duration = Duration::from_millis(16);

/// The longest time between two records that is told from any other.
const PAUSE: Duration = Duration::from_millis(100);

/// How many of the last records are looked at to see who writes.
const SEEN: usize = 32;

/// With fewer streams than this among them, a group waits for nobody.
const STREAMS: usize = 16;

/// What the writer has seen lately.
#[derive(Debug)]
pub(super) struct Gather {
    /// The streams of the last records, a ring.
    seen: Vec<StreamId>,
    next: usize,
    /// Smoothed time from one record to the next.
    interval: Duration,
    last: Instant,
}

impl Gather {
    pub(super) fn new() -> Self {
        Self {
            seen: Vec::with_capacity(SEEN),
            next: 0,
            interval: PAUSE,
            last: Instant::now(),
        }
    }

    /// A record of that stream came that somebody waits for.
    pub(super) fn came(&mut self, stream: StreamId) {
        match self.seen.get_mut(self.next) {
            Some(slot) => *slot = stream,
            None => self.seen.push(stream),
        }
        self.next = self.next.saturating_add(1) % SEEN;
    }

    /// How long a group that has `found` records should wait for more.
    pub(super) fn wait(&self, found: usize) -> Duration {
        if self.interval > LONGEST || !self.is_crowded() {
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

    fn is_crowded(&self) -> bool {
        let mut streams = self.seen.clone();
        streams.sort_unstable();
        streams.dedup();
        streams.len() >= STREAMS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(streams: u8) -> Gather {
        let mut gather = Gather::new();
        for number in 0..64u8 {
            gather.came(StreamId([number % streams; 16]));
        }
        gather.interval = Duration::from_millis(1);
        gather
    }

    #[test]
    fn a_crowd_is_waited_for_as_long_as_company_usually_takes() {
        let gather = crowd(32);
        assert_eq!(gather.wait(1), Duration::from_millis(3));
        assert_eq!(gather.wait(3), Duration::from_millis(1));
        assert_eq!(gather.wait(COMPANY), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_for_a_few_or_for_slow_company() {
        assert_eq!(crowd(1).wait(1), Duration::ZERO);
        assert_eq!(crowd(15).wait(1), Duration::ZERO);
        let mut slow = crowd(32);
        slow.interval = Duration::from_millis(6);
        assert_eq!(slow.wait(1), LONGEST);
        slow.interval = Duration::from_millis(17);
        assert_eq!(slow.wait(1), Duration::ZERO);
        assert_eq!(Gather::new().wait(1), Duration::ZERO);
    }
}
