//! Nothing is stuck: from any state, honest operators can seal the next block, and with an honest device a
//! login.
//!
//! Decides by walking on: from the state at hand the honest parties do what is due in a fixed fair order,
//! with lines up and nothing lost, until the block stands or nothing more can be done. So it asks for one
//! way out of every state, which is what "can always be sealed" says. Never walks with a cheating
//! operator: nobody can make it sign.

use std::iter;

use crate::{
    block::{Block, Kind, Status},
    guard::Guard,
    model::{Action, Agreement},
    party::Party,
    state::{State, words},
};

/// Steps that no way out needs; each block takes about ten.
const PATIENCE: u32 = 120;
/// The last tick that a block can name.
const LAST_TICK: u8 = 7;

/// Whether the account can go on from here.
pub(crate) fn can_go_on(m: &Agreement, s: &State) -> bool {
    if s.broken != 0 {
        return true;
    }
    // From here on nobody comes back from a copy.
    let mut s = *s;
    s.copies.device = None;
    s.copies.broker = None;
    s.copies.trust_operator = None;
    operators_can_freeze(m, &s) && (!m.is_honest(Party::Device) || device_can_log_in(m, &s))
}

/// The device is away: the desk asks for a freeze, and whoever waits for one gets it.
fn operators_can_freeze(m: &Agreement, s: &State) -> bool {
    let next = |m: &Agreement, s: &State| {
        // Not where the device asked already: its own word must do.
        let ask = no_wish_stands(s).then_some(Action::DeskFreeze);
        first(m, s, operators(m, s).chain(ask))
    };
    let end = walk(m, *s, next, |s| {
        let frozen = s.broker.kept.head.status() != Status::Active;
        frozen && is_idle(s) && no_wish_stands(s)
    });
    end.is_some()
}

/// The device is back: a login is sealed, after whatever must come first.
fn device_can_log_in(m: &Agreement, s: &State) -> bool {
    if s.trust_operator.kept.head.status() == Status::Revoked {
        return true;
    }
    let before = s
        .trust_operator
        .kept
        .head
        .height()
        .max(s.broker.kept.head.height());
    let next = |m: &Agreement, s: &State| {
        first(m, s, operators(m, s).chain(all_three(m, s))).or_else(|| later(m, s))
    };
    let end = walk(m, *s, next, |s| {
        let head = s.device.kept.head;
        let same = head == s.broker.kept.head && head == s.trust_operator.kept.head;
        same && head.kind() == Kind::Login && head.height() > before && is_idle(s)
    });
    end.is_some()
}

fn is_idle(s: &State) -> bool {
    let (b, t) = (&s.broker.kept, &s.trust_operator.kept);
    b.head == t.head && b.lock.is_none() && b.restrict.is_none() && b.restored.is_none()
}

fn no_wish_stands(s: &State) -> bool {
    let held = s.broker.kept.words | s.trust_operator.kept.words;
    s.broker.wish.is_none() && !words(&s.said, held).any(|w| w.freezes())
}

fn walk(
    m: &Agreement,
    mut s: State,
    next: impl Fn(&Agreement, &State) -> Option<State>,
    is_there: impl Fn(&State) -> bool,
) -> Option<State> {
    for _ in 0..PATIENCE {
        if is_there(&s) {
            return Some(s);
        }
        s = next(m, &s).or_else(|| tick(m, &s))?;
        if s.broken != 0 {
            return None;
        }
    }
    None
}

/// The states on the way from here until nothing is due any more: no time passes, nothing new is begun.
#[must_use]
pub fn settle(m: &Agreement, s: &State) -> Vec<State> {
    let next = |s: &State| first(m, s, operators(m, s).chain(all_three(m, s)));
    let way = iter::successors(next(s), next);
    way.take(PATIENCE as usize).collect()
}

fn first(m: &Agreement, s: &State, actions: impl Iterator<Item = Action>) -> Option<State> {
    let mut actions = actions;
    actions.find_map(|action| m.step(s, action))
}

fn tick(m: &Agreement, s: &State) -> Option<State> {
    m.step(s, Action::Tick).filter(|s| s.now <= LAST_TICK)
}

/// What the operators do without the device.
fn operators(m: &Agreement, s: &State) -> impl Iterator<Item = Action> {
    let (b, t) = (s.broker.kept, s.trust_operator.kept);
    let adopt = |party, block: Option<Block>| block.map(|block| Action::Adopt(party, block));
    let catch_up = [
        adopt(Party::Broker, b.head.towards(t.head)),
        adopt(Party::TrustOperator, t.head.towards(b.head)),
    ];
    let forwarded = m.keeps(Guard::WordsAreForwarded);
    let forward = (0..3u8).flat_map(move |at| {
        let to = |party, held: u8| (held >> at & 1 == 1).then_some(Action::Hear(party, at));
        [
            to(Party::Broker, t.words),
            to(Party::TrustOperator, b.words),
        ]
    });
    let forward = forward.flatten().filter(move |_| forwarded);
    let seal = s.sent.iter().map(|block| {
        if block.is_admit() {
            Action::Seal(block)
        } else {
            Action::SealRestrict(block)
        }
    });
    let compare = (!s.compared && b.head == t.head).then_some(Action::Compare);
    // What is owed is sent again in every session.
    let again = b
        .restrict
        .filter(|r| s.compared && !s.sent.has(*r))
        .map(Action::Resend);
    let catch_up = catch_up.into_iter().flatten();
    let rest = compare.into_iter().chain(again).chain(seal);
    catch_up
        .chain(forward)
        .chain(rest)
        .chain([Action::Restrict])
}

/// What the device adds.
fn all_three(m: &Agreement, s: &State) -> impl Iterator<Item = Action> {
    let d = s.device.kept;
    let shown = d.head.towards(s.broker.kept.head);
    let shown = shown.map(|block| Action::Adopt(Party::Device, block));
    let ahead = s.broker.kept.head.towards(d.head);
    let ahead = ahead.map(|block| Action::Adopt(Party::Broker, block));
    let repeat = (0..3u8).filter(move |at| d.words >> at & 1 == 1);
    let repeat =
        repeat.flat_map(|at| [Party::Broker, Party::TrustOperator].map(|p| Action::Hear(p, at)));
    let stale = !m.keeps(Guard::OnlyABlockReleases);
    let release = stale.then_some(Action::Release);
    let rest = [release, Some(Action::HearRestored)].into_iter().flatten();
    shown.into_iter().chain(ahead).chain(repeat).chain(rest)
}

/// What comes when nothing is owed: an unfreeze, or a login.
fn later(m: &Agreement, s: &State) -> Option<State> {
    let status = s.broker.kept.head.status();
    let kind = if status == Status::Frozen {
        Kind::Unfreeze
    } else {
        Kind::Login
    };
    let open = s.device.open;
    let locked = s.device.kept.lock.filter(|l| Some(*l) != s.broker.work);
    let steps = [
        locked.map(Action::Locked),
        s.broker.work.map(Action::Endorse),
        open.filter(|o| Some(*o) == s.broker.work && s.device.matched)
            .map(Action::Assent),
        Some(Action::Number).filter(|_| open.is_some() && open == s.broker.work),
        Some(Action::Prompt),
        Some(Action::Begin(kind, false)),
    ];
    first(m, s, steps.into_iter().flatten())
}
