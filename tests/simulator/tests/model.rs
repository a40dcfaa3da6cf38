//! The same stories told to the model of the rules and to the machines: both must end with the same blocks, of the
//! same kinds, superseding alike. So the model is about this code, as far as these stories go.

use warifu_consensus::{
    agree::{Input, Record},
    block::Kind as Sealed,
    party::Role,
};
use warifu_model::{Action, Agreement, Block, Config, Kind, Party, State, Status, Verb, settle};
use warifu_simulator::world::{Answer, World};

use super::stage::{approve, begin, calm, has, holds, log_in};

/// What may happen to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// A login, or on a frozen account an unfreeze, is admitted.
    Admitted,
    /// A wrong number is typed.
    WrongNumber,
    /// The customer denies.
    Deny,
    /// The customer says "it wasn't me".
    Disown,
    /// The customer freezes on the device.
    FreezeOnDevice,
    /// The desk freezes.
    FreezeAtDesk,
    /// Nobody answers until the proposal ran out.
    Unanswered,
    /// The broker is locked, the trust operator away until all is dead.
    LockRunsOut,
    /// The assent is lost, and the broker forgets its proposal.
    OnlyDeviceLocked,
    /// It is sealed, and the broker away until it ran out.
    SealedUnheard,
}

const STORIES: [Story; 10] = [
    Story::Admitted,
    Story::WrongNumber,
    Story::Deny,
    Story::Disown,
    Story::FreezeOnDevice,
    Story::FreezeAtDesk,
    Story::Unanswered,
    Story::LockRunsOut,
    Story::OnlyDeviceLocked,
    Story::SealedUnheard,
];

/// A sealed block: its kind, and whether it supersedes a proposal.
type Line = (Sealed, bool);

/// The model at one state, with the chain that it left behind.
struct Told {
    model: Agreement,
    state: State,
    chain: Vec<Line>,
}

impl Told {
    fn new() -> Self {
        let config = Config {
            name: "stories",
            heights: 9,
            ticks: 7,
            words: 3,
            desk: true,
            ..Config::SMALL
        };
        let model = Agreement { config };
        let start = model.start();
        let mut told = Self {
            model,
            state: start,
            chain: Vec::new(),
        };
        told.settle();
        told
    }

    fn comes_to(&mut self, state: State) {
        let head = state.trust_operator.kept.head;
        if head.height() > self.state.trust_operator.kept.head.height() {
            self.chain
                .push((sealed(head.kind()), head.superseded().is_some()));
        }
        self.state = state;
    }

    fn settle(&mut self) {
        for state in settle(&self.model, &self.state) {
            self.comes_to(state);
        }
    }

    fn may(&mut self, action: Action) -> bool {
        let next = self.model.step(&self.state, action);
        next.map(|state| self.comes_to(state)).is_some()
    }

    fn does(&mut self, action: Action) {
        assert!(self.may(action), "{action:?} in {:#?}", self.state);
    }

    fn status(&self) -> Status {
        self.state.broker.kept.head.status()
    }

    /// A proposal comes to the customer, after whatever must come first.
    fn propose(&mut self) -> Block {
        let kind = match self.status() {
            Status::Frozen => Kind::Unfreeze,
            _ => Kind::Login,
        };
        for _ in 0..8 {
            self.settle();
            let open = self.state.device.open;
            if let Some(open) = open.filter(|o| self.state.broker.work == Some(*o)) {
                return open;
            }
            let locked = self.state.device.kept.lock;
            let steps = [
                locked.map(Action::Locked),
                Some(Action::Prompt),
                Some(Action::Begin(kind, false)),
            ];
            let mut steps = steps.into_iter().flatten();
            assert!(steps.any(|a| self.may(a)), "stuck in {:#?}", self.state);
        }
        panic!("no proposal in {:#?}", self.state);
    }

    fn assented(&mut self) -> Block {
        let block = self.propose();
        self.does(Action::Number);
        self.does(Action::Assent(block));
        block
    }

