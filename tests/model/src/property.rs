//! What holds, and must be shown; and what is remembered when a step breaks it.
//!
//! Decides which statement is claimed under which assumption (docs/protocol.md, "What holds"), and judges
//! each step by what it does, never by the guard that should have stopped it.

use stateright::Property;

use crate::{
    block::{Block, Kind},
    config::Config,
    model::Agreement,
    party::Party,
    state::{State, Verb, Word, words},
};

/// What a step broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A set of blocks ran over: the bounds of the run are too wide for the model.
    Room,
    /// Somebody signed or told an admit after a freeze or deny had reached it.
    Outrun,
    /// An admit block came into being after its `exp`, or dated ahead.
    Late,
    /// An admit was told, or sealed, that not all three signed.
    NotByAll,
    /// "Admitted" was told after the block's `exp`.
    AdmittedLate,
    /// "Admitted" was told of a block that the broker had superseded.
    AdmittedSuperseded,
    /// "Admitted" was told by a copy that was shown more.
    AdmittedByCopy,
    /// "Admitted" was told after another end.
    ToldTwice,
    /// A login service admitted a session that the block is not of.
    OtherSession,
    /// A proposal that had ended before the broker locked it was sealed.
    EndedSealed,
    /// A stranger's login was sealed.
    Stranger,
    /// A stranger's login locked the device.
    StrangerLocks,
    /// An `expire` superseded a living proposal.
    ExpiredAlive,
    /// A `deny` was sealed that the device never said.
    DenyForged,
    /// An honest party's own signatures contradict each other.
    Blame,
    /// The device signed two admits at one height.
    DeviceTwice,
}

impl Broken {
    /// Whether it was broken on the way to a state.
    #[must_use]
    pub const fn is_in(self, s: &State) -> bool {
        s.broken >> self as u32 & 1 == 1
    }
}

pub(crate) fn note(s: &mut State, is_broken: bool, what: Broken) {
    if is_broken {
        s.broken |= 1 << what as u32;
    }
}

fn rivals(a: Block, b: Block) -> bool {
    a.height() == b.height() && a != b
}

fn stops(s: &State, bits: u8, block: Block) -> bool {
    words(&s.said, bits).any(|w| w.freezes() || w.about == block)
}

/// The device signs an admit.
pub(crate) fn judge_assent(m: &Agreement, s: &mut State, block: Block) {
    let stranger = block.claims().is_some_and(|c| c.stranger);
    note(
        s,
        stranger && m.is_honest(Party::Broker),
        Broken::StrangerLocks,
    );
    let d = &s.device;
    let forgot = d.came_back == Some(false);
    let twice = d.signed.iter().any(|b| rivals(b, block)) && !forgot;
    let said = |w: &Word| match w.verb {
        Verb::Deny => w.about == block,
        _ => !w.is_answered(d.kept.head) || w.about == block,
    };
    let outrun = d.came_back.is_none() && s.said.iter().flatten().any(said);
    note(s, twice, Broken::DeviceTwice);
    note(s, outrun, Broken::Outrun);
}

/// A broker that came back from a copy, and whom the trust operator could show nothing that it lacks,
/// can't know what it signed since: nobody holds that either.
fn cannot_know(s: &State) -> bool {
    let kept = &s.broker.kept;
    let next = kept.head.towards(s.trust_operator.kept.head);
    let known = next.is_none() || next == kept.lock || next == kept.restrict;
    s.broker.came_back == Some(false) && known
}

/// The broker signs an admit.
pub(crate) fn judge_endorsement(s: &mut State, block: Block) {
    let b = &s.broker;
    let forgot = cannot_know(s);
    let rival = b.admits.iter().any(|a| rivals(a, block));
    let beside = |r: Block| r.height() == block.height() && r.superseded() != Some(block);
    // The same bytes again say nothing new.
    let new = !b.admits.has(block);
    let contradicts = new && (rival || b.restricts.iter().any(beside)) && !forgot;
    let outrun = b.wish.is_some() || stops(s, b.heard, block);
    note(s, contradicts, Broken::Blame);
    note(s, outrun, Broken::Outrun);
}

/// The broker signs a restrict block.
pub(crate) fn judge_restrict(s: &mut State, block: Block) {
    let b = &s.broker;
    let forgot = cannot_know(s);
    let restored = block.kind() == Kind::Restored && b.came_back.is_some();
    let rival = b.restricts.iter().any(|r| rivals(r, block)) && !restored;
    let beside = |a: Block| {
        let dead = restored && a.time() < block.time();
        a.height() == block.height() && block.superseded() != Some(a) && !dead
    };
    // One that knows that it is a copy waited; one that asks for a restored device can't know.
    let beside = b.admits.iter().any(beside) && (!forgot || b.kept.restored.is_some());
    note(s, rival && !forgot || beside, Broken::Blame);
    judge_expire(s, block);
}

