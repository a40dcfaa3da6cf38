//! Which steps are worth trying in a state. Whether a step is allowed is decided where it is performed.

use crate::{
    block::{Block, Kind},
    guard::Guard,
    model::{Action, Agreement},
    party::Party,
    state::{State, Verb},
};

impl Agreement {
    pub(crate) fn possible(&self, s: &State, actions: &mut Vec<Action>) {
        self.outages(s, actions);
        if self.is_honest(Party::Broker) {
            self.of_broker(s, actions);
        }
        if self.is_honest(Party::Device) {
            self.of_device(s, actions);
        }
        if self.is_honest(Party::TrustOperator) {
            self.of_trust_operator(s, actions);
        }
        self.of_words(s, actions);
        self.of_services(s, actions);
        let heights = self.config.heights;
        actions.retain(|action| match action {
            Action::Assent(b) | Action::Endorse(b) | Action::Locked(b) => b.height() <= heights,
            Action::Seal(b) | Action::SealRestrict(b) => b.height() <= heights,
            _ => true,
        });
    }

    fn outages(&self, s: &State, actions: &mut Vec<Action>) {
        if s.now < self.config.ticks {
            actions.push(Action::Tick);
        }
        for party in [Party::Device, Party::Broker, Party::TrustOperator] {
            if self.is_honest(party) {
                if self.config.crashes.has(party) {
                    actions.push(Action::Crash(party));
                }
                if self.config.restores.has(party) {
                    actions.extend([Action::Copy(party), Action::Restore(party)]);
                }
            }
        }
        let operators = [Party::Broker, Party::TrustOperator];
        if !s.compared && operators.iter().any(|p| self.is_honest(*p)) {
            actions.push(Action::Compare);
        }
    }

    fn of_broker(&self, s: &State, actions: &mut Vec<Action>) {
        let b = &s.broker;
        let within = b.kept.head.height() < self.config.heights;
        if within {
            actions.push(Action::Begin(Kind::Login, false));
            if self.config.stranger {
                actions.push(Action::Begin(Kind::Login, true));
            }
            if self.config.desk || self.config.words > 0 {
                actions.push(Action::Begin(Kind::Unfreeze, false));
            }
            actions.extend([Action::Number, Action::Restrict]);
        }
        if self.config.ends {
            actions.extend([Action::End, Action::Refuse]);
        }
        if self.config.desk {
            actions.push(Action::DeskFreeze);
        }
        actions.extend(b.work.map(Action::Endorse));
        actions.extend(b.kept.restrict.map(Action::Resend));
        if !self.keeps(Guard::CompleteOnlyOwn) {
            actions.extend(s.device.kept.lock.map(Action::Endorse));
        }
        if self.is_honest(Party::Device) {
            let other = s
                .device
                .kept
                .lock
                .filter(|l| b.work.is_some_and(|w| w != *l));
            actions.extend(other.map(Action::Locked));
            actions.push(Action::HearRestored);
        } else {
            actions.push(Action::WrongNumber);
            let lies = self.admits_on(s, b.kept.head).filter(|a| a.time() == s.now);
            actions.extend(lies.take(1).map(Action::Locked));
        }
        self.sealed_for(s, Party::Broker, b.kept.head, actions);
    }

    fn of_device(&self, s: &State, actions: &mut Vec<Action>) {
        let d = &s.device;
        if self.is_honest(Party::Broker) {
            actions.extend([Action::Prompt, Action::WrongNumber]);
            actions.extend(d.open.map(Action::Assent));
        } else {
            let head = d.kept.head;
            actions.extend(self.admits_on(s, head).map(Action::Assent));
            if !self.keeps(Guard::AssentOnlyOnHead) && head.height() > 0 {
                actions.extend(self.admits_on(s, head.prev()).map(Action::Assent));
            }
        }
        if !self.keeps(Guard::OnlyABlockReleases) {
            actions.push(Action::Release);
        }
        self.sealed_for(s, Party::Device, d.kept.head, actions);
    }