    fn hears(&mut self, story: Story) {
        match story {
            Story::Admitted => {
                let block = self.assented();
                self.does(Action::Endorse(block));
                self.does(Action::Seal(block));
            }
            Story::WrongNumber => {
                self.propose();
                self.does(Action::WrongNumber);
            }
            Story::Deny | Story::Disown => {
                let block = self.propose();
                let verb = if story == Story::Deny {
                    Verb::Deny
                } else {
                    Verb::Disown
                };
                self.does(Action::Say(verb, block));
            }
            Story::FreezeOnDevice => {
                let head = self.state.device.kept.head;
                self.does(Action::Say(Verb::Freeze, head));
            }
            Story::FreezeAtDesk => {
                self.does(Action::DeskFreeze);
            }
            Story::Unanswered => {
                self.propose();
                self.does(Action::Tick);
            }
            Story::LockRunsOut => {
                let block = self.assented();
                self.does(Action::Endorse(block));
                self.does(Action::Crash(Party::TrustOperator));
                self.does(Action::Tick);
            }
            Story::OnlyDeviceLocked => {
                self.assented();
                self.does(Action::Crash(Party::Broker));
                self.does(Action::Tick);
            }
            Story::SealedUnheard => {
                let block = self.assented();
                self.does(Action::Endorse(block));
                self.does(Action::Seal(block));
                self.does(Action::Crash(Party::Broker));
                self.does(Action::Tick);
            }
        }
        self.settle();
    }
}

fn sealed(kind: Kind) -> Sealed {
    match kind {
        Kind::Login => Sealed::Login,
        Kind::Unfreeze => Sealed::Unfreeze,
        Kind::Deny => Sealed::Deny,
        Kind::Refuse => Sealed::Refuse,
        Kind::Expire => Sealed::Expire,
        Kind::Restored => Sealed::Restored,
        Kind::Freeze => Sealed::Freeze,
        Kind::Revoke => Sealed::Revoke,
        Kind::Past => panic!("a head is never forgotten"),
    }
}

fn chain(world: &World, role: Role) -> Vec<Line> {
    let blocks = world.seat(0, role).chain().skip(1);
    let claims = blocks.map(|s| s.block.claims());
    claims.map(|c| (c.kind, c.supersedes.is_some())).collect()
}

fn live(world: &mut World, story: Story, kind: Sealed) {
    match story {
        Story::Admitted => log_in(world, kind),
        Story::WrongNumber => {
            let (_, hash) = begin(world, kind);
            let nonce = world.places[0].prompts.last().unwrap().1.clone();
            let wrong = (world.page_number(0, &nonce).unwrap() + 1) % 100;
            world.answer(0, hash, Answer::Number(wrong));
        }
        Story::Deny | Story::Disown => {
            let (_, hash) = begin(world, kind);
            world.answer(0, hash, Answer::Deny(story == Story::Disown));
        }
        Story::FreezeOnDevice => world.feed(0, Role::Device, Input::FreezeByCustomer),
        Story::FreezeAtDesk => world.feed(0, Role::Broker, Input::Freeze),
        Story::Unanswered => {
            begin(world, kind);
            world.run_for(130);
        }
        Story::LockRunsOut => {
            let (_, hash) = begin(world, kind);
            world.lose = Some((Role::Broker, "endorse"));
            approve(world, hash);
            assert!(world.run_to(10, |w| w.lose.is_none()));
            world.stop(1, 150_000);
            world.run_for(250);
        }
        Story::OnlyDeviceLocked => {
            let (_, hash) = begin(world, kind);
            world.lose = Some((Role::Device, "assent"));
            approve(world, hash);
            assert!(world.run_to(10, |w| w.lose.is_none()));
            let locked = |r: &Record| matches!(r, Record::DeviceLock(b) if b.hash() == hash);
            assert!(has(world, Role::Device, locked));
            world.stop(0, 1_000);
        }
        Story::SealedUnheard => {
            let (_, hash) = begin(world, kind);
            world.lose = Some((Role::TrustOperator, "blocks"));
            approve(world, hash);
            assert!(world.run_to(10, |w| w.lose.is_none()));
            world.stop(0, 150_000);
            world.run_for(250);
        }
    }
    world.run_for(30);
}

#[test]
fn the_model_and_the_machines_end_the_same_stories_alike() {
    for first in STORIES {
        for second in STORIES {
            let (mut world, mut told) = (calm(), Told::new());
            for story in [first, second, Story::Admitted, Story::Admitted] {
                let kind = match told.status() {
                    Status::Frozen => Sealed::Unfreeze,
                    _ => Sealed::Login,
                };
                told.hears(story);
                live(&mut world, story, kind);
                for role in Role::ALL {
                    let found = chain(&world, role);
                    assert_eq!(
                        found, told.chain,
                        "the {role} after {first:?}, {second:?}, at {story:?}"
                    );
                }
            }
            holds(world);
        }
    }
}
