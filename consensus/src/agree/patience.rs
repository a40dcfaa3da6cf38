//! What a party wrote down by a clock that stood ahead for a moment, and how it gets over that.
//!
//! A durable time that lies further ahead than its writer could honestly have waited contradicts the
//! clock as it stands: one of the two was wrong, and one look does not tell which. A clock that stands
//! *behind* for a moment must shorten no wait, so the contradiction has to last as long, by the same
//! clock, as the longest honest wait; then the clock is believed. It never looks at a clock by itself.

use crate::time::Time;

/// Since when a durable time has contradicted the clock, without a break. Lives in RAM: a start begins
/// anew.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Patience {
    since: Option<Time>,
}

impl Patience {
    /// Notes whether the clock, which says `now`, is contradicted at this moment.
    pub(super) fn heed(&mut self, is_contradicted: bool, now: Time) {
        // A clock that went back since begins the wait again.
        self.since = is_contradicted.then(|| self.since.map_or(now, |since| since.min(now)));
    }

    /// When the clock will be believed, after so many seconds of contradiction.
    pub(super) fn ends_at(&self, wait_s: u64) -> Option<Time> {
        let since = self.since?;
        Some(Time(since.0.saturating_add(wait_s.saturating_mul(1000))))
    }

    /// Whether the contradiction lasted so many seconds.
    pub(super) fn is_over(&self, wait_s: u64, now: Time) -> bool {
        self.ends_at(wait_s).is_some_and(|end| now >= end)
    }
}

/// Whether a time lies more than so many seconds ahead of `now`.
pub(super) const fn is_beyond(time: Time, ahead_s: u64, now: Time) -> bool {
    time.0 > now.0.saturating_add(ahead_s.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_believed_when_the_contradiction_lasted() {
        let mut patience = Patience::default();
        assert_eq!(patience.ends_at(0), None);
        assert!(!patience.is_over(0, Time(1_000)));
        patience.heed(true, Time(5_000));
        assert_eq!(patience.ends_at(10), Some(Time(15_000)));
        patience.heed(true, Time(9_000));
        assert!(!patience.is_over(10, Time(14_999)));
        assert!(patience.is_over(10, Time(15_000)));
        patience.heed(false, Time(15_000));
        assert!(!patience.is_over(10, Time(15_000)));
    }

    #[test]
    fn clock_that_goes_back_begins_again() {
        let mut patience = Patience::default();
        patience.heed(true, Time(50_000));
        patience.heed(true, Time(3_000));
        assert_eq!(patience.ends_at(10), Some(Time(13_000)));
    }

    #[test]
    fn beyond_is_more_than_so_far() {
        assert!(!is_beyond(Time(31_000), 30, Time(1_000)));
        assert!(is_beyond(Time(31_001), 30, Time(1_000)));
    }
}
