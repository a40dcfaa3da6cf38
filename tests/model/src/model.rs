//! The model itself: all that can happen next, one step at a time.
//!
//! Decides which actions exist and performs them; what a party allows itself stands in its own module.
//! A step is refused (`false`) when some honest party's rules forbid it.

use stateright::{Model, Property};

use crate::{
    block::{Block, Claims, Kind, Status},
    config::Config,
    guard::Guard,
    party::Party,
    property,
    state::{
        Blocks, Broker, BrokerKept, Copies, Device, DeviceKept, State, TrustOperator,
        TrustOperatorKept, Verb,
    },
};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The present tick's proposals expire.
    Tick,
    /// A party loses its RAM. A trust operator has little to lose but the session.
    Crash(Party),
    /// A copy of a party's data is put aside.
    Copy(Party),
    /// A party comes back from that copy.
    Restore(Party),
    /// Both operators compare heads and find them equal.
    Compare,
    /// The login service begins a login (`true`: a stranger's), or the desk an unfreeze.
    Begin(Kind, bool),
    /// The broker's proposal reaches the device.
    Prompt,
    /// A locked device answers a proposal with its lock, or a cheating one with this.
    Locked(Block),
    /// The customer types the number, and the broker matches it.
    Number,
    /// A number is typed that is not the page's.
    WrongNumber,
    /// The device locks and assents.
    Assent(Block),
    /// The device lets its lock go without a block.
    Release,
    /// The broker locks and endorses.
    Endorse(Block),
    /// The trust operator seals an admit block.
    Seal(Block),
    /// The broker signs the restrict block that is due.
    Restrict,
    /// The broker sends its restrict block, or its endorsement with a fresh share, again.
    Resend(Block),
    /// The trust operator seals a restrict block.
    SealRestrict(Block),
    /// A party adopts a sealed block.
    Adopt(Party, Block),
    /// The login is cancelled, or runs out of time before the broker locked it.
    End,
    /// The trust operator refuses the proposal for a reason of its own.
    Refuse,
    /// The desk asks for a freeze.
    DeskFreeze,
    /// The device says a word.
    Say(Verb, Block),
    /// A word of the device's, by its place, reaches an operator.
    Hear(Party, u8),
    /// The restored device is heard by the broker.
    HearRestored,
    /// A login service is shown this block for a session (`true`: a stranger's).
    Serve(Block, bool),
}

/// Three parties agreeing on the next blocks of one account.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    /// Who cheats, how far, what is left out.
    pub config: Config,
}

/// The place of a party's bit in a byte.
pub(crate) const fn bit(party: Party) -> u8 {
    1 << party as u8
}

impl Agreement {
    pub(crate) fn keeps(&self, guard: Guard) -> bool {
        self.config.keeps(guard)
    }

    /// Whether a party keeps the rules.
    #[must_use]
    pub fn is_honest(&self, party: Party) -> bool {
        !self.config.cheats.has(party)
    }

    /// The account's status after a block, as the parties fold it.
    pub(crate) fn status(&self, block: Block) -> Status {
        let status = block.status();
        let lifted = status == Status::Frozen
            && !self.keeps(Guard::OnlyUnfreezeLifts)
            && block.last(Kind::Refuse) > block.last(Kind::Freeze);
        if lifted { Status::Active } else { status }
    }

    pub(crate) fn has_signed(&self, s: &State, party: Party, block: Block) -> bool {
        if !self.is_honest(party) {
            return true;
        }
        match party {
            Party::Device => s.device.signed.has(block),
            Party::Broker => s.broker.admits.has(block) || s.broker.restricts.has(block),
            Party::TrustOperator => {
                s.trust_operator.sealed.has(block) || s.trust_operator.kept.head.holds(block)
            }
        }
    }

    /// Whether the block's proof can exist: everybody needed for it signed or cheats.
    #[must_use]
    pub fn is_valid(&self, s: &State, block: Block) -> bool {
        (!block.is_admit() || self.has_signed(s, Party::Device, block))
            && self.has_signed(s, Party::Broker, block)
            && self.has_signed(s, Party::TrustOperator, block)
    }

