//! Where the model can be held against the code itself: the table of kinds, and which pairs of one broker's
//! signatures are a fault (rule 9). The rest of the code is the simulator's to try.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    iter,
};

use stateright::Model;
use warifu_consensus::{
    block::{Class, Kind as CodeKind},
    chain::{Outline, Status as CodeStatus},
    encoding::Hash,
    time::{DEFAULT_LIFETIME_S, GRACE_S, RESTRICT_LIFETIME_S},
};
use warifu_model::{Agreement, Block, Broken, Config, Guard, Kind, Party, Run, State, Status};

use super::small_runs;

fn kind(kind: Kind) -> CodeKind {
    match kind {
        Kind::Login | Kind::Past => CodeKind::Login,
        Kind::Unfreeze => CodeKind::Unfreeze,
        Kind::Deny => CodeKind::Deny,
        Kind::Refuse => CodeKind::Refuse,
        Kind::Expire => CodeKind::Expire,
        Kind::Restored => CodeKind::Restored,
        Kind::Freeze => CodeKind::Freeze,
        Kind::Revoke => CodeKind::Revoke,
    }
}

fn status(status: Status) -> CodeStatus {
    match status {
        Status::Active => CodeStatus::Active,
        Status::Frozen => CodeStatus::Frozen,
        Status::Revoked => CodeStatus::Revoked,
    }
}

#[test]
fn kinds_and_statuses_are_those_of_the_code() {
    let kinds = [
        Kind::Login,
        Kind::Unfreeze,
        Kind::Deny,
        Kind::Refuse,
        Kind::Expire,
        Kind::Restored,
        Kind::Freeze,
        Kind::Revoke,
    ];
    for of in kinds {
        let is_admit = kind(of).class() == Class::Admit;
        assert_eq!(of.is_admit(), is_admit, "{of:?}");
        for before in [Status::Active, Status::Frozen, Status::Revoked] {
            let after = before.allows(of).then(|| status(before.after(of)));
            assert_eq!(
                status(before).after(kind(of)),
                after,
                "{of:?} after {before:?}"
            );
        }
    }
}

/// A block of the model as the code would see it. A tick is long enough for its proposals to be dead on every clock.
fn outline(names: &mut BTreeMap<Block, u8>, block: Block) -> Outline {
    let mut hash = |block| {
        let next = u8::try_from(names.len()).expect("few blocks in one state");
        Hash([*names.entry(block).or_insert(next); 32])
    };
    let tick_s = DEFAULT_LIFETIME_S + GRACE_S + 1;
    let iat = 1_790_000_000 + u64::from(block.time()) * tick_s;
    let lifetime_s = if block.is_admit() {
        DEFAULT_LIFETIME_S
    } else {
        RESTRICT_LIFETIME_S
    };
    Outline {
        hash: hash(block),
        kind: kind(block.kind()),
        iat,
        exp: iat + lifetime_s,
        supersedes: block.superseded().map(hash),
    }
}

/// The first pair of the broker's signatures at one height that the code takes for its fault.
fn fault(s: &State) -> Option<(Block, Block)> {
    let signed: BTreeSet<Block> = s
        .broker
        .admits
        .iter()
        .chain(s.broker.restricts.iter())
        .collect();
    let mut names = BTreeMap::new();
    let pairs = signed
        .iter()
        .flat_map(|a| signed.iter().map(move |b| (*a, *b)));
    let mut rivals = pairs.filter(|(a, b)| a < b && a.prev() == b.prev());
    rivals.find(|(a, b)| {
        let (one, two) = (outline(&mut names, *a), outline(&mut names, *b));
        !one.may_stand_beside(&two)
    })
}

/// Every state that can be reached, until one is broken.
fn states(model: Agreement) -> impl Iterator<Item = State> {
    let mut waiting: VecDeque<State> = model.init_states().into();
    let mut seen: HashSet<State> = HashSet::new();
    let mut actions = Vec::new();
    iter::from_fn(move || {
        let state = waiting.pop_front()?;
        model.actions(&state, &mut actions);
        let next = actions
            .drain(..)
            .filter_map(|a| model.next_state(&state, a));
        for next in next {
            if seen.insert(next) {
                waiting.push_back(next);
            }
        }
        Some(state)
    })
}

/// Configurations whose broker is honest and was never set back: what a copy forgot, it may contradict.
fn with_a_steady_broker() -> impl Iterator<Item = Config> {
    small_runs().into_iter().filter_map(|run| match run {
        Run::Agreement(c) => {
            (!c.cheats.has(Party::Broker) && !c.restores.has(Party::Broker)).then_some(c)
        }
        _ => None,
    })
}

#[test]
fn the_code_blames_no_broker_that_keeps_the_rules() {
    let mut pairs = 0;
    for config in with_a_steady_broker() {
        for s in states(Agreement { config }) {
            let signed = s.broker.admits.iter().any(|a| {
                let mut restricts = s.broker.restricts.iter();
                restricts.any(|r| r.prev() == a.prev())
            });
            pairs += usize::from(signed);
            assert_eq!(fault(&s), None, "{}: {s:#?}", config.name);
        }
    }
    assert!(
        pairs > 1000,
        "only {pairs} states with two signatures at one height"
    );
}

#[test]
fn the_code_blames_a_broker_that_breaks_them() {
    let guards = [
        Guard::BrokerOneAdmitPerHeight,
        Guard::BrokerOneRestrictPerHeight,
        Guard::BrokerNoAdmitAfterRestrict,
        Guard::BrokerLockIsDurable,
        Guard::BrokerRestrictIsDurable,
        Guard::RestrictNamesTheLock,
    ];
    for guard in guards {
        let warifu_model::Shown::By(Run::Agreement(config)) = warifu_model::shown(guard) else {
            panic!("{guard:?} is shown elsewhere");
        };
        let model = Agreement {
            config: config.without(guard),
        };
        let mut contradicting = states(model).filter(|s| Broken::Blame.is_in(s));
        let first = contradicting.next().expect("a contradiction");
        assert!(
            fault(&first).is_some(),
            "without {guard:?} the code finds nothing in {first:#?}"
        );
    }
}
