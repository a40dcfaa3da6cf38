//! How long each step of a login takes, seen from one party: told from the messages as they pass.
//!
//! An account has one proposal open at a time, so each actor follows one. What it finds goes to the
//! histogram `warifu_login_step_duration_seconds` and, if a subscriber asks for the target [`TARGET`], to
//! one event for each finished step. Both cost next to nothing when nobody listens. It only looks: it never
//! changes, delays or drops anything, and what it forgets in a restart is lost.

use std::{sync::OnceLock, time::Duration};

use metrics::{Histogram, histogram};
use tokio::time::Instant;
use warifu_consensus::{
    agree::{Event, Input, LoginId, Outcome},
    block::{Block, Kind},
    encoding::{Hash, TraceName, text_b64},
    party::{Role, Sub},
    wire::{Agree, Reason},
};

/// The target of the events of finished steps, at the level `trace`. Fields: `step`, `block` (hash as
/// text), `account`, `height`, `kind`, `elapsed_us`, and with the step `whole` also `outcome`, `by` and
/// `login` (22 characters of base64url).
pub const TARGET: &str = "warifu_client_sdk::steps";

/// A step of a login, as the party that measures it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Broker: prepare sent → commitment received.
    Prepare,
    /// Broker: propose sent → the customer's number received.
    Number,
    /// Broker: match sent → assent received.
    Assent,
    /// Broker: assent received → lock durable and endorsement sent.
    Lock,
    /// Broker: endorsement sent → sealed block received.
    Endorse,
    /// Broker: sealed block received → durable here and told.
    Durable,
    /// Broker: asked for → ended.
    Whole,
    /// Trust operator: prepare received → commitment sent.
    Commit,
    /// Trust operator: endorsement received → sealed, durable and sent.
    Seal,
    /// Device: propose received → the customer's number sent.
    Ask,
    /// Device: match received → lock durable and assent sent.
    Sign,
    /// Device: assent sent → sealed block received.
    Settle,
}

const STEPS: usize = 12;

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Number => "number",
            Self::Assent => "assent",
            Self::Lock => "lock",
            Self::Endorse => "endorse",
            Self::Durable => "durable",
            Self::Whole => "whole",
            Self::Commit => "commit",
            Self::Seal => "seal",
            Self::Ask => "ask",
            Self::Sign => "sign",
            Self::Settle => "settle",
        }
    }

    fn histogram(self) -> Option<&'static Histogram> {
        static HISTOGRAMS: [OnceLock<Histogram>; STEPS] = [const { OnceLock::new() }; STEPS];
        HISTOGRAMS.get(self as usize).map(|slot| {
            slot.get_or_init(
                || histogram!("warifu_login_step_duration_seconds", "step" => self.name()),
            )
        })
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The account.
    pub sub: Sub,
    /// The height of the proposal that is, or was last, followed here.
    pub height: Option<u64>,
    /// Its block's hash.
    pub block: Option<Hash>,
}

impl About {
    /// What that proposal is called at every party.
    #[must_use]
    pub fn trace(&self) -> Option<TraceName> {
        self.block.as_ref().map(TraceName::of)
    }
}

struct Followed {
    hash: Hash,
    height: u64,
    kind: Kind,
    login: Option<LoginId>,
    since: Instant,
    begun: [Option<Instant>; STEPS],
    ended: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Steps {
    asked: Option<(LoginId, Instant)>,
    followed: Option<Followed>,
}

impl Steps {
    pub(super) fn about(&self, sub: Sub) -> About {
        About {
            sub,
            height: self.followed.as_ref().map(|f| f.height),
            block: self.followed.as_ref().map(|f| f.hash),
        }
    }

    /// An input comes in.
    pub(super) fn takes(&mut self, sub: &Sub, input: &Input) {
        match input {
            Input::Begin(begin) => self.asked = Some((begin.login, Instant::now())),
            Input::Message { from, agree } => self.hears(sub, *from, agree),
            _ => {}
        }
    }

    fn hears(&mut self, sub: &Sub, from: Role, agree: &Agree) {
        match (from, agree) {
            (Role::TrustOperator, Agree::Committed { hash, .. }) => {
                self.end(sub, hash, Step::Prepare);
            }
            (Role::Device, Agree::Number { hash, .. }) => self.end(sub, hash, Step::Number),
            (Role::Device, Agree::Assent { hash, .. }) => {
                self.end(sub, hash, Step::Assent);
                self.begin(hash, Step::Lock);
            }
            (Role::Broker, Agree::Prepare { block }) => {
                self.follow(block);
                self.begin(&block.hash(), Step::Commit);
            }
            (Role::Broker, Agree::Endorse { block, .. }) => {
                self.follow(block);
                self.begin(&block.hash(), Step::Seal);
            }
            (Role::Broker, Agree::Propose { block, .. }) => {
                self.follow(block);
                self.begin(&block.hash(), Step::Ask);
            }
            (Role::Broker, Agree::Match { hash }) => self.begin(hash, Step::Sign),
            (_, Agree::Blocks { .. }) => {
                let Some(hash) = self.sealed_in(agree) else {
                    return;
                };
                self.end(sub, &hash, Step::Settle);
                if from == Role::TrustOperator {
                    self.end(sub, &hash, Step::Endorse);
                    self.begin(&hash, Step::Durable);
                }
            }
            _ => {}
        }
    }

