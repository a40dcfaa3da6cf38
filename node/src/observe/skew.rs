//! How far the other operator's clock is from this one.
//!
//! Logins are refused when clocks differ by 30 s (protocol rule 2), long after it could have been seen. While
//! somebody watches this node, it asks the other's clock every few seconds on their own line; any operator
//! answers. The answer is unsigned and decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::gauge;
use warifu_consensus::{
    time::Time,
    wire::{Clock, Message},
};

/// The one question that may be out.
#[derive(Debug, Default)]
pub struct Skew {
    /// Own clock at the question in milliseconds since the Unix epoch; 0 when none is out.
    asked: AtomicU64,
}

impl Skew {
    /// The frame that asks.
    #[must_use]
    pub fn ask(&self, now: Time) -> Option<Vec<u8>> {
        self.asked.store(now.0, Ordering::Relaxed);
        Message::Clock(Clock::Ask { asked: now.0 }).to_frame().ok()
    }

    /// Takes what the other operator says; the frame to answer with, if it asked. An answer to no
    /// question of ours counts for nothing.
    pub fn hear(&self, said: Clock, now: Time) -> Option<Vec<u8>> {
        match said {
            Clock::Ask { asked } => Message::Clock(Clock::Answer { asked, at: now.0 })
                .to_frame()
                .ok(),
            Clock::Answer { asked, at } => {
                let ours =
                    self.asked
                        .compare_exchange(asked, 0, Ordering::Relaxed, Ordering::Relaxed);
                if ours.is_ok()
                    && asked != 0
                    && let Some((skew_s, round_trip_s)) = measured(asked, at, now.0)
                {
                    gauge!("warifu_clock_skew_seconds").set(skew_s);
                    gauge!("warifu_operators_round_trip_seconds").set(round_trip_s);
                }
                None
            }
        }
    }
}

/// Skew and round trip in seconds, of clocks in milliseconds: the answer was given half way.
fn measured(asked: u64, at: u64, heard: u64) -> Option<(f64, f64)> {
    let round_trip = heard.checked_sub(asked)?;
    let half_way = asked.checked_add(round_trip / 2)?;
    let ahead = i128::from(at) - i128::from(half_way);
    // A clock that is off by more than a day is off by a day: enough to see.
    let ahead = i32::try_from(ahead.clamp(-86_400_000, 86_400_000)).ok()?;
    let round_trip = u32::try_from(round_trip).ok()?;
    Some((f64::from(ahead) / 1000.0, f64::from(round_trip) / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_taken_to_be_given_half_way() {
        assert_eq!(measured(1_000, 1_005, 1_010), Some((0.0, 0.01)));
        assert_eq!(measured(1_000, 3_505, 1_010), Some((2.5, 0.01)));
        assert_eq!(measured(5_000, 1_000, 5_000), Some((-4.0, 0.0)));
        assert_eq!(measured(1_000, u64::MAX, 1_000), Some((86_400.0, 0.0)));
        // The own clock was set back meanwhile.
        assert_eq!(measured(1_010, 1_000, 1_000), None);
    }

    #[test]
    fn only_the_answer_to_the_own_question_counts() {
        let skew = Skew::default();
        assert!(skew.ask(Time(7_000)).is_some());
        let answer = |asked| Clock::Answer { asked, at: 9_000 };
        skew.hear(answer(6_999), Time(7_010));
        assert_eq!(skew.asked.load(Ordering::Relaxed), 7_000, "still out");
        skew.hear(answer(7_000), Time(7_010));
        assert_eq!(skew.asked.load(Ordering::Relaxed), 0);
        let asked = Clock::Ask { asked: 5 };
        let frame = skew.hear(asked, Time(6)).expect("an answer");
        let expected = Message::Clock(Clock::Answer { asked: 5, at: 6 });
        assert_eq!(Message::from_frame(&frame), Ok(expected));
    }
}
