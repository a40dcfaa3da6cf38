//! How often an account may be asked (rule 10): a sliding window in RAM.

use std::collections::VecDeque;

use crate::time::Time;

/// At most `limit` marks in `window_s` seconds.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    limit: u32,
    window_s: u64,
    marks: VecDeque<Time>,
}

impl Pace {
    pub(super) fn new(limit: u32, window_s: u64) -> Self {
        Self {
            limit,
            window_s,
            marks: VecDeque::new(),
        }
    }

    /// Marks in the window that ends now.
    pub(super) fn found(&mut self, now: Time) -> u32 {
        let since = now.0.saturating_sub(self.window_ms());
        while self.marks.front().is_some_and(|t| t.0 < since) {
            self.marks.pop_front();
        }
        u32::try_from(self.marks.len()).unwrap_or(u32::MAX)
    }

    /// Marks that a clock made while it stood ahead are taken as made now: none outlasts its window by
    /// that.
    pub(super) fn heed(&mut self, now: Time) {
        if self.marks.back().is_some_and(|t| *t > now) {
            for mark in &mut self.marks {
                *mark = (*mark).min(now);
            }
        }
    }

    pub(super) fn is_full(&mut self, now: Time) -> bool {
        self.found(now) >= self.limit
    }

    /// No mark in the window that ends now: nothing is lost with this pace.
    pub(super) fn is_quiet(&self, now: Time) -> bool {
        let since = now.0.saturating_sub(self.window_ms());
        self.marks.back().is_none_or(|t| t.0 < since)
    }

    /// When a full pace takes a mark again; none while there is room.
    pub(super) fn free_at(&self) -> Option<Time> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let oldest = self.marks.len().checked_sub(limit)?;
        let mark = self.marks.get(oldest)?;
        // One millisecond more: a mark counts to the end of its window.
        Some(Time(
            mark.0.saturating_add(self.window_ms()).saturating_add(1),
        ))
    }

    fn window_ms(&self) -> u64 {
        self.window_s.saturating_mul(1000)
    }

    pub(super) fn mark(&mut self, now: Time) {
        self.marks.push_back(now);
    }

    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn window_s(&self) -> u64 {
        self.window_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_until_the_oldest_mark_leaves_the_window() {
        let mut pace = Pace::new(2, 10);
        assert!(pace.is_quiet(Time(0)) && pace.free_at().is_none());
        pace.mark(Time(50_000));
        assert_eq!(pace.free_at(), None);
        pace.mark(Time(53_000));
        assert!(pace.is_full(Time(60_000)));
        assert_eq!(pace.free_at(), Some(Time(60_001)));
        assert!(!pace.is_full(Time(60_001)));
        assert!(!pace.is_quiet(Time(63_000)));
        assert!(pace.is_quiet(Time(63_001)));
    }

    #[test]
    fn marks_of_a_clock_that_stood_ahead_count_from_when_it_is_right_again() {
        let day = 86_400_000;
        let mut pace = Pace::new(2, 10);
        pace.mark(Time(50_000));
        pace.mark(Time(60_000 + day));
        pace.heed(Time(60_000));
        assert!(pace.is_full(Time(60_000)));
        assert!(pace.is_full(Time(60_000)), "the older one stands as it was");
        assert_eq!(pace.free_at(), Some(Time(60_001)));
        assert!(!pace.is_full(Time(60_001)));
        assert!(!pace.is_quiet(Time(70_000)));
        assert!(pace.is_quiet(Time(70_001)));
        // A mark of this very moment is left alone.
        pace.mark(Time(71_000));
        pace.heed(Time(71_000));
        assert!(!pace.is_quiet(Time(81_000)));
    }
}