fn judge_expire(s: &mut State, block: Block) {
    let alive = block.superseded().is_some_and(|a| a.time() >= s.now);
    note(
        s,
        alive && block.kind() == Kind::Expire,
        Broken::ExpiredAlive,
    );
}

/// The trust operator is about to seal an admit.
pub(crate) fn judge_seal(s: &mut State, block: Block) {
    let outrun = stops(s, s.trust_operator.heard, block);
    note(s, outrun, Broken::Outrun);
}

/// The trust operator seals a restrict block.
pub(crate) fn judge_restrict_seal(s: &mut State, block: Block) {
    let said = |about| {
        let mut words = s.said.iter().flatten();
        words.any(|w| w.verb != Verb::Freeze && w.about == about)
    };
    let forged = block.kind() == Kind::Deny && !block.about().is_some_and(said);
    note(s, forged, Broken::DenyForged);
    judge_expire(s, block);
}

/// An honest party has signed an admit: if it was the last one, the block exists.
pub(crate) fn judge_signature(m: &Agreement, s: &mut State, block: Block) {
    if m.is_honest(Party::TrustOperator) && s.trust_operator.sealed.has(block) {
        let by_all = m.has_signed(s, Party::Device, block) && m.has_signed(s, Party::Broker, block);
        note(s, !by_all, Broken::NotByAll);
    }
    if !m.is_valid(s, block) {
        return;
    }
    note(s, block.time() != s.now, Broken::Late);
    if m.is_honest(Party::Broker) {
        let ended = s.broker.ended.has(block);
        note(s, ended, Broken::EndedSealed);
        let stranger = block.claims().is_some_and(|c| c.stranger);
        note(s, stranger && m.is_honest(Party::Device), Broken::Stranger);
    }
}

/// A login service admits: on an honest broker's word, or on a cheating one's for a session.
pub(crate) fn judge_admitted(m: &Agreement, s: &mut State, block: Block, session: Option<bool>) {
    let valid = m.is_valid(s, block);
    note(s, !valid, Broken::NotByAll);
    note(s, block.time() != s.now, Broken::AdmittedLate);
    if let Some(stranger) = session {
        let other = block.claims().is_none_or(|c| c.stranger != stranger);
        note(s, other, Broken::OtherSession);
    }
    if !m.is_honest(Party::Broker) {
        return;
    }
    let b = &s.broker;
    let forgot = b.came_back == Some(false);
    let superseded = b.restricts.iter().any(|r| r.superseded() == Some(block)) && !forgot;
    let outrun = b.wish.is_some() || stops(s, b.heard, block);
    let twice = b.ended.has(block) || b.refused == Some(block);
    let more = block.towards(s.trust_operator.kept.head).is_some();
    let by_copy = m.is_honest(Party::TrustOperator) && b.came_back.is_some() && more;
    note(s, by_copy, Broken::AdmittedByCopy);
    note(s, superseded, Broken::AdmittedSuperseded);
    note(s, outrun, Broken::Outrun);
    note(s, twice, Broken::ToldTwice);
}

fn valid_pairs(m: &Agreement, s: &State) -> impl Iterator<Item = (Block, Block)> {
    let valid = m.signed(s).filter(move |b| m.is_valid(s, *b));
    let pairs = valid
        .clone()
        .flat_map(move |a| valid.clone().map(move |b| (a, b)));
    pairs.filter(|(a, b)| rivals(*a, *b))
}

fn no_rival_admits(m: &Agreement, s: &State) -> bool {
    !valid_pairs(m, s).any(|(a, b)| a.is_admit() && b.is_admit())
}

fn only_superseded_pairs(m: &Agreement, s: &State) -> bool {
    valid_pairs(m, s).all(|(a, b)| a.superseded() == Some(b) || b.superseded() == Some(a))
}

fn one_sealed_a_height(_: &Agreement, s: &State) -> bool {
    let t = &s.trust_operator;
    t.sealed.iter().all(|b| t.kept.head.holds(b))
}

fn only_unfreeze_while_frozen(m: &Agreement, s: &State) -> bool {
    let mut valid = m.signed(s).filter(|b| b.is_admit() && m.is_valid(s, *b));
    valid.all(|b| b.prev().status().allows(b.kind()))
}

fn heads_agree(m: &Agreement, s: &State) -> bool {
    let (d, b, t) = (
        s.device.kept.head,
        s.broker.kept.head,
        s.trust_operator.kept.head,
    );
    let along = |a: Block, b: Block| a.holds(b) || b.holds(a);
    let device = !m.is_honest(Party::Device) || along(d, t);
    let broker =
        !m.is_honest(Party::Broker) || along(b, t) && (!m.is_honest(Party::Device) || along(b, d));
    device && broker
}

fn nothing_told_is_lost(_: &Agreement, s: &State) -> bool {
    s.broker.told_height <= s.broker.kept.head.height()
}

fn never_behind_the_broker(_: &Agreement, s: &State) -> bool {
    s.trust_operator.kept.head.holds(s.broker.kept.head)
}