    /// All blocks that an honest party signed: whatever is valid is among them.
    pub(crate) fn signed<'s>(&self, s: &'s State) -> impl Iterator<Item = Block> + Clone + use<'s> {
        let signed = s.device.signed.iter().chain(s.broker.admits.iter());
        let signed = signed.chain(s.broker.restricts.iter());
        signed.chain(s.trust_operator.sealed.iter())
    }

    /// The moment after the genesis.
    #[must_use]
    pub fn start(&self) -> State {
        let device = DeviceKept {
            head: Block::GENESIS,
            lock: None,
            words: 0,
            restored: None,
        };
        let broker = BrokerKept {
            head: Block::GENESIS,
            lock: None,
            restrict: None,
            told: false,
            words: 0,
            freeze_above: None,
            restored: None,
        };
        let trust_operator = TrustOperatorKept {
            head: Block::GENESIS,
            words: 0,
            acked: 0,
        };
        let comes_back = |party| self.config.restores.has(party);
        State {
            now: 0,
            compared: false,
            sent: Blocks::default(),
            device: Device {
                kept: device,
                open: None,
                tried: false,
                matched: false,
                signed: Blocks::default(),
                came_back: None,
            },
            broker: Broker {
                kept: broker,
                work: None,
                matched: false,
                foreign: None,
                device_restored: false,
                admits: Blocks::default(),
                restricts: Blocks::default(),
                ended: Blocks::default(),
                refused: None,
                heard: 0,
                wish: None,
                told_height: 0,
                came_back: None,
            },
            trust_operator: TrustOperator {
                kept: trust_operator,
                sealed: Blocks::default(),
                heard: 0,
            },
            said: [None; 3],
            copies: Copies {
                device: comes_back(Party::Device).then_some(device),
                broker: comes_back(Party::Broker).then_some(broker),
                trust_operator: comes_back(Party::TrustOperator).then_some(trust_operator),
                made: 0,
            },
            broken: 0,
        }
    }

    /// Performs a step, unless the rules of whoever acts forbid it.
    #[must_use]
    pub fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut s = *last;
        let done = self.act(&mut s, action);
        if !done || s == *last {
            return None;
        }
        self.shorten(&mut s);
        Some(s)
    }

    fn act(&self, s: &mut State, action: Action) -> bool {
        match action {
            Action::Tick => {
                s.now += 1;
                self.end_unlocked(s);
                true
            }
            Action::Crash(party) => self.crash(s, party),
            Action::Copy(party) => self.copy(s, party),
            Action::Restore(party) => self.restore(s, party),
            Action::Compare => self.compare(s),
            Action::Begin(kind, stranger) => self.begin(s, kind, stranger),
            Action::Prompt => self.prompt(s),
            Action::Locked(block) => self.locked(s, block),
            Action::Number => self.number(s),
            Action::WrongNumber => self.wrong_number(s),
            Action::Assent(block) => self.assent(s, block),
            Action::Release => self.release(s),
            Action::Endorse(block) => self.endorse(s, block),
            Action::Seal(block) => self.seal(s, block),
            Action::Restrict => self.restrict(s),
            Action::Resend(block) => self.resend(s, block),
            Action::SealRestrict(block) => self.seal_restrict(s, block),
            Action::Adopt(Party::Device, block) => self.device_adopts(s, block),
            Action::Adopt(Party::Broker, block) => self.broker_adopts(s, block),
            Action::Adopt(Party::TrustOperator, block) => self.trust_operator_adopts(s, block),
            Action::End => self.end(s),
            Action::Refuse => self.refused(s),
            Action::DeskFreeze => self.desk_freeze(s),
            Action::Say(verb, about) => self.say(s, verb, about),
            Action::Hear(party, at) => self.hear(s, party, at),
            Action::HearRestored => self.hear_restored(s),
            Action::Serve(block, stranger) => self.serve(s, block, stranger),
        }
    }

    /// Heads in a new session (rule 8). A cheating operator says what it likes.
    fn compare(&self, s: &mut State) -> bool {
        let both = self.is_honest(Party::Broker) && self.is_honest(Party::TrustOperator);
        let (broker, trust_operator) = (s.broker.kept.head, s.trust_operator.kept.head);
        // With unread input of an older session, a head that the other had once is as good.
        let stale = !self.keeps(Guard::SessionKillsInput) && trust_operator.holds(broker);
        s.compared = !both || broker == trust_operator || stale;
        s.compared
    }

    /// A new session between the operators.
    pub(crate) fn new_session(&self, s: &mut State) {
        s.compared = false;
        if self.keeps(Guard::SessionKillsInput) {
            s.sent = Blocks::default();
        }
    }

    /// Forgets what no honest party can come back to: every one of them, and every copy, is above it.
    fn shorten(&self, s: &mut State) {
        let mut heads = [None; 6];
        let honest = |party, head| self.is_honest(party).then_some(head);
        heads[0] = honest(Party::Device, s.device.kept.head);
        heads[1] = honest(Party::Broker, s.broker.kept.head);
        heads[2] = honest(Party::TrustOperator, s.trust_operator.kept.head);
        heads[3] = s.copies.device.map(|k| k.head);
        heads[4] = s.copies.broker.map(|k| k.head);
        heads[5] = s.copies.trust_operator.map(|k| k.head);
        self.forget_dead(s);
        let heads = heads.into_iter().flatten();
        let Some(lowest) = heads.clone().min_by_key(|h| h.height()) else {
            return;
        };
        let common = lowest.prev();
        if heads.clone().all(|h| h.holds(common)) {
            s.shorten(common, lowest.height());
        }
    }

    /// Forgets what is dead on every clock, or sealed, and so can't be used any more.
    fn forget_dead(&self, s: &mut State) {
        let now = s.now;
        let alive = |b: Block| (b.time() >= now || !b.is_admit()).then_some(b);
        let height = s.trust_operator.kept.head.height();
        if self.keeps(Guard::SealOnlyBeforeExp) {
            s.sent.map(alive);
        }
        // A trust operator that falls back behind its head has a new session then.
        let behind = !self.config.restores.is_empty() && !self.keeps(Guard::SessionKillsInput);
        if self.keeps(Guard::SealOnlyOnHead) && !behind {
            s.sent.map(|b| (b.height() > height).then_some(b));
        }
        if self.keeps(Guard::EndorseOnlyBeforeExp) {
            s.broker.ended.map(alive);
        }
        let d = &mut s.device;
        if self.keeps(Guard::AssentOnlyBeforeExp) && d.open.is_some_and(|o| o.time() < now) {
            d.open = None;
            d.tried = false;
            d.matched = false;
        }
    }

    /// The admit blocks that a cheating party can form on a block.
    pub(crate) fn admits_on(&self, s: &State, prev: Block) -> impl Iterator<Item = Block> {
        let stranger = self.config.stranger;
        let unfreeze = self.config.desk || self.config.words > 0;
        let now = s.now;
        let times = now.saturating_sub(1)..=now + 1;
        times.flat_map(move |time| {
            let kinds = [
                Some((Kind::Login, false)),
                stranger.then_some((Kind::Login, true)),
                unfreeze.then_some((Kind::Unfreeze, false)),
            ];
            let kinds = kinds.into_iter().flatten();
            kinds.filter_map(move |(kind, of)| prev.next(Claims::admit(kind, of, time)))
        })
    }

    /// The restrict blocks that a cheating party can form on a block; those with the same effect once.
    pub(crate) fn restricts_on(&self, s: &State, prev: Block) -> impl Iterator<Item = Block> {
        let now = s.now;
        let of = |kind| prev.next(Claims::restrict(kind, now, None, false));
        let alone = [
            of(Kind::Refuse),
            self.config.desk.then(|| of(Kind::Freeze)).flatten(),
            self.config.desk.then(|| of(Kind::Revoke)).flatten(),
            self.config
                .restores
                .has(Party::Device)
                .then(|| of(Kind::Restored))
                .flatten(),
        ];
        let about = self.admits_on(s, prev).filter(|a| a.kind() == Kind::Login);
        let about = about.flat_map(move |a| {
            [Kind::Deny, Kind::Expire].map(|k| prev.next(Claims::restrict(k, now, Some(a), true)))
        });
        let about: Vec<_> = about.collect();
        alone.into_iter().chain(about).flatten()
    }

    fn serve(&self, s: &mut State, block: Block, stranger: bool) -> bool {
        let c = block.claims();
        let unfit = !block.is_admit() || block.kind() != Kind::Login;
        if unfit || self.keeps(Guard::ServiceVerifies) && !self.is_valid(s, block) {
            return false;
        }
        if self.keeps(Guard::ServiceOnlyBeforeExp) && block.time() != s.now {
            return false;
        }
        let of = c.is_some_and(|c| c.stranger);
        if self.keeps(Guard::ServiceChecksChallenge) && of != stranger {
            return false;
        }
        property::judge_admitted(self, s, block, Some(stranger));
        true
    }
}

impl Model for Agreement {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What was broken stays broken: nothing is learnt behind it.
        if state.broken == 0 {
            self.possible(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        self.step(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::of(&self.config)
    }
}
