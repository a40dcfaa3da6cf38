//! What a seed plans before its world begins: how large it is, how bad the weather, who pulls which
//! plug when.

use std::fmt;

use warifu_consensus::{
    agree::{Input, TrustOperatorOptions},
    block::Kind,
    party::Role,
};

use super::{
    chance::Chance,
    decisions::{Decisions, What},
    disk::Room,
    hostile::Hostile,
    network::Weather,
    standing::{MOST_ACCOUNTS, born, standing, strangers},
    world::{Deed, Mood, Trouble, World},
};

/// How far a clock may jump, in milliseconds: a day.
const DAY_MS: u64 = 86_400_000;

/// Blocks of an account that began in calm: more than lie between two checkpoints.
const LONG: u32 = 36;

/// What kind of trouble a seed makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// All honest; networks, disks, clocks and customers misbehave.
    Faults,
    /// This party cheats.
    Hostile(Role),
    /// Only this party does not cheat.
    Pair(Role),
    /// This party comes back from an older copy of itself.
    Restored(Role),
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Faults => f.write_str("all are honest, machines and networks fail"),
            Self::Hostile(role) => write!(f, "the {role} cheats"),
            Self::Pair(role) => write!(f, "all but the {role} cheat"),
            Self::Restored(role) => write!(f, "the {role} comes back from an older copy"),
        }
    }
}

impl Flavour {
    /// Who cheats.
    #[must_use]
    pub fn cheats(self) -> Vec<Role> {
        match self {
            Self::Hostile(role) => vec![role],
            Self::Pair(honest) => Role::ALL.into_iter().filter(|r| *r != honest).collect(),
            Self::Faults | Self::Restored(_) => vec![],
        }
    }
}

/// The flavour of a seed.
#[must_use]
pub fn flavour(seed: u64) -> Flavour {
    let role = Role::ALL[(seed / 12 % 3) as usize];
    match seed % 12 {
        0..=6 => Flavour::Faults,
        7 | 8 => Flavour::Hostile(role),
        9 => Flavour::Pair(role),
        _ => Flavour::Restored(role),
    }
}

/// A world at its beginning, with all that is planned, and how many seconds of trouble it has.
pub(super) fn make(decisions: Decisions, seed: u64, flavour: Flavour) -> (World, u64) {
    let mut chance = Chance::new(seed, 0);
    let accounts = match chance.below(16) {
        0 => chance.between(8, MOST_ACCOUNTS as u64),
        1..=3 => chance.between(3, 4),
        _ => chance.between(1, 2),
    } as usize;
    let mut world = make_world(decisions, seed, flavour, accounts, &mut chance);
    let delay_s = if chance.one_in(4) { 60 } else { 0 };
    world.set_options(TrustOperatorOptions {
        unfreeze_delay_s: delay_s,
    });
    if flavour == Flavour::Faults && seed % 24 == 6 {
        grow(&mut world);
    }
    let chaos_s = chance.between(200, 500);
    plan(&mut world, &mut chance, flavour, chaos_s * 1000);
    (world, chaos_s)
}

fn make_world(
    decisions: Decisions,
    seed: u64,
    flavour: Flavour,
    accounts: usize,
    chance: &mut Chance,
) -> World {
    if flavour == Flavour::Faults && seed.is_multiple_of(12) {
        return strangers(decisions, seed, accounts.min(3));
    }
    let cheats = flavour.cheats();
    let mut is_cheat = [false; 3];
    for role in &cheats {
        is_cheat[super::party::at(*role)] = true;
    }
    let mut world = World::empty(decisions, seed, accounts, is_cheat);
    world.hostile = cheats
        .iter()
        .map(|role| Hostile::new(*role, seed))
        .collect();
    let unborn = flavour == Flavour::Faults && seed % 12 == 5;
    let first = chance.below((MOST_ACCOUNTS - accounts) as u64 + 1) as usize;
    let from = if unborn { born() } else { standing() };
    for (account, founded) in from[first..first + accounts].iter().enumerate() {
        world.settle_founded(account, founded);
    }
    if unborn {
        for account in 0..accounts {
            world.open_genesis(account);
        }
    } else {
        world.now += 1_000_000;
    }
    world
}

/// Lets the first account's chain grow beyond a checkpoint, in calm: what comes later begins there.
fn grow(world: &mut World) {
    for line in 0..world.lines.len() {
        world.connect(line);
    }
    world.run_for(3);
    for _ in 0..LONG {
        world.is_admitted(0, Kind::Login);
    }
}

/// Schedules a deed that can be taken back.
fn planned(world: &mut World, span: u64, deed: impl FnOnce(&mut Chance, u64) -> Deed) {
    let fault = world.decisions.fault(What::Planned, 0, 1);
    if let Some(mut chance) = fault {
        let at = chance.below(span);
        let deed = deed(&mut chance, at);
        world.after(at, deed);
    }
}

