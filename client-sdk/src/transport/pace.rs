//! How often something may happen for long, and how much of it at once: a token bucket that holds one moment.
//!
//! Decides time only: who is counted, and what becomes of one who comes too often, is the caller's.

use std::time::Duration;

use tokio::time::Instant;

/// So many a second for long, and so many at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For long; 0 counts as 1.
    pub per_s: u32,
    /// At once, after a rest.
    pub burst: u32,
}

impl Pace {
    fn each(self) -> Duration {
        Duration::from_secs(1) / self.per_s.max(1)
    }
}

/// What one peer, or one address, has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// When everything is there again: the later, the less is left.
    full_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether nothing is missing: then it need not be kept.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes one, if one is left.
    pub(super) fn take(&mut self, pace: Pace, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + pace.each();
        let is_left = full_at <= now + pace.each() * pace.burst;
        if is_left {
            self.full_at = full_at;
        }
        is_left
    }

    /// Takes `cost` in any case; from when on there is something left, if that is not yet.
    pub(super) fn spend(&mut self, cost: u32, pace: Pace, now: Instant) -> Option<Instant> {
        self.full_at = self.full_at.max(now) + pace.each() * cost;
        let empty_until = self.full_at.checked_sub(pace.each() * pace.burst)?;
        (empty_until > now).then_some(empty_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        per_s: 10,
        burst: 3,
    };

    #[test]
    fn a_burst_then_the_pace() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(begun);
        let taken = |bucket: &mut Bucket, now| (0..50).filter(|_| bucket.take(PACE, now)).count();
        assert_eq!(taken(&mut bucket, begun), 3);
        assert_eq!(taken(&mut bucket, begun + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, begun + Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut bucket, begun + Duration::from_millis(350)), 2);
        assert!(!bucket.is_full(begun + Duration::from_millis(599)));
        assert!(bucket.is_full(begun + Duration::from_millis(600)));
        assert_eq!(taken(&mut bucket, begun + Duration::from_secs(90)), 3);
    }

    #[test]
    fn what_was_overspent_is_waited_for() {
        let begun = Instant::now() + Duration::from_secs(60);
        let mut bucket = Bucket::new(begun);
        assert_eq!(bucket.spend(3, PACE, begun), None);
        let until = begun + Duration::from_millis(500);
        assert_eq!(bucket.spend(5, PACE, begun), Some(until));
        assert_eq!(bucket.spend(0, PACE, until), None);
        assert!(!bucket.take(PACE, until));
    }
}
