//! How an enrolment ends: with a genesis that all keep, or with none and no share left behind.
//!
//! Decides the one question that the chain's rules leave open: there is no restrict block at height 0, so
//! only the trust operator's durable word, *sealed* or *dead*, lets a party delete its share.

use stateright::{Model, Property};

use crate::{
    guard::Guard,
    party::{
        Parties,
        Party::{self, Broker, Device, TrustOperator},
    },
};

/// A run about one genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The seeded mistake.
    pub off: Option<Guard>,
}

/// What the trust operator has decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// Nothing yet.
    #[default]
    Open,
    /// The genesis is sealed.
    Sealed,
    /// It will never be.
    Dead,
}

/// One moment. Device and broker stand in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moment {
    /// 0 before the deadline; 1 where some clocks are past it; 2 where all are.
    now: u8,
    /// The share is on disk.
    kept: Parties,
    /// The share was made, and is in RAM.
    in_ram: Parties,
    /// The party signed the genesis.
    signed: Parties,
    /// The party holds the sealed genesis.
    holds: Parties,
    /// The party deleted its share.
    deleted: Parties,
    /// The trust operator's decision, on disk.
    fate: Fate,
    /// It answered that the genesis is dead.
    said_dead: bool,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time passes.
    Tick,
    /// A party loses its RAM.
    Crash(Party),
    /// A party finishes key generation.
    MakeShare(Party),
    /// Device or broker signs the genesis.
    Sign(Party),
    /// The trust operator seals it.
    Seal,
    /// The trust operator declares it dead.
    Declare,
    /// Device or broker hears how it ended.
    Hear(Party),
    /// Device or broker gives up by its own clock.
    GiveUp(Party),
}

const TWO: [Party; 2] = [Device, Broker];
const BOTH: Parties = Parties::of(&TWO);

impl Founding {
    fn keeps(&self, guard: Guard) -> bool {
        self.off != Some(guard)
    }

    fn act(&self, s: &mut Moment, step: Step) -> bool {
        match step {
            Step::Tick => {
                s.now += 1;
                s.now <= 2
            }
            Step::Crash(party) => {
                s.in_ram.set(party, s.kept.has(party));
                if party == TrustOperator
                    && !self.keeps(Guard::DeadIsDurable)
                    && s.fate == Fate::Dead
                {
                    s.fate = Fate::Open;
                }
                true
            }
            Step::MakeShare(party) => {
                s.in_ram.set(party, true);
                // Before anything that rests on it leaves.
                s.kept.set(party, self.keeps(Guard::SharesBeforeSignatures));
                s.fate == Fate::Open
            }
            Step::Sign(party) => {
                s.signed.set(party, true);
                // The broker signs after the device.
                let first = party == Device || s.signed.has(Device);
                s.in_ram.has(party) && first && s.now < 2 && !s.deleted.has(party)
            }
            Step::Seal => {
                let may = s.signed == BOTH && s.in_ram.has(TrustOperator) && s.fate == Fate::Open;
                s.fate = Fate::Sealed;
                may && (s.now < 2 || !self.keeps(Guard::GenesisOnlyBeforeDeadline))
            }
            Step::Declare => {
                let may = s.fate == Fate::Open && s.now > 0;
                s.fate = Fate::Dead;
                s.said_dead = true;
                may
            }
            Step::Hear(party) => {
                let holds = s.fate == Fate::Sealed && !s.deleted.has(party);
                s.holds.set(party, s.holds.has(party) || holds);
                let deletes = s.said_dead && !s.holds.has(party);
                s.deleted.set(party, s.deleted.has(party) || deletes);
                true
            }
            Step::GiveUp(party) => {
                s.deleted.set(party, true);
                s.now > 0 && !s.holds.has(party) && !self.keeps(Guard::OnlyDeadDeletes)
            }
        }
    }

    /// With the trust operator up, everybody ends with the same answer.
    fn can_end(&self, s: &Moment) -> bool {
        let mut s = *s;
        s.now = 2;
        if s.fate == Fate::Open {
            self.act(&mut s, Step::Declare);
        }
        TWO.into_iter().all(|party| {
            self.act(&mut s, Step::Hear(party));
            if s.fate == Fate::Sealed {
                s.holds.has(party) && s.kept.has(party)
            } else {
                s.deleted.has(party)
            }
        })
    }
}

impl Model for Founding {
    type State = Moment;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment> {
        vec![Moment::default()]
    }

    fn actions(&self, _: &Moment, actions: &mut Vec<Step>) {
        actions.extend([Step::Tick, Step::Seal, Step::Declare]);
        actions.extend([Device, Broker, TrustOperator].map(Step::Crash));
        actions.extend([Device, Broker, TrustOperator].map(Step::MakeShare));
        for party in TWO {
            actions.extend([Step::Sign(party), Step::Hear(party), Step::GiveUp(party)]);
        }
    }

    fn next_state(&self, last: &Moment, step: Step) -> Option<Moment> {
        let mut s = *last;
        (self.act(&mut s, step) && s != *last).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("a sealed genesis has all its shares", |_, s| {
                s.fate != Fate::Sealed || s.kept == Parties::ALL && s.deleted.is_empty()
            }),
            Property::<Self>::always("what was said dead stays dead", |_, s| {
                !s.said_dead || s.fate == Fate::Dead
            }),
            Property::<Self>::always("an enrolment ends for everybody alike", Self::can_end),
            Property::<Self>::sometimes("a genesis is sealed", |_, s| s.holds == BOTH),
            Property::<Self>::sometimes("a genesis is dead", |_, s| s.deleted == BOTH),
        ]
    }
}
