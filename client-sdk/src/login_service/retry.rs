//! When a request is sent again: after which pause, how often, and until when.
//!
//! Decides time only. Which requests may be sent again at all is decided where they are made: what
//! may have had an effect is not.

use std::time::Duration;

use tokio::time::Instant;

use super::error::LoginServiceError;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How long calls may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// For one try: connecting, asking, and reading the answer; what the broker may take on purpose
    /// (the `wait` of a call, up to 30 s for freeze and confirm) is added.
    pub answer: Duration,
    /// For one call with all its tries and the pauses between them, likewise. `wait` has the
    /// login's own lifetime instead.
    pub overall: Duration,
    /// Tries of one call, the first included.
    pub tries: u32,
}

impl Default for Patience {
    /// 20 s an answer, 30 s overall, 4 tries.
    fn default() -> Patience {
        Patience {
            answer: Duration::from_secs(20),
            overall: Duration::from_secs(30),
            tries: 4,
        }
    }
}

/// The tries of one call.
pub(super) struct Tries {
    deadline: Instant,
    left: Option<u32>,
    pause: Duration,
}

impl Tries {
    /// Of a call during which the broker may take `wait` on purpose.
    pub(super) fn of(patience: &Patience, wait: Duration) -> Tries {
        let overall = patience.overall.saturating_add(wait);
        Tries::new(overall, Some(patience.tries.saturating_sub(1)))
    }

    /// As many as there is time for.
    pub(super) fn until(overall: Duration) -> Tries {
        Tries::new(overall, None)
    }

    fn new(overall: Duration, left: Option<u32>) -> Tries {
        let now = Instant::now();
        Tries {
            // A century, where the caller's duration is none that a clock can count.
            deadline: now
                .checked_add(overall)
                .unwrap_or(now + Duration::from_secs(100 * 365 * 86_400)),
            left,
            pause: FIRST_PAUSE,
        }
    }

    /// Time until the deadline.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// An answer came: a later failure is a first one again.
    pub(super) fn answered(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// Sleeps until the next try, or says that there is none. The pause doubles, is at least what
    /// the broker asked for, and has a random part, so that callers that failed together don't come
    /// back together.
    pub(super) async fn again(&mut self, error: &LoginServiceError) -> bool {
        if self.left == Some(0) {
            return false;
        }
        let (floor, span) = match error.retry_after() {
            Some(after) => (after, self.pause),
            None => (self.pause / 2, self.pause / 2),
        };
        let pause = floor.saturating_add(random_part(span));
        if pause >= self.left() {
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
        true
    }
}

/// From nothing to `span`, evenly; all of it where the system has no randomness to give.
fn random_part(span: Duration) -> Duration {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let part = getrandom::u64().map_or(millis, |random| random % millis.saturating_add(1).max(1));
    Duration::from_millis(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login_service::problem::{Problem, ProblemKind};

    fn lost() -> LoginServiceError {
        LoginServiceError::Unreachable {
            what: "lost".to_owned(),
            is_sent: true,
        }
    }

    fn later(seconds: u64) -> LoginServiceError {
        let mut problem = Problem::new(ProblemKind::TooMany, "later");
        problem.retry_after = Some(seconds);
        LoginServiceError::Problem(Box::new(problem))
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_vary_and_end_with_the_tries() {
        let mut totals = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let mut tries = Tries::of(&Patience::default(), Duration::ZERO);
            let mut count = 1;
            while tries.again(&lost()).await {
                count += 1;
            }
            assert_eq!(count, 4);
            let total = begun.elapsed();
            assert!((875..=1760).contains(&total.as_millis()), "{total:?}");
            totals.insert(total);
        }
        assert!(totals.len() > 1, "the same pauses each time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_broker_asks_for_is_kept_or_there_is_no_further_try() {
        let mut tries = Tries::of(&Patience::default(), Duration::ZERO);
        let begun = Instant::now();
        assert!(tries.again(&later(7)).await);
        assert!((7000..=7260).contains(&begun.elapsed().as_millis()));
        let before = Instant::now();
        assert!(!tries.again(&later(60)).await);
        assert!(!tries.again(&later(u64::MAX)).await);
        assert!(
            before.elapsed().is_zero(),
            "nobody waits for a try that won't be"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_tries_without_a_number() {
        let mut tries = Tries::until(Duration::from_secs(60));
        let begun = Instant::now();
        while tries.again(&lost()).await {}
        let total = begun.elapsed();
        assert!((55..60).contains(&total.as_secs()), "{total:?}");
        assert!(!Tries::until(Duration::ZERO).again(&lost()).await);
        assert!(Tries::until(Duration::MAX).again(&lost()).await);
    }
}