    /// A message leaves.
    pub(super) fn sends(&mut self, sub: &Sub, to: Role, agree: &Agree) {
        match (to, agree) {
            (Role::TrustOperator, Agree::Prepare { block }) => {
                self.follow(block);
                self.begin(&block.hash(), Step::Prepare);
            }
            (Role::Device, Agree::Propose { block, .. }) => {
                self.begin(&block.hash(), Step::Number);
            }
            (Role::Device, Agree::Match { hash }) => self.begin(hash, Step::Assent),
            (Role::TrustOperator, Agree::Endorse { block, .. }) => {
                self.end(sub, &block.hash(), Step::Lock);
                self.begin(&block.hash(), Step::Endorse);
            }
            (Role::Broker, Agree::Committed { hash, .. }) => self.end(sub, hash, Step::Commit),
            (Role::Broker, Agree::Blocks { .. }) => {
                if let Some(hash) = self.sealed_in(agree) {
                    self.end(sub, &hash, Step::Seal);
                }
            }
            (Role::Broker, Agree::Number { hash, .. }) => self.end(sub, hash, Step::Ask),
            (Role::Broker, Agree::Assent { hash, .. }) => {
                self.end(sub, hash, Step::Sign);
                self.begin(hash, Step::Settle);
            }
            _ => {}
        }
    }

    /// This party's user is told something.
    pub(super) fn tells(&mut self, sub: &Sub, event: &Event) {
        let (login, outcome) = match event {
            Event::Ended { login, outcome } => (login, outcome),
            Event::NotBegun { login, .. } => {
                self.asked.take_if(|(asked, _)| asked == login);
                return;
            }
            _ => return,
        };
        if self.asked.take_if(|(asked, _)| asked == login).is_some() {
            // It ended before its turn came.
            return;
        }
        let Some(followed) = self.followed.as_mut().filter(|f| !f.ended) else {
            return;
        };
        // A lock that a restart took up again has lost its login's name here, and is the only one.
        if followed.login.is_some_and(|l| l != *login) || followed.kind == Kind::Genesis {
            return;
        }
        let begun = |step: Step| followed.begun.get(step as usize).copied().flatten();
        if let (Some(begun), Outcome::Admitted(_)) = (begun(Step::Durable), outcome) {
            followed.finish(sub, Step::Durable, begun.elapsed(), None);
        }
        let elapsed = followed.since.elapsed();
        followed.finish(sub, Step::Whole, elapsed, Some((login, outcome)));
        followed.ended = true;
    }

    fn follow(&mut self, block: &Block) {
        let hash = block.hash();
        if self.followed.as_ref().is_some_and(|f| f.hash == hash) {
            return;
        }
        let claims = block.claims();
        // Without a fresh wish it is the open one's, one height up (protocol rule 5).
        let moved = self.followed.take().filter(|f| !f.ended);
        let (login, since) = match (self.asked.take(), moved) {
            (Some((login, since)), _) => (Some(login), since),
            (None, Some(moved)) => (moved.login, moved.since),
            (None, None) => (None, Instant::now()),
        };
        self.followed = Some(Followed {
            hash,
            height: claims.height,
            kind: claims.kind,
            login,
            since,
            begun: [None; STEPS],
            ended: false,
        });
    }

    /// The followed block's hash, if it is among these.
    fn sealed_in(&self, agree: &Agree) -> Option<Hash> {
        let hash = self.followed.as_ref()?.hash;
        let Agree::Blocks { sealed } = agree else {
            return None;
        };
        sealed
            .iter()
            .any(|sealed| sealed.block.hash() == hash)
            .then_some(hash)
    }

    /// The first beginning counts: what is repeated was waited for.
    fn begin(&mut self, hash: &Hash, step: Step) {
        if let Some(followed) = self.followed.as_mut().filter(|f| f.hash == *hash)
            && let Some(begun) = followed.begun.get_mut(step as usize)
        {
            begun.get_or_insert_with(Instant::now);
        }
    }