/// The properties of a run.
pub(crate) fn of(config: &Config) -> Vec<Property<Agreement>> {
    let honest = |party| !config.cheats.has(party);
    let steady = |party| honest(party) && !config.restores.has(party);
    let mut list = vec![Property::always("the bounds fit the model", |_, s| {
        !Broken::Room.is_in(s)
    })];
    if config.is_claimed() {
        claimed(config, honest, steady, &mut list);
    } else {
        list.push(Property::sometimes(
            "two rivals stand of which neither supersedes the other",
            |m, s| !only_superseded_pairs(m, s),
        ));
        return list;
    }
    reached(config, honest, &mut list);
    list
}

fn claimed(
    config: &Config,
    honest: impl Fn(Party) -> bool,
    steady: impl Fn(Party) -> bool,
    list: &mut Vec<Property<Agreement>>,
) {
    macro_rules! noted {
        ($($name:literal: $what:ident,)+) => {
            $(list.push(Property::always($name, |_, s| !Broken::$what.is_in(s)));)+
        };
    }
    noted! {
        "a freeze or deny is never outrun": Outrun,
        "no admit comes into being late or dated ahead": Late,
        "what is admitted was signed by all three": NotByAll,
        "nothing is admitted late": AdmittedLate,
        "nothing superseded is admitted": AdmittedSuperseded,
        "a copy that is shown more admits nothing": AdmittedByCopy,
        "nothing is admitted after another end was told": ToldTwice,
        "a block admits its own session only": OtherSession,
        "what ended before the lock is never sealed": EndedSealed,
        "a stranger is never admitted": Stranger,
        "a stranger's login locks no device": StrangerLocks,
        "an expire supersedes only what is dead": ExpiredAlive,
        "a deny is the device's own": DenyForged,
        "no honest party's votes contradict each other": Blame,
        "the device signs one admit a height": DeviceTwice,
    }
    let mut always = |name, holds: fn(&Agreement, &State) -> bool| {
        list.push(Property::always(name, holds));
    };
    always("two rival admits need all three to cheat", no_rival_admits);
    always(
        "frozen accounts admit nothing but an unfreeze",
        only_unfreeze_while_frozen,
    );
    if steady(Party::TrustOperator) {
        always("one sealed block a height", one_sealed_a_height);
    }
    if honest(Party::TrustOperator) {
        always("honest heads are of one chain", heads_agree);
    } else if honest(Party::Broker) {
        always(
            "rivals are a block and what supersedes it",
            only_superseded_pairs,
        );
    }
    if steady(Party::Broker) {
        always("nothing acknowledged is lost", nothing_told_is_lost);
        if steady(Party::TrustOperator) {
            always(
                "the trust operator is never behind the broker",
                never_behind_the_broker,
            );
        }
    }
    if config.goes_on {
        always("the next block can be sealed", crate::going_on::can_go_on);
    }
}

/// What must be reachable, so that the rest is not true of nothing.
fn reached(config: &Config, honest: impl Fn(Party) -> bool, list: &mut Vec<Property<Agreement>>) {
    let mut sometimes = |name, is_there: fn(&Agreement, &State) -> bool| {
        list.push(Property::sometimes(name, is_there));
    };
    sometimes("a login is sealed", |m, s| {
        let mut signed = m.signed(s);
        signed.any(|b| b.kind() == Kind::Login && m.is_valid(s, b))
    });
    if !honest(Party::TrustOperator) {
        if honest(Party::Broker) {
            sometimes("a login and what supersedes it stand", |m, s| {
                valid_pairs(m, s).any(|(a, b)| a.superseded() == Some(b))
            });
        }
        return;
    }
    sometimes("a restrict block is sealed", |_, s| {
        let head = s.trust_operator.kept.head;
        head.height() > 0 && !head.is_admit()
    });
    if !honest(Party::Broker) {
        return;
    }
    sometimes("a refuse is sealed", |_, s| is_sealed(s, Kind::Refuse));
    sometimes("an expire is sealed", |_, s| is_sealed(s, Kind::Expire));
    sometimes("a crash is survived with a lock", |_, s| {
        s.broker.kept.lock.is_some() && !s.compared
    });
    if config.words > 0 {
        sometimes("a deny is sealed", |_, s| is_sealed(s, Kind::Deny));
    }
    if config.restores.has(Party::Broker) || config.restores.has(Party::Device) {
        sometimes("a restored block is sealed", |_, s| {
            is_sealed(s, Kind::Restored)
        });
    }
    if config.desk || config.words > 0 {
        sometimes("a freeze is sealed", |_, s| is_sealed(s, Kind::Freeze));
        if config.heights > 1 {
            sometimes("an unfreeze is sealed", |_, s| is_sealed(s, Kind::Unfreeze));
        }
    }
}

fn is_sealed(s: &State, kind: Kind) -> bool {
    s.trust_operator.kept.head.kind() == kind
}