fn plan(world: &mut World, chance: &mut Chance, flavour: Flavour, span: u64) {
    let calm = flavour != Flavour::Faults && chance.one_in(2);
    world.mood = Mood::Human;
    if !calm {
        world.weather = Weather {
            delay_ms: [60, 400, 1_500][chance.below(3) as usize],
            slow_one_in: [0, 30, 10][chance.below(3) as usize],
            twice_one_in: [0, 25, 8][chance.below(3) as usize],
            overtaken_one_in: [0, 0, 40, 12][chance.below(4) as usize],
        };
        world.trouble = Trouble {
            crash_one_in: [0, 300, 90, 40][chance.below(4) as usize],
            sync_fails_one_in: [0, 0, 200, 40][chance.below(4) as usize],
            retire_one_in: [0, 20, 4][chance.below(3) as usize],
        };
    }
    for line in 0..world.lines.len() {
        world.after(chance.below(3_000), Deed::Connect(line));
    }
    for account in 0..world.places.len() {
        for role in Role::ALL {
            world.schedule_tick(account, role);
        }
        people(world, chance, account, span);
    }
    if !calm {
        clocks(world, chance, span);
        plugs(world, chance, span);
        disks(world, chance, flavour, span);
    }
    if let Flavour::Restored(role) = flavour {
        set_back(world, chance, role, span);
    }
}

fn people(world: &mut World, chance: &mut Chance, account: usize, span: u64) {
    // Large worlds are about many accounts on one disk, not about many logins of each.
    let most = if world.places.len() > 4 { 5 } else { 12 };
    for _ in 0..chance.between(4, most) {
        planned(world, span, |_, _| Deed::Begin(account));
    }
    if chance.one_in(3) {
        let freeze = |_: &mut Chance, _| Deed::Feed(account, Role::Broker, Box::new(Input::Freeze));
        planned(world, span, freeze);
    }
    if chance.one_in(5) {
        let input = Box::new(Input::FreezeByCustomer);
        planned(world, span, |_, _| Deed::Feed(account, Role::Device, input));
    }
}

fn clocks(world: &mut World, chance: &mut Chance, span: u64) {
    for node in 0..world.nodes.len() {
        if let Some(mut chance) = world.decisions.fault(What::Planned, 1, 1) {
            world.nodes[node].skew_ms = chance.below(40_001) as i64 - 20_000;
        }
    }
    if !chance.one_in(4) {
        return;
    }
    let nodes = world.nodes.len() as u64;
    for _ in 0..chance.between(1, 3) {
        planned(world, span, |chance, _| {
            let node = chance.below(nodes) as usize;
            let sign = if chance.one_in(2) { 1 } else { -1 };
            let far = [40_000, 150_000, 500_000, DAY_MS][chance.below(4) as usize];
            Deed::SetClock(node, sign * chance.below(far) as i64)
        });
    }
}

fn plugs(world: &mut World, chance: &mut Chance, span: u64) {
    let (lines, nodes) = (world.lines.len() as u64, world.nodes.len() as u64);
    for _ in 0..chance.below(12) {
        planned(world, span, |c, _| Deed::DropLine(c.below(lines) as usize));
    }
    for _ in 0..chance.below(4) {
        planned(world, span, |c, _| {
            Deed::Partition(c.below(lines) as usize, c.between(5_000, 200_000))
        });
    }
    for _ in 0..chance.below(4) {
        planned(world, span, |c, _| {
            let (line, end) = (c.below(lines) as usize, c.below(2) as usize);
            Deed::Stall(line, end, c.between(5_000, 100_000))
        });
    }
    for _ in 0..chance.below(5) {
        planned(world, span, |c, _| {
            Deed::Stop(c.below(nodes) as usize, c.between(100, 30_000))
        });
    }
    // An operator that is away for long.
    if chance.one_in(4) {
        planned(world, span, |c, _| {
            Deed::Stop(c.below(2) as usize, c.between(60_000, 300_000))
        });
    }
}

fn disks(world: &mut World, chance: &mut Chance, flavour: Flavour, span: u64) {
    let nodes = world.nodes.len() as u64;
    if chance.one_in(5) {
        let node = chance.below(nodes.min(3)) as usize;
        let room = if chance.one_in(3) {
            Room::Full
        } else {
            Room::NearlyFull
        };
        let until = chance.between(20_000, 120_000);
        let from = chance.below(span);
        if world.decisions.fault(What::Planned, 2, 1).is_some() {
            world.after(from, Deed::SetRoom(node, room));
            world.after(from + until, Deed::SetRoom(node, Room::Plenty));
        }
    }
    // One rotten disk is one party that comes back from a backup.
    if flavour == Flavour::Faults && chance.one_in(12) {
        planned(world, span, |c, _| {
            Deed::Rot(c.below(nodes) as usize, c.below(u64::MAX))
        });
    }
}

fn set_back(world: &mut World, chance: &mut Chance, role: Role, span: u64) {
    let accounts = world.places.len();
    // An operator's disk holds all accounts, a device's its own.
    let account = chance.below(accounts as u64) as usize;
    let node = World::node_of(account, role);
    let at = span / 3 + chance.below(span / 2);
    let rots = chance.one_in(4);
    let most = if role == Role::Device {
        14
    } else {
        14 * accounts as u64
    };
    if let Some(mut chance) = world.decisions.fault(What::Planned, 3, 1) {
        let deed = if rots {
            Deed::Rot(node, chance.below(u64::MAX))
        } else {
            Deed::SetBack(node, chance.below(most + 1))
        };
        world.after(at, deed);
    }
}
