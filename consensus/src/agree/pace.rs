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
        let since = now.0.saturating_sub(self.window_s.saturating_mul(1000));
        while self.marks.front().is_some_and(|t| t.0 < since) {
            self.marks.pop_front();
        }
        u32::try_from(self.marks.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_full(&mut self, now: Time) -> bool {
        self.found(now) >= self.limit
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
