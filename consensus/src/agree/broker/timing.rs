//! What time brings: expiry, and repeating what is owed an answer (rule 7).

use super::*;

impl Broker {
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