    fn of_trust_operator(&self, s: &State, actions: &mut Vec<Action>) {
        let head = s.trust_operator.kept.head;
        let mut on = vec![head];
        if !self.keeps(Guard::SealOnlyOnHead) && head.height() > 0 {
            on.push(head.prev());
        }
        if self.is_honest(Party::Broker) {
            let (admits, restricts): (Vec<_>, Vec<_>) = s.sent.iter().partition(|b| b.is_admit());
            actions.extend(admits.into_iter().map(Action::Seal));
            actions.extend(restricts.into_iter().map(Action::SealRestrict));
            if !self.keeps(Guard::SealOnlyWhatBrokerSigned) {
                actions.extend(s.device.signed.iter().map(Action::Seal));
                let forged = self.restricts_on(s, head).map(Action::SealRestrict);
                actions.extend(forged);
            }
        } else {
            for prev in on {
                actions.extend(self.admits_on(s, prev).map(Action::Seal));
                actions.extend(self.restricts_on(s, prev).map(Action::SealRestrict));
            }
        }
        if self.config.restores.has(Party::TrustOperator) {
            let next = head.towards(s.broker.kept.head);
            actions.extend(next.map(|b| Action::Adopt(Party::TrustOperator, b)));
        }
    }

    /// The sealed blocks that somebody can hand to a party.
    fn sealed_for(&self, s: &State, party: Party, head: Block, actions: &mut Vec<Action>) {
        let t = &s.trust_operator;
        if self.is_honest(Party::TrustOperator) {
            let shown = match party {
                Party::Device if self.is_honest(Party::Broker) => {
                    let acked = t.kept.acked.min(t.kept.head.height());
                    let all = !self.keeps(Guard::ShowOnlyAcknowledged);
                    if all {
                        t.kept.head
                    } else {
                        t.kept.head.at(acked)
                    }
                }
                _ => t.kept.head,
            };
            let mut from = vec![shown];
            if party == Party::Device && self.is_honest(Party::Broker) {
                from.push(s.broker.kept.head);
            }
            if party == Party::Broker && self.is_honest(Party::Device) {
                from.push(s.device.kept.head);
            }
            if !self.keeps(Guard::SessionKillsInput) {
                from.extend(t.sealed.iter());
            }
            let mut next: Vec<_> = from
                .into_iter()
                .filter_map(|top| head.towards(top))
                .collect();
            next.dedup();
            actions.extend(next.into_iter().map(|b| Action::Adopt(party, b)));
            return;
        }
        let signed = self
            .signed(s)
            .filter(|b| b.prev() == head && self.is_valid(s, *b));
        let mut signed: Vec<_> = signed.collect();
        signed.sort_unstable();
        signed.dedup();
        actions.extend(signed.into_iter().map(|b| Action::Adopt(party, b)));
        if party == Party::Device && !self.is_honest(Party::Broker) {
            let made = self
                .restricts_on(s, head)
                .filter(|b| b.kind() != Kind::Deny);
            let within = made.filter(|b| b.height() <= self.config.heights);
            actions.extend(within.map(|b| Action::Adopt(party, b)));
        }
    }

    fn of_words(&self, s: &State, actions: &mut Vec<Action>) {
        if self.config.words == 0 {
            return;
        }
        if self.is_honest(Party::Device) {
            actions.push(Action::Say(Verb::Freeze, s.device.kept.head));
            if let Some(open) = s.device.open {
                actions.extend([
                    Action::Say(Verb::Deny, open),
                    Action::Say(Verb::Disown, open),
                ]);
            }
        } else {
            let top = if self.is_honest(Party::TrustOperator) {
                s.trust_operator.kept.head
            } else {
                s.broker.kept.head
            };
            let at = |h| Action::Say(Verb::Freeze, top.at(h));
            actions.extend((0..=top.height()).map(at));
            if let Some(work) = s.broker.work {
                actions.extend([
                    Action::Say(Verb::Deny, work),
                    Action::Say(Verb::Disown, work),
                ]);
            }
        }
        for party in [Party::Broker, Party::TrustOperator] {
            if self.is_honest(party) {
                actions.extend((0..3).map(|at| Action::Hear(party, at)));
            }
        }
    }

    fn of_services(&self, s: &State, actions: &mut Vec<Action>) {
        // With all these it admits what is valid, alive and its own, and an honest broker's own word for it
        // is judged where the broker says it: nothing here changes.
        let sdk = [
            Guard::ServiceVerifies,
            Guard::ServiceOnlyBeforeExp,
            Guard::ServiceChecksChallenge,
        ];
        let guards = if self.is_honest(Party::Broker) {
            &[Guard::ServiceAsksItsBroker][..]
        } else {
            &sdk[..]
        };
        if guards.iter().all(|g| self.keeps(*g)) {
            return;
        }
        let shown: Vec<_> = self.signed(s).collect();
        for block in shown {
            actions.extend([Action::Serve(block, false), Action::Serve(block, true)]);
        }
    }
}
