//! What time brings: expiry, and repeating what is owed an answer (rule 7).

use super::*;
use crate::time::MAX_AHEAD_S;

impl Broker {
    /// A clock that stood ahead for a moment leaves times that no honest wait reaches. Those in RAM are
    /// lowered to the longest such wait; what is durable is borne until the contradiction lasted (see
    /// [`Patience`]).
    pub(super) fn heed_clock(&mut self, now: Time) {
        let latest = |wait_ms: u64| Time(now.0.saturating_add(wait_ms));
        let pause = latest(GRACE_S.saturating_mul(1000).max(RETRY_MAX_MS));
        self.retry_at = self.retry_at.map(|at| at.min(pause));
        let ask = latest(RETRY_MAX_MS);
        self.genesis_ask_at = self.genesis_ask_at.map(|at| at.min(ask));
        self.pace.heed(now);
        self.asked.heed(now);
        let restored = self.state.restored;
        let waits_too_long = restored.is_some_and(|until| is_beyond(until, RESTORED_WAIT_S, now));
        self.patience
            .heed(waits_too_long || self.signed_ahead(now), now);
    }

    /// When a restored broker may open again: at the time that it wrote down, or, where that contradicts
    /// its clock, when this lasted as long as the longest honest wait.
    pub(super) fn restored_due(&self) -> Option<Time> {
        let until = self.state.restored?;
        let believed = self.patience.ends_at(RESTORED_WAIT_S);
        Some(believed.map_or(until, |end| end.min(until)))
    }

    /// Whether the restrict block that is signed and not sealed is a `restored` one dated further ahead of
    /// this clock than the trust operator completes (rule 4).
    pub(super) fn signed_ahead(&self, now: Time) -> bool {
        self.state.restrict.as_ref().is_some_and(|lock| {
            let c = lock.block.claims();
            c.kind == Kind::Restored && is_beyond(Time::from_seconds(c.iat), MAX_AHEAD_S, now)
        })
    }

    /// Whether what was signed ahead is to be signed anew (rule 1).
    pub(super) fn signs_anew(&self, now: Time) -> bool {
        self.signed_ahead(now) && self.patience.is_over(RESTORED_WAIT_S, now)
    }

    pub(super) fn tick<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        let now = turn.now;
        // Drops what left the window, so that its deadline is no deadline any more.
        self.asked.found(now);
        if let Some(queued) = &self.queued
            && now >= Time::from_seconds(queued.exp)
        {
            let login = queued.begin.login;
            self.queued = None;
            turn.tell(Event::Ended {
                login,
                outcome: Outcome::Expired,
            });
        }
        if self.state.lock.is_none()
            && let Some(work) = &self.work
            && now >= Time::from_seconds(work.block.claims().exp)
        {
            self.end_unlocked(Outcome::Expired, Reason::Expired, turn);
        }
        // The trust operator's clock may be behind: ask until it answers, sealed or dead.
        if self.genesis_due().is_some_and(|due| now >= due) {
            self.genesis_ask_at = Some(Time(now.0.saturating_add(RETRY_MAX_MS)));
            turn.send(
                Role::TrustOperator,
                Agree::HeadIs {
                    head: None,
                    vote: None,
                    ask: true,
                    notice: false,
                },
            );
        }
        if self.retry_at.is_some_and(|t| now >= t) {
            self.retry_at = None;
            self.retry(turn);
        }
    }

    /// Repeats what is owed an answer (rule 7: every handler is idempotent).
    pub(super) fn retry<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        if !self.is_up(Role::TrustOperator) {
            return;
        }
        if !self.compared {
            self.ask_head(turn);
        } else if self.state.restrict.is_some() {
            self.send_restrict(turn);
        } else if let Some(work) = &self.work {
            // Rule 10: what a word stands against is not asked for again either.
            if self.is_unwanted(work.block.hash()) {
                return;
            }
            match &work.round {
                Round::Preparing => {
                    let block = work.block.clone();
                    turn.send(Role::TrustOperator, Agree::Prepare { block });
                }
                Round::Endorsed(message) => {
                    let message = (**message).clone();
                    turn.send(Role::TrustOperator, message);
                }
                Round::Proposed(_) => self.repeat_propose(turn),
                Round::Failed => return,
            }
        } else {
            return;
        }
        self.schedule_retry(turn);
    }

    pub(super) fn schedule_retry<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        self.retry_at = Some(Time(turn.now.0.saturating_add(self.retry_ms)));
        self.retry_ms = self.retry_ms.saturating_mul(2).min(RETRY_MAX_MS);
    }

    pub(super) fn first_retry<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        self.retry_ms = RETRY_FIRST_MS;
        self.schedule_retry(turn);
    }
}
