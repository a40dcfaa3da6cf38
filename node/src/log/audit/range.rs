//! Which accounts one pass over a directory looks at: those from an id on, up to another that comes down where they are
//! too many for the memory. The next pass begins there.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use warifu_consensus::party::Sub;

/// See the module.
#[derive(Debug)]
pub(super) struct Range {
    from: Sub,
    /// The first that is left out.
    end: Mutex<Option<Sub>>,
    /// Whether any is: where all fit, nobody waits for the lock.
    has_end: AtomicBool,
}

impl Range {
    pub(super) const fn new(from: Sub, end: Option<Sub>) -> Self {
        Self {
            from,
            has_end: AtomicBool::new(end.is_some()),
            end: Mutex::new(end),
        }
    }

    /// Where the next pass begins, if this one leaves any out.
    pub(super) fn end(&self) -> Option<Sub> {
        if !self.has_end.load(Ordering::Acquire) {
            return None;
        }
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn holds(&self, sub: &Sub) -> bool {
        *sub >= self.from && self.end().is_none_or(|end| *sub < end)
    }

    pub(super) const fn from(&self) -> Sub {
        self.from
    }

    /// Leaves out the last quarter of these, at least one and never all of two or more.
    pub(super) fn leave_out_some(&self, subs: impl Iterator<Item = Sub>) {
        let mut subs: Vec<Sub> = subs.filter(|sub| self.holds(sub)).collect();
        let place = subs.len() / 4 * 3 + subs.len() % 4 * 3 / 4;
        if place == 0 {
            return;
        }
        let (_, cut, _) = subs.select_nth_unstable(place);
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = Some(end.map_or(*cut, |end| end.min(*cut)));
        self.has_end.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_only_comes_down_and_never_to_nothing() {
        let subs = |count: u8| (1..=count).map(|number| Sub([number; 16]));
        let range = Range::new(Sub([1; 16]), None);
        range.leave_out_some(subs(1));
        assert_eq!(range.end(), None);
        for (count, end) in [(100, 76), (75, 57), (4, 4), (3, 3), (2, 2), (100, 2)] {
            range.leave_out_some(subs(count));
            assert_eq!(range.end(), Some(Sub([end; 16])), "{count}");
            assert!(range.holds(&Sub([1; 16])) && !range.holds(&Sub([end; 16])));
            assert!(!range.holds(&Sub::ZERO), "before it");
        }
    }
}
