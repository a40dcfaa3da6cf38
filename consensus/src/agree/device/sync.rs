//! Heads, and sealed blocks that release the lock (rules 5, 8).

use super::*;
use crate::chain::Seen;

impl Device {
    pub(super) fn say_head<E: Entropy>(&self, to: Role, turn: &mut Turn<'_, E>) {
        let head = self.state.base.head();
        let vote = head.map(|h| {
            let sub = self.state.base.sub();
            Signing {
                key: &self.key,
                role: Role::Device,
                sub,
                block: h.hash,
            }
            .vote(Verb::Head)
        });
        let notice = self.state.restored_at.is_some();
        turn.send(
            to,
            Agree::HeadIs {
                head,
                vote,
                ask: true,
                notice,
            },
        );
    }

    pub(super) fn head_is<E: Entropy>(
        &mut self,
        from: Role,
        head: Option<Head>,
        vote: Option<&Vote>,
        ask: bool,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_head(from, head, vote)?;
        let theirs = head.map_or(0, |h| h.height.saturating_add(1));
        let ours = self.state.base.next_height();
        if ask {
            self.say_head(from, turn);
        }
        if theirs > ours {
            turn.send(from, Agree::BlocksFrom { height: ours });
        }
        Ok(())
    }

    /// A clock that stood ahead when this copy noticed what it is would have it wait for a `restored`
    /// block of that time. When the contradiction lasted as long as two clocks may differ, it is taken to
    /// have noticed now: later than it did, so that no older block counts.
    pub(super) fn heed_clock<E: Entropy>(&mut self, turn: &mut Turn<'_, E>) {
        let now = turn.now;
        let latest = Time(now.0.saturating_add(REPEAT_MS));
        self.repeat_at = self.repeat_at.map(|at| at.min(latest));
        let noticed = self.state.restored_at;
        let is_ahead = noticed.is_some_and(|at| is_beyond(at, MAX_AHEAD_S, now));
        self.patience.heed(is_ahead, now);
        if self.patience.is_over(GRACE_S, now) {
            self.patience.heed(false, now);
            self.store(Record::DeviceRestored { at: now }, turn);
            self.say_head(Role::Broker, turn);
        }
    }

    /// Its own assent, as it sent it.
    fn seen(&self) -> Seen {
        match self.answered.as_ref().map(|a| (a.hash, &a.assent)) {
            Some((block, Agree::Assent { vote, .. })) => Seen {
                block,
                assent: Some(*vote),
                endorse: None,
            },
            _ => Seen::NONE,
        }
    }

    pub(super) fn adopt<E: Entropy>(
        &mut self,
        sealed: Sealed,
        from: Role,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        let c = sealed.block.claims();
        let (hash, height, kind) = (sealed.block.hash(), c.height, c.kind);
        let next = self.state.base.next_height();
        if height < next {
            return Ok(());
        }
        if height > next {
            turn.send(from, Agree::BlocksFrom { height: next });
            return Ok(());
        }
        self.state.base.verify_but(&sealed, &self.seen())?;
        let held = self.state.lock.as_ref().is_some_and(|l| l.hash() == hash);
        if kind.class() == Class::Admit && kind != Kind::Genesis && !held {
            // Rule 8: an admit that this copy holds no lock for: another copy of it signed.
            self.store(Record::DeviceRestored { at: turn.now }, turn);
        }
        self.store(Record::Sealed(Box::new(sealed.clone())), turn);
        if let Some(open) = self.open.take_if(|o| o.block.claims().height <= height) {
            let hash = open.block.hash();
            turn.tell(Event::PromptGone { hash, reason: None });
        }
        turn.tell(Event::Sealed(Box::new(sealed)));
        self.renew_freeze(turn);
        if self.state.restored_at.is_some() && kind != Kind::Restored {
            self.say_head(Role::Broker, turn);
        }
        if self.state.words.is_empty() && self.state.lock.is_none() {
            self.repeat_at = None;
        }
        Ok(())
    }

    /// Rule 9: sealed blocks that can't stand in one chain are kept, this device assents to nothing,
    /// and asks both operators to freeze.
    pub(super) fn conflict<E: Entropy>(
        &mut self,
        sealed: Sealed,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        self.state.base.verify_rival(&sealed)?;
        let (hash, height) = (sealed.block.hash(), sealed.block.claims().height);
        let may_broker = self.state.base.broker_may_have_signed(&sealed.block);
        let evidence = Record::Conflict(Box::new(sealed));
        if !Conflict::is_news(self.state.conflict, &evidence) {
            return Ok(());
        }
        let told = conflict::told(&self.state.base, &evidence);
        self.store(evidence, turn);
        turn.out.extend(told.map(Output::Tell));
        // Whoever brought it: without the trust operator no pair of sealed blocks exists.
        let culprits = [
            Some(Role::TrustOperator),
            (may_broker == Some(false)).then_some(Role::Broker),
        ];
        for culprit in culprits.into_iter().flatten() {
            let what = format!("signed block {hash} at height {height} beside another");
            turn.tell(Event::Fault(Fault { culprit, what }));
        }
        self.freeze(turn);
        Ok(())
    }
}