    fn end(&mut self, sub: &Sub, hash: &Hash, step: Step) {
        if let Some(followed) = self.followed.as_mut().filter(|f| f.hash == *hash)
            && let Some(begun) = followed.begun.get_mut(step as usize)
            && let Some(begun) = begun.take()
            && followed.kind != Kind::Genesis
        {
            followed.finish(sub, step, begun.elapsed(), None);
        }
    }
}

/// How a login ended, as measures and logs say it: the outcome, and who refused.
#[must_use]
pub fn outcome_name(outcome: &Outcome) -> (&'static str, Option<Role>) {
    match outcome {
        Outcome::Admitted(_) => ("admitted", None),
        Outcome::Expired => ("expired", None),
        Outcome::Refused {
            reason: Reason::Cancelled,
            ..
        } => ("cancelled", None),
        Outcome::Refused { by, .. } => ("refused", Some(*by)),
    }
}

impl Followed {
    fn finish(
        &self,
        sub: &Sub,
        step: Step,
        elapsed: Duration,
        ended: Option<(&LoginId, &Outcome)>,
    ) {
        if let Some(histogram) = step.histogram() {
            histogram.record(elapsed);
        }
        let ended = ended.map(|(login, outcome)| (login, outcome_name(outcome)));
        tracing::trace!(
            target: TARGET,
            step = step.name(),
            block = %self.hash,
            account = %sub,
            height = self.height,
            kind = self.kind.name(),
            elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            outcome = ended.map(|(_, (outcome, _))| outcome),
            by = ended.and_then(|(_, (_, by))| by).map(tracing::field::display),
            login = ended.map(|(login, _)| text_b64(&login.0)),
        );
    }
}

#[cfg(test)]
mod tests {
    use warifu_consensus::{agree::Begin, agree::Refusal, block::Claims, body::Body};

    use super::*;

    const SUB: Sub = Sub([5; 16]);
    const FIRST: LoginId = LoginId([1; 16]);
    const SECOND: LoginId = LoginId([2; 16]);

    fn prepare(height: u64) -> Agree {
        let claims = Claims {
            iss: "https://ledger.example".into(),
            sub: SUB,
            aud: "https://shop.example".into(),
            iat: 1_800_000_000,
            exp: 1_800_000_090,
            nonce: "A".repeat(22),
            kind: Kind::Login,
            height,
            prev: Hash([9; 32]),
            epoch: 0,
            body: Some(Hash([10; 32])),
            supersedes: None,
            genesis: None,
        };
        let block = Block::new(claims, &[4; 32]).expect("a block");
        Agree::Prepare { block }
    }

    fn begin(steps: &mut Steps, login: LoginId) {
        let begin = Begin {
            login,
            caller: "shop".into(),
            aud: "https://shop.example".into(),
            nonce: "A".repeat(22),
            kind: Kind::Login,
            body: Body {
                channel: "web".into(),
                address: String::new(),
                details: Vec::new(),
                reference: None,
            },
            lifetime_s: 90,
        };
        steps.takes(&SUB, &Input::Begin(Box::new(begin)));
    }

    fn end(steps: &mut Steps, login: LoginId) {
        let outcome = Outcome::Expired;
        steps.tells(&SUB, &Event::Ended { login, outcome });
    }

    #[test]
    fn a_login_is_followed_one_height_up_and_no_other_takes_its_place() {
        let mut steps = Steps::default();
        begin(&mut steps, FIRST);
        steps.sends(&SUB, Role::TrustOperator, &prepare(1));
        let since = steps.followed.as_ref().expect("followed").since;
        begin(&mut steps, SECOND);
        let refusal = Refusal::Busy { until: 0 };
        let login = SECOND;
        steps.tells(&SUB, &Event::NotBegun { login, refusal });
        steps.sends(&SUB, Role::TrustOperator, &prepare(2));
        let followed = steps.followed.as_ref().expect("followed");
        assert_eq!((followed.height, followed.login), (2, Some(FIRST)));
        assert_eq!(followed.since, since);
        assert_eq!(steps.about(SUB).height, Some(2));

        begin(&mut steps, SECOND);
        end(&mut steps, SECOND);
        assert!(!steps.followed.as_ref().expect("followed").ended);
        end(&mut steps, FIRST);
        assert!(steps.followed.as_ref().expect("followed").ended);
        steps.sends(&SUB, Role::TrustOperator, &prepare(3));
        assert_eq!(steps.followed.as_ref().expect("followed").login, None);
    }

    #[test]
    fn what_is_repeated_was_waited_for() {
        let mut steps = Steps::default();
        begin(&mut steps, FIRST);
        steps.sends(&SUB, Role::TrustOperator, &prepare(1));
        let first = steps.followed.as_ref().expect("followed").begun;
        steps.sends(&SUB, Role::TrustOperator, &prepare(1));
        assert_eq!(steps.followed.as_ref().expect("followed").begun, first);
        assert!(first[Step::Prepare as usize].is_some());
    }
}
